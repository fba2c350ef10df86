"""Restore a site: one that was removed, from the archive that is kept of it, or an existing one from a backup."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypedDict, Unpack

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite.core.settings import Settings
from multisite.directory.models import RemovedRow, SiteRow
from multisite.directory.tables import AS_MULTISITE, sites_table
from multisite.sites.archive.contents import SiteContents
from multisite.sites.archive.importing import Imported, import_site
from multisite.sites.removal_archive import check_archive_file
from multisite.sites.removed import find_removed, finish_restored, mark_restored

__all__ = ["RestoreOptions", "restore_site"]

_KEPT = ("created", "copy_of", "maintenance_message", "maintenance_until", "maintenance_pass")
"""The columns of a removed site that its archive does not have."""


class RestoreOptions(TypedDict, total=False):
    """The options of restoring a site.

    Attributes:
        new_host: The canonical domain of a removed site, if others have its domains now.
        archive: An archive for an existing site.
        with_templates: Take the templates of `archive` too, which are code that runs in the server. Those of a removed
            site are always taken: its checksum is in the database.
        upgrade: As in `ImportOptions`.
    """

    new_host: str | None
    archive: str | Path | None
    with_templates: bool
    upgrade: Callable[[Path, Path], object] | None


def restore_site(
    engine: Engine,
    host: str,
    *,
    settings: Settings,
    contents: SiteContents | None = None,
    progress: Callable[[str], None] = lambda line: None,
    **options: Unpack[RestoreOptions],
) -> Imported:
    """Restore the site with the domain `host`.

    Without `archive`, the site that was removed last with this canonical domain becomes a new site, in its former
    state: with its domains, or with `new_host` alone. Its archive is then deleted. With `archive`, the content of an
    existing site is replaced by that of the archive, in one transaction; it keeps its id and its domains.

    Args:
        engine: The database of the directory and of the application.
        host: The canonical domain of the removed site, or any domain of the existing one.
        settings: Where the folder of the site and the archives are.
        contents: The application's declarations about the data of its sites.
        progress: Called with a line from time to time.
        options: See `RestoreOptions`.

    Returns:
        What was restored.

    Raises:
        InvalidHost: A host is not valid.
        UnknownSite: There is no such removed site, or no such site.
        DomainTaken: Another site has one of the domains.
        MultisiteError: The archive is not valid, was changed, or does not fit the application.
    """
    archive, upgrade = options.get("archive"), options.get("upgrade")
    if archive is not None:
        return import_site(
            engine,
            archive,
            settings=settings,
            contents=contents,
            host=host,
            replace=True,
            keep_keys=True,
            logged_as="restore-site",
            with_templates=options.get("with_templates", False),
            upgrade=upgrade,
            progress=progress,
        )
    finish_restored(engine, settings)
    removed = find_removed(engine, host, settings=settings)
    check_archive_file(removed.archive, removed.sha256)
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        columns = [sites_table.c[name] for name in _KEPT]
        found = sa.select(RemovedRow.availability, *columns).join(SiteRow, SiteRow.id == RemovedRow.site_id)
        row = connection.execute(found.where(RemovedRow.site_id == removed.id)).one()
    done = import_site(
        engine,
        removed.archive,
        settings=settings,
        contents=contents,
        host=options.get("new_host"),
        keep_keys=True,
        with_templates=True,
        columns=dict(row._mapping),
        on_stored=lambda connection, site: mark_restored(connection, removed, site),
        logged_as="restore-site",
        upgrade=upgrade,
        progress=progress,
    )
    finish_restored(engine, settings)
    return done
