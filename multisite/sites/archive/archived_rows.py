"""Check the rows of an archive against the tables of a database, before anything is changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from multisite.errors import MultisiteError, escape_for_message
from multisite.sites.archive.keys import KeyGroups
from multisite.sites.archive.manifest import TableEntry
from multisite.sites.archive.plan import ArchivePlan, SiteTable
from multisite.sites.archive.reader import ArchiveReader
from multisite.sites.archive.values import converter

__all__ = ["ArchivedTable", "archived_tables", "check_rows"]

Row = dict[str, Any]


class ArchivedTable:
    """The rows of a table in an archive, as values for the columns of the database.

    The value of a lookup is a tuple with the key of the shared row, in the first of its columns.
    """

    def __init__(self, reader: ArchiveReader, table: SiteTable, entry: TableEntry) -> None:
        self.table = table
        self.entry = entry
        self._reader = reader
        self._decoders = dict(_decoders(table, entry))
        self._cleared = dict.fromkeys(table.cleared)
        self._lookups = {lookup.pairs[0][0]: lookup.key for lookup in table.lookups}

    def rows(self) -> Iterator[Row]:
        """Yield the rows. Raises `MultisiteError` if one is not valid, naming its line."""
        for number, line in enumerate(self._reader.lines(self.entry.member), 1):
            yield self._row(number, line)

    def _row(self, number: int, line: bytes) -> Row:
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError):
            raise self.fault(number, "it is not JSON") from None
        if type(cells) is not dict or cells.keys() != self._decoders.keys():
            raise self.fault(number, "it does not have the columns in the manifest")
        row = {name: self._value(number, name, cells[name]) for name in cells}
        row.update(self._cleared)
        return row

    def _value(self, number: int, name: str, cell: Any) -> Any:
        if cell is None:
            return None
        try:
            if name in self._lookups:
                return self._key(name, cell)
            return self._decoders[name](cell)
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise self.fault(number, f"the value of {name} is not valid ({error})") from None

    def _key(self, name: str, cell: Any) -> tuple[Any, ...]:
        key = self._lookups[name]
        if type(cell) is not list or len(cell) != len(key) or None in cell:
            raise ValueError("the key of a shared row")
        return tuple(column.kind.decode(each) for column, each in zip(key, cell, strict=True))

    def fault(self, number: int, reason: str) -> MultisiteError:
        """Return the error about the line with this number."""
        return MultisiteError(f"the archive's {self.entry.member}, line {number}: {escape_for_message(reason)}")


def _decoders(table: SiteTable, entry: TableEntry) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    columns = {column.name: column for column in table.columns}
    if different := sorted(columns.keys() ^ entry.columns.keys()):
        side = "the archive" if different[0] in columns else "this application"
        raise MultisiteError(f"{side} has no column {escape_for_message(different[0])} in the table {table.name}")
    for name, column in columns.items():
        convert = converter(entry.columns[name], column.kind.name, column.column.type)
        if convert is None:
            raise MultisiteError(
                f"{table.name}.{name} is of the type '{escape_for_message(entry.columns[name])}' in the archive, and "
                f"of the type '{column.kind.name}' here"
            )
        yield name, _composed(convert, column.kind.decode)


def _composed(convert: Callable[[Any], Any], decode: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda cell: decode(convert(cell))


def archived_tables(reader: ArchiveReader, plan: ArchivePlan) -> list[ArchivedTable]:
    """Return the tables of an archive, referenced ones first.

    Raises:
        MultisiteError: The application has no such table or column, or one of another type.
    """
    entries = {name: entry for name, entry in reader.manifest.tables.items() if name not in plan.left_out}
    for name in sorted(entries.keys() - plan.tables.keys()):
        known = name in plan.missing
        raise MultisiteError(
            f"the archive has rows of the table '{escape_for_message(name)}', which "
            + ("this database does not have yet: migrate it first" if known else "this application does not declare")
        )
    return [ArchivedTable(reader, table, entries[name]) for name, table in plan.tables.items() if name in entries]


def check_rows(archived: list[ArchivedTable], groups: KeyGroups, progress: Callable[[str], None]) -> None:
    """Read all rows of an archive once, and note their keys in `groups`.

    Raises:
        MultisiteError: A row is not valid, or their number is not that in the manifest.
    """
    for each in archived:
        name, number = each.table.name, 0
        noted = [(column, group) for column in each.entry.columns if (group := groups.owned_by(name, column))]
        for number, row in enumerate(each.rows(), 1):  # It is the number of rows afterwards.
            for column, group in noted:
                if row[column] is not None:
                    group.note(row[column])
            if number % 10_000 == 0:
                progress(f"{name}: {number} of {each.entry.rows} rows checked")
        if number != each.entry.rows:
            raise MultisiteError(
                f"the archive's {each.entry.member} has {number} rows, and its manifest says {each.entry.rows}"
            )
