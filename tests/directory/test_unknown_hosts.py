"""A flood of different unknown hosts costs neither queries nor memory, and hides no new site."""

from __future__ import annotations

import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from directories import Clock, counted
from sqlalchemy import event

from multisite import all_sites
from multisite.core.site import Site
from multisite.directory import Directory, Match, unknown_hosts
from multisite.directory.bloom_filter import MAX_BYTES, BloomFilter
from multisite.directory.models import DomainRow, SiteRow
from multisite.errors import DirectoryUnavailable
from multisite.sites.domains import add_domain, remove_domain

SOAK = bool(os.environ.get("MULTISITE_SOAK"))
HOSTS = 100_000 if SOAK else 10_000
DOMAINS = 1_000_000 if SOAK else 20_000


def query_unknown_hosts(directory: Directory, names: Iterator[int], times: int = unknown_hosts.MIN_MISSES) -> None:
    """Look up this many hosts without a site, then wait for the filter if it is being built."""
    for _ in range(times):
        assert directory.find(f"w{next(names)}.unknown.example") is None
    reader = directory._cache._host_filter._reader
    if reader is not None:
        reader.join(60)
        assert not reader.is_alive()


@pytest.fixture
def names() -> Iterator[int]:
    return iter(range(10**9))


def test_thousands_of_unknown_hosts_cost_neither_queries_nor_memory(
    add: Callable[..., Site], engine: sa.Engine, clock: Clock, names: Iterator[int]
) -> None:
    site = add("a.example", aliases=["*.wild.example"])
    directory = Directory(engine, clock=clock)
    assert directory.find("a.example") == Match(site, "canonical")
    with counted(engine) as statements:
        query_unknown_hosts(directory, names)
        # The misses, the number of domains, the version before and after, and one page of names.
        assert len(statements) == unknown_hosts.MIN_MISSES + 4
        tracemalloc.start()
        for number in names:
            if number == HOSTS:
                break
            assert directory.find(f"w{number}.unknown.example") is None
            if number % 1000 == 0:
                assert directory.find("a.example") == Match(site, "canonical")
        grown, _peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # Some are false positives: 1 in 400 in a full filter.
        assert len(statements) < HOSTS / 20
    assert grown < 1_000_000
    assert directory.find("x.y.wild.example") == Match(site, "alias")


