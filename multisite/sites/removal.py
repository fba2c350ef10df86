"""Remove a site: its rows, its folder and its domains.

The site is taken offline first. With `multisite.archives_dir`, an archive of it is written and checked. Then its folder
is moved to the trash, which can fail and can be undone. Then its rows are deleted (`removal_rows.py`), in batches of
one transaction each, so that locks are short whatever the size of the tables. The files of its media follow the rows
that name them. Its domains are deleted last, so that the same call can be repeated to complete an interrupted removal.
The row in `sites` is kept, so that the id is never used again: backups, logs and other databases may contain it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite.core import domains
from multisite.core.current_site import all_sites
from multisite.core.settings import Settings
from multisite.directory.health_tables import measurements_table
from multisite.directory.models import ChangeRow, DomainRow, SettingRow, SiteRow
from multisite.directory.operator_tables import domain_checks_table, errors_table, traffic_table
from multisite.directory.records import SiteRecord, read_site
from multisite.directory.tables import AS_MULTISITE
from multisite.directory.word_table import words_table
from multisite.sites.archive.contents import SiteContents
from multisite.sites.backups import delete_backups
from multisite.sites.media_store import remove_media_files
from multisite.sites.operator_log import record, record_site_change
from multisite.sites.removal_archive import write_removal_archive
from multisite.sites.removal_record import TRASH, begin_removal, end_removal, forget_removal, move_to_trash
from multisite.sites.removal_rows import check_deletion, delete_site_rows
from multisite.sites.removed import ERASED, delete_removed
from multisite.sites.site_tables import count_rows, reflect_tables
from multisite.sites.template_store.changes import refresh_folder, withdraw_folder
from multisite.sites.transaction import directory_transaction

__all__ = ["BATCH_ROWS", "TRASH", "RemovalPlan", "plan_removal", "remove_site"]

BATCH_ROWS = 1000
"""How many rows are deleted in one transaction."""


@dataclass(frozen=True, slots=True)
class RemovalPlan:
    """The extent of a removal: the number of `rows` by table, and the `folder` of the site (None: it has none).

    Of a completed removal, `folder` is its path in the trash, None if it was erased; `archive` is the archive from
    which the site can be restored, or None; and `left_out` says what is not in it.
    """

    record: SiteRecord
    rows: dict[str, int]
    folder: Path | None
    archive: Path | None = None
    left_out: tuple[str, ...] = ()


def plan_removal(engine: Engine, host: str, *, settings: Settings) -> RemovalPlan:
    """Return what `remove_site` would remove, without changing anything. Raises as `remove_site` does."""
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        record = read_site(connection, domains.existing(host))
        with all_sites(f"counting the rows of {record.site}"):
            groups = reflect_tables(connection, settings.global_tables)
            check_deletion(connection, groups)
            rows = {each.name: count_rows(connection, each, record.site.id) for group in groups for each in group}
    existing = _folder_of(record, settings)
    return RemovalPlan(record, {name: number for name, number in rows.items() if number}, existing)


def _folder_of(record: SiteRecord, settings: Settings) -> Path | None:
    folder = settings.sites_dir / record.site.folder
    return folder if folder.is_dir() and not folder.is_symlink() else None


def remove_site(
    engine: Engine,
    host: str,
    *,
    settings: Settings,
    contents: SiteContents | None = None,
    erase: bool = False,
    batch_rows: int = BATCH_ROWS,
    progress: Callable[[str], None] = lambda line: None,
) -> RemovalPlan:
    """Remove the site with the domain `host`.

    Its rows are deleted from all tables of the database, in every schema, whose `site_id` references `sites`, and from
    those without `site_id` that refer to such rows, whether or not the application has a model for them. If
    `multisite.archives_dir` is set, an archive of the site is kept for `multisite.keep_removed_days`, and
    `restore_site` brings the site back.

    Args:
        engine: The database of the directory.
        host: Any domain of the site.
        settings: Where the folder of the site is, and where its archive is kept.
        contents: The application's declarations about the data of its sites, for the archive.
        erase: Keep nothing: neither an archive, nor the folder, nor backups that `export_sites` wrote.
        batch_rows: How many rows are deleted in one transaction.
        progress: Called with a line for each batch.

    Returns:
        What was removed.

    Raises:
        InvalidHost: `host` is not valid.
        UnknownSite: No site has this domain.
        MultisiteError: The archive cannot be written or is not complete, the folder cannot be moved, or SQLite cannot
            delete rows of tables that reference each other; then the site is back in its former state. Or the database
            refuses to delete a row, or the files of its media cannot be removed; then the same call completes the
            removal.
    """
    domain = domains.existing(host)
    plan = plan_removal(engine, host, settings=settings)
    site = plan.record.site
    removal = begin_removal(engine, plan.record, settings, erase=erase)
    archived: tuple[Path | None, tuple[str, ...]] = None, ()
    try:
        if not (settings.sites_dir / TRASH / removal.trash).exists():
            refresh_folder(settings, site.folder)
        existing = _folder_of(plan.record, settings)
        if removal.is_archived and not erase:
            archived = write_removal_archive(engine, removal, settings, contents, progress)
        folder = move_to_trash(existing, removal, settings) if existing is not None else None
    except Exception:
        forget_removal(engine, removal, settings)
        raise
    with all_sites(f"removing the site {site}"), engine.connect() as connection:
        groups = reflect_tables(connection, settings.global_tables)

        def report(name: str, done: int) -> None:
            progress(f"{name}: {done} of {plan.rows.get(name, done)} rows")

        rows = delete_site_rows(connection, groups, site.id, batch_rows, report)
    remove_media_files(site.id, settings)
    withdraw_folder(settings, site.folder)
    if erase:
        folder = None
        delete_removed(engine, removal, settings)
        delete_backups(site.id, settings)
    with directory_transaction(engine) as connection:
        # Read again, because another call may have completed the removal.
        found = read_site(connection, domain)
        for row in (DomainRow, SettingRow):
            connection.execute(sa.delete(row).where(row.site_id == site.id))
        for table in (traffic_table, errors_table, domain_checks_table, measurements_table, words_table):
            connection.execute(sa.delete(table).where(table.c.site_id == site.id))
        gone: dict[str, str | None] = {"availability": "removed", "folder": f"#{site.id}", "name": site.name}
        if erase:
            connection.execute(sa.delete(ChangeRow).where(ChangeRow.site_id == site.id))
            gone = {**gone, **ERASED}
        connection.execute(sa.update(SiteRow).where(SiteRow.id == site.id).values(**gone))
        end_removal(connection, removal, settings)
        if erase:
            # The log keeps the domain and the time, and nothing else of the site.
            record(connection, "remove-site", site, after={"erased": True})
        else:
            record_site_change(connection, "remove-site", found, None)
    return RemovalPlan(plan.record, rows, folder, *archived)
