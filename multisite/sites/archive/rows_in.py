"""Insert the rows of an archive for a site, with new keys, in the transaction of a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection

from multisite.core.current_site import all_sites, using_site
from multisite.core.site import Site
from multisite.errors import MultisiteError
from multisite.scoping.column import SITE_COLUMN, has_site_id
from multisite.sites.archive.keys import KeyGroups
from multisite.sites.archive.plan import RowReference, SharedReference, SiteTable, column_of
from multisite.sites.archive.rows_check import ArchivedTable, Row

__all__ = ["insert_rows"]

BATCH_ROWS = 1000
"""How many rows one statement inserts."""


def insert_rows(
    connection: Connection,
    site: Site,
    archived: list[ArchivedTable],
    groups: KeyGroups,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, int]:
    """Insert the rows of an archive, which `check_rows` has read.

    References that cannot be inserted yet, such as those in a cycle, are NULL first and set at the end.

    Args:
        connection: A connection in a transaction.
        site: The site that the rows belong to from now on. It need not have domains yet.
        archived: The tables of the archive.
        groups: The mappings of keys, in which all old keys are noted.
        progress: Called with a line from time to time.

    Returns:
        The number of rows, by table that has any.

    Raises:
        MultisiteError: A row refers to one that the archive does not have, or the database refuses a row.
    """
    with all_sites(f"reserving keys for the rows of {site}"):
        groups.allocate(connection, [each.table for each in archived])
    _defer_constraints(connection)
    with using_site(site):
        tables = [_Insertion(connection, site, each, groups) for each in archived]
        inserted: set[str] = set()
        counts = {}
        for each in tables:
            if count := each.insert(inserted, progress):
                counts[each.name] = count
            inserted.add(each.name)
        for each in tables:
            each.set_late_references()
    return counts


def _defer_constraints(connection: Connection) -> None:
    """Let the database check foreign keys at the end of the transaction, as far as it can."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    else:
        connection.execute(sa.text("SET CONSTRAINTS ALL DEFERRED"))


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH_ROWS)):
        yield batch


class _Insertion:
    """The insertion of one table."""

    def __init__(self, connection: Connection, site: Site, archived: ArchivedTable, groups: KeyGroups) -> None:
        self._connection = connection
        self._site = site
        self._archived = archived
        self._table: SiteTable = archived.table
        self._mappings = {
            column: mapping
            for column in archived.entry.columns
            if (mapping := groups.of(self._table.name, column)) is not None
        }
        self._lookups = [(lookup, _SharedRows(connection, self._table, lookup)) for lookup in self._table.lookups]
        self._late: tuple[RowReference, ...] = ()

    @property
    def name(self) -> str:
        """The full name of the table."""
        return self._table.name

    def insert(self, inserted: set[str], progress: Callable[[str], None]) -> int:
        """Insert the rows, and return their number; `inserted` are the tables before this one."""
        if self._connection.dialect.name != "sqlite":
            self._late = tuple(
                each for each in self._table.references if each.target not in inserted and each.is_optional
            )
        late = {column for each in self._late for column in each.columns if self._is_nullable(column)}
        names = [column.name for column in self._table.columns]
        statement = self._statement()
        done = 0
        with _overriding_identity(self._connection, self._table):
            for batch in _batches(self._rows()):
                values = [
                    {f"c{index}": None if name in late else row[name] for index, name in enumerate(names)}
                    for row in batch
                ]
                self._execute(statement, values)
                done += len(batch)
                if done % (10 * BATCH_ROWS) == 0:
                    progress(f"{self.name}: {done} of {self._archived.entry.rows} rows")
        return done

    def _is_nullable(self, column: str) -> bool:
        return bool(next(each for each in self._table.table.columns if each.name == column).nullable)

    def _statement(self) -> sa.Insert:
        values: dict[Any, Any] = {
            column.column: sa.bindparam(f"c{index}", type_=column.kind.type)
            for index, column in enumerate(self._table.columns)
        }
        if has_site_id(self._table.table):
            values[self._table.table.columns[SITE_COLUMN]] = self._site.id
        return sa.insert(self._table.table).values(values)

    def _rows(self) -> Iterator[Row]:
        """Yield the rows with their new keys."""
        for number, row in enumerate(self._archived.rows(), 1):
            for column, mapping in self._mappings.items():
                if row[column] is not None:
                    try:
                        row[column] = mapping[row[column]]
                    except KeyError:
                        raise self._archived.fault(
                            number, f"{column} refers to {row[column]}, which is not in the archive"
                        ) from None
            for column in self._table.site_columns:
                if row[column] is not None:
                    row[column] = self._site.id
            for lookup, shared in self._lookups:
                first = lookup.pairs[0][0]
                if row[first] is not None:
                    row.update(shared.find(row[first]))
            yield row

    def _execute(self, statement: sa.Executable, values: list[dict[str, Any]]) -> None:
        try:
            self._connection.execute(statement, values)
        except (sa.exc.StatementError, ValueError, TypeError, OverflowError) as error:
            reason = " ".join(str(getattr(error, "orig", None) or error).split())
            raise MultisiteError(f"the database refuses a row of {self.name}: {reason}") from error

    def set_late_references(self) -> None:
        """Set the references that were NULL at first."""
        names = sorted({column for each in self._late for column in each.columns if self._is_nullable(column)})
        if not names:
            return
        table, columns = self._table.table, {column.name: column for column in self._table.columns}
        is_row = [
            column_of(table, name) == sa.bindparam(f"k{index}", type_=columns[name].kind.type)
            for index, name in enumerate(self._table.key)
        ]
        bound = {
            columns[name].column: sa.bindparam(f"c{index}", type_=columns[name].kind.type)
            for index, name in enumerate(names)
        }
        statement = sa.update(table).where(*is_row).values(bound)
        for batch in _batches(row for row in self._rows() if any(row[name] is not None for name in names)):
            self._execute(
                statement,
                [
                    {f"k{index}": row[name] for index, name in enumerate(self._table.key)}
                    | {f"c{index}": row[name] for index, name in enumerate(names)}
                    for row in batch
                ],
            )


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


class _overriding_identity:  # noqa: N801  # It is used as a function.
    """Let INSERT give a value to GENERATED ALWAYS AS IDENTITY, for which SQLAlchemy has no construct."""

    def __init__(self, connection: Connection, table: SiteTable) -> None:
        always = any(column.column.identity is not None and column.column.identity.always for column in table.columns)
        self._connection = connection if always and connection.dialect.name == "postgresql" else None

    def __enter__(self) -> None:
        if self._connection is not None:
            event.listen(self._connection, "before_cursor_execute", _override, retval=True)

    def __exit__(self, *error: object) -> None:
        if self._connection is not None:
            event.remove(self._connection, "before_cursor_execute", _override)


def _override(
    _connection: Connection, _cursor: object, statement: str, parameters: Any, _context: object, _many: bool
) -> tuple[str, Any]:
    head, found, rest = statement.partition(") VALUES (")
    if found and statement.startswith("INSERT INTO "):
        statement = f"{head}) OVERRIDING SYSTEM VALUE VALUES ({rest}"
    return statement, parameters
