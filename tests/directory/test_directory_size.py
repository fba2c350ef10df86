"""A directory of many domains: no startup cost, one indexed query per miss, and bounded memory."""

from __future__ import annotations

import gc
import os
import tracemalloc
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine
from sqlalchemy import event

from multisite import all_sites, hosts
from multisite.directory import Directory

SOAK = bool(os.environ.get("MULTISITE_SOAK"))
DOMAINS = 1_000_000 if SOAK else 20_000
SIZE = 10_000 if SOAK else 200


@pytest.fixture
def filled(own_engine: sa.Engine) -> sa.Engine:
    """The tables with many domains, one site each."""
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {DOMAINS})"
    with all_sites("a test"), own_engine.begin() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO sites (id, name, folder) {numbers} SELECT i, 'Site ' || i, 's' || i FROM n"
        )
        connection.exec_driver_sql(
            f"INSERT INTO domains (site_id, host, kind) {numbers} SELECT i, 's' || i || '.example', 'canonical' FROM n"
        )
    if own_engine.dialect.name == "postgresql":
        with all_sites("a test"), own_engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("ANALYZE")
    return own_engine


def test_startup_sends_no_query_a_miss_one_indexed_query_and_memory_is_bounded(
    filled: sa.Engine, database_url: str
) -> None:
    with closing_engine(database_url) as engine:
        asked: list[tuple[str, Any]] = []
        event.listen(
            engine,
            "before_cursor_execute",
            lambda _connection, _cursor, statement, values, _context, _many: asked.append((statement, values)),
        )
        directory = Directory(engine, directory_size=SIZE, refresh_seconds=86_400)
        directory.activate()
        assert asked == []
        assert directory.find(f"s{DOMAINS}.example") is not None
        assert directory.by_id(DOMAINS) is not None
        assert len(asked) == 2
        explain = "EXPLAIN " if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
        with all_sites("a test"), filled.connect() as connection:
            for statement, values in asked:
                plan = "\n".join(str(row) for row in connection.exec_driver_sql(explain + statement, values))
                assert "multisite_version" in plan or "Seq Scan" in plan or "SEARCH" in plan
                for table in ("domains", "sites", "asked", "canonical"):
                    assert f"Seq Scan on {table}" not in plan
                    assert f"SCAN {table}" not in plan
        # SQLAlchemy fills its own caches once.
        for number in range(1, SIZE + 1):
            assert directory.find(f"s{number}.example") is not None
        asked.clear()
        gc.collect()
        tracemalloc.start()
        before, _peak = tracemalloc.get_traced_memory()
        for number in range(SIZE + 1, 6 * SIZE + 1):
            assert directory.find(f"s{number}.example") is not None
            assert len(directory._cache._known._young) + len(directory._cache._known._old) <= SIZE
        assert len(asked) == 5 * SIZE
        # The recorded statements are not part of the cache, nor is that of parsed hosts, whose size is fixed.
        asked.clear()
        hosts._parse_cached.cache_clear()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        # 850 bytes for each host in the cache; without a bound, all requested hosts would take five times as much.
        assert grown < 1_024 * SIZE
        directory.deactivate()
