"""Remove a site: its rows, its folder and its domains.

The site is taken offline first. Then its folder is moved to the trash, which can fail and can be undone. Then its rows
are deleted, in the order of their foreign keys and in batches of one transaction each, so that locks are short whatever
the size of the tables. The files of its media follow the rows that name them. Its domains are deleted last, so that the
same call can be repeated to complete an interrupted removal. The row in `sites` is kept, so that the id is never used
again: backups, logs and other databases may contain it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.interfaces import ReflectedForeignKeyConstraint

from multisite.core import domains
from multisite.core.current_site import all_sites
from multisite.core.settings import Settings
from multisite.directory.models import AS_MULTISITE, DomainRow, SettingRow, SiteRow, metadata
from multisite.directory.records import SiteRecord, read_site
from multisite.errors import MultisiteError
from multisite.scoping.column import SITE_COLUMN, site_id_column
from multisite.sites.media_store import remove_media_files
from multisite.sites.transaction import directory_transaction

__all__ = ["BATCH_ROWS", "TRASH", "RemovalPlan", "plan_removal", "remove_site"]

BATCH_ROWS = 1000
"""How many rows are deleted in one transaction."""

TRASH = ".trash"
"""The folder in `multisite.sites_dir` for the folders of removed sites. No site can have this name."""


@dataclass(frozen=True, slots=True)
class RemovalPlan:
    """What a removal removes: the number of `rows` by table, and the `folder` of the site (None: it has none).

    Of a completed removal, `folder` is its path in the trash.
    """

    record: SiteRecord
    rows: dict[str, int]
    folder: Path | None


def plan_removal(engine: Engine, host: str, *, settings: Settings) -> RemovalPlan:
    """Return what `remove_site` would remove, without changing anything. Raises as `remove_site` does."""
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        record = read_site(connection, domains.existing(host))
        with all_sites(f"counting the rows of {record.site}"):
            rows = {each.name: _count(connection, each.table, record.site.id) for each in _tables(connection)}
    folder = settings.sites_dir / record.site.folder
    existing = folder if folder.is_dir() and not folder.is_symlink() else None
    return RemovalPlan(record, {name: number for name, number in rows.items() if number}, existing)


def remove_site(
    engine: Engine,
    host: str,
    *,
    settings: Settings,
    batch_rows: int = BATCH_ROWS,
    progress: Callable[[str], None] = lambda line: None,
) -> RemovalPlan:
    """Remove the site with the domain `host`.

    Its rows are deleted from all tables of the database, in every schema, whose `site_id` references `sites`, whether
    or not the application has a model for them.

    Args:
        engine: The database of the directory.
        host: Any domain of the site.
        settings: Where the folder of the site is.
        batch_rows: How many rows are deleted in one transaction.
        progress: Called with a line for each batch.

    Returns:
        What was removed.

    Raises:
        InvalidHost: `host` is not valid.
        UnknownSite: No site has this domain.
        MultisiteError: Tables reference each other in a cycle, or the folder cannot be moved; then the site is back
            in its former state. Or the files of its media cannot be removed.
    """
    domain = domains.existing(host)
    plan = plan_removal(engine, host, settings=settings)
    site = plan.record.site
    before = _set_availability(engine, site.id, "removing")
    try:
        folder = _move_to_trash(plan.folder, settings) if plan.folder is not None else None
    except MultisiteError:
        _set_availability(engine, site.id, before)
        raise
    rows: dict[str, int] = {}
    with all_sites(f"removing the site {site}"), engine.connect() as connection:
        for scoped in _tables(connection):
            name, done = scoped.name, 0
            for number in _delete(connection, scoped, site.id, batch_rows):
                done += number
                progress(f"{name}: {done} of {plan.rows.get(name, done)} rows")
            if done:
                rows[name] = done
    remove_media_files(site.id, settings)
    with directory_transaction(engine) as connection:
        # Read again, because another call may have completed the removal.
        read_site(connection, domain)
        for row in (DomainRow, SettingRow):
            connection.execute(sa.delete(row).where(row.site_id == site.id))
        gone = {"availability": "removed", "folder": f"#{site.id}", "name": site.name}
        connection.execute(sa.update(SiteRow).where(SiteRow.id == site.id).values(**gone))
    return RemovalPlan(plan.record, rows, folder)


def _set_availability(engine: Engine, site_id: int, availability: str) -> str:
    """Set the column `availability` of a site, and return its former value."""
    of_site = SiteRow.id == site_id
    with directory_transaction(engine) as connection:
        before: str = connection.execute(sa.select(SiteRow.availability).where(of_site)).scalar_one()
        connection.execute(sa.update(SiteRow).where(of_site).values(availability=availability))
    return before


@dataclass(frozen=True, slots=True)
class _ScopedTable:
    """A table with rows of sites.

    `self_references` are its foreign keys to itself: pairs of a column and the column it references.
    """

    table: sa.Table
    key: tuple[str, ...]
    self_references: tuple[tuple[tuple[str, str], ...], ...]

    @property
    def name(self) -> str:
        """The name, qualified with the schema if that is not the default one."""
        return self.table.fullname


_Name = tuple[str | None, str]
"""The schema of a table, None if it is on the search path, and its name."""


def _tables(connection: Connection) -> list[_ScopedTable]:
    """Return the tables whose `site_id` references `sites`, referencing tables before referenced ones.

    Does not leave a transaction open.

    Raises:
        MultisiteError: Tables reference each other in a cycle.
    """
    inspector = sa.inspect(connection)
    keys: dict[_Name, list[ReflectedForeignKeyConstraint]] = {}
    primary: dict[_Name, list[str]] = {}
    for schema in _schemas(connection, inspector):
        keys.update(inspector.get_multi_foreign_keys(schema=schema))
        found = inspector.get_multi_pk_constraint(schema=schema)
        primary.update({name: key["constrained_columns"] for name, key in found.items()})
    parents = _parents(connection)
    connection.rollback()
    scoped = {name for name, found in keys.items() if not _is_own(name) and any(map(_is_to_sites, found))}

    def root(name: _Name) -> _Name:
        """Return the table that includes the rows of `name`: the table itself, or its outermost parent."""
        return root(parents[name]) if parents.get(name) in scoped else name

    referred: dict[_Name, set[_Name]] = {}
    for name in sorted(scoped, key=_qualified_name):
        others = {root(other) for other in map(_referred, keys[name]) if other in scoped} - {root(name)}
        referred.setdefault(root(name), set()).update(others)
    try:
        order = list(TopologicalSorter(referred).static_order())
    except CycleError as error:
        tables = " and ".join(sorted(map(_qualified_name, set(error.args[1]))))
        raise MultisiteError(
            f"the tables {tables} reference each other, so that no order of deletion works: delete the rows of this "
            "site there yourself, and run the same command again"
        ) from None
    return [_scoped(name, primary.get(name, []), keys[name]) for name in reversed(order)]


def _schemas(connection: Connection, inspector: sa.Inspector) -> list[str | None]:
    """Return the schemas to inspect: None for the search path, and the schemas that are not on it."""
    if connection.dialect.name != "postgresql":
        return [None]  # SQLite's attached files are schemas, but foreign keys do not cross them.
    path = connection.scalars(sa.select(sa.func.unnest(sa.func.current_schemas(False))))
    return [None, *sorted(set(inspector.get_schema_names()).difference(path, {"information_schema"}))]


_PARENTS = sa.text(
    """
    SELECT part_schema.nspname = ANY (current_schemas(false)), part_schema.nspname, part.relname,
        parent_schema.nspname = ANY (current_schemas(false)), parent_schema.nspname, parent.relname
    FROM pg_catalog.pg_inherits
    JOIN pg_catalog.pg_class AS part ON part.oid = inhrelid
    JOIN pg_catalog.pg_class AS parent ON parent.oid = inhparent
    JOIN pg_catalog.pg_namespace AS part_schema ON part_schema.oid = part.relnamespace
    JOIN pg_catalog.pg_namespace AS parent_schema ON parent_schema.oid = parent.relnamespace
    WHERE part.relkind IN ('r', 'p')
    """
)


def _parents(connection: Connection) -> dict[_Name, _Name]:
    """Return the parent of each partition and of each inheriting table, whose rows are also rows of the parent."""
    if connection.dialect.name != "postgresql":
        return {}
    return {
        (None if is_found else schema, name): (None if parent_is_found else parent_schema, parent)
        for is_found, schema, name, parent_is_found, parent_schema, parent in connection.execute(_PARENTS)
    }


def _scoped(name: _Name, key: list[str], references: list[ReflectedForeignKeyConstraint]) -> _ScopedTable:
    self_references = tuple(
        tuple(zip(each["constrained_columns"], each["referred_columns"], strict=True))
        for each in references
        if _referred(each) == name
    )
    names = dict.fromkeys(
        [*key, *(column for self_reference in self_references for pair in self_reference for column in pair)]
    )
    names.pop(SITE_COLUMN, None)
    # site_id_column() makes it a scoped table, so that row-level security is told of all_sites.
    others: list[sa.Column[Any]] = [sa.Column(each, sa.types.NullType()) for each in names]
    table = sa.Table(name[1], sa.MetaData(), site_id_column(), *others, schema=name[0])
    return _ScopedTable(table, tuple(key), self_references)


def _qualified_name(name: _Name) -> str:
    return ".".join(filter(None, name))


def _referred(key: ReflectedForeignKeyConstraint) -> _Name:
    return key["referred_schema"], key["referred_table"]


def _is_own(name: _Name) -> bool:
    return name[0] is None and name[1] in metadata.tables


def _is_to_sites(key: ReflectedForeignKeyConstraint) -> bool:
    # A table of that name in another schema is not multisite's.
    return _referred(key) == (None, SiteRow.__tablename__) and key["constrained_columns"] == [SITE_COLUMN]


def _count(connection: Connection, table: sa.Table, site_id: int) -> int:
    of_site = sa.select(sa.func.count()).select_from(table).where(table.columns[SITE_COLUMN] == site_id)
    return connection.execute(of_site).scalar_one()


def _delete(connection: Connection, scoped: _ScopedTable, site_id: int, batch_rows: int) -> Iterator[int]:
    """Delete the rows of a site in batches of one transaction each, and yield the size of each batch."""
    table, key = scoped.table, [scoped.table.columns[name] for name in scoped.key]
    of_site = table.columns[SITE_COLUMN] == site_id
    row, child = table.alias("row"), table.alias("child")
    chosen = sa.select(*(row.columns[column.name] for column in key)).where(row.columns[SITE_COLUMN] == site_id)
    for pairs in scoped.self_references:
        # Leaves first: rows that reference others of this table are deleted before these.
        refers = (child.columns[column] == row.columns[target] for column, target in pairs)
        chosen = chosen.where(~sa.exists().where(*refers))
    # Wrapped in a subquery, because not every database accepts LIMIT directly within IN.
    found = chosen.limit(batch_rows).subquery()
    batch = sa.delete(table).where(of_site, sa.tuple_(*key).in_(sa.select(*found.columns)))
    while key:
        with connection.begin():
            done = connection.execute(batch).rowcount
        if not done:
            break
        yield done
    with connection.begin():
        # Rows without a key, or that refer to each other in a cycle, go in one statement.
        rest = connection.execute(sa.delete(table).where(of_site)).rowcount
    if rest:
        yield rest


def _move_to_trash(folder: Path, settings: Settings) -> Path:
    """Move a site's folder to the trash, and return its new path. Raises `MultisiteError` if that fails."""
    trash = settings.sites_dir / TRASH
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    target = trash / f"{folder.name[:200]}-{stamp}"
    try:
        trash.mkdir(exist_ok=True)
        folder.rename(target)
    except OSError as error:
        raise MultisiteError(
            f"the folder {folder} cannot be moved to {trash}: {error.strerror or error}; nothing was removed: fix "
            "this, and run the same command again"
        ) from error
    return target
