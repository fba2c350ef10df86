"""The state of a removal, in a row of `multisite_removed` and in the trash.

The row begins with a removal that keeps an archive. It gets the checksum of the archive once that is complete; no row
of the site is deleted before.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from multisite.core.settings import Settings
from multisite.directory.models import RemovedRow, SiteRow
from multisite.directory.records import SiteRecord
from multisite.directory.tables import removed_table
from multisite.errors import MultisiteError
from multisite.sites.transaction import directory_transaction

__all__ = [
    "TRASH",
    "Removal",
    "begin_removal",
    "delete_archive",
    "end_removal",
    "forget_removal",
    "move_to_trash",
    "record_archive",
]

TRASH = ".trash"
"""The folder in `multisite.sites_dir` for the folders of removed sites. No site can have this name."""

_removed = removed_table


@dataclass(frozen=True, slots=True)
class Removal:
    """A removal that has begun: the site, its `availability` before, and the names of its archive and of its folder.

    `is_archived` says whether the site is archived before its rows are deleted. `sha256` is None unless the archive was
    complete already; `was_served` says whether running servers may still serve the site.
    """

    site_id: int
    domain: str
    availability: str
    archive: str
    trash: str
    is_archived: bool
    sha256: str | None
    was_served: bool


def begin_removal(engine: Engine, record: SiteRecord, settings: Settings, *, erase: bool) -> Removal:
    """Take a site offline.

    A removal that began without an archive stays without one, because some of the rows may be gone. One that began with
    an archive that is not complete yet begins again, and takes it over from another call that may still write it.

    Args:
        engine: The database of the directory.
        record: The site.
        settings: Whether archives are kept.
        erase: Keep no archive.

    Returns:
        The removal, which may have begun before.
    """
    site, of_site = record.site, SiteRow.id == record.site.id
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    # No site's folder has a # in its name: whoever erases the site finds its folder by the id, also if the process that
    # moved it was killed.
    trash = f"{site.folder[:200]}#{site.id}-{stamp}"
    archive = f"{site.folder[:200]}-{site.id}-{stamp}.zip"
    is_kept = settings.archives_dir is not None and settings.keep_removed_days > 0
    with directory_transaction(engine) as connection:
        before: str = connection.execute(sa.select(SiteRow.availability).where(of_site)).scalar_one()
        row = connection.execute(sa.select(_removed).where(_removed.c.site_id == site.id)).one_or_none()
        if erase and row is not None and row.sha256 is None:
            # Rows are about to be deleted: no later call may take the remaining rows for the whole site.
            connection.execute(sa.delete(RemovedRow).where(_removed.c.site_id == site.id))
            is_archived = False
        else:
            is_new = is_kept and not erase and before != "removing" and record.status != "pending"
            is_archived = row is not None or is_new
        former = None if row is None else row.archive
        if row is None and is_archived:
            values = {"site_id": site.id, "domain": site.domain, "availability": before}
            connection.execute(sa.insert(RemovedRow).values(**values, archive=archive, trash=trash))
        elif row is not None and is_archived and row.sha256 is None:
            connection.execute(sa.update(RemovedRow).where(_removed.c.site_id == site.id).values(archive=archive))
        connection.execute(sa.update(SiteRow).where(of_site).values(availability="removing"))
    removal = Removal(
        site_id=site.id,
        domain=site.domain,
        availability=before if row is None else row.availability,
        archive=archive if row is None or row.sha256 is None else row.archive,
        trash=row.trash if row is not None and is_archived else trash,
        is_archived=is_archived,
        sha256=None if row is None else row.sha256,
        was_served=before in {"open", "maintenance"},
    )
    if former is not None and former != removal.archive:
        delete_archive(former, settings)
    return removal


def record_archive(engine: Engine, removal: Removal, sha256: str) -> None:
    """Record that the archive of a site is complete, so that its rows can be deleted.

    Raises:
        MultisiteError: Another call has taken over the removal.
    """
    of_removal = _removed.c.site_id == removal.site_id, _removed.c.archive == removal.archive
    with directory_transaction(engine) as connection:
        complete = sa.update(RemovedRow).where(*of_removal, _removed.c.sha256.is_(None)).values(sha256=sha256)
        if connection.execute(complete).rowcount != 1:
            raise MultisiteError("another call is removing the site")


def forget_removal(engine: Engine, removal: Removal, settings: Settings) -> None:
    """Put a site back into its former state, unless some of its rows may have been deleted."""
    with directory_transaction(engine) as connection:
        if removal.is_archived:
            own = _removed.c.site_id == removal.site_id, _removed.c.archive == removal.archive
            forget = sa.delete(RemovedRow).where(*own)
            if removal.sha256 is not None or connection.execute(forget).rowcount != 1:
                return
        before = sa.update(SiteRow).where(SiteRow.id == removal.site_id).values(availability=removal.availability)
        connection.execute(before)
    if removal.is_archived:
        delete_archive(removal.archive, settings)


def delete_archive(name: str, settings: Settings) -> None:
    """Delete an archive, and what a killed process has left of it."""
    folder = settings.archives_dir
    if folder is None:
        raise MultisiteError(f"the archive {name} cannot be deleted: set multisite.archives_dir to its former value")
    try:
        for path in (folder / name, *folder.glob(f".{glob.escape(name[:200])}.*.part")):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise MultisiteError(f"{error.filename} cannot be deleted: {error.strerror or error}") from error


def end_removal(connection: Connection, removal: Removal, settings: Settings) -> None:
    """Record that a removal is complete, in the transaction that deletes the domains."""
    now = datetime.now(UTC)
    ended = {"removed": now, "keep_until": now + timedelta(days=settings.keep_removed_days)}
    connection.execute(sa.update(RemovedRow).where(_removed.c.site_id == removal.site_id).values(**ended))


def move_to_trash(folder: Path, removal: Removal, settings: Settings) -> Path:
    """Move a site's folder to the trash, and return its new path. Raises `MultisiteError` if that fails."""
    trash = settings.sites_dir / TRASH
    target = trash / removal.trash
    try:
        trash.mkdir(exist_ok=True)
        folder.rename(target)
    except OSError as error:
        raise MultisiteError(
            f"the folder {folder} cannot be moved to {trash}: {error.strerror or error}; nothing was removed: fix "
            "this, and run the same command again"
        ) from error
    return target
