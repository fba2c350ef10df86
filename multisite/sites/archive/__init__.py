"""One site as one archive: export it, import it, copy it.

An archive is a zip file that `docs/site-archives.md` describes. `plan` finds the tables and the references of an
application, `values` the kinds of its columns; `row_export` and `row_insertion` write and insert rows, with new keys of
`keys`; `reader` checks an archive as an untrusted file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multisite.core.lazy import lazy_names

if TYPE_CHECKING:
    from multisite.sites.archive.contents import SiteContents, SitePart, SiteReference
    from multisite.sites.archive.copying import Copied, copy_site
    from multisite.sites.archive.exporting import Exported, export_site
    from multisite.sites.archive.importing import Imported, import_site

__all__ = [
    "Copied",
    "Exported",
    "Imported",
    "SiteContents",
    "SitePart",
    "SiteReference",
    "copy_site",
    "export_site",
    "import_site",
]

__getattr__ = lazy_names(
    __name__,
    {
        **dict.fromkeys(("SitePart", "SiteContents", "SiteReference"), "multisite.sites.archive.contents"),
        **dict.fromkeys(("Copied", "copy_site"), "multisite.sites.archive.copying"),
        **dict.fromkeys(("Exported", "export_site"), "multisite.sites.archive.exporting"),
        **dict.fromkeys(("Imported", "import_site"), "multisite.sites.archive.importing"),
    },
)
