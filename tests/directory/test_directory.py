"""The directory: cached sites cost no query, changes are seen in time, and outages of the database are survived."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from directories import Clock, counted
from sqlalchemy import event

from multisite import all_sites
from multisite.core import site as site_module
from multisite.core.current_site import using_site
from multisite.core.lru_cache import LRUCache
from multisite.core.site import Site
from multisite.directory import Directory, Match, cache, engine_from_url
from multisite.directory.deadline import run_with_timeout
from multisite.directory.models import DirectoryVersion, DomainRow, SiteRow
from multisite.directory.query import QueryResult, query_host
from multisite.errors import DirectoryUnavailable, InvalidHost, MultisiteError, UnknownSite
from multisite.sites.domains import add_domain, remove_domain


@pytest.fixture
def directory(engine: sa.Engine, clock: Clock) -> Directory:
    return Directory(engine, clock=clock)


def test_a_site_is_found_by_each_of_its_hosts_and_by_id(
    add: Callable[..., Site], own_engine: sa.Engine, directory: Directory
) -> None:
    site = add("a.example", name="A", aliases=["b.example"], locale="de", timezone="Europe/Berlin")
    add_domain(own_engine, "a.example", "c.example", redirect=True)
    assert directory.find("a.example") == Match(site, "canonical")
    assert directory.find("b.example") == Match(site, "alias")
    assert directory.find("c.example") == Match(site, "redirect")
    assert directory.find("d.example") is None
    assert directory.by_id(site.id) == site
    assert directory.resolve(site.id) == directory.resolve("C.Example.:8080") == site
    assert directory.resolve("d.example") is None
    with pytest.raises(InvalidHost):
        directory.resolve("a..b")


@pytest.mark.parametrize("site_id", [0, -1, 2**62, 2**63, 10**30])
def test_an_id_without_a_site_is_not_found(directory: Directory, site_id: int) -> None:
    assert directory.by_id(site_id) is None


def test_a_cached_host_costs_no_query_with_or_without_a_site(
    add: Callable[..., Site], engine: sa.Engine, directory: Directory, clock: Clock
) -> None:
    site = add("a.example")
    with counted(engine) as statements:
        assert [directory.find("a.example"), directory.find("b.example")] == [Match(site, "canonical"), None]
        assert len(statements) == 2
        clock.now += 0.99
        for _ in range(100):
            assert directory.find("a.example") is not None
            assert directory.find("b.example") is None
        assert len(statements) == 2
        clock.now += 0.02
        for _ in range(100):
            directory.find("a.example")
            directory.find("b.example")
        assert len(statements) == 3


def test_changes_by_other_processes_are_seen_within_refresh_seconds(
    add: Callable[..., Site], own_engine: sa.Engine, directory: Directory, clock: Clock
) -> None:
    first = add("a.example", aliases=["moving.example"])
    assert directory.find("moving.example") == Match(first, "alias")
    assert directory.find("new.example") is None
    assert directory.by_id(first.id + 1) is None
    remove_domain(own_engine, "moving.example")
    second = add("new.example", aliases=["moving.example"])
    # It does not check earlier, or every request would send a query.
    assert directory.find("moving.example") == Match(first, "alias")
    clock.now += 1
    assert directory.find("a.example") == Match(first, "canonical")
    assert directory.find("moving.example") == Match(second, "alias")
    assert directory.find("new.example") == Match(second, "canonical")
    assert directory.by_id(second.id) == second
    remove_domain(own_engine, "moving.example")
    clock.now += 1
    assert directory.find("moving.example") is None


def test_an_updated_row_is_seen(
    own_engine: sa.Engine, add: Callable[..., Site], directory: Directory, clock: Clock
) -> None:
    site = add("a.example")
    assert directory.find("a.example") == Match(site, "canonical")
    with all_sites("a test"), sa.orm.Session(own_engine) as session:
        session.get_one(SiteRow, site.id).name = "Renamed"
        session.commit()
    clock.now += 1
    match = directory.find("a.example")
    assert match is not None
    assert match.site.name == "Renamed"


def test_a_pending_site_is_not_found(
    own_engine: sa.Engine, add: Callable[..., Site], directory: Directory, clock: Clock
) -> None:
    site = add("a.example")
    with all_sites("a test"), sa.orm.Session(own_engine) as session:
        session.get_one(SiteRow, site.id).status = "pending"
        session.commit()
    assert directory.find("a.example") is None
    assert directory.by_id(site.id) is None


def test_entries_expire_at_max_age_even_if_the_version_is_unchanged(
    own_engine: sa.Engine, add: Callable[..., Site], directory: Directory, clock: Clock
) -> None:
    site = add("a.example")
    assert directory.find("a.example") is not None
    assert directory.find("b.example") is None
    with all_sites("a test"), own_engine.begin() as connection:
        # People edit tables by hand and forget the version.
        connection.execute(sa.insert(DomainRow).values(site_id=site.id, host="b.example", kind="alias"))
    for _ in range(299):
        clock.now += 1
        directory.find("a.example")
        assert directory.find("b.example") is None
    clock.now += 1
    assert directory.find("b.example") == Match(site, "alias")


def test_a_lower_version_counts_as_a_change(
    own_engine: sa.Engine, add: Callable[..., Site], directory: Directory, clock: Clock
) -> None:
    """As after restoring a backup."""
    add("a.example")
    assert directory.find("a.example") is not None
    with all_sites("a test"), own_engine.begin() as connection:
        connection.execute(sa.delete(DomainRow))
        connection.execute(sa.update(DirectoryVersion).values(version=0))
    clock.now += 1
    assert directory.find("a.example") is None


def make_race(own_engine: sa.Engine, engine: sa.Engine, directory: Directory, clock: Clock) -> Match | None:
    """Remove the alias `b.example` after it was read and before it is cached; return the later lookup."""
    read, changed = threading.Event(), threading.Event()

    def stop_once(_connection: object, _cursor: object, statement: str, *_others: object) -> None:
        if "domains" in statement and not read.is_set():
            read.set()
            assert changed.wait(60)

    event.listen(engine, "after_cursor_execute", stop_once)
    directory._cache._query_timeout_seconds = 60
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(directory.find, "b.example")
        assert read.wait(60)
        remove_domain(own_engine, "b.example")
        changed.set()
        assert early.result() is not None
    clock.now += 1
    directory.find("a.example")  # Reads the version, so that nothing else causes the next query.
    return directory.find("b.example")


@pytest.fixture
def postgresql_or_wal(own_engine: sa.Engine) -> None:
    """Use WAL mode, in which SQLite can commit during a read."""
    if own_engine.dialect.name == "sqlite":
        with own_engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")


@pytest.mark.usefixtures("postgresql_or_wal")
def test_an_entry_read_before_a_change_is_not_fresh_after_it(
    own_engine: sa.Engine, engine: sa.Engine, add: Callable[..., Site], directory: Directory, clock: Clock
) -> None:
    add("a.example", aliases=["b.example"])
    assert make_race(own_engine, engine, directory, clock) is None


@pytest.mark.usefixtures("postgresql_or_wal")
def test_an_entry_read_by_two_statements_would_be(
    own_engine: sa.Engine,
    engine: sa.Engine,
    add: Callable[..., Site],
    directory: Directory,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Negative control: read the entry first and the version afterwards."""

    def look_up_in_two_steps(engine: sa.Engine, key: str | int, _declared: object) -> QueryResult:
        answer = query_host(engine, key)
        with engine.connect() as connection:
            version = connection.execute(sa.select(DirectoryVersion.version)).scalar_one()
        return answer._replace(version=version)

    add("a.example", aliases=["b.example"])
    monkeypatch.setattr(cache, "query_host", look_up_in_two_steps)
    assert make_race(own_engine, engine, directory, clock) is not None


