"""Run a migration on SQLite in one transaction, so that killing it at any point leaves no partial changes.

The sqlite3 driver begins a transaction before INSERT but not before CREATE or ALTER, which therefore commit at once,
and alembic treats SQLite as a database without transactional DDL. SQLite supports it: it only needs a BEGIN. Used by
`multisite.alembic.migrate` and `multisite.cli.upgrade`; other databases are not affected.

Foreign keys are not enforced meanwhile, but checked at the end. Alembic changes a table by creating a new one and
dropping the old one, and with enforcement on, dropping deletes all rows that refer to it. The pragma that disables
enforcement has no effect inside a transaction, hence the order: disable, BEGIN, migrate, check, COMMIT.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from alembic.ddl.sqlite import SQLiteImpl
from sqlalchemy import event
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import Connection, Engine

from multisite.core import program
from multisite.errors import MultisiteError

__all__ = ["ddl_operation", "ddl_transaction", "patch_ddl_transactions"]

BUSY_TIMEOUT_SECONDS = 60
"""How long a migration waits for another writing process, such as the same migration started twice."""


@contextmanager
def ddl_transaction(connection: Connection) -> Iterator[None]:
    """Run the block in one transaction, including its DDL, and commit it at the end.

    `connection` must not be in a transaction. On databases other than SQLite this is `connection.begin()`.

    Raises:
        MultisiteError: The block has broken foreign keys; the transaction is rolled back.
    """
    if not isinstance(connection.dialect, SQLiteDialect_pysqlite):
        with connection.begin():
            yield
        return
    # No event listener: the engine may belong to a running server, and each listener slows every statement.
    with _guarded(connection) as guard, connection.begin():
        guard.begin(connection)
        yield
        guard.check(connection)


@contextmanager
def ddl_operation(connection: Connection, what: str) -> Iterator[None]:
    """Run the block, a migration operation that rebuilds tables of SQLite, in one transaction.

    The block joins a transaction that has begun. Otherwise, as under plain `alembic upgrade`, it gets its own,
    committed at the end, in which foreign keys are not enforced. On other databases this does nothing.

    Args:
        connection: The connection of the migration.
        what: The name of the operation, for the error.

    Raises:
        MultisiteError: Foreign keys are enforced and a transaction has begun, so that enforcement cannot be disabled,
            in which case the block has not run; or the block has broken foreign keys.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    dbapi: Any = connection.connection.dbapi_connection
    can_begin = isinstance(connection.dialect, SQLiteDialect_pysqlite) and not dbapi.in_transaction
    if not can_begin:
        if connection.exec_driver_sql("PRAGMA foreign_keys").scalar():
            raise MultisiteError(
                f"{what} needs PRAGMA foreign_keys to be off, or the rows that refer to it would be deleted, and it "
                f"cannot be switched off in a transaction: run '{program.command('migrate')}', which does that before "
                "it begins one"
            )
        yield
        return
    with _guarded(connection) as guard:
        dbapi.isolation_level = None
        dbapi.execute("BEGIN IMMEDIATE")
        guard.broken_before = guard.count_broken()
        try:
            yield
            guard.check(connection)
            dbapi.commit()
        finally:
            dbapi.rollback()  # Does nothing after a commit.


@contextmanager
def patch_ddl_transactions() -> Iterator[None]:
    """Make DDL transactional on every SQLite connection opened in the block, since an env.py opens its own.

    Alembic then runs all revisions in one transaction, as on PostgreSQL. Meant for a process that migrates and ends:
    SQLAlchemy is a little slower once the class `Engine` has had a listener, even after it is removed.
    """
    with ExitStack() as stack:

        def guard_connection(connection: Connection) -> None:
            if not isinstance(connection.dialect, SQLiteDialect_pysqlite):
                return
            guard = stack.enter_context(_guarded(connection))
            # On the engine and not on the connection, so that they run after the application's own listeners: many
            # applications have one that emits BEGIN, which SQLite does not accept twice.
            for name, listener in (("begin", guard.begin), ("commit", guard.check)):
                event.listen(connection.engine, name, listener)
                stack.callback(event.remove, connection.engine, name, listener)

        event.listen(Engine, "engine_connect", guard_connection)
        stack.callback(event.remove, Engine, "engine_connect", guard_connection)
        stack.callback(setattr, SQLiteImpl, "transactional_ddl", SQLiteImpl.transactional_ddl)
        SQLiteImpl.transactional_ddl = True
        yield


@contextmanager
def _guarded(connection: Connection) -> Iterator[_Guard]:
    """Put the driver into manual transactions without enforcement of foreign keys, and restore its settings."""
    dbapi: Any = connection.connection.dbapi_connection
    autocommit = getattr(dbapi, "autocommit", None)  # New in Python 3.12.
    if autocommit is False:
        # This mode is always in a transaction, where the pragma below has no effect.
        dbapi.rollback()
        dbapi.autocommit = -1  # sqlite3.LEGACY_TRANSACTION_CONTROL, which Python 3.11 does not define.
    isolation_level = dbapi.isolation_level
    (enforced,) = dbapi.execute("PRAGMA foreign_keys").fetchone()
    (busy_milliseconds,) = dbapi.execute("PRAGMA busy_timeout").fetchone()
    dbapi.execute("PRAGMA foreign_keys = 0")
    dbapi.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_SECONDS * 1000}")
    try:
        yield _Guard(connection, dbapi)
    finally:
        # An env.py usually closes its connection before this.
        with suppress(sqlite3.ProgrammingError):
            dbapi.execute(f"PRAGMA busy_timeout = {busy_milliseconds}")
            dbapi.execute(f"PRAGMA foreign_keys = {enforced}")
            dbapi.isolation_level = isolation_level
            if autocommit is False:
                dbapi.autocommit = False


class _Guard:
    """Begins and checks the transactions of one connection."""

    def __init__(self, connection: Connection, dbapi: Any) -> None:
        self.connection = connection
        self.dbapi = dbapi
        self.broken_before: int | None = None

    def begin(self, connection: Connection) -> None:
        """Emit the BEGIN that SQLAlchemy only announces."""
        if connection is not self.connection:
            return
        if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            self.broken_before = None  # A revision uses autocommit_block().
            return
        self.dbapi.isolation_level = None
        if not self.dbapi.in_transaction:  # else a listener of the application has begun it
            # IMMEDIATE: a second process waits here, before it reads the current revisions.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        self.broken_before = self.count_broken()

    def check(self, connection: Connection) -> None:
        """Roll back and raise `MultisiteError` if the transaction has broken foreign keys."""
        if connection is not self.connection or self.broken_before is None:
            return
        broken = self.dbapi.execute("PRAGMA foreign_key_check").fetchall()
        if len(broken) <= self.broken_before:
            return
        self.dbapi.rollback()
        table, row, parent, _ = broken[0]
        raise MultisiteError(
            f"the migration was rolled back: it would leave {len(broken) - self.broken_before} foreign keys that point "
            f"to missing rows, such as from row {row} of the table {table} to the table {parent}"
        )

    def count_broken(self) -> int | None:
        """Return how many foreign keys point to missing rows.

        None if SQLite cannot tell because a foreign key refers to columns that are not unique. Such a database has
        never enforced any, and is not checked.
        """
        try:
            return len(self.dbapi.execute("PRAGMA foreign_key_check").fetchall())
        except sqlite3.OperationalError:
            return None
