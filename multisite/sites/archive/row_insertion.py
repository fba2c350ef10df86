"""Insert the rows of an archive for a site, in the transaction of a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection

from multisite.core.current_site import using_site
from multisite.core.site import Site
from multisite.errors import MultisiteError
from multisite.scoping.column import SITE_COLUMN, has_site_id
from multisite.scoping.text import scoped_text
from multisite.sites.archive.archived_rows import Row
from multisite.sites.archive.contents import REFLECTED
from multisite.sites.archive.converted_rows import ConvertedRows
from multisite.sites.archive.cyclic_groups import (
    cyclic_groups,
    is_cyclic,
    one_statement,
    quoted_for_text,
    quoted_table_for_text,
)
from multisite.sites.archive.plan import RowReference, SiteTable, column_of, defer_foreign_keys

__all__ = ["insert_rows"]

BATCH_ROWS = 1000
"""How many rows one statement inserts."""

STAGING = "multisite_rows_"
"""How the names of temporary tables begin."""


def insert_rows(
    connection: Connection, site: Site, tables: list[ConvertedRows], progress: Callable[[str], None] = lambda line: None
) -> dict[str, int]:
    """Insert the rows of an archive.

    References that cannot be inserted yet, such as those in a cycle, are NULL first and set at the end.

    Args:
        connection: A connection in a transaction.
        site: The site that the rows belong to from now on. It need not have domains yet.
        tables: The rows, those of referenced tables first.
        progress: Called with a line from time to time.

    Returns:
        The number of rows, by table that has any.

    Raises:
        MultisiteError: A row refers to one that the archive does not have, or the database refuses a row.
    """
    defer_foreign_keys(connection)
    counts = {}
    with using_site(site):
        insertions = {each.table.name: _Insertion(connection, site, each) for each in tables}
        inserted: set[str] = set()
        for group in cyclic_groups([each.table for each in tables]):
            is_staged = connection.dialect.name != "sqlite" and is_cyclic(group)
            of_group = [insertions[table.name] for table in group]
            for each in of_group:
                if count := each.insert(inserted, progress, is_staged=is_staged):
                    counts[each.table.name] = count
                inserted.add(each.table.name)
            if is_staged:
                _insert_staged(of_group)
        for each in insertions.values():
            each.set_late_references()
    return counts


def _insert_staged(insertions: list[_Insertion]) -> None:
    """Insert the rows of tables that need each other."""
    sql = one_statement([each.from_staging() for each in insertions])
    is_scoped = any(has_site_id(each.table.table) for each in insertions)
    insertions[-1].execute(scoped_text(sql) if is_scoped else sa.text(sql))


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH_ROWS)):
        yield batch


class _Insertion:
    """The insertion of one table."""

    def __init__(self, connection: Connection, site: Site, rows: ConvertedRows) -> None:
        self.table: SiteTable = rows.table
        self._connection = connection
        self._site = site
        self._rows = rows
        self._late: list[str] = []
        """The columns that are set once all rows are inserted."""

    def insert(self, inserted: set[str], progress: Callable[[str], None], *, is_staged: bool = False) -> int:
        """Insert the rows, and return their number.

        Args:
            inserted: The tables before this one.
            progress: Called with a line from time to time.
            is_staged: Insert them into a temporary table, for `from_staging`.

        Returns:
            The number of rows.
        """
        if self._connection.dialect.name != "sqlite":
            late = [each for each in self.table.references if each.target not in inserted and each.is_optional]
            self._late = self._nullable(late)
        names = [None if column.name in self._late else column.name for column in self.table.columns]
        statement = self._insert_into_staging() if is_staged else self._insert()
        done = 0
        with _overriding_identity(self._connection, self.table):
            for batch in _batches(self._rows):
                self.execute(
                    statement,
                    [{f"c{n}": None if name is None else row[name] for n, name in enumerate(names)} for row in batch],
                )
                done += len(batch)
                if done % (10 * BATCH_ROWS) == 0:
                    progress(f"{self.table.name}: {done} of {self._rows.archived.entry.rows} rows")
        return done

    def _nullable(self, references: Iterable[RowReference]) -> list[str]:
        nullable = {column.name for column in self.table.table.columns if column.nullable}
        return sorted({name for each in references for name in each.columns} & nullable)

    def _insert(self) -> sa.Insert:
        values: dict[Any, Any] = {
            column.column: sa.bindparam(f"c{n}", type_=column.kind.type) for n, column in enumerate(self.table.columns)
        }
        if has_site_id(self.table.table):
            values[self.table.table.columns[SITE_COLUMN]] = self._site.id
        return sa.insert(self.table.table).values(values)

    def _insert_into_staging(self) -> sa.Insert:
        """Create the temporary table, and return the statement for its rows."""
        columns = [sa.Column(f"c{n}", column.column.type) for n, column in enumerate(self.table.columns)]
        self._staging = sa.Table(
            f"{STAGING}{id(self)}",
            sa.MetaData(info={REFLECTED: True}),
            *columns,
            prefixes=["TEMPORARY"],
            postgresql_on_commit="DROP",
        )
        self._connection.execute(sa.schema.CreateTable(self._staging))
        binds = {f"c{n}": sa.bindparam(f"c{n}", type_=column.kind.type) for n, column in enumerate(self.table.columns)}
        return sa.insert(self._staging).values(binds)

    def from_staging(self) -> str:
        """Return the statement that inserts the rows of the temporary table."""
        dialect = self._connection.dialect
        names = [quoted_for_text(column.name, dialect) for column in self.table.columns]
        values = [f"c{n}" for n in range(len(names))]
        if has_site_id(self.table.table):
            names.append(SITE_COLUMN)
            values.append(":site_id")
        table = quoted_table_for_text(self.table, dialect)
        overriding = "OVERRIDING SYSTEM VALUE " if _is_always_identity(self.table) else ""
        return (  # The names are those of the application's models.
            f"INSERT INTO {table} ({', '.join(names)}) {overriding}SELECT {', '.join(values)} FROM {self._staging.name}"  # noqa: S608
        )

    def execute(self, statement: sa.Executable, values: list[dict[str, Any]] | None = None) -> None:
        """Execute a statement on the table. Raises `MultisiteError` if the database refuses a row."""
        try:
            self._connection.execute(statement, values)
        except (sa.exc.StatementError, ValueError, TypeError, OverflowError) as error:
            reason = " ".join(str(getattr(error, "orig", None) or error).split())
            raise MultisiteError(f"the database refuses a row of {self.table.name}: {reason}") from error

    def set_late_references(self) -> None:
        """Set the references that were NULL at first."""
        if not self._late:
            return
        columns = {column.name: column for column in self.table.columns}
        names = [*self.table.key, *self._late]
        bound = {name: sa.bindparam(f"c{n}", type_=columns[name].kind.type) for n, name in enumerate(names)}
        is_row = (column_of(self.table.table, name) == bound[name] for name in self.table.key)
        # Otherwise SQLAlchemy would set the time of a change, for example, with onupdate=.
        values: dict[Any, Any] = {column: column for column in self.table.table.columns if column.onupdate is not None}
        values.update({columns[name].column: bound[name] for name in self._late})
        statement = sa.update(self.table.table).where(*is_row).values(values)
        referring = (row for row in self._rows.rekeyed() if any(row[name] is not None for name in self._late))
        for batch in _batches(referring):
            self.execute(statement, [{f"c{n}": row[name] for n, name in enumerate(names)} for row in batch])


def _is_always_identity(table: SiteTable) -> bool:
    return any(column.column.identity is not None and column.column.identity.always for column in table.columns)


@contextmanager
def _overriding_identity(connection: Connection, table: SiteTable) -> Iterator[None]:
    """Let INSERT give a value to GENERATED ALWAYS AS IDENTITY, for which SQLAlchemy has no construct."""
    if not _is_always_identity(table) or connection.dialect.name != "postgresql":
        yield
        return
    event.listen(connection, "before_cursor_execute", _override, retval=True)
    try:
        yield
    finally:
        event.remove(connection, "before_cursor_execute", _override)


def _override(
    _connection: Connection, _cursor: object, statement: str, parameters: Any, _context: object, _many: bool
) -> tuple[str, Any]:
    head, found, rest = statement.partition(") VALUES (")
    if found and statement.startswith("INSERT INTO ") and not statement.startswith(f"INSERT INTO {STAGING}"):
        statement = f"{head}) OVERRIDING SYSTEM VALUE VALUES ({rest}"
    return statement, parameters