# Bounds.


def test_a_flood_of_unknown_hosts_evicts_no_site(
    own_engine: sa.Engine, engine: sa.Engine, add: Callable[..., Site], clock: Clock
) -> None:
    for name in "abcd":
        add(f"{name}.example")
    directory = Directory(engine, directory_size=8, clock=clock)
    for name in "abcd":
        assert directory.find(f"{name}.example") is not None
    for number in range(100):
        assert directory.find(f"unknown{number}.example") is None
    assert len(directory._cache._unknown) <= 8
    with counted(engine) as statements:
        for name in "abcd":
            assert directory.find(f"{name}.example") is not None
        assert statements == []


def test_an_lru_cache_is_bounded_and_keeps_recently_used_values() -> None:
    cache: LRUCache[int, str] = LRUCache(10)
    for number in range(1000):
        cache.set(number, str(number))
        assert cache.get(0) == "0"
        assert len(cache) <= 10
    assert cache.get(999) == "999"
    assert cache.get(500) is None
    cache.discard(0)
    cache.discard(12345)
    assert cache.get(0) is None


def test_an_lru_cache_stays_bounded_when_it_is_only_read() -> None:
    cache: LRUCache[int, str] = LRUCache(10)
    for number in range(1000):
        cache.set(number, str(number))
        for recent in range(number - 20, number):
            cache.get(recent)
        assert len(cache._young) + len(cache._old) <= 10


