"""Change a table of SQLite by making it anew: the only way there is to give it other keys and references.

The new table is made of the text of the old one, so all that is not to change stays word for word. Rows are copied in
batches; indexes and triggers, which go with the old table, are made again; views stay and are seen to still work.
References must not be enforced meanwhile, or dropping the old table would delete the rows that refer to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sqlalchemy.exc import DBAPIError

from multisite.alembic.create_table import Clause
from multisite.alembic.definition import SITE_COLUMN, mentions_site
from multisite.alembic.plan import Change
from multisite.alembic.schema import Key, Reference, Table
from multisite.alembic.sqlite import SqliteSchema
from multisite.errors import MultisiteError

__all__ = ["Rebuild", "broken_dependents"]

_ROWID_NAMES = ("rowid", "_rowid_", "oid")


class Rebuild:
    """One table made anew: with `changes`, what is `added`, and a `site_id` or without.

    `site` is the SQL of the site of a row called `r`, None where the rows stay what they are; `without_site` takes
    the column away.
    """

    def __init__(
        self,
        schema: SqliteSchema,
        table: Table,
        changes: Sequence[Change[Key] | Change[Reference]],
        *,
        added: Sequence[Key | Reference] = (),
        site: str | None = None,
        without_site: bool = False,
    ) -> None:
        self.schema = schema
        self.table = table
        self.changes = changes
        self.added = added
        self.site = site
        self.without_site = without_site
        self.name = schema.quote(table.name.name)
        self.new_name = schema.quote(f"_multisite_{table.name.name}")

    def run(self, batch_size: int, progress: Callable[[int], None]) -> None:
        """Make the table anew; `progress` is told after each batch how many rows have been copied."""
        execute = self.schema.execute
        statement = self._statement()
        dependents = list(self._dependents())
        self._check_leftovers([statement, *dependents] if self.without_site else [])
        sequence = self._sequence()
        execute(statement)
        for copied in self._copy(batch_size):
            progress(copied)
        execute(f"DROP TABLE main.{self.name}")
        _rename_without_dependents(self.schema, f"ALTER TABLE main.{self.new_name} RENAME TO {self.name}")
        for statement in dependents:
            execute(statement)
        for number in sequence:
            # An AUTOINCREMENT must not give out again what rows had that are gone by now.
            self.schema.connection.exec_driver_sql(
                "UPDATE main.sqlite_sequence SET seq = ? WHERE name = ?", (number, self.table.name.name)
            )
        self.schema.changed()

    def _statement(self) -> str:
        """Return the CREATE TABLE of the new table."""
        by_place = {change.old.place: change for change in self.changes if change.old.place is not None}

        def changed(clause: Clause) -> str | None:
            change = by_place.get(clause)
            if change is None:
                return None if self.without_site and clause.column == SITE_COLUMN else clause.definition
            return None if change.new is None else self.schema.constraint_sql(change.new)

        # The same 64 bits, but a strict table knows them by this name only.
        type_ = "INTEGER" if self.table.place.is_strict else "BIGINT"
        adds_column = self.site is not None and SITE_COLUMN not in self.table.columns
        becomes_filled = self.site is not None and self.table.columns.get(SITE_COLUMN, False)
        statement: str = self.table.place.edited(
            self.new_name,
            changed,
            columns=[f"{SITE_COLUMN} {type_} NOT NULL"] if adds_column else [],
            constraints=[self.schema.constraint_sql(added) for added in self.added],
            suffixes={SITE_COLUMN: " NOT NULL"} if becomes_filled else {},
            without=SITE_COLUMN if self.without_site else None,
        )
        return statement

    def _dependents(self) -> Iterator[str]:
        """Yield what makes the indexes, as they are to be, and the triggers of the table again."""
        changes = {change.old.name: change for change in self.changes if change.old.place is None}
        rows = self.schema.query(
            "SELECT type, name, sql FROM main.sqlite_master WHERE tbl_name = :name COLLATE NOCASE "
            "AND type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY rowid",
            name=self.table.name.name,
        )
        for kind, name, sql in rows:
            change = changes.get(name) if kind == "index" else None
            if change is None:
                yield sql
            elif change.new is not None:
                yield change.new.definition

    def _check_leftovers(self, statements: Sequence[str]) -> None:
        for statement in statements:
            if mentions_site(statement):
                raise MultisiteError(
                    f"site_id cannot be taken from '{self.table.name}', since more than its keys and references is "
                    f"about it; change this first: {' '.join(statement.split())}"
                )

    def _sequence(self) -> list[int]:
        """Return the last number that AUTOINCREMENT gave, nothing if the table has none."""
        if not self.schema.execute("SELECT 1 FROM main.sqlite_master WHERE name = 'sqlite_sequence'"):
            return []
        name = self.table.name.name
        rows = self.schema.query("SELECT seq FROM main.sqlite_sequence WHERE name = :name COLLATE NOCASE", name=name)
        return [row[0] for row in rows]

    def _copy(self, batch_size: int) -> Iterator[int]:
        """Copy the rows, yielding after each batch how many there are by now."""
        schema = self.schema
        columns = schema.execute(f"PRAGMA main.table_xinfo({self.name})")
        # Hidden ones are generated: the new table makes them itself.
        names = [row[1] for row in columns if not row[6] and row[1].lower() != SITE_COLUMN]
        targets = [schema.quote(name) for name in names]
        values = [f"r.{target}" for target in targets]
        if self.site is not None or (SITE_COLUMN in self.table.columns and not self.without_site):
            targets.append(SITE_COLUMN)
            values.append(self.site or f"r.{SITE_COLUMN}")
        row_key = self._row_key()
        if row_key is not None:
            # What is not declared has to stay too: a full-text index of another table may refer to it.
            targets.append(row_key)
            values.append(f"r.{row_key}")
        copied = 0
        for condition in self._batches(row_key, batch_size):
            result = schema.connection.exec_driver_sql(
                f"INSERT INTO main.{self.new_name} ({', '.join(targets)}) "
                f"SELECT {', '.join(values)} FROM main.{self.name} AS r WHERE {condition}"
            )
            copied += result.rowcount
            yield copied

    def _row_key(self) -> str | None:
        """Return a name by which the table has the number of a row, None if it has none."""
        if self.table.place.is_without_rowid:
            return None
        declared = {column.lower() for column in self.table.columns}
        return next((name for name in _ROWID_NAMES if name not in declared), None)

    def _batches(self, row_key: str | None, batch_size: int) -> Iterator[str]:
        """Yield a condition for each batch of rows `r`."""
        if row_key is None:
            yield "1"
            return
        after = "1"
        while True:
            ((last,),) = self.schema.execute(
                f"SELECT max(n) FROM (SELECT r.{row_key} AS n FROM main.{self.name} AS r WHERE {after} "
                f"ORDER BY r.{row_key} LIMIT {int(batch_size)})"
            )
            if last is None:
                return
            yield f"{after} AND r.{row_key} <= {last}"
            after = f"r.{row_key} > {last}"


def _rename_without_dependents(schema: SqliteSchema, statement: str) -> None:
    """Execute an ALTER TABLE RENAME that changes no view, trigger or reference: they mean the old table's name."""
    ((legacy,),) = schema.execute("PRAGMA legacy_alter_table")
    schema.execute("PRAGMA legacy_alter_table = 1")
    try:
        schema.execute(statement)
    finally:
        schema.execute(f"PRAGMA legacy_alter_table = {legacy}")


def broken_dependents(schema: SqliteSchema) -> dict[str, str]:
    """Return the views, and the tables with triggers, that SQLite cannot make sense of, and why.

    It looks at them when they are used, not when a table that they are about changes.
    """
    broken = {}
    for kind, name, table in schema.execute(
        "SELECT type, name, tbl_name FROM main.sqlite_master WHERE type IN ('view', 'trigger')"
    ):
        quoted = schema.quote(table)
        statements = [f"SELECT * FROM {quoted}"]
        if kind == "trigger":
            columns = [row[1] for row in schema.execute(f"PRAGMA main.table_xinfo({quoted})") if not row[6]]
            assignments = ", ".join(f"{schema.quote(column)} = NULL" for column in columns)
            statements = [f"DELETE FROM {quoted}", f"UPDATE {quoted} SET {assignments}"]
            nulls = ", ".join(["NULL"] * len(columns))
            statements.append(f"INSERT INTO {quoted} ({schema.quote(*columns)}) VALUES ({nulls})")
        for statement in statements:
            try:
                schema.execute(f"EXPLAIN {statement}")
            except DBAPIError as error:
                broken[f"the {kind} {name}"] = str(error.orig)
    return broken
