"""Convert the rows of an archive for insertion: new keys and addresses, and this database's shared rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from multisite.errors import MultisiteError
from multisite.sites.archive.archived_rows import ArchivedTable, Row
from multisite.sites.archive.comparing import RowSum
from multisite.sites.archive.keys import KeyGroups
from multisite.sites.archive.plan import SharedReference, SiteTable, column_of
from multisite.sites.archive.transform import Transform

__all__ = ["ConvertedRows"]


class ConvertedRows:
    """The rows of one table for the site with the id `site_id`."""

    def __init__(
        self, connection: Connection, site_id: int, archived: ArchivedTable, groups: KeyGroups, transform: Transform
    ) -> None:
        self.archived = archived
        self.table = archived.table
        self.sum = RowSum(self.table.columns, connection.dialect)
        """The sum of the rows that were yielded."""
        self._site_id = site_id
        self._groups = groups
        self._transform = transform
        self._mappings = {
            column: mapping
            for column in archived.entry.columns
            if (mapping := groups.of(self.table.name, column)) is not None
        }
        self._values = transform.columns(self.table)
        self._shared = [(each.pairs[0][0], _SharedRows(connection, self.table, each)) for each in self.table.lookups]

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows. Raises `MultisiteError` if one refers to a row that is not there."""
        for number, row in enumerate(self.archived.rows(), 1):
            self._replace_keys(number, row)
            for name, is_json in self._values:
                if row[name] is not None:
                    row[name] = self._transform.change(self.table, name, is_json, row[name], self._groups)
            self.sum.add(row)
            yield row

    def rekeyed(self) -> Iterator[Row]:
        """Yield the rows again, with new keys only."""
        for number, row in enumerate(self.archived.rows(), 1):
            self._replace_keys(number, row)
            yield row

    def _replace_keys(self, number: int, row: Row) -> None:
        for column, mapping in self._mappings.items():
            if row[column] is not None:
                try:
                    row[column] = mapping[row[column]]
                except KeyError:
                    reason = f"{column} refers to {row[column]}, which is not in the archive"
                    raise self.archived.fault(number, reason) from None
        for column in self.table.site_columns:
            if row[column] is not None:
                row[column] = self._site_id
        for first, shared in self._shared:
            if row[first] is not None:
                row.update(shared.find(row[first]))


class _SharedRows:
    """Finds the rows that all sites share by the keys in an archive."""

    def __init__(self, connection: Connection, table: SiteTable, lookup: SharedReference) -> None:
        self._connection = connection
        self._lookup = lookup
        self._kinds = {column.name: column.kind for column in table.columns}
        self._where = f"{table.name}.{lookup.pairs[0][0]}"
        self._known: dict[tuple[Any, ...], dict[str, Any]] = {}

    def find(self, key: tuple[Any, ...]) -> dict[str, Any]:
        """Return the values of the referring columns. Raises `MultisiteError` if there is no such row."""
        if key not in self._known:
            target = self._lookup.target
            columns = [self._kinds[name].column(column_of(target, other)) for name, other in self._lookup.pairs]
            is_key = (
                column_of(target, column.name) == sa.bindparam(f"k{index}", value, type_=column.kind.type)
                for index, (column, value) in enumerate(zip(self._lookup.key, key, strict=True))
            )
            found = self._connection.execute(sa.select(*columns).where(*is_key)).all()
            if len(found) != 1:
                named = ", ".join(map(str, key))
                raise MultisiteError(
                    f"{self._where} refers to '{named}' in {target.fullname}: this database has {len(found)} such rows "
                    "there, and needs one"
                )
            self._known[key] = dict(zip((name for name, _ in self._lookup.pairs), found[0], strict=True))
        return self._known[key]