def test_the_smallest_directory_works(
    own_engine: sa.Engine, engine: sa.Engine, add: Callable[..., Site], clock: Clock
) -> None:
    add("a.example")
    add("b.example")
    directory = Directory(engine, directory_size=1, clock=clock)
    for _ in range(3):
        for host in ("a.example", "b.example"):
            match = directory.find(host)
            assert match is not None
            assert match.site.host == host
        assert directory.find("c.example") is None


# Threads.


def test_concurrent_misses_of_one_host_send_one_query(
    engine: sa.Engine, add: Callable[..., Site], directory: Directory
) -> None:
    site = add("a.example")
    gate = threading.Barrier(16)

    def ask(_number: int) -> Match | None:
        gate.wait()
        return directory.find("a.example")

    with counted(engine) as statements, ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(16))) == [Match(site, "canonical")] * 16
    assert len(statements) == 1


@contextmanager
def hanging(engine: sa.Engine) -> Iterator[threading.Event]:
    """Make every statement on `engine` hang until the end of the block; the event is set when one does."""
    hangs, released = threading.Event(), threading.Event()

    def hang(*_anything: object) -> None:
        hangs.set()
        released.wait(60)

    event.listen(engine, "before_cursor_execute", hang)
    try:
        yield hangs
    finally:
        released.set()
        event.remove(engine, "before_cursor_execute", hang)


def test_other_threads_are_served_during_a_refresh(
    engine: sa.Engine, add: Callable[..., Site], directory: Directory, clock: Clock
) -> None:
    site = add("a.example")
    directory.find("a.example")
    directory.find("unknown.example")
    directory._cache._query_timeout_seconds = 60
    with ThreadPoolExecutor(1) as pool:
        with hanging(engine) as hangs:
            clock.now += 1
            check = pool.submit(directory.find, "a.example")
            assert hangs.wait(60)
            for _ in range(10):
                assert directory.find("a.example") == Match(site, "canonical")
                assert directory.find("unknown.example") is None
            assert not check.done()
        assert check.result() == Match(site, "canonical")


def test_an_unknown_host_stays_unknown_while_another_thread_finds_a_change(
    add: Callable[..., Site], directory: Directory, clock: Clock
) -> None:
    add("a.example")
    assert directory.find("unknown.example") is None

    class Taken:
        """The turn of another thread, which finds a new version just then."""

        def acquire(self, **_how: object) -> bool:
            directory._cache._version += 1
            return False

    clock.now += 1
    directory._cache._refresh_lock = Taken()  # type: ignore[assignment]
    assert directory.find("unknown.example") is None


def settle(directory: Directory) -> None:
    """Wait for the background refresh of an outage to end."""
    with directory._cache._refresh_lock:
        pass


def test_a_hanging_database_is_waited_for_once_and_then_left_alone(
    engine: sa.Engine, add: Callable[..., Site], directory: Directory, clock: Clock
) -> None:
    site = add("a.example")
    directory.find("a.example")
    # Long enough to reach the query; otherwise the connection would time out first.
    directory._cache._query_timeout_seconds = 1.0
    with hanging(engine) as hangs:
        with pytest.raises(DirectoryUnavailable, match="does not answer"):
            directory.find("cold.example")
        assert hangs.wait(60)
        hangs.clear()
        clock.now += 9
        with pytest.raises(DirectoryUnavailable):
            directory.find("cold.example")
        assert directory.find("a.example") == Match(site, "canonical")
        assert not hangs.is_set()
        clock.now += 1
        # A retry is due; cached sites are served immediately, whatever its result.
        assert directory.find("a.example") == Match(site, "canonical")
        assert hangs.wait(60)
        settle(directory)
    directory._cache._query_timeout_seconds = 60
    clock.now += 10
    assert directory.find("cold.example") is None


