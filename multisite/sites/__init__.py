"""The provisioning API: add, rename, copy, remove and restore sites, and change their domains, themes and settings.

These functions take the engine of the directory. The commands of `multisite` call the same ones;
`docs/provisioning.md` describes the guarantees of a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multisite.core.lazy import lazy_names

if TYPE_CHECKING:
    from multisite.directory.records import list_sites
    from multisite.sites.archive import SiteContents, copy_site, export_site, import_site
    from multisite.sites.availability import disable_site, enable_site
    from multisite.sites.batches import NewSite, add_sites
    from multisite.sites.creation import add_site
    from multisite.sites.domains import add_domain, remove_domain
    from multisite.sites.removal import remove_site
    from multisite.sites.removed import erase_removed, list_removed
    from multisite.sites.restoring import restore_site
    from multisite.sites.settings.values import set_settings, unset_settings
    from multisite.sites.updates import rename_site, set_theme

__all__ = [
    "NewSite",
    "SiteContents",
    "add_domain",
    "add_site",
    "add_sites",
    "copy_site",
    "disable_site",
    "enable_site",
    "erase_removed",
    "export_site",
    "import_site",
    "list_removed",
    "list_sites",
    "remove_domain",
    "remove_site",
    "rename_site",
    "restore_site",
    "set_settings",
    "set_theme",
    "unset_settings",
]

__getattr__ = lazy_names(
    __name__,
    {
        "add_domain": "multisite.sites.domains",
        "add_site": "multisite.sites.creation",
        "remove_domain": "multisite.sites.domains",
        "remove_site": "multisite.sites.removal",
        "set_settings": "multisite.sites.settings.values",
        "unset_settings": "multisite.sites.settings.values",
        **dict.fromkeys(("rename_site", "set_theme"), "multisite.sites.updates"),
        **dict.fromkeys(("NewSite", "add_sites"), "multisite.sites.batches"),
        **dict.fromkeys(("disable_site", "enable_site"), "multisite.sites.availability"),
        **dict.fromkeys(("erase_removed", "list_removed"), "multisite.sites.removed"),
        "restore_site": "multisite.sites.restoring",
        "list_sites": "multisite.directory.records",
        **dict.fromkeys(("SiteContents", "copy_site", "export_site", "import_site"), "multisite.sites.archive"),
    },
)
