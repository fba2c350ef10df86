"""Rebuild a table of SQLite, which cannot change the constraints of an existing table.

The new CREATE TABLE is an edit of the old one, so that everything else stays unchanged. Rows are copied in batches.
Indexes and triggers are dropped with the old table and recreated; views stay, and are checked to still work. Foreign
keys must not be enforced meanwhile, or dropping the old table would delete the rows that refer to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sqlalchemy.exc import DBAPIError

from multisite.alembic.ddl_text import mentions_site
from multisite.alembic.plan import Change
from multisite.alembic.schema import Key, Reference, Table
from multisite.alembic.sqlite_create_table import Clause
from multisite.alembic.sqlite_schema import SqliteSchema
from multisite.errors import MultisiteError
from multisite.scoping.column import SITE_COLUMN

__all__ = ["Rebuild", "broken_dependents"]

_ROWID_NAMES = ("rowid", "_rowid_", "oid")


class Rebuild:
    """The rebuild of one table.

    Args:
        schema: The database.
        table: The table in its present state.
        changes: Changes of its keys and references.
        added: Constraints to add.
        site: SQL for the site of a row with alias `r`, to add or backfill `site_id`; None leaves the column alone.
        without_site: Whether `site_id` is dropped.
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
        """Rebuild the table; `progress` is called after each batch with the number of rows copied so far."""
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
            # AUTOINCREMENT must not reuse the numbers of deleted rows.
            self.schema.connection.exec_driver_sql(
                "UPDATE main.sqlite_sequence SET seq = ? WHERE name = ?", (number, self.table.name.name)
            )
        self.schema.changed()

    def _statement(self) -> str:
        """Return the CREATE TABLE of the new table."""
        by_clause = {change.old.clause: change for change in self.changes if change.old.clause is not None}

        def changed(clause: Clause) -> str | None:
            change = by_clause.get(clause)
            if change is None:
                return None if self.without_site and clause.column == SITE_COLUMN else clause.definition
            return None if change.new is None else self.schema.constraint_sql(change.new)

        # Both are 64 bits, but a STRICT table accepts only INTEGER.
        type_ = "INTEGER" if self.table.handle.is_strict else "BIGINT"
        adds_column = self.site is not None and SITE_COLUMN not in self.table.columns
        becomes_filled = self.site is not None and self.table.columns.get(SITE_COLUMN, False)
        statement: str = self.table.handle.edited(
            self.new_name,
            changed,
            columns=[f"{SITE_COLUMN} {type_} NOT NULL"] if adds_column else [],
            constraints=[self.schema.constraint_sql(added) for added in self.added],
            suffixes={SITE_COLUMN: " NOT NULL"} if becomes_filled else {},
            without=SITE_COLUMN if self.without_site else None,
        )
        return statement

    def _dependents(self) -> Iterator[str]:
        """Yield the statements that recreate the table's indexes, with their changes, and its triggers."""
        changes = {change.old.name: change for change in self.changes if change.old.clause is None}
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
                    f"site_id cannot be dropped from '{self.table.name}', because more than its keys and references "
                    f"depends on it; change this first: {' '.join(statement.split())}"
                )

    def _sequence(self) -> list[int]:
        """Return the last number that AUTOINCREMENT assigned, as a list that is empty if there is none."""
        if not self.schema.execute("SELECT 1 FROM main.sqlite_master WHERE name = 'sqlite_sequence'"):
            return []
        name = self.table.name.name
        rows = self.schema.query("SELECT seq FROM main.sqlite_sequence WHERE name = :name COLLATE NOCASE", name=name)
        return [row[0] for row in rows]

    def _copy(self, batch_size: int) -> Iterator[int]:
        """Copy the rows, yielding the number copied so far after each batch."""
        schema = self.schema
        columns = schema.execute(f"PRAGMA main.table_xinfo({self.name})")
        # Hidden columns are generated, and computed by the new table.
        names = [row[1] for row in columns if not row[6] and row[1].lower() != SITE_COLUMN]
        targets = [schema.quote(name) for name in names]
        values = [f"r.{target}" for target in targets]
        if self.site is not None or (SITE_COLUMN in self.table.columns and not self.without_site):
            targets.append(SITE_COLUMN)
            values.append(self.site or f"r.{SITE_COLUMN}")
        row_key = self._row_key()
        if row_key is not None:
            # An implicit rowid has to be kept too: a full-text index of another table may refer to it.
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
        """Return a name of the rowid that is not the name of a column; None if there is no such name or no rowid."""
        if self.table.handle.is_without_rowid:
            return None
        declared = {column.lower() for column in self.table.columns}
        return next((name for name in _ROWID_NAMES if name not in declared), None)

    def _batches(self, row_key: str | None, batch_size: int) -> Iterator[str]:
        """Yield the SQL condition of each batch of rows, with alias `r`."""
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
    """Execute an ALTER TABLE RENAME that leaves views, triggers and references unchanged."""
    ((legacy,),) = schema.execute("PRAGMA legacy_alter_table")
    schema.execute("PRAGMA legacy_alter_table = 1")
    try:
        schema.execute(statement)
    finally:
        schema.execute(f"PRAGMA legacy_alter_table = {legacy}")


def broken_dependents(schema: SqliteSchema) -> dict[str, str]:
    """Return the reason why each broken view or trigger is broken, by its name.

    SQLite compiles them when they are used, not when a table that they depend on changes.
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