def test_run_with_timeout_returns_the_result_or_raises_the_error() -> None:
    assert run_with_timeout(lambda: 42, 60) == 42
    assert run_with_timeout(lambda: None, 60) is None
    with pytest.raises(ZeroDivisionError):
        run_with_timeout(lambda: 1 // 0, 60)


# A database that is down.


@contextmanager
def down(own_engine: sa.Engine, engine: sa.Engine) -> Iterator[None]:
    """Rename the tables inside the block, so that every query on them fails."""
    with own_engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE multisite_version RENAME TO gone")
    try:
        yield
    finally:
        with own_engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE gone RENAME TO multisite_version")


def test_while_the_database_is_down_cached_sites_are_served_and_the_outage_is_logged_now_and_then(
    own_engine: sa.Engine,
    engine: sa.Engine,
    add: Callable[..., Site],
    directory: Directory,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="multisite.directory")
    site = add("a.example")
    directory.find("a.example")
    directory.find("unknown.example")
    with down(own_engine, engine):
        for _ in range(400):
            clock.now += 1
            assert directory.find("a.example") == Match(site, "canonical")
            settle(directory)
        with pytest.raises(DirectoryUnavailable):
            directory.find("cold.example")
        with pytest.raises(DirectoryUnavailable):
            # A host that was unknown long ago may have a site by now.
            directory.find("unknown.example")
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 7
    clock.now += 1
    assert directory.find("cold.example") is None
    assert directory.find("unknown.example") is None
    assert caplog.records[-1].getMessage() == "the directory of sites can be read again"
    add("cold.example")
    clock.now += 1
    assert directory.find("cold.example") is not None


def test_the_first_query_after_a_database_restart_succeeds(
    postgresql_url: str, own_engine: sa.Engine, engine: sa.Engine, add: Callable[..., Site], directory: Directory
) -> None:
    """The pooled connections are dead then; on SQLite nothing can die."""
    site = add("a.example")
    assert directory.find("b.example") is None
    if engine.dialect.name == "postgresql":
        server = sa.create_engine(postgresql_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with server.connect() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                f"WHERE datname = '{engine.url.database}' AND pid <> pg_backend_pid()"
            )
    assert directory.find("a.example") == Match(site, "canonical")


def test_without_a_version_the_error_names_the_command_to_run(own_engine: sa.Engine, directory: Directory) -> None:
    with own_engine.begin() as connection:
        connection.execute(sa.delete(DirectoryVersion))
    with pytest.raises(DirectoryUnavailable, match="multisite migrate"):
        directory.find("a.example")


# Overrides, and the current site.

PLANTED = Site(7, "planted.example", "Planted", "planted.example")


def test_an_override_is_found_without_tables(tmp_path: Path, clock: Clock) -> None:
    engine = engine_from_url(f"sqlite:///{tmp_path / 'empty.db'}")
    directory = Directory(engine, clock=clock)
    directory.add_override(PLANTED, ["www.planted.example"])
    assert directory.find("planted.example") == Match(PLANTED, "canonical")
    assert directory.find("www.planted.example") == Match(PLANTED, "alias")
    assert directory.by_id(7) == PLANTED
    clock.now += 10_000
    assert directory.resolve("planted.example") == PLANTED
    directory.remove_override(PLANTED)
    with pytest.raises(DirectoryUnavailable):
        directory.find("planted.example")
    engine.dispose()


def test_an_override_takes_precedence_over_the_tables_until_it_is_removed(
    add: Callable[..., Site], directory: Directory
) -> None:
    site = add("a.example")
    directory.add_override(PLANTED, ["a.example"])
    assert directory.find("a.example") == Match(PLANTED, "alias")
    directory.remove_override(PLANTED)
    assert directory.find("a.example") == Match(site, "canonical")


def test_using_site_finds_sites_in_an_activated_directory_as_long_as_it_lives(
    add: Callable[..., Site], engine: sa.Engine
) -> None:
    site = add("a.example")
    before = list(site_module._resolvers)
    directory = Directory(engine)
    assert site_module._resolvers == before
    directory.activate()
    directory.activate()
    assert len(site_module._resolvers) == len(before) + 1
    with using_site("A.example") as found:
        assert found == site
    with using_site(site.id) as found:
        assert found == site
    with pytest.raises(UnknownSite), using_site("b.example"):
        pass
    del directory
    gc.collect()
    assert site_module._resolvers == before


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file::memory:?cache=shared&uri=true",
        "sqlite:///file:name?mode=memory&uri=true",
    ],
)
def test_an_in_memory_database_is_rejected_with_the_reason(url: str) -> None:
    with pytest.raises(MultisiteError, match=r"an in-memory database .*plant_site"):
        Directory(sa.create_engine(url, poolclass=sa.NullPool))


@pytest.mark.parametrize("enforcing", [True, False], ids=["ours", "control"])
def test_our_engines_enforce_foreign_keys_on_sqlite(tmp_path: Path, enforcing: bool) -> None:
    from databases import make_own_tables

    url = f"sqlite:///{tmp_path / 'own.db'}"
    engine = engine_from_url(url) if enforcing else sa.create_engine(url)
    make_own_tables(engine)
    orphan = sa.insert(DomainRow).values(site_id=12345, host="orphan.example", kind="alias")
    with all_sites("a test"), engine.begin() as connection:
        if enforcing:
            with pytest.raises(sa.exc.IntegrityError):
                connection.execute(orphan)
        else:
            connection.execute(orphan)
    engine.dispose()


def test_a_million_domains_cost_nothing_at_startup(engine: sa.Engine) -> None:
    """Creating a directory reads nothing, so it takes the same time for any number of sites."""
    with counted(engine) as statements:
        Directory(engine).activate()
    assert statements == []
