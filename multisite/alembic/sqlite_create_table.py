"""Parse the keys and references of a SQLite CREATE TABLE, and write the statement with others in their place.

SQLite stores the statement that created a table. Columns, types, defaults, CHECKs, collations, generated columns and
table options are not parsed: their text is copied unchanged. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from multisite.alembic.ddl_text import group_end, tokens_of, unquoted

__all__ = ["Clause", "CreateTable"]

_TABLE_CONSTRAINTS = ("CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN")


@dataclass(frozen=True)
class Clause:
    """A UNIQUE or FOREIGN KEY clause, at `text[start:end]` including its name.

    `definition` is the clause as a table constraint without its name. `column` is the column that the clause is
    written after, None for a table constraint.
    """

    kind: str
    name: str | None
    definition: str
    start: int
    end: int
    column: str | None


class CreateTable:
    """A parsed CREATE TABLE statement. Raises `ValueError` for a statement without a list of columns."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.clauses: list[Clause] = []
        self._column_starts: dict[str, int] = {}
        self._column_ends: dict[str, int] = {}
        self._tokens = tokens = tokens_of(text)
        opening = next((index for index, token in enumerate(tokens) if token.text == "("), 0)
        if not opening or any(token.is_word("VIRTUAL") for token in tokens[:opening]):
            raise ValueError("not a table with columns of its own")
        self._name = tokens[opening - 1]
        self._closing = group_end(tokens, opening)
        index = opening + 1
        while index < self._closing:
            index = self._read_item(index) + 1

    @property
    def is_without_rowid(self) -> bool:
        """Whether the table is WITHOUT ROWID."""
        return any(token.is_word("WITHOUT") for token in self._tokens[self._closing :])

    @property
    def is_strict(self) -> bool:
        """Whether the table is STRICT, which allows only a few type names."""
        return any(token.is_word("STRICT") for token in self._tokens[self._closing :])

    def _read_item(self, index: int) -> int:
        """Parse a column or table constraints from `index`; return the index of the comma that follows."""
        tokens = self._tokens
        column = None
        if not tokens[index].is_word(*_TABLE_CONSTRAINTS):
            column = unquoted(tokens[index].text)
            self._column_starts[column.lower()] = tokens[index].start
            index += 1
        while index < self._closing and tokens[index].text != ",":
            index = self._read_clause(index, column)
        if column is not None:
            self._column_ends[column.lower()] = tokens[index - 1].end
        return index

    def _read_clause(self, index: int, column: str | None) -> int:
        """Parse the clause, or skip the token or group, at `index`; return the index after it."""
        tokens, start, name = self._tokens, self._tokens[index].start, None
        if tokens[index].is_word("CONSTRAINT"):
            name = unquoted(tokens[index + 1].text)
            index += 2
        if tokens[index].is_word("UNIQUE"):
            end = self._skip_unique(index)
            listed = "" if column is None else f" ({_quoted(column)})"
            self._add("unique", name, f"UNIQUE{listed}", (index + 1, end), start, column)
            return end
        if tokens[index].is_word("FOREIGN", "REFERENCES"):
            end = self._skip_reference(index)
            listed = "" if column is None else f"FOREIGN KEY ({_quoted(column)}) "
            self._add("reference", name, f"{listed}{tokens[index].text.upper()}", (index + 1, end), start, column)
            return end
        return group_end(tokens, index) + 1 if tokens[index].text == "(" else index + 1

    def _add(
        self, kind: str, name: str | None, head: str, rest: tuple[int, int], start: int, column: str | None
    ) -> None:
        first, end = rest
        tail = self.text[self._tokens[first - 1].end : self._tokens[end - 1].end]
        self.clauses.append(Clause(kind, name, head + tail, start, self._tokens[end - 1].end, column))

    def _skip_unique(self, index: int) -> int:
        tokens = self._tokens
        index += 1
        if tokens[index].text == "(":
            index = group_end(tokens, index) + 1
        if tokens[index].is_word("ON") and tokens[index + 1].is_word("CONFLICT"):
            index += 3
        return index

    def _skip_reference(self, index: int) -> int:
        tokens = self._tokens
        if tokens[index].is_word("FOREIGN"):
            index = group_end(tokens, index + 2) + 1
        index += 2  # REFERENCES and the table.
        if tokens[index].text == "(":
            index = group_end(tokens, index) + 1
        while True:
            words = [token.text.upper() for token in tokens[index : index + 3]]
            if words[0] == "ON" and words[1] in ("DELETE", "UPDATE"):
                index += 4 if words[2] in ("SET", "NO") else 3
            elif words[0] == "MATCH" or words[0] == "INITIALLY":
                index += 2
            elif words[0] == "DEFERRABLE":
                index += 1
            elif words[:2] == ["NOT", "DEFERRABLE"]:
                index += 2
            else:
                return index

    def edited(
        self,
        name: str,
        changes: Callable[[Clause], str | None],
        *,
        columns: Iterable[str] = (),
        constraints: Iterable[str] = (),
        suffixes: Mapping[str, str] | None = None,
        without: str | None = None,
    ) -> str:
        """Return the statement with changes.

        Args:
            name: The new name of the table, quoted already.
            changes: Returns the table constraint, with its name, that replaces a clause; None drops it, and the
                clause's own `definition` leaves it unchanged.
            columns: Definitions of columns to add.
            constraints: Table constraints to add.
            suffixes: Text to append to the definitions of columns, by their lower-cased names.
            without: The lower-cased name of a column to drop; None for none.
        """
        edits = [(self._name.start, self._name.end, name)]
        appended = dict.fromkeys([*self._column_ends.values(), self._tokens[self._closing - 1].end], "")
        for column, suffix in (suffixes or {}).items():
            appended[self._column_ends[column]] += suffix
        appended[max(self._column_ends.values())] += "".join(f",\n\t{column}" for column in columns)
        moved = []
        for clause in self.clauses:
            wanted = changes(clause)
            if wanted == clause.definition:
                continue
            if wanted is not None:
                moved.append(wanted)
            if clause.column is None or clause.column.lower() != without:
                edits.append((*self._span(clause), ""))
        appended[self._tokens[self._closing - 1].end] += "".join(f",\n\t{each}" for each in [*moved, *constraints])
        if without is not None:
            edits.append((*self._column_span(without), ""))
        edits += [(position, position, text) for position, text in appended.items() if text]
        return _apply(self.text, edits)

    def _span(self, clause: Clause) -> tuple[int, int]:
        """Return the span of a clause with its leading white space, and its comma if it has one."""
        before = next(index for index in reversed(range(len(self._tokens))) if self._tokens[index].end <= clause.start)
        after = next(token for token in self._tokens if token.start >= clause.end)
        # SQLite allows table constraints without a comma between them; then this comma belongs to the next one.
        has_comma = self._tokens[before].text == "," and after.text in (",", ")")
        return self._tokens[before - 1 if has_comma else before].end, clause.end

    def _column_span(self, column: str) -> tuple[int, int]:
        """Return the span of a column definition with one of its adjacent commas."""
        first = next(index for index, token in enumerate(self._tokens) if token.start == self._column_starts[column])
        end = self._column_ends[column]
        if self._tokens[first - 1].text == ",":
            return self._tokens[first - 2].end, end
        return self._tokens[first].start, next(token.end for token in self._tokens if token.start >= end)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _apply(text: str, edits: list[tuple[int, int, str]]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text
