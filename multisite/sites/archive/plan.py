"""Which tables and columns an archive of a site contains, and how their rows refer to each other.

The plan is made from the tables that the application declares, for one database. Rows belong to a site if they have its
`site_id`, or if a foreign key leads to such a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect

from multisite.directory.tables import sites_table
from multisite.errors import MultisiteError
from multisite.scoping.column import SITE_COLUMN, has_site_id
from multisite.sites.archive.contents import SiteContents
from multisite.sites.archive.values import Kind, kind_of

__all__ = ["ArchivePlan", "Column", "RowReference", "SharedReference", "SiteTable", "column_of", "make_plan"]

USERS = "site_users"
"""The key in `Table.info` that marks the table of the users of sites."""

EXPORT = "export"
"""The key in `Table.info` and `Column.info` that is False for tables and columns that are never exported."""

EXPORT_KEY = "export_key"
"""The key in `Table.info` with the columns by which an archive refers to the rows of a table that all sites share."""


@dataclass(frozen=True)
class Column:
    """A column that an archive contains."""

    name: str
    kind: Kind
    column: sa.Column[Any]


@dataclass(frozen=True)
class RowReference:
    """A foreign key to another table with rows of the site: pairs of columns, without `site_id`."""

    target: str
    pairs: tuple[tuple[str, str], ...]
    is_optional: bool
    cascades: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the referencing table."""
        return tuple(column for column, _ in self.pairs)


@dataclass(frozen=True)
class SharedReference:
    """A foreign key to a table that all sites share; the archive has the values of `key` in place of its columns."""

    target: sa.Table
    pairs: tuple[tuple[str, str], ...]
    key: tuple[Column, ...]


@dataclass(frozen=True)
class SiteTable:
    """A table with rows of a site.

    `site_columns` refer to the site itself. `cleared` are columns that refer to rows which are left out, and are NULL.
    `owner` is the reference that leads to the site if the table has no `site_id`.
    """

    name: str
    table: sa.Table
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    references: tuple[RowReference, ...]
    lookups: tuple[SharedReference, ...]
    site_columns: tuple[str, ...]
    owner: RowReference | None = None
    cleared: tuple[str, ...] = ()


@dataclass(frozen=True)
class ArchivePlan:
    """The tables with rows of sites, referenced tables first.

    `missing` are those that the database does not have, `left_out` those whose rows are not wanted, and `excluded`
    those that no archive contains.
    """

    tables: dict[str, SiteTable]
    missing: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    excluded: tuple[sa.Table, ...] = ()

    def source(self, table: SiteTable) -> sa.FromClause:
        """Return the FROM clause that leads from `table` to one with a `site_id`."""
        found: sa.FromClause = table.table
        while table.owner is not None:
            target = self.tables[table.owner.target]
            on = (column_of(table.table, a) == column_of(target.table, b) for a, b in table.owner.pairs)
            found = found.join(target.table, sa.and_(*on))
            table = target
        return found


def column_of(table: sa.FromClause, name: str) -> sa.ColumnElement[Any]:
    """Return the column that the database calls `name`; its key in the model may differ."""
    return next(column for column in table.columns if column.name == name)


