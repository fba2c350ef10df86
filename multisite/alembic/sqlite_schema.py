"""Read tables, keys and references of SQLite from the statements that created them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from multisite.alembic.ddl_text import elements, group_end, tokens_of, unquoted
from multisite.alembic.schema import Key, Reference, Schema, Table, TableName, missing_table_message
from multisite.alembic.sqlite_create_table import Clause, CreateTable
from multisite.errors import MultisiteError
from multisite.scoping.column import SITE_COLUMN

__all__ = ["SqliteSchema"]

_NOT_NUMERIC = ("CHAR", "CLOB", "TEXT", "BLOB", "REAL", "FLOA", "DOUB")


class SqliteSchema(Schema):
    """The tables of the main database, not those of attached ones."""

    @cached_property
    def _statements(self) -> dict[str, tuple[str, str, str]]:
        """The type, name and statement of each table and view, by lower-cased name."""
        rows = self.execute("SELECT type, name, sql FROM main.sqlite_master WHERE type IN ('table', 'view')")
        return {name.lower(): (kind, name, sql) for kind, name, sql in rows}

    def changed(self) -> None:
        """Discard what was read, after tables have changed."""
        self.__dict__.pop("_statements", None)

    def table(self, name: TableName) -> Table:
        """Return a table, parsed from the statement that created it.

        Raises:
            MultisiteError: It does not exist, is a view or in an attached database, or its statement cannot be parsed.
        """
        if name.schema not in (None, "main"):
            raise MultisiteError(f"'{name}': on SQLite only tables of the main database can be scoped")
        kind, real_name, sql = self._statements.get(name.name.lower(), ("", "", ""))
        if not kind:
            raise MultisiteError(missing_table_message(name))
        if kind == "view":
            raise MultisiteError(f"'{name}' is a view: convert the tables that it reads instead")
        return self._read(real_name, sql)

    def _read(self, name: str, sql: str) -> Table:
        rows = self.execute(f"PRAGMA main.table_xinfo({self.quote(name)})")
        nullable = {row[1]: not row[3] and not row[5] for row in rows}
        ordered = sorted((row[5], row[1]) for row in rows if row[5])
        table_name = TableName(None, name)
        try:
            create = CreateTable(sql)
        except ValueError as error:
            raise MultisiteError(f"'{name}' cannot be scoped: {error}") from error
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
        """Raise if SQLite reports other references or keys, since a misread table must not be written back."""
        name = self.quote(table.name.name)
        theirs: dict[int, list[str]] = {}
        for row in self.execute(f"PRAGMA main.foreign_key_list({name})"):
            theirs.setdefault(row[0], []).append(row[3].lower())
        ours = [[column.lower() for column in reference.columns] for reference in table.references]
        indexes = [row for row in self.execute(f"PRAGMA main.index_list({name})") if row[3] == "u"]
        uniques = {key.columns for key in table.keys if not key.is_index}
        if sorted(theirs.values()) != sorted(ours) or len(indexes) > len(uniques):
            raise MultisiteError(f"the CREATE TABLE of '{table.name}' cannot be parsed reliably; nothing was changed")

    def _key(self, clause: Clause, spelling: dict[str, str]) -> Key:
        columns = _columns(clause.definition, spelling)
        return Key("unique constraint", clause.name, columns, clause.definition, clause)

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
            # Without columns, a reference is to the primary key.
            listed = self._primary_key(target.name)
            definition = f"{definition[: tokens[closing + 2].end]} ({self.quote(*listed)}){rest}"
        words = [token.text.upper() for token in tokens[closing + 3 :]]
        return Reference(
            table,
            _columns(clause.definition, spelling),
            target,
            listed,
            clause.name,
            _action(words, "DELETE"),
            _action(words, "UPDATE"),
            definition,
            clause,
        )

    def _real_name(self, name: str) -> TableName:
        """Return the name of a table as its CREATE TABLE spells it."""
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
            is_unique = tokens_of(sql)[1].is_word("UNIQUE")
            yield Key("unique index" if is_unique else "index", name, _columns(sql, spelling), sql)

    def references_to(self, name: TableName) -> list[Reference]:
        """Return the references from other tables to this one."""
        found = []
        for kind, other, sql in self._statements.values():
            # Asking which tables refer to this one costs less than parsing every table.
            if kind == "table" and other != name.name and self._refers(other, name.name):
                found += [each for each in self._read(other, sql).references if each.target == name]
        return found

    def _refers(self, table: str, target: str) -> bool:
        rows = self.execute(f"PRAGMA main.foreign_key_list({self.quote(table)})")
        return any(row[2].lower() == target.lower() for row in rows)


def _site_type(declared: str) -> str:
    """Return "bigint" for a type that stores whole numbers unchanged, else the declared type.

    SQLite accepts any type name: one with INT has integer affinity, an empty one converts nothing, one without CHAR,
    CLOB, TEXT, BLOB, REAL, FLOA and DOUB is numeric ("Datatypes in SQLite", section 3.1).
    """
    name = declared.upper()
    is_integer = "INT" in name or not any(part in name for part in _NOT_NUMERIC)
    return "bigint" if is_integer else declared


def _columns(definition: str, spelling: dict[str, str]) -> tuple[str, ...]:
    """Return the columns of the first list in `definition`; an expression is an empty string."""
    tokens = tokens_of(definition)
    opening = next(index for index, token in enumerate(tokens) if token.text == "(")
    found = []
    for part in elements(tokens, opening):
        plain = len(part) == 1 or part[1].is_word("ASC", "DESC", "COLLATE")
        found.append(spelling.get(unquoted(part[0].text).lower(), "") if plain else "")
    return tuple(found)


def _action(words: list[str], event: str) -> str | None:
    """Return the ON DELETE or ON UPDATE action of a reference; None for NO ACTION."""
    for index, word in enumerate(words[:-2]):
        if word == "ON" and words[index + 1] == event:
            count = 2 if words[index + 2] in ("SET", "NO") else 1
            action = " ".join(words[index + 2 : index + 2 + count])
            return None if action == "NO ACTION" else action
    return None
