"""The removed sites that can be restored: `multisite.archives_dir` and the trash hold what their rows name."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from multisite.core import domains, program
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory.models import ChangeRow, RemovedRow, SiteRow
from multisite.directory.tables import AS_MULTISITE, removed_table, sites_table
from multisite.errors import MultisiteError, UnknownSite
from multisite.sites.backups import delete_backups, move_backups
from multisite.sites.operator_log import record
from multisite.sites.removal_record import TRASH, Removal, delete_archive
from multisite.sites.transaction import directory_transaction

__all__ = [
    "ERASED",
    "RemovedSite",
    "delete_removed",
    "erase_removed",
    "find_removed",
    "finish_restored",
    "list_removed",
    "mark_restored",
    "prune_removed",
]

ERASED = {"name": "erased", "copy_of": None, "maintenance_message": None}
"""What is left of an erased site in its row, besides the id."""

_removed = removed_table


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


_REMOVED = (
    sa.select(_removed, SiteRow.name)
    .join_from(_removed, sites_table, SiteRow.id == _removed.c.site_id)
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
        if not _finish_restored(engine, each, settings):
            delete_backups(each.id, settings)
            delete_removed(engine, each, settings)
    return [each for each in expired if each.sha256]


def mark_restored(connection: Connection, removed: RemovedSite, restored: Site) -> None:
    """Record that a removed site is restored as `restored`, in the transaction that inserts that.

    From then on it is not listed. `finish_restored` deletes what is left of it, also if the process is killed before.
    """
    values = {"domain": f"#{restored.id}", "sha256": None}
    connection.execute(sa.update(RemovedRow).where(_removed.c.site_id == removed.id).values(**values))


def finish_restored(engine: Engine, settings: Settings) -> None:
    """Give the backups of restored sites to these, and delete the archives from which they were restored."""
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        rows = connection.execute(_REMOVED.where(_removed.c.domain.startswith("#"))).all()
    for row in rows:
        _finish_restored(engine, _removed_site(row, settings), settings)


def _finish_restored(engine: Engine, removed: RemovedSite, settings: Settings) -> bool:
    """Return whether the site was restored."""
    if not removed.domain.startswith("#"):
        return False
    move_backups(removed.id, int(removed.domain[1:]), settings)
    delete_removed(engine, removed, settings)
    return True


def erase_removed(engine: Engine, site_id: int, *, settings: Settings) -> RemovedSite:
    """Erase a removed site before its time: its archive, its folder, its backups, and what the directory knows of it.

    Args:
        engine: The database of the directory.
        site_id: The id that the site had, as `list_removed` returns it. Its domain may be that of another site by now.
        settings: Where the archives and the folders are.

    Returns:
        The site as it was.

    Raises:
        UnknownSite: No removed site that can be restored had this id.
        MultisiteError: A file cannot be deleted.
    """
    found = next((each for each in list_removed(engine, settings=settings) if each.id == site_id), None)
    if found is None:
        command = program.command("list-removed")
        raise UnknownSite(
            str(site_id), f"no removed site had the id {site_id}; list those that can be restored: {command}"
        )
    with directory_transaction(engine) as connection:
        connection.execute(sa.delete(ChangeRow).where(ChangeRow.site_id == site_id))
        connection.execute(sa.update(SiteRow).where(SiteRow.id == site_id).values(**ERASED))
        record(connection, "erase-removed", after={"id": site_id, "domain": found.domain, "erased": True})
    delete_backups(site_id, settings)
    delete_removed(engine, found, settings)
    return found


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
        delete_archive(row.archive, settings)
    folder = settings.sites_dir / TRASH
    try:
        # Those of the second kind are from `restore_site` with an archive, and from a call that was killed.
        for path in (*([folder / trash] if trash else []), *folder.glob(f"*#{site_id}-*")):
            if path.is_dir():
                shutil.rmtree(path)
    except OSError as error:
        raise MultisiteError(f"{error.filename} cannot be deleted: {error.strerror or error}") from error
    with directory_transaction(engine) as connection:
        connection.execute(sa.delete(RemovedRow).where(of_site))