def defer_foreign_keys(connection: Connection) -> None:
    """Defer the checks of foreign keys to the end of the transaction, as far as the database can."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    else:
        connection.execute(sa.text("SET CONSTRAINTS ALL DEFERRED"))


def make_plan(
    contents: SiteContents, connection: Connection, *, global_tables: Iterable[str] = (), users: bool = True
) -> ArchivePlan:
    """Return the plan for the application's tables in the database of `connection`.

    Args:
        contents: What the application declares.
        connection: A connection to the database.
        global_tables: The setting `multisite.global_tables`: tables without `site_id` that belong to no site.
        users: Whether to include the users of sites.

    Raises:
        MultisiteError: Two tables have one name, or a row would refer to one that no archive can name.
    """
    every = list(contents.tables())
    existing = _existing(connection, every)
    declared = _by_name(every, existing)
    shared = {name.lower() for name in global_tables}
    members = {name: table for name, table in declared.items() if has_site_id(table)}
    missing = sorted(members.keys() - existing)
    members = {name: table for name, table in members.items() if name in existing}
    left = {
        name: table
        for name, table in declared.items()
        if name in existing - members.keys() and table.name not in shared
    }
    distances = dict.fromkeys(members, 0)
    while found := {name: table for name, table in left.items() if next(_targets(table, members), None) is not None}:
        members.update(found)
        distances.update(dict.fromkeys(found, 1 + max(distances.values(), default=0)))
        left = {name: table for name, table in left.items() if name not in found}
    planned = {
        name: _site_table(name, table, members, distances, connection.dialect) for name, table in members.items()
    }
    excluded = _leave_out(planned, lambda table: table.info.get(EXPORT) is False)
    left_out = () if users else _leave_out(planned, lambda table: bool(table.info.get(USERS)))
    tables = {name: planned[name] for name in _order(planned)}
    return ArchivePlan(tables, tuple(missing), left_out, tuple(members[name] for name in excluded))


def _leave_out(planned: dict[str, SiteTable], unwanted: Callable[[sa.Table], bool]) -> tuple[str, ...]:
    """Remove unwanted tables from `planned`, and those whose rows cannot be without them; return their names."""
    names = [name for name, table in planned.items() if unwanted(table.table)]
    left_out: list[str] = []
    while names:
        left_out.append(names.pop())
        del planned[left_out[-1]]
        for name, table in planned.items():
            references = [each for each in table.references if each.target == left_out[-1]]
            # Without the table that leads them to the site, rows would belong to none.
            is_led = table.owner is not None and table.owner.target == left_out[-1]
            required = [each for each in references if not each.is_optional]
            if is_led or any(each.cascades or set(each.columns) & set(table.key) for each in required):
                names += [name] if name not in names else []
                continue
            for reference in references:
                if not reference.is_optional:
                    raise MultisiteError(
                        f"{name}.{reference.columns[0]} cannot be NULL and refers to {reference.target}, whose "
                        "rows therefore cannot be left out"
                    )
            nullable = {column.name for column in table.table.columns if column.nullable}
            cleared = tuple(column for each in references for column in each.columns if column in nullable)
            rest = tuple(each for each in table.references if each not in references)
            planned[name] = replace(table, references=rest, cleared=(*table.cleared, *cleared))
    return tuple(sorted(left_out))


def _by_name(every: Iterable[sa.Table], existing: set[str]) -> dict[str, sa.Table]:
    found: dict[str, sa.Table] = {}
    for table in every:
        if found.setdefault(table.fullname, table) is not table and table.fullname in existing:
            raise MultisiteError(
                f"two tables of the application are called '{table.fullname}': pass metadata= with one of them"
            )
    return found


def _existing(connection: Connection, declared: Iterable[sa.Table]) -> set[str]:
    """Return the full names of those tables that the database has; views are not among them."""
    inspector = sa.inspect(connection)
    found: set[str] = set()
    schemas = {None, *inspector.get_schema_names()}
    for schema in {table.schema for table in declared} & schemas:
        names = inspector.get_table_names(schema=schema)
        found.update(name if schema is None else f"{schema}.{name}" for name in names)
    return found & {table.fullname for table in declared}


def _foreign_keys(table: sa.Table) -> Iterator[tuple[sa.ForeignKeyConstraint, sa.Table]]:
    for constraint in sorted(table.foreign_key_constraints, key=lambda each: str(each.column_keys)):
        try:
            yield constraint, constraint.referred_table
        except sa.exc.NoReferenceError as error:
            raise MultisiteError(
                f"the table '{table.fullname}' refers to a table that nothing declares: {error}"
            ) from error


def _targets(table: sa.Table, members: dict[str, sa.Table]) -> Iterator[sa.Table]:
    return (target for _, target in _foreign_keys(table) if members.get(target.fullname) is target)


def _pairs(constraint: sa.ForeignKeyConstraint) -> tuple[tuple[str, str], ...]:
    pairs = ((element.parent.name, element.column.name) for element in constraint.elements)
    return tuple(pair for pair in pairs if pair != (SITE_COLUMN, SITE_COLUMN))


def _site_table(
    name: str, table: sa.Table, members: dict[str, sa.Table], distances: dict[str, int], dialect: Dialect
) -> SiteTable:
    """Return the plan of a table; `distances` are the numbers of references that lead from tables to a `site_id`."""
    references, lookups, site_columns = [], [], []
    for constraint, target in _foreign_keys(table):
        pairs = _pairs(constraint)
        if target is sites_table:
            site_columns += [column for column, _ in pairs if column != SITE_COLUMN]
        elif members.get(target.fullname) is target:
            optional = any(column.nullable for column in table.columns if column.name in dict(pairs))
            cascades = str(constraint.ondelete or "").upper() == "CASCADE"
            references.append(RowReference(target.fullname, pairs, optional, cascades))
        else:
            lookups.append(_lookup(table, target, pairs, dialect))
    columns = tuple(
        Column(column.name, kind_of(column.type, dialect), column)
        for column in table.columns
        if column.computed is None
        and column.info.get(EXPORT) is not False
        and not (column.name == SITE_COLUMN and has_site_id(table))
    )
    owner = None
    if not has_site_id(table):
        # A table does not lead to the site by itself, nor by one that it leads there.
        leading = [each for each in references if distances[each.target] < distances[name]]
        owner = next((each for each in leading if not each.is_optional), leading[0])
    key = tuple(column.name for column in table.primary_key if column.name != SITE_COLUMN)
    return SiteTable(name, table, columns, key, tuple(references), tuple(lookups), tuple(site_columns), owner)


def _lookup(table: sa.Table, target: sa.Table, pairs: tuple[tuple[str, str], ...], dialect: Dialect) -> SharedReference:
    named = target.info.get(EXPORT_KEY)
    where = " and ".join(f"{table.fullname}.{column}" for column, _ in pairs)
    if named is None:
        raise MultisiteError(
            f"{where} refers to {target.fullname}, which all sites share: declare which column identifies a row there "
            f'in every database, with info={{"{EXPORT_KEY}": "column"}} in the table {target.fullname}'
        )
    names = (named,) if isinstance(named, str) else tuple(named)
    unknown = [name for name in names if name not in {column.name for column in target.columns}]
    if unknown:
        raise MultisiteError(f"the {EXPORT_KEY} of {target.fullname} names {unknown[0]}, which is not a column of it")
    columns = (column for name in names for column in target.columns if column.name == name)
    return SharedReference(
        target, pairs, tuple(Column(each.name, kind_of(each.type, dialect), each) for each in columns)
    )


def _order(planned: dict[str, SiteTable]) -> list[str]:
    """Return the names of the tables, referenced ones first; in a cycle, optional references do not count."""
    for without in ((), (True,), (True, False)):
        graph = {
            name: {each.target for each in table.references if each.is_optional not in without} - {name}
            for name, table in sorted(planned.items())
        }
        try:
            return list(TopologicalSorter(graph).static_order())
        except CycleError:
            continue
    return sorted(planned)
