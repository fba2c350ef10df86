"""Check, before anything is written, that no other site has a value that must be unique in the whole database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from multisite.core.current_site import all_sites
from multisite.errors import MultisiteError, escape_for_message
from multisite.scoping.column import SITE_COLUMN, has_site_id
from multisite.sites.archive.archived_rows import ArchivedTable, Row
from multisite.sites.archive.contents import SiteContents
from multisite.sites.archive.key_mappings import IntegerKeys, as_uuid
from multisite.sites.archive.keys import KeyGroups
from multisite.sites.archive.plan import Column, SiteTable

__all__ = ["check_unique_values"]

BATCH_ROWS = 100
"""How many rows one statement looks up."""


def check_unique_values(
    connection: Connection,
    archived: Iterable[ArchivedTable],
    groups: KeyGroups,
    contents: SiteContents,
    replaced: int | None,
) -> None:
    """Check the values that must be unique across sites, and that no new ones can be made for.

    Args:
        connection: A connection to the database.
        archived: The tables of the archive.
        groups: The mappings of keys; values that one replaces are not checked.
        contents: The application's declarations; values that these change are not checked.
        replaced: The id of the site whose rows are replaced; None for a new site.

    Raises:
        MultisiteError: Another site has one of the values.
    """
    for each in archived:
        if replaced is not None and not has_site_id(each.table.table):
            continue  # Its rows belong to others: only the database knows which ones will be deleted.
        for columns in _unique_columns(each.table, groups, contents):
            with all_sites("looking for values that must be unique"):
                _check(connection, each, columns, replaced)


def _unique_columns(table: SiteTable, groups: KeyGroups, contents: SiteContents) -> Iterator[tuple[Column, ...]]:
    """Yield the columns of each unique constraint and index across sites, unless one of them gets new values."""
    uniques: list[Any] = [each for each in table.table.constraints if isinstance(each, sa.UniqueConstraint)]
    uniques += [
        each
        for each in table.table.indexes
        if each.unique and not any(name.endswith("_where") and each.kwargs[name] is not None for name in each.kwargs)
    ]
    exported = {column.name: column for column in table.columns}
    for unique in (table.table.primary_key, *uniques):
        columns = [exported.get(getattr(column, "name", "")) for column in unique.columns]
        names = {column.name for column in unique.columns}
        if SITE_COLUMN in names or not columns or None in columns or names & {*table.site_columns, *table.cleared}:
            continue
        found = tuple(column for column in columns if column is not None)
        if not any(_gets_new_values(table, column, groups, contents) for column in found):
            yield found


def _gets_new_values(table: SiteTable, column: Column, groups: KeyGroups, contents: SiteContents) -> bool:
    place = (table.name, column.name)
    is_lookup = any(column.name == name for lookup in table.lookups for name, _ in lookup.pairs)
    is_mapped = isinstance(groups.of(*place), IntegerKeys) or (
        column.kind.name == "uuid" and groups.of(*place) is not None
    )
    return is_lookup or is_mapped or place in contents.texts or place in contents.references


def _check(connection: Connection, archived: ArchivedTable, columns: tuple[Column, ...], replaced: int | None) -> None:
    table = archived.table.table
    rows: Iterator[Row] = (row for row in archived.rows() if _is_checked(row, columns))
    while batch := list(islice(rows, BATCH_ROWS)):
        same = (
            sa.and_(
                *(column.column == sa.bindparam(None, row[column.name], type_=column.kind.type) for column in columns)
            )
            for row in batch
        )
        taken = sa.select(*(sa.cast(column.column, sa.Text) for column in columns)).where(sa.or_(*same)).limit(1)
        if replaced is not None:
            taken = taken.where(table.columns[SITE_COLUMN] != replaced)
        found = connection.execute(taken).first()
        if found is not None:
            names = ", ".join(column.name for column in columns)
            raise MultisiteError(
                f"{table.fullname}.{names} must be unique in the whole database, and another site has "
                f"'{escape_for_message(', '.join(map(str, found)))}' already: nothing was imported"
            )


def _is_checked(row: Row, columns: tuple[Column, ...]) -> bool:
    """Return whether other rows must not have the values: NULL is never equal, and a UUID gets a new value."""
    values = [row[column.name] for column in columns]
    return None not in values and not any(isinstance(value, str) and as_uuid(value) is not None for value in values)
