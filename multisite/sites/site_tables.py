"""The tables of the database with rows of sites, whether or not the application has a model for them.

They are found by reflection: a removal must delete also the rows of tables that no model of this process describes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import ReflectedForeignKeyConstraint

from multisite.directory.models import SiteRow, metadata
from multisite.errors import MultisiteError
from multisite.scoping.column import SITE_COLUMN, site_id_column
from multisite.sites.archive.contents import REFLECTED

__all__ = ["ScopedTable", "count_rows", "delete_in_batches", "scoped_tables"]


@dataclass(frozen=True, slots=True)
class ScopedTable:
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


def scoped_tables(connection: Connection) -> list[ScopedTable]:
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


def _scoped(name: _Name, key: list[str], references: list[ReflectedForeignKeyConstraint]) -> ScopedTable:
    self_references = tuple(
        tuple(zip(each["constrained_columns"], each["referred_columns"], strict=True))
        for each in references
        if _referred(each) == name
    )
    names = dict.fromkeys(
        [*key, *(column for self_reference in self_references for pair in self_reference for column in pair)]
    )
    names.pop(SITE_COLUMN, None)
    # site_id_column() makes it a scoped table, so that row-level security gets all_sites.
    others: list[sa.Column[Any]] = [sa.Column(each, sa.types.NullType()) for each in names]
    table = sa.Table(name[1], sa.MetaData(info={REFLECTED: True}), site_id_column(), *others, schema=name[0])
    return ScopedTable(table, tuple(key), self_references)


def _qualified_name(name: _Name) -> str:
    return ".".join(filter(None, name))


def _referred(key: ReflectedForeignKeyConstraint) -> _Name:
    return key["referred_schema"], key["referred_table"]


def _is_own(name: _Name) -> bool:
    return name[0] is None and name[1] in metadata.tables


def _is_to_sites(key: ReflectedForeignKeyConstraint) -> bool:
    # A table of that name in another schema is not multisite's.
    return _referred(key) == (None, SiteRow.__tablename__) and key["constrained_columns"] == [SITE_COLUMN]


def count_rows(connection: Connection, table: sa.Table, site_id: int) -> int:
    """Return the number of rows that a site has in a table."""
    of_site = sa.select(sa.func.count()).select_from(table).where(table.columns[SITE_COLUMN] == site_id)
    return connection.execute(of_site).scalar_one()


def delete_in_batches(connection: Connection, scoped: ScopedTable, site_id: int, batch_rows: int) -> Iterator[int]:
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
