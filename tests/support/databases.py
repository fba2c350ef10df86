"""Databases for the tests: a PostgreSQL server, fresh databases on it, engines, and multisite's own tables."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import site_keys
import sqlalchemy as sa
from postgresql_databases import fresh_postgresql, keep_filled, running_postgresql, sql_runner, swap_filled
from sqlalchemy.util import LRUCache

from multisite.alembic.migrate import upgrade_own
from multisite.directory import engine_from_url, engines
from multisite.directory.models import AS_MULTISITE, DirectoryVersion, metadata

__all__ = [
    "POSTGRESQL_IN_THE_LONG_RUN", "TWO_WORKERS", "closing_engine", "fill_database",
    "forget_statements", "fresh_database", "fresh_postgresql", "make_own_tables", "migrate_own",
    "running_postgresql", "share_statements", "share_statements_of_new_engines", "sql_runner",
    "wait_for_directory_threads",
]  # fmt: skip

POSTGRESQL_IN_THE_LONG_RUN = pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)], indirect=True
)
"""Marks a test, with a database of its own, of what hardly depends on the database, such as rendering or imports."""

TWO_WORKERS = "two workers"
"""A parameter beside "sqlite" and "postgresql" of a fixture of sites: `has_two_workers`."""

BACKGROUND_THREADS = frozenset({"multisite-directory", "multisite-directory-refresh", "multisite-directory-names"})
"""The threads in which a directory reads. The application does not wait for them if the database does not answer."""


def wait_for_directory_threads() -> None:
    """Wait until no directory reads: if returned to a disposed engine, a connection is only closed by the collector."""
    end = time.monotonic() + 5
    while time.monotonic() < end and any(thread.name in BACKGROUND_THREADS for thread in threading.enumerate()):
        time.sleep(0.01)


@contextmanager
def fresh_database(request: pytest.FixtureRequest, folder: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of an empty database of the kind in `request.param`, for fixtures that several tests share.

    `TWO_WORKERS` stands for SQLite, in fixtures that then have two workers.
    """
    if request.param in {"sqlite", TWO_WORKERS}:
        yield f"sqlite:///{folder.mktemp('database')}/test.db"
    else:
        with fresh_postgresql(request.getfixturevalue("postgresql_url")) as url:
            yield url


@contextmanager
def closing_engine(url: str) -> Iterator[sa.Engine]:
    """Yield an engine as multisite creates it; close its connections after the block."""
    engine = engine_from_url(url)
    try:
        yield engine
    finally:
        wait_for_directory_threads()
        engine.dispose()


class _Statements(LRUCache[Any, Any]):
    """Compiled statements of several engines; the first item of a key is the dialect of one engine."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(key[1:], default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key[1:], value)


_statements: dict[str, _Statements] = {}
"""By dialect and driver."""


def share_statements(engine: sa.Engine) -> sa.Engine:
    """Let an engine use the statements that others compiled in this test file, and return it.

    Of the 24 ms in which an engine first adds a site, 19 compile statements. Where the compiler itself is under test,
    only engines that prepare a test share.
    """
    engine._compiled_cache = _statements.setdefault(f"{engine.dialect.name}+{engine.driver}", _Statements(1000))
    return engine


def share_statements_of_new_engines(*, share: bool) -> None:
    """Let the engines that multisite creates from now on share their statements, or compile their own."""
    engines._prepared = _prepared_to_share if share else _prepared


_prepared = engines._prepared


def _prepared_to_share(engine: sa.Engine) -> sa.Engine:
    return share_statements(_prepared(engine))


def forget_statements() -> None:
    """Let the next test file compile its own statements: this one may have replaced parts of the compiler."""
    _statements.clear()


def make_own_tables(engine: sa.Engine) -> None:
    """Create multisite's own tables, and the one row with the version of the directory."""
    fill_database(engine, _create_own_tables)


def _create_own_tables(engine: sa.Engine) -> None:
    metadata.create_all(engine)
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.insert(DirectoryVersion).values(id=1, version=0))
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        # If another test of this process has turned on the page cache, it has counted the row above as a change.
        connection.execute(sa.delete(metadata.tables["multisite_changes"]))


def migrate_own(engine: sa.Engine) -> None:
    """Do what `upgrade_own` does, for tests that need the tables that the migrations create, and do not test them."""
    fill_database(engine, upgrade_own)


_files: dict[Callable[[sa.Engine], object], bytes] = {}
_scripts: dict[Callable[[sa.Engine], object], str] = {}
"""The SQLite file and the statements for PostgreSQL, by the function that first filled a database with them."""

_recordings: list[list[str]] = []
"""The statements of the functions that run: one may call `fill_database`, whose statements are then sent at once."""


def fill_database(engine: sa.Engine, fill: Callable[[sa.Engine], object]) -> None:
    """Do what `fill(engine)` does; if the database is empty, without running its code a second time.

    `fill` is a function of a module. On SQLite, the file that its first call created is copied. On PostgreSQL, the
    database of an earlier test is used, if its tables were created by `fill` and have not changed; else the statements
    that the first call executed are sent again, at once.
    """
    if engine.url.database == ":memory:" or site_keys.KEYS == "citus":  # Tables are distributed by queries.
        fill(engine)
    elif engine.dialect.name == "sqlite":
        _fill_sqlite(engine, fill)
    else:
        _fill_postgresql(engine, fill)


def _fill_sqlite(engine: sa.Engine, fill: Callable[[sa.Engine], object]) -> None:
    path = Path(engine.url.database or "")
    if path.exists():
        fill(engine)
    elif fill in _files:
        path.write_bytes(_files[fill])
    else:
        fill(engine)
        if path.exists():  # Not in memory.
            engine.dispose()  # Closing the last connection moves the write-ahead log into the file.
            content = path.read_bytes()
            # In bytes 18 and 19 of its header, a file says whether it has such a log; each engine decides for itself.
            _files[fill] = content[:18] + b"\1\1" + content[20:]


def _fill_postgresql(engine: sa.Engine, fill: Callable[[sa.Engine], object]) -> None:
    url = engine.url.render_as_string(hide_password=False)
    with sql_runner(url) as run:
        if run("SELECT 1 FROM pg_class WHERE oid >= 16384 LIMIT 1"):
            fill(engine)
            return
    if not _recordings and swap_filled(url, fill):
        return
    if fill in _scripts:
        with sql_runner(url) as run:
            run(_scripts[fill])
        for statements in _recordings:
            statements.append(_scripts[fill])
    else:
        _scripts[fill] = _recorded(engine, fill)
    if not _recordings:
        keep_filled(url, fill)


def _recorded(engine: sa.Engine, fill: Callable[[sa.Engine], object]) -> str:
    """Call `fill(engine)`, and return the statements that it executed, except queries, with their values."""
    import psycopg

    statements: list[str] = []

    def record(_connection: Any, cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "SHOW", "WITH")):
            quoting = psycopg.ClientCursor(cursor.connection)
            statements.extend(quoting.mogrify(statement, each) for each in (values if many else [values]))

    sa.event.listen(engine, "after_cursor_execute", record)
    _recordings.append(statements)
    try:
        fill(engine)
    finally:
        sa.event.remove(engine, "after_cursor_execute", record)
        _recordings.pop()
    return ";\n".join(statements)
