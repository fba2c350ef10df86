"""The tables of the database with rows of sites, whether or not the application has a model for them.

They are found by reflection: a removal must delete also the rows of tables that no model of this process describes.
Rows belong to a site if they have its `site_id`, or if a foreign key leads to such a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import ReflectedForeignKeyConstraint

from multisite.directory.schema import metadata
from multisite.directory.tables import sites_table
from multisite.scoping.column import SITE_COLUMN, site_id_column
from multisite.sites.archive.contents import REFLECTED

__all__ = ["ReflectedTable", "TableGroup", "count_rows", "reflect_tables"]

Pairs = tuple[tuple[str, str], ...]
"""A foreign key: the referencing columns, each with the column it references."""


@dataclass(frozen=True, slots=True)
class ReflectedTable:
    """A table with rows of sites.

    `self_references` are its foreign keys to itself. `owner` is the table, with a foreign key to it, that leads to the
    sites if there is no `site_id`.
    """

    table: sa.Table
    key: tuple[str, ...]
    self_references: tuple[Pairs, ...]
    owner: tuple[ReflectedTable, Pairs] | None = None

    @property
    def name(self) -> str:
        """The name, qualified with the schema if that is not the default one."""
        return self.table.fullname

    def is_of_site(self, site_id: int, rows: sa.FromClause | None = None) -> sa.ColumnElement[bool]:
        """Return the condition that a row belongs to a site; `rows` is an alias of the table, or None for itself."""
        rows = self.table if rows is None else rows
        if self.owner is None:
            return rows.columns[SITE_COLUMN] == site_id
        parent, pairs = self.owner
        others = parent.table.alias()
        is_owner = (rows.columns[column] == others.columns[target] for column, target in pairs)
        owners = sa.select(sa.literal(1)).select_from(others).where(*is_owner, parent.is_of_site(site_id, others))
        return sa.exists(owners.correlate(rows))

    def with_site_id(self) -> tuple[sa.FromClause, sa.ColumnElement[int]]:
        """Return the FROM clause that leads from the table to a `site_id`, and that column."""
        reflected = self
        source: sa.FromClause = self.table
        while reflected.owner is not None:
            parent, pairs = reflected.owner
            is_owner = (reflected.table.columns[column] == parent.table.columns[target] for column, target in pairs)
            source, reflected = source.join(parent.table, sa.and_(*is_owner)), parent
        return source, reflected.table.columns[SITE_COLUMN]


TableGroup = tuple[ReflectedTable, ...]
"""A table alone, or several that reference each other in a cycle."""

_Name = tuple[str | None, str]
"""The schema of a table, None if it is on the search path, and its name."""


def reflect_tables(connection: Connection, global_tables: Iterable[str] = ()) -> list[TableGroup]:
    """Return the tables with rows of sites, referencing tables before referenced ones.

    Does not leave a transaction open.

    Args:
        connection: A connection to the database.
        global_tables: The setting `multisite.global_tables`: tables without `site_id` that belong to no site.
    """
    inspector = sa.inspect(connection)
    keys: dict[_Name, list[ReflectedForeignKeyConstraint]] = {}
    primary: dict[_Name, list[str]] = {}
    for schema in _schemas(connection, inspector):
        keys.update(inspector.get_multi_foreign_keys(schema=schema))
        found = inspector.get_multi_pk_constraint(schema=schema)
        primary.update({name: key["constrained_columns"] for name, key in found.items()})
    parents = _parents(connection)
    shared = {name.lower() for name in global_tables}
    keys = {name: keys[name] for name in sorted(keys, key=_qualified_name) if not _is_own(name)}
    owners: dict[_Name, ReflectedForeignKeyConstraint | None] = {
        name: None for name, found in keys.items() if any(map(_is_to_sites, found))
    }
    left = [name for name in keys if name not in owners and name[1].lower() not in shared]
    while leading := {name: to for name in left if (to := [key for key in keys[name] if _referred(key) in owners])}:
        owners.update({name: _first_required(inspector, name, to) for name, to in leading.items()})
        left = [name for name in left if name not in owners]
    connection.rollback()

    def root(name: _Name) -> _Name:
        """Return the table that includes the rows of `name`: the table itself, or its outermost parent."""
        return root(parents[name]) if parents.get(name) in owners else name

    referred: dict[_Name, list[_Name]] = {}
    for name in sorted(owners, key=_qualified_name):
        others = {root(other) for other in map(_referred, keys[name]) if other in owners} - {root(name)}
        referred.setdefault(root(name), []).extend(sorted(others, key=_qualified_name))
    made: dict[_Name, ReflectedTable] = {}
    for name, owner in owners.items():  # Owners are before the tables that they own.
        if name in referred:
            columns = _columns(name, primary.get(name, []), keys)
            parent = None if owner is None else (made[root(_referred(owner))], _pairs(owner))
            made[name] = _table(name, primary.get(name, []), columns, keys[name], parent)
    return [tuple(made[name] for name in group) for group in reversed(_groups(referred))]


def _first_required(
    inspector: sa.Inspector, name: _Name, keys: list[ReflectedForeignKeyConstraint]
) -> ReflectedForeignKeyConstraint:
    """Return the first foreign key that cannot be NULL, or else the first one."""
    keys = sorted(keys, key=lambda key: str(key["constrained_columns"]))
    required = {each["name"] for each in inspector.get_columns(name[1], schema=name[0]) if not each["nullable"]}
    return next((key for key in keys if required.issuperset(key["constrained_columns"])), keys[0])


def _groups(referred: dict[_Name, list[_Name]]) -> list[tuple[_Name, ...]]:
    """Return the tables, referenced ones first; those that reference each other in a cycle are together."""
    group = {name: (name,) for name in referred}
    while True:
        graph: dict[tuple[_Name, ...], dict[tuple[_Name, ...], None]] = {}
        for name, others in referred.items():
            graph.setdefault(group[name], {}).update({group[o]: None for o in others if group[o] != group[name]})
        try:
            return list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            merged = tuple(sorted({name for each in error.args[1] for name in each}, key=_qualified_name))
            group.update(dict.fromkeys(merged, merged))


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


def _columns(name: _Name, key: list[str], keys: dict[_Name, list[ReflectedForeignKeyConstraint]]) -> Iterator[str]:
    """Yield the columns of a table that statements name: its key, and both sides of foreign keys."""
    yield from key
    for other, found in keys.items():
        for each in found:
            if other == name:
                yield from each["constrained_columns"]
            if _referred(each) == name:
                yield from each["referred_columns"]


def _table(
    name: _Name,
    key: list[str],
    columns: Iterable[str],
    keys: list[ReflectedForeignKeyConstraint],
    owner: tuple[ReflectedTable, Pairs] | None,
) -> ReflectedTable:
    # site_id_column() makes it a scoped table, so that row-level security gets all_sites.
    site = [site_id_column()] if owner is None else []
    names = [each for each in dict.fromkeys(columns) if owner is not None or each != SITE_COLUMN]
    others: list[sa.Column[Any]] = [sa.Column(each, sa.types.NullType()) for each in names]
    table = sa.Table(name[1], sa.MetaData(info={REFLECTED: True}), *site, *others, schema=name[0])
    self_references = tuple(_pairs(each) for each in keys if _referred(each) == name)
    return ReflectedTable(table, tuple(key), self_references, owner)


def _pairs(key: ReflectedForeignKeyConstraint) -> Pairs:
    return tuple(zip(key["constrained_columns"], key["referred_columns"], strict=True))


def _qualified_name(name: _Name) -> str:
    return ".".join(filter(None, name))


def _referred(key: ReflectedForeignKeyConstraint) -> _Name:
    return key["referred_schema"], key["referred_table"]


def _is_own(name: _Name) -> bool:
    return name[0] is None and name[1] in metadata.tables


def _is_to_sites(key: ReflectedForeignKeyConstraint) -> bool:
    # A table of that name in another schema is not multisite's.
    return _referred(key) == (None, sites_table.name) and key["constrained_columns"] == [SITE_COLUMN]


def count_rows(connection: Connection, reflected: ReflectedTable, site_id: int) -> int:
    """Return the number of rows that a site has in a table."""
    of_site = sa.select(sa.func.count()).select_from(reflected.table).where(reflected.is_of_site(site_id))
    return connection.execute(of_site).scalar_one()
