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
from multisite.directory.models import AS_MULTISITE
from multisite.sites.archive.comparing import stable_texts

__all__ = ["snapshot"]


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """Yield a connection to one state of the database of `engine`.

    On PostgreSQL that is a transaction with the isolation level REPEATABLE READ. On SQLite with a write-ahead log it is
    a transaction too. Otherwise an open transaction would make writers wait there, so that the database is copied
    first.
    """
    if engine.dialect.name == "postgresql":
        options = {**AS_MULTISITE, "isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        connected = engine.connect().execution_options(**options)
        with connected as connection, connection.begin(), stable_texts(connection):
            yield connection
        return
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        if connection.scalar(sa.text("PRAGMA journal_mode")) == "wal":
            connection.rollback()
            connection.exec_driver_sql("BEGIN")
            yield connection
            return
        with tempfile.TemporaryDirectory(prefix="multisite-export-") as folder:
            copy = Path(folder, "copy.db")
            target = sqlite3.connect(copy)
            try:
                connection.connection.driver_connection.backup(target)  # type: ignore[union-attr]
            finally:
                target.close()
            copied = engine_from_url(sa.URL.create("sqlite", database=str(copy)), poolclass=sa.NullPool)
            with copied.connect().execution_options(**AS_MULTISITE) as on_copy:
                yield on_copy
