"""Measurements of all sites: their rows, the bytes of their files, and their last change. Measured in the background.

`multisite measure-sites` and `multisite work` write them, and the console's list of sites shows them with the time at
which they were measured. Each table is read once, for all sites together.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine

from multisite.core.current_site import all_sites
from multisite.core.settings import Settings
from multisite.directory.health_tables import measurements_table
from multisite.directory.models import SiteRow
from multisite.directory.operator_tables import log_table
from multisite.directory.tables import AS_MULTISITE, UtcDateTime, sites_table
from multisite.sites.site_tables import ReflectedTable, reflect_tables
from multisite.sites.site_words import complete_words

__all__ = ["MAX_AGE_SECONDS", "are_measurements_due", "measure_sites"]

log = logging.getLogger(__name__)

MAX_AGE_SECONDS = 3_600
"""After this time, `multisite work` measures again."""

CHANGE_COLUMNS = ("updated", "updated_at", "changed", "changed_at", "modified", "modified_at")
"""The names of columns with the time of a row's last change, if their type is one of times with a zone."""

MEDIA_COLUMNS = {"digest", "token", "bytes"}
"""The columns of a table of media (`multisite.media.SiteMedia`), whose `bytes` are those of the files of a row."""

STATEMENT_ROWS = 500

_measurements = measurements_table.c


def are_measurements_due(engine: Engine) -> bool:
    """Return whether no site was measured within the last hour."""
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        measured = connection.scalar(sa.select(sa.func.max(_measurements.measured)))
    return measured is None or measured <= time.time() - MAX_AGE_SECONDS


def measure_sites(engine: Engine, settings: Settings, *, progress: Callable[[str], object] = lambda _line: None) -> int:
    """Measure all sites, and replace their measurements.

    The rows are those that `remove_site` would delete. The bytes are those of media and of the site's folder. The last
    change is the newest time in the columns of `CHANGE_COLUMNS`, of the operator log, and of the site's addition.

    The words by which sites are found are completed, if sites were changed by other means than multisite's functions.

    Args:
        engine: The database of the directory.
        settings: Where the folders of the sites are.
        progress: Called with a line for each table.

    Returns:
        The number of sites.
    """
    complete_words(engine)
    now = int(time.time())
    rows: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    with engine.connect().execution_options(**AS_MULTISITE) as connection, all_sites("measuring all sites"):
        site = sites_table.c
        found = connection.execute(
            sa.select(site.id, site.folder, site.created).where(site.availability != "removed")
        ).all()
        folders = {id_: settings.sites_dir / folder for id_, folder, _created in found}
        changed = {id_: int(created.timestamp()) for id_, _folder, created in found}
        logged = sa.select(log_table.c.site_id, sa.func.max(log_table.c.at)).group_by(log_table.c.site_id)
        _keep_newest(changed, connection.execute(logged.where(log_table.c.site_id.is_not(None))).all(), now)
        connection.rollback()
        for table in _tables(connection, settings):
            progress(f"Measuring {table.name}")
            for id_, number, size, newest in connection.execute(_measured(table)):
                rows[id_] += number
                sizes[id_] += int(size)
                _keep_newest(changed, [(id_, newest)], now)
            connection.rollback()
    for id_, folder in folders.items():
        sizes[id_] += _folder_bytes(folder)
    _write(
        engine,
        [
            {"site_id": id_, "rows": rows[id_], "bytes": sizes[id_], "changed": changed[id_], "measured": now}
            for id_ in sorted(folders)
        ],
    )
    return len(folders)


def _keep_newest(changed: dict[int, int], found: Any, now: int) -> None:
    for id_, moment in found:
        # A time that is yet to come, such as that of a scheduled entry, is no change.
        if moment is not None and id_ in changed and changed[id_] < moment.timestamp() <= now + 1:
            changed[id_] = int(moment.timestamp())


def _tables(connection: Connection, settings: Settings) -> Iterator[ReflectedTable]:
    """Yield the tables with rows of sites, with the columns that are measured and those of their key."""
    inspector = sa.inspect(connection)
    for reflected in (each for group in reflect_tables(connection, settings.global_tables) for each in group):
        table = reflected.table
        for column in inspector.get_columns(table.name, schema=table.schema):
            name, kind = column["name"], column["type"]
            is_time = name in CHANGE_COLUMNS and isinstance(kind, sa.DateTime)
            if (is_time or name in MEDIA_COLUMNS) and name not in table.columns:
                table.append_column(sa.Column(name, UtcDateTime() if is_time else kind))
        yield reflected
    connection.rollback()


def _measured(reflected: ReflectedTable) -> sa.Select[Any]:
    columns, number = reflected.table.columns, sa.func.count()
    source, site_id = reflected.with_site_id()
    size: sa.ColumnElement[Any] = sa.literal(0)
    if set(columns.keys()) >= MEDIA_COLUMNS:
        size = sa.func.coalesce(sa.func.sum(columns["bytes"]), 0)
    newest = next((sa.func.max(columns[name]) for name in CHANGE_COLUMNS if name in columns), sa.null())
    return sa.select(site_id, number, size, newest).select_from(source).group_by(site_id)


def _folder_bytes(folder: Path) -> int:
    """Return the bytes of the files in the folder of a site; symbolic links are not followed."""
    total = 0
    for where, _folders, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size  # noqa: PTH118  Ten times as fast.
            except OSError as error:  # It was removed just now.
                log.debug("cannot measure %s: %s", name, error)
    return total


def _write(engine: Engine, values: list[dict[str, int]]) -> None:
    insert = (postgresql if engine.dialect.name == "postgresql" else sqlite).insert(measurements_table)
    names = [column.name for column in measurements_table.columns if not column.primary_key]
    statement = insert.on_conflict_do_update(
        index_elements=["site_id"], set_={name: insert.excluded[name] for name in names}
    )
    for start in range(0, len(values), STATEMENT_ROWS):
        with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
            connection.execute(statement, values[start : start + STATEMENT_ROWS])
    gone = _measurements.site_id.not_in(sa.select(SiteRow.id).where(SiteRow.availability != "removed"))
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        # Citus deletes no rows of a local table by those of another one.
        stale = list(connection.scalars(sa.select(_measurements.site_id).where(gone)))
    for start in range(0, len(stale), STATEMENT_ROWS):
        with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
            ids = stale[start : start + STATEMENT_ROWS]
            connection.execute(sa.delete(measurements_table).where(_measurements.site_id.in_(ids)))
