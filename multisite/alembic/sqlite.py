"""The tables of a SQLite database, read from the statements that made them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from multisite.alembic.create_table import Clause, CreateTable
from multisite.alembic.definition import SITE_COLUMN, elements, group_end, tokens_of, unquoted
from multisite.alembic.schema import Key, Reference, Schema, Table, TableName, missing_table_error
from multisite.errors import MultisiteError

__all__ = ["SqliteSchema"]


_NOT_NUMERIC = ("CHAR", "CLOB", "TEXT", "BLOB", "REAL", "FLOA", "DOUB")


class SqliteSchema(Schema):
    """The tables of the file itself, not of files that are attached to it."""

    @cached_property
    def _statements(self) -> dict[str, tuple[str, str, str]]:
        """Type, name and statement of each table and view, by its lower-cased name."""
        rows = self.execute("SELECT type, name, sql FROM main.sqlite_master WHERE type IN ('table', 'view')")
        return {name.lower(): (kind, name, sql) for kind, name, sql in rows}

    def changed(self) -> None:
        """Forget what was read, since tables have changed."""
        self.__dict__.pop("_statements", None)

    def table(self, name: TableName) -> Table:
        if name.schema not in (None, "main"):
            raise MultisiteError(f"'{name}': on SQLite only the tables of the file itself can be given to sites")
        kind, real_name, sql = self._statements.get(name.name.lower(), ("", "", ""))
        if not kind:
            raise missing_table_error(name)
        if kind == "view":
            raise MultisiteError(f"'{name}' is a view: give the tables that it is made of to a site")
        return self._read(real_name, sql)

    def _read(self, name: str, sql: str) -> Table:
        rows = self.execute(f"PRAGMA main.table_xinfo({self.quote(name)})")
        nullable = {row[1]: not row[3] and not row[5] for row in rows}
        ordered = sorted((row[5], row[1]) for row in rows if row[5])
        table_name = TableName(None, name)
        try:
            create = CreateTable(sql)
        except ValueError as error:
            raise MultisiteError(f"'{name}' cannot belong to sites: {error}") from error
        spelling = {column.lower(): column for column in nullable}
        keys = [self._key(clause, spelling) for clause in create.clauses if clause.kind == "unique"]
        references = [
            self._reference(table_name, clause, spelling) for clause in create.clauses if clause.kind == "reference"
        ]
        table = Table(
            table_name,
            nullable,
            tuple(column for _, column in ordered),
            (*keys, *self._indexes(name, spelling)),
            tuple(references),
            create,
            next((_site_type(row[2]) for row in rows if row[1].lower() == SITE_COLUMN), None),
        )
        self._check(table)
        return table

    def _check(self, table: Table) -> None:
        """Raise if SQLite itself knows other references or keys: what is misread must not be written back."""
        name = self.quote(table.name.name)
        theirs: dict[int, list[str]] = {}
        for row in self.execute(f"PRAGMA main.foreign_key_list({name})"):
            theirs.setdefault(row[0], []).append(row[3].lower())
        ours = [[column.lower() for column in reference.columns] for reference in table.references]
        indexes = [row for row in self.execute(f"PRAGMA main.index_list({name})") if row[3] == "u"]
        uniques = {key.columns for key in table.keys if not key.is_index}
        if sorted(theirs.values()) != sorted(ours) or len(indexes) > len(uniques):
            raise MultisiteError(f"the CREATE TABLE of '{table.name}' cannot be read for certain; nothing was changed")

    def _key(self, clause: Clause, spelling: dict[str, str]) -> Key:
        columns = _columns(clause.definition, spelling)
        return Key(clause.name, columns, True, False, clause.definition, clause)

    def _reference(self, table: TableName, clause: Clause, spelling: dict[str, str]) -> Reference:
        tokens = tokens_of(clause.definition)
        closing = group_end(tokens, 2)
        target = self._real_name(unquoted(tokens[closing + 2].text))
        rest = clause.definition[tokens[closing + 2].end :]
        definition = clause.definition
        target_columns = self._column_names(target.name)
        if rest.lstrip().startswith("("):
            names = {column.lower(): column for column in target_columns}
            listed = _columns(rest, names)
        else:
            # Only the table is named: its primary key is meant, and written out here.
            listed = self._primary_key(target.name)
            definition = f"{definition[: tokens[closing + 2].end]} ({self.quote(*listed)}){rest}"
        words = [token.text.upper() for token in tokens[closing + 3 :]]
        return Reference(
            clause.name,
            table,
            _columns(clause.definition, spelling),
            target,
            listed,
            _action(words, "DELETE"),
            _action(words, "UPDATE"),
            definition,
            clause,
        )

    def _real_name(self, name: str) -> TableName:
        """Return the name of a table as it is spelt where the table is made."""
        _, real_name, _ = self._statements.get(name.lower(), ("", name, ""))
        return TableName(None, real_name)

    def _column_names(self, table: str) -> list[str]:
        return [row[1] for row in self.execute(f"PRAGMA main.table_xinfo({self.quote(table)})")]

    def _primary_key(self, table: str) -> tuple[str, ...]:
        rows = self.execute(f"PRAGMA main.table_xinfo({self.quote(table)})")
        return tuple(column for _, column in sorted((row[5], row[1]) for row in rows if row[5]))

    def _indexes(self, table: str, spelling: dict[str, str]) -> Iterator[Key]:
        rows = self.query(
            "SELECT name, sql FROM main.sqlite_master WHERE type = 'index' AND sql IS NOT NULL "
            "AND tbl_name = :name COLLATE NOCASE ORDER BY rowid",
            name=table,
        )
        for name, sql in rows:
            unique = tokens_of(sql)[1].is_word("UNIQUE")
            yield Key(name, _columns(sql, spelling), unique, True, sql)

    def references_to(self, name: TableName) -> list[Reference]:
        found = []
        for kind, other, sql in self._statements.values():
            # Reading every table of a database in full would cost more than asking which refer to this one.
            if kind == "table" and other != name.name and self._refers(other, name.name):
                found += [each for each in self._read(other, sql).references if each.target == name]
        return found

    def _refers(self, table: str, target: str) -> bool:
        rows = self.execute(f"PRAGMA main.foreign_key_list({self.quote(table)})")
        return any(row[2].lower() == target.lower() for row in rows)


def _site_type(declared: str) -> str:
    """Return what PostgreSQL would call a type that keeps whole numbers as they are, and others as they are declared.

    SQLite takes any name for a type: one with INT in it is an integer, one of nothing keeps what it is given, and those
    without CHAR, CLOB, TEXT, BLOB, REAL, FLOA and DOUB are numeric (its manual, "Datatypes in SQLite", section 3.1).
    """
    name = declared.upper()
    is_integer = "INT" in name or not any(part in name for part in _NOT_NUMERIC)
    return "bigint" if is_integer else declared


def _columns(definition: str, spelling: dict[str, str]) -> tuple[str, ...]:
    """Return the columns of the first list in `definition`, an empty string for an expression."""
    tokens = tokens_of(definition)
    opening = next(index for index, token in enumerate(tokens) if token.text == "(")
    found = []
    for part in elements(tokens, opening):
        plain = len(part) == 1 or part[1].is_word("ASC", "DESC", "COLLATE")
        found.append(spelling.get(unquoted(part[0].text).lower(), "") if plain else "")
    return tuple(found)


def _action(words: list[str], event: str) -> str | None:
    """Return what a reference does ON DELETE or ON UPDATE, None for NO ACTION."""
    for index, word in enumerate(words[:-2]):
        if word == "ON" and words[index + 1] == event:
            count = 2 if words[index + 2] in ("SET", "NO") else 1
            action = " ".join(words[index + 2 : index + 2 + count])
            return None if action == "NO ACTION" else action
    return None