def test_without_the_filter_each_costs_a_query(
    add: Callable[..., Site], engine: sa.Engine, clock: Clock, names: Iterator[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    add("a.example")
    monkeypatch.setattr(unknown_hosts.NegativeHostFilter, "definitely_absent", lambda *_anything: False)
    directory = Directory(engine, clock=clock)
    with counted(engine) as statements:
        query_unknown_hosts(directory, names, 500)
        assert len(statements) >= 500


def test_a_site_added_during_a_flood_is_found_without_delay(
    own_engine: sa.Engine, add: Callable[..., Site], engine: sa.Engine, clock: Clock, names: Iterator[int]
) -> None:
    add("a.example")
    directory = Directory(engine, clock=clock)
    for number in range(3):
        query_unknown_hosts(directory, names)
        with counted(engine) as statements:
            assert directory.find(f"new{number}.example") is None
            assert directory.find(f"www.wild{number}.example") is None
            assert statements == []
        site = add(f"new{number}.example")
        add_domain(own_engine, f"new{number}.example", f"*.wild{number}.example")
        clock.now += 1
        assert directory.find(f"new{number}.example") == Match(site, "canonical")
        assert directory.find(f"www.wild{number}.example") == Match(site, "alias")
        query_unknown_hosts(directory, names)
        assert directory.find(f"new{number}.example") == Match(site, "canonical")
        remove_domain(own_engine, f"*.wild{number}.example")
        clock.now += 1
        assert directory.find(f"www.wild{number}.example") is None


def test_a_row_inserted_by_hand_is_seen_at_max_age(
    own_engine: sa.Engine, add: Callable[..., Site], engine: sa.Engine, clock: Clock, names: Iterator[int]
) -> None:
    site = add("a.example")
    directory = Directory(engine, clock=clock)
    query_unknown_hosts(directory, names)
    with all_sites("a test"), own_engine.begin() as connection:
        connection.execute(sa.insert(DomainRow).values(site_id=site.id, host="hand.example", kind="alias"))
    for _ in range(299):
        clock.now += 1
        directory.find("a.example")
        assert directory.find("hand.example") is None
    clock.now += 1
    assert directory.find("hand.example") == Match(site, "alias")


@pytest.fixture
def change_while_read(
    own_engine: sa.Engine, engine: sa.Engine, add: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[Site]]:
    """Add a site right after the page that would have contained its name was read; append it to the list."""
    monkeypatch.setattr(unknown_hosts, "PAGE_NAMES", 2)
    added: list[Site] = []

    def change(_connection: object, _cursor: object, statement: str, *_others: object) -> None:
        if threading.current_thread().name == "multisite-directory-names" and "LIMIT" in statement and not added:
            # Its id is lower than that of the last row read.
            added.append(add("between.example"))
            with all_sites("a test"), own_engine.begin() as connection:
                connection.execute(sa.update(DomainRow).where(DomainRow.host == "between.example").values(id=-1))

    event.listen(engine, "after_cursor_execute", change)
    yield added
    event.remove(engine, "after_cursor_execute", change)


@pytest.fixture
def wal(own_engine: sa.Engine) -> None:
    """Use WAL mode, in which SQLite can commit during a read."""
    if own_engine.dialect.name == "sqlite":
        with own_engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")


@pytest.mark.usefixtures("wal")
@pytest.mark.parametrize("guarded", [True, False], ids=["ours", "control"])
def test_a_site_added_while_the_names_are_read_is_not_ruled_out(
    add: Callable[..., Site],
    engine: sa.Engine,
    clock: Clock,
    names: Iterator[int],
    change_while_read: list[Site],
    guarded: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in "abc":
        add(f"{name}.example")
    if not guarded:
        # Takes the final version for that of all pages.
        monkeypatch.setattr(unknown_hosts, "_version", lambda engine: directory._cache._version + 2)
    directory = Directory(engine, clock=clock)
    query_unknown_hosts(directory, names)
    clock.now += 1
    directory.find("a.example")
    assert len(change_while_read) == 1
    found = directory.find("between.example")
    assert found == (Match(change_while_read[0], "canonical") if guarded else None)


def test_while_the_database_is_down_nothing_is_ruled_out(
    own_engine: sa.Engine, add: Callable[..., Site], engine: sa.Engine, clock: Clock, names: Iterator[int]
) -> None:
    add("a.example")
    directory = Directory(engine, clock=clock)
    query_unknown_hosts(directory, names)
    assert directory.find("other.example") is None
    with own_engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE multisite_version RENAME TO gone")
    clock.now += 1
    for _ in range(3):
        with pytest.raises(DirectoryUnavailable):
            directory.find("other.example")
    with own_engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO multisite_version")
    clock.now += 1
    assert directory.find("other.example") is None


def test_reading_the_names_is_retried_after_an_error(
    own_engine: sa.Engine, add: Callable[..., Site], engine: sa.Engine, clock: Clock, names: Iterator[int]
) -> None:
    add("a.example")
    directory = Directory(engine, clock=clock)

    def fail(_connection: object, _cursor: object, statement: str, *_others: object) -> None:
        if "LIMIT" in statement:
            raise OSError("no such thing")

    event.listen(engine, "before_cursor_execute", fail)
    query_unknown_hosts(directory, names)
    assert directory._cache._host_filter._names is None
    event.remove(engine, "before_cursor_execute", fail)
    query_unknown_hosts(directory, names)
    assert directory._cache._host_filter._names is not None


# Many names.


def test_with_many_domains_the_filter_is_built_after_enough_misses_and_hides_no_domain(
    own_engine: sa.Engine, engine: sa.Engine, clock: Clock, names: Iterator[int]
) -> None:
    with all_sites("a test"), own_engine.begin() as connection:
        connection.execute(sa.insert(SiteRow).values(id=1, name="x", folder="x"))
        connection.execute(sa.insert(DomainRow).values(site_id=1, host="x.example", kind="canonical"))
        connection.exec_driver_sql(
            "INSERT INTO domains (site_id, host, kind) "
            f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {DOMAINS - 1}) "
            "SELECT 1, CASE WHEN i % 10 = 0 THEN '*.' ELSE '' END || 's' || i || '.example', 'alias' FROM n".replace(
                "%", "%%" if own_engine.dialect.name == "postgresql" else "%"
            )
        )
    directory = Directory(engine, clock=clock)
    worth = max(unknown_hosts.MIN_MISSES, DOMAINS // unknown_hosts.NAMES_PER_MISS)
    with counted(engine) as statements:
        query_unknown_hosts(directory, names, worth)
        query_unknown_hosts(directory, names, unknown_hosts.MIN_MISSES)
        known = directory._cache._host_filter._names
        assert known is not None
        asked = len(statements)
        query_unknown_hosts(directory, names, 10_000)
        assert len(statements) - asked < 500
    assert known.hosts.size_bytes + known.wildcards.size_bytes <= min(10_000_000, 5 * DOMAINS)
    for number in range(0, DOMAINS, 7):
        prefix = "www." * (number % 10 == 0)
        assert not directory._cache._host_filter.definitely_absent(
            f"{prefix}s{number}.example", directory._cache._version, clock.now
        )


def test_a_bloom_filter_has_no_false_negatives_and_few_false_positives() -> None:
    held = BloomFilter(10_000)
    for number in range(10_000):
        held.add(f"in{number}")
    assert all(f"in{number}" in held for number in range(10_000))
    assert sum(f"out{number}" in held for number in range(100_000)) < 1_000
    for number in range(10_000, 300_000):
        held.add(f"in{number}")
    assert all(f"in{number}" in held for number in range(0, 300_000, 10))
    assert BloomFilter(10**9).size_bytes == MAX_BYTES
    assert BloomFilter(0).size_bytes == 128
    assert "x" not in BloomFilter(0)


def test_false_positives_are_unpredictable() -> None:
    """Two filters with the same names have different false positives."""
    filters = [BloomFilter(100), BloomFilter(100)]
    for each in filters:
        for number in range(400):
            each.add(f"in{number}")
    mistaken = [{number for number in range(1000) if f"out{number}" in each} for each in filters]
    assert mistaken[0] != mistaken[1]
    assert all(mistaken)
