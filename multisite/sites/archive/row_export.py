"""Write the rows of a site as JSON lines, in the order of their keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from multisite.core.site import Site
from multisite.errors import MultisiteError
from multisite.sites.archive.manifest import TableEntry
from multisite.sites.archive.plan import ArchivePlan, SharedReference, SiteTable, column_of
from multisite.sites.archive.writer import ArchiveWriter, member_name

__all__ = ["export_rows"]

BATCH_ROWS = 1000
"""How many rows are in memory at a time."""


def export_rows(
    connection: Connection, site: Site, plan: ArchivePlan, writer: ArchiveWriter, progress: Callable[[str], None]
) -> dict[str, int]:
    """Write the rows of `site`, which must be the current site.

    Returns:
        Their number, by table that has any.

    Raises:
        MultisiteError: A row cannot be read, or refers to something that an archive cannot contain.
    """
    counts: dict[str, int] = {}
    used: set[str] = set()
    for table in plan.tables.values():
        member, rows = member_name(table.name, used), 0
        with writer.member(member) as file:
            for line in _lines(connection, site, plan, table):
                file.write(line)
                rows += 1
                if rows % 10_000 == 0:
                    progress(f"{table.name}: {rows} rows")
        kinds = {column.name: column.kind.name for column in table.columns}
        writer.manifest.tables[table.name] = TableEntry(member, rows, kinds)
        if rows:
            counts[table.name] = rows
    return counts


def _lines(connection: Connection, site: Site, plan: ArchivePlan, table: SiteTable) -> Iterator[bytes]:
    names = [column.name for column in table.columns]
    encoders = [column.kind.encode for column in table.columns]
    for row in _rows(connection, plan, table):
        cells = dict(zip(names, map(_cell, encoders, row[: len(names)]), strict=True))
        for name in table.cleared:
            cells[name] = None
        for name in table.site_columns:
            _check_site(table, name, cells[name], site)
        rest = iter(row[len(names) :])
        for lookup in table.lookups:
            _replace(table, lookup, cells, [_cell(each.kind.encode, next(rest)) for each in lookup.key])
        yield json.dumps(cells, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _rows(connection: Connection, plan: ArchivePlan, table: SiteTable) -> Iterator[Any]:
    source = plan.source(table)
    columns = [column.kind.column(column.column) for column in table.columns]
    for lookup in table.lookups:
        shared = lookup.target.alias()
        on = (column_of(table.table, a) == column_of(shared, b) for a, b in lookup.pairs)
        source = source.outerjoin(shared, sa.and_(*on))
        columns += [each.kind.column(column_of(shared, each.name)) for each in lookup.key]
    keys = [column for column in table.table.primary_key if column.name in table.key]
    labelled = (column.label(f"c{index}") for index, column in enumerate(columns))
    rows = sa.select(*labelled).select_from(source).order_by(*keys)
    try:
        found = connection.execute(rows, execution_options={"yield_per": BATCH_ROWS})
        for batch in found.partitions(BATCH_ROWS):
            yield from batch
    except (sa.exc.DBAPIError, ValueError, TypeError) as error:
        raise MultisiteError(f"the rows of {table.name} cannot be read: {getattr(error, 'orig', error)}") from error


def _cell(encode: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else encode(value)


def _check_site(table: SiteTable, name: str, site_id: Any, site: Site) -> None:
    if site_id not in (None, site.id):
        raise MultisiteError(
            f"{table.name}.{name} refers to the site {site_id}: an archive of {site} cannot contain another site"
        )


def _replace(table: SiteTable, lookup: SharedReference, cells: dict[str, Any], key: list[Any]) -> None:
    """Replace a reference to a shared row by the key of that row, in the first of its columns."""
    first, *others = (column for column, _ in lookup.pairs)
    if any(cells[column] is None for column in (first, *others)):
        return
    if None in key:
        raise MultisiteError(
            f"{table.name}.{first} refers to {cells[first]!r} in {lookup.target.fullname}, which has no such row, or "
            "no value there by which an archive can name it"
        )
    cells[first] = key
    for column in others:
        cells[column] = None
