"""Change sites: add, rename and remove them, and change their domains, themes, settings and availability.

These functions take the engine of the directory. The commands of `multisite` call the same ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multisite.core.lazy import lazy_names

if TYPE_CHECKING:
    from multisite.directory.records import list_sites
    from multisite.sites.archive import SiteContents, copy_site, export_site, import_site
    from multisite.sites.domains import add_domain, remove_domain
    from multisite.sites.removal import remove_site
    from multisite.sites.settings.values import set_settings, unset_settings
    from multisite.sites.updates import add_site

__all__ = [
    "SiteContents",
    "add_domain",
    "add_site",
    "copy_site",
    "export_site",
    "import_site",
    "list_sites",
    "remove_domain",
    "remove_site",
    "set_settings",
    "unset_settings",
]

__getattr__ = lazy_names(
    __name__,
    {
        "add_domain": "multisite.sites.domains",
        "remove_domain": "multisite.sites.domains",
        "remove_site": "multisite.sites.removal",
        "set_settings": "multisite.sites.settings.values",
        "unset_settings": "multisite.sites.settings.values",
        "add_site": "multisite.sites.updates",
        "list_sites": "multisite.directory.records",
        **dict.fromkeys(("SiteContents", "copy_site", "export_site", "import_site"), "multisite.sites.archive"),
    },
)
