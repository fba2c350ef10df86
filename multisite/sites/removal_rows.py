"""Delete the rows of a site that is being removed.

Tables come in the order of their foreign keys, in batches of one transaction each. Tables that reference each other in
a cycle have no such order: PostgreSQL deletes their rows in one statement, and SQLite in one transaction, at whose end
they check the references.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from graphlib import CycleError, TopologicalSorter

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from multisite.errors import MultisiteError
from multisite.scoping.column import SITE_COLUMN
from multisite.sites.archive.plan import defer_foreign_keys
from multisite.sites.site_tables import ReflectedTable, TableGroup, count_rows

__all__ = ["check_deletion", "delete_site_rows"]


def check_deletion(connection: Connection, groups: list[TableGroup]) -> None:
    """Check that there is a way to delete the rows of tables that reference each other.

    Raises:
        MultisiteError: SQLite checks the references of such tables at each row, because of ON DELETE RESTRICT.
    """
    if connection.dialect.name == "sqlite":
        for group in groups:
            _restricting_first(connection, group)


def delete_site_rows(
    connection: Connection,
    groups: list[TableGroup],
    site_id: int,
    batch_rows: int,
    progress: Callable[[str, int], None] = lambda name, done: None,
) -> dict[str, int]:
    """Delete the rows of a site.

    Args:
        connection: A connection without a transaction, inside `all_sites`.
        groups: The tables, from `reflect_tables`.
        site_id: The id of the site.
        batch_rows: How many rows are deleted in one transaction, where tables do not reference each other in a cycle.
        progress: Called with the name of a table and the number of the rows that were deleted there so far.

    Returns:
        The number of rows, by table that had any.

    Raises:
        MultisiteError: The database refuses to delete a row.
    """
    rows: dict[str, int] = {}
    for group in groups:
        with _naming(group):
            deleting = _delete_together if len(group) > 1 else _delete_in_batches
            for table, number in deleting(connection, group, site_id, batch_rows):
                rows[table.name] = rows.get(table.name, 0) + number
                progress(table.name, rows[table.name])
    return rows


@contextmanager
def _naming(group: TableGroup) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        names = " and ".join(each.name for each in group)
        reason = " ".join(str(error.orig).split())
        raise MultisiteError(
            f"the database refuses to delete the rows of this site in {names}: {reason}; delete the rows that refer to "
            "them, and run the same command again"
        ) from error


def _delete_in_batches(
    connection: Connection, group: TableGroup, site_id: int, batch_rows: int
) -> Iterator[tuple[ReflectedTable, int]]:
    """Delete the rows of one table in batches of one transaction each, and yield the size of each batch."""
    (reflected,) = group
    table, key = reflected.table, [reflected.table.columns[name] for name in reflected.key]
    of_site = reflected.is_of_site(site_id)
    row, child = table.alias("row"), table.alias("child")
    chosen = sa.select(*(row.columns[column.name] for column in key)).where(reflected.is_of_site(site_id, row))
    for pairs in reflected.self_references:
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
        yield reflected, done
    with connection.begin():
        # Rows without a key, or that refer to each other in a cycle, go in one statement.
        rest = connection.execute(sa.delete(table).where(of_site)).rowcount
    if rest:
        yield reflected, rest


def _delete_together(
    connection: Connection, group: TableGroup, site_id: int, batch_rows: int
) -> Iterator[tuple[ReflectedTable, int]]:
    """Delete the rows of tables that reference each other, and yield the number of each."""
    with connection.begin():
        numbers = [(each, count_rows(connection, each, site_id)) for each in group]
        if not any(number for _, number in numbers):
            return
        if connection.dialect.name == "sqlite":
            ordered, cleared = _restricting_first(connection, group)
            # Directly before the first change: the driver begins the transaction there, and each end of one resets it.
            defer_foreign_keys(connection)
            for each, column in cleared:
                connection.execute(sa.update(each.table).where(each.is_of_site(site_id)).values({column: sa.null()}))
            for each in ordered:
                connection.execute(sa.delete(each.table).where(each.is_of_site(site_id)))
        else:
            defer_foreign_keys(connection)
            last, *others = (sa.delete(each.table).where(each.is_of_site(site_id)) for each in group)
            parts = [other.cte(f"multisite_part_{number}") for number, other in enumerate(others)]
            connection.execute(last.add_cte(*parts))
    yield from ((each, number) for each, number in numbers if number)


_RESTRICTED = sa.text(
    """SELECT "table", "from" FROM pragma_foreign_key_list(:name) WHERE on_delete = 'RESTRICT' ORDER BY id, seq"""
)
"""The foreign keys of a table of SQLite with ON DELETE RESTRICT, which it checks at each row, also if deferred."""


def _restricting_first(
    connection: Connection, group: TableGroup
) -> tuple[list[ReflectedTable], list[tuple[ReflectedTable, str]]]:
    """Return an order in which SQLite deletes rows despite ON DELETE RESTRICT, and the columns to set to NULL before.

    Raises:
        MultisiteError: There is no such order.
    """
    tables = {each.name: each for each in group}
    cleared: list[tuple[ReflectedTable, str]] = []
    required: dict[tuple[str, str], str] = {}
    for each in group if len(group) > 1 else ():
        columns = sa.inspect(connection).get_columns(each.name)
        optional = {column["name"] for column in columns if column["nullable"]}
        for target, column in connection.execute(_RESTRICTED, {"name": each.name}):
            if target not in tables or target == each.name or column == SITE_COLUMN:
                continue
            if column in optional:
                cleared.append((each, column))
            else:
                required[each.name, target] = column
    graph = {name: {each for each, target in required if target == name} for name in tables}
    for each in group:
        if each.owner is not None and each.owner[0].name in tables:
            graph[each.owner[0].name].add(each.name)  # Its rows are found by those of its owner.
    try:
        return [tables[name] for name in TopologicalSorter(graph).static_order()], cleared
    except CycleError as error:
        cycle = set(error.args[1])
        names = sorted(f"{each}.{column}" for (each, target), column in required.items() if {each, target} <= cycle)
        raise MultisiteError(
            f"{', '.join(names)} refer to each other's tables with ON DELETE RESTRICT and cannot be NULL, so that "
            "SQLite deletes none of these rows first: leave out ON DELETE RESTRICT in one of these foreign keys"
        ) from None
