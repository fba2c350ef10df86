"""Copy a site within its database: an export and an import."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy.engine import Engine

from multisite.core.settings import Settings
from multisite.directory.matching import bypass_digest
from multisite.sites.archive.contents import SiteContents
from multisite.sites.archive.exporting import Exported, export_site
from multisite.sites.archive.importing import Imported, import_site

__all__ = ["Copied", "copy_site"]


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy of a site. `bypass_token` lets operators pass its maintenance page; None if it is live."""

    source: Exported
    target: Imported
    bypass_token: str | None


def copy_site(
    engine: Engine,
    host: str,
    new_host: str,
    *,
    settings: Settings,
    contents: SiteContents | None = None,
    live: bool = False,
    users: Literal["keep", "none"] = "keep",
    progress: Callable[[str], None] = lambda line: None,
) -> Copied:
    """Copy the site with the domain `host`, with its templates, to a new site with the domain `new_host`.

    Secrets that are derived for the copy are new, so that cookies and tokens of the original are void there.

    Args:
        engine: The database of the directory and of the application.
        host: Any domain of the site.
        new_host: The canonical domain of the copy.
        settings: Where the folders of the sites are.
        contents: As for `export_site`.
        users: "none" leaves out the users of the site, "keep" takes them with their passwords.
        live: Whether the copy is online at once, instead of in maintenance.
        progress: Called with a line from time to time.

    Returns:
        What was copied. The archive at `source.path` no longer exists.

    Raises:
        InvalidHost: A host is not valid.
        UnknownSite: No site has the domain `host`.
        DomainTaken: `new_host` belongs to a site already.
        MultisiteError: As for `export_site` and `import_site`.
    """
    token = None if live else secrets.token_urlsafe(24)
    columns: dict[str, str | None] = {"availability": "open"}
    if token is not None:
        columns = {"availability": "maintenance", "maintenance_pass": bypass_digest(token)}
    with tempfile.TemporaryDirectory(prefix="multisite-copy-") as folder:
        archive = Path(folder, "site.zip")
        source = export_site(
            engine, host, archive, settings=settings, contents=contents, users=users, progress=progress
        )
        columns["copy_of"] = source.site.domain
        target = import_site(
            engine,
            archive,
            settings=settings,
            contents=contents,
            host=new_host,
            with_templates=True,
            columns=columns,
            logged_as="copy-site",
            progress=progress,
        )
    return Copied(source, target, token)
