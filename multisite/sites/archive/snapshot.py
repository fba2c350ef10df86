"""A connection that sees one state of the database, while others go on writing."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from multisite.directory.engines import engine_from_url
from multisite.directory.tables import AS_MULTISITE
from multisite.sites.archive.comparing import stable_texts

__all__ = ["readable", "snapshot"]


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """Yield a connection to one state of the database of `engine`.

    On PostgreSQL that is a transaction with the isolation level REPEATABLE READ, and on SQLite a transaction in the
    database or in a copy.
    """
    if engine.dialect.name == "postgresql":
        options = {**AS_MULTISITE, "isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        connected = engine.connect().execution_options(**options)
        with connected as connection, connection.begin(), stable_texts(connection):
            yield connection
        return
    with readable(engine) as source, source.connect().execution_options(**AS_MULTISITE) as connection:
        connection.exec_driver_sql("BEGIN")
        yield connection


@contextmanager
def readable(engine: Engine) -> Iterator[Engine]:
    """Yield an engine for several snapshots, whose transactions make no writer wait.

    That is `engine`, except on SQLite without a write-ahead log: an open transaction would make writers wait there, so
    that the database is copied as it is now.
    """
    if engine.dialect.name == "postgresql":
        yield engine
        return
    with engine.connect() as connection:
        has_log = connection.scalar(sa.text("PRAGMA journal_mode")) == "wal"
    if has_log:
        yield engine
        return
    with tempfile.TemporaryDirectory(prefix="multisite-export-") as folder:
        copy = Path(folder, "copy.db")
        target = sqlite3.connect(copy)
        try:
            with engine.connect() as connection:
                connection.connection.driver_connection.backup(target)  # type: ignore[union-attr]
            target.execute("PRAGMA journal_mode = WAL")
        finally:
            target.close()
        yield engine_from_url(sa.URL.create("sqlite", database=str(copy)), poolclass=sa.NullPool)
