"""Make a migration on SQLite one transaction: killed at any point, it leaves nothing half-made.

The sqlite3 driver begins a transaction before INSERT but not before CREATE or ALTER, so each of those is for good at
once, and alembic therefore treats SQLite as a database that cannot take DDL back. SQLite can: it only needs a BEGIN.
Used by `multisite.migrate`; other databases are left alone.

References are not enforced meanwhile, but checked at the end. alembic changes a table by making a new one and dropping
the old one, and dropping deletes all rows that refer to it where references are enforced. The pragma that switches
enforcement off does nothing inside a transaction, hence the order: off, BEGIN, migrate, check, COMMIT.
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

from multisite import program
from multisite.errors import MultisiteError

__all__ = ["ddl_operation", "ddl_transaction", "patch_ddl_transactions"]

BUSY_SECONDS = 60
"""How long a migration waits for another process that is writing, such as the same migration started twice."""


@contextmanager
def ddl_transaction(connection: Connection) -> Iterator[None]:
    """Run the block in one transaction, committed at its end; `connection` is not in a transaction yet.

    Raises `MultisiteError`, and rolls back, where more references would point at nothing than before. On databases
    other than SQLite this is `connection.begin()`.
    """
    if not isinstance(connection.dialect, SQLiteDialect_pysqlite):
        with connection.begin():
            yield
        return
    # No listener here: the engine may be that of a running server, where each costs a little at every statement.
    with _guarded(connection) as guard, connection.begin():
        guard.begin(connection)
        yield
        guard.check(connection)


@contextmanager
def ddl_operation(connection: Connection, what: str) -> Iterator[None]:
    """Run the block, an operation of a migration that makes tables of SQLite anew, in one transaction.

    In a transaction that has begun, it is part of that; otherwise, as under plain `alembic upgrade`, it has one of its
    own, committed at its end, with references not enforced. `what` is what the operation does. Raises
    `MultisiteError`, before the block, where references are enforced and it is too late to change that. Does nothing
    on other databases.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    dbapi: Any = connection.connection.dbapi_connection
    can_begin = isinstance(connection.dialect, SQLiteDialect_pysqlite) and not dbapi.in_transaction
    if not can_begin:
        if connection.exec_driver_sql("PRAGMA foreign_keys").scalar():
            raise MultisiteError(
                f"{what} needs PRAGMA foreign_keys to be off, or the rows that refer to it would be deleted, and in a "
                f"transaction it cannot be switched off: run '{program.command('migrate')}', which does that before it "
                "begins"
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
            dbapi.rollback()  # Does nothing where all went well.


@contextmanager
def patch_ddl_transactions() -> Iterator[None]:
    """Make every transaction on a connection that is opened in the block a whole one, since an env.py makes its own.

    alembic then runs all revisions in one transaction, as it does on PostgreSQL. Meant for a process that migrates and
    ends: SQLAlchemy executes a little slower once a listener has been put on the class `Engine`, even a removed one.
    """
    with ExitStack() as stack:

        def guard_connection(connection: Connection) -> None:
            if not isinstance(connection.dialect, SQLiteDialect_pysqlite):
                return
            guard = stack.enter_context(_guarded(connection))
            # On the engine and not on the connection, so that it runs after the application's own listeners: many
            # have one that begins, and SQLite does not begin twice.
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
    """Let the driver of `connection` begin when told to and enforce no references; restores what it was set to."""
    dbapi: Any = connection.connection.dbapi_connection
    autocommit = getattr(dbapi, "autocommit", None)  # New in Python 3.12.
    if autocommit is False:
        # This way of working is always in a transaction, where the pragma below would do nothing.
        dbapi.rollback()
        dbapi.autocommit = -1  # sqlite3.LEGACY_TRANSACTION_CONTROL, which Python 3.11 has no name for.
    isolation_level = dbapi.isolation_level
    (enforced,) = dbapi.execute("PRAGMA foreign_keys").fetchone()
    (busy_milliseconds,) = dbapi.execute("PRAGMA busy_timeout").fetchone()
    dbapi.execute("PRAGMA foreign_keys = 0")
    dbapi.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    try:
        yield _Guard(connection, dbapi)
    finally:
        # The connection may be closed by now, which is the usual end of one that an env.py has made.
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
        """Begin really, where SQLAlchemy only says so."""
        if connection is not self.connection:
            return
        if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            self.broken_before = None  # A revision has asked for that with autocommit_block().
            return
        self.dbapi.isolation_level = None
        if not self.dbapi.in_transaction:  # else a listener of the application's engine has begun already
            # IMMEDIATE: a second process waits here, before it has read which revisions there are.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        self.broken_before = self.count_broken()

    def check(self, connection: Connection) -> None:
        """Raise `MultisiteError`, having rolled back, if the transaction has broken references."""
        if connection is not self.connection or self.broken_before is None:
            return
        broken = self.dbapi.execute("PRAGMA foreign_key_check").fetchall()
        if len(broken) <= self.broken_before:
            return
        self.dbapi.rollback()
        table, row, parent, _ = broken[0]
        raise MultisiteError(
            f"the migration was rolled back: it would leave {len(broken) - self.broken_before} references that point "
            f"at nothing, such as from row {row} of the table {table} to the table {parent}"
        )

    def count_broken(self) -> int | None:
        """Return how many references point at nothing already, which is not this migration's fault.

        None where SQLite cannot tell, since a reference is to columns that are not unique; such a database has never
        enforced anything, and is not checked.
        """
        try:
            return len(self.dbapi.execute("PRAGMA foreign_key_check").fetchall())
        except sqlite3.OperationalError:
            return None
