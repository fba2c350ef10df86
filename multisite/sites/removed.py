"""Removals with an archive, and the removed sites that can be restored from theirs.

A row of `multisite_removed` begins with the removal. It gets the checksum of the archive once that is complete; no row
of the site is deleted before. `multisite.archives_dir` and the trash hold what the row names.
"""

from __future__ import annotations

import glob
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from multisite.core import domains, program
from multisite.core.settings import Settings
from multisite.directory.models import AS_MULTISITE, RemovedRow, SiteRow
from multisite.directory.records import SiteRecord
from multisite.errors import MultisiteError, UnknownSite
from multisite.sites.backups import delete_backups
from multisite.sites.transaction import directory_transaction

__all__ = [
    "TRASH",
    "Removal",
    "RemovedSite",
    "begin_removal",
    "delete_removed",
    "end_removal",
    "find_removed",
    "forget_removal",
    "list_removed",
    "move_to_trash",
    "prune_removed",
    "record_archive",
]

TRASH = ".trash"
"""The folder in `multisite.sites_dir` for the folders of removed sites. No site can have this name."""

_removed = RemovedRow.__table__


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


@dataclass(frozen=True, slots=True)
class RemovedSite:
    """A removed site that can be restored until `keep_until`: its former id, its canonical domain and its archive."""

    id: int
    domain: str
    name: str
    archive: Path
    sha256: str
    removed: datetime
    keep_until: datetime


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
    # If a process that erases the site is killed, the next one finds the folder by the same name.
    trash = f"{site.folder[:200]}-erase-{site.id}" if erase else f"{site.folder[:200]}-{stamp}"
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
        _delete_archive(former, settings)
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
        _delete_archive(removal.archive, settings)


def _delete_archive(name: str, settings: Settings) -> None:
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


_REMOVED = (
    sa.select(_removed, SiteRow.name)
    .join_from(_removed, SiteRow.__table__, SiteRow.id == _removed.c.site_id)
    .where(_removed.c.removed.is_not(None))
    .order_by(_removed.c.removed.desc(), _removed.c.site_id.desc())
)
_LISTED = _REMOVED.where(_removed.c.sha256.is_not(None))


def list_removed(engine: Engine, *, settings: Settings) -> list[RemovedSite]:
    """Return the removed sites that can be restored, beginning with the one that was removed last."""
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        return [_removed_site(row, settings) for row in connection.execute(_LISTED)]


def find_removed(engine: Engine, host: str, *, settings: Settings) -> RemovedSite:
    """Return the site with the canonical domain `host` that was removed last.

    Raises:
        InvalidHost: `host` is not valid.
        UnknownSite: No removed site that can be restored had this domain.
    """
    domain = str(domains.existing(host))
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        row = connection.execute(_LISTED.where(_removed.c.domain == domain).limit(1)).one_or_none()
    if row is None:
        command = program.command("list-removed")
        raise UnknownSite(
            domain, f"no removed site was known as '{domain}'; list those that can be restored: {command}"
        )
    return _removed_site(row, settings)


def _removed_site(row: Any, settings: Settings) -> RemovedSite:
    folder = settings.archives_dir or Path()
    times = _in_utc(row.removed), _in_utc(row.keep_until)
    return RemovedSite(row.site_id, row.domain, row.name, folder / row.archive, row.sha256, *times)


def _in_utc(time: datetime) -> datetime:
    # SQLite returns a naive datetime, which is in UTC.
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def prune_removed(engine: Engine, *, settings: Settings) -> list[RemovedSite]:
    """Delete the archives and backups of removed sites that have been kept long enough, and return these sites."""
    if settings.archives_dir is None:
        return []
    now = datetime.now(UTC)
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        rows = connection.execute(_REMOVED).all()
    found = [_removed_site(row, settings) for row in rows]
    expired = [each for each in found if each.keep_until <= now or not each.sha256]
    for each in expired:
        delete_backups(each.id, settings)
        delete_removed(engine, each, settings)
    return [each for each in expired if each.sha256]


def delete_removed(engine: Engine, removed: Removal | RemovedSite, settings: Settings) -> None:
    """Delete the archive of a removed site and its folders in the trash. Then it cannot be restored."""
    site_id = removed.id if isinstance(removed, RemovedSite) else removed.site_id
    of_site = _removed.c.site_id == site_id
    with directory_transaction(engine) as connection:
        row = connection.execute(sa.select(_removed.c.archive, _removed.c.trash).where(of_site)).one_or_none()
        # If the process is killed below, the site is no longer listed, and `prune_removed` deletes the rest.
        hidden = sa.update(RemovedRow).where(of_site, _removed.c.removed.is_not(None)).values(sha256=None)
        connection.execute(hidden)
    trash = removed.trash if isinstance(removed, Removal) else row and row.trash
    if row is not None and row.archive is not None:
        _delete_archive(row.archive, settings)
    folder = settings.sites_dir / TRASH
    try:
        # The second kind is from `restore_site` with an archive.
        for path in (*([folder / trash] if trash else []), *folder.glob(f"*#{site_id}-*")):
            if path.is_dir():
                shutil.rmtree(path)
    except OSError as error:
        raise MultisiteError(f"{error.filename} cannot be deleted: {error.strerror or error}") from error
    with directory_transaction(engine) as connection:
        connection.execute(sa.delete(RemovedRow).where(of_site))
