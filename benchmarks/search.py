"""Measure a page of hits by kind of query, in sites with few and with many entries.

`python -m benchmarks.search` prints the processor time of the client and the whole time of a search, on SQLite and on a
PostgreSQL that it starts, where the processor time of the server is in the whole time only. `--quick` only checks that
it works.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from benchmarks.compare import postgresql

__all__ = ["QUERIES", "fill", "main", "measure"]

QUERIES = {
    "a word in all titles": "common",
    "two words of all titles": "common usual",
    "a word of one entry": "rare",
    "a phrase of all texts": '"heap of leaves"',
    "a phrase of no text": '"leaves of heap"',
    "the beginning of a word in all titles": "comm*",
}
FOUND = set(QUERIES.values()) - {'"leaves of heap"'}
NEWEST = datetime(2024, 5, 5, 12, tzinfo=UTC)
_BATCH = 5000


def fill(engine: sa.Engine, site: Any, count: int) -> None:
    """Add `count` entries to a site, and index them."""
    from multisite.content.models import Entry, entry_search

    rows = [
        {
            "slug": f"e{number}",
            "title": f"Common usual number {number}",
            "summary": "",
            "body": "",
            "body_html": f"<p>A heap of leaves, word{number % 97} {'rare' if number == count // 2 else 'plain'}</p>",
            "published": NEWEST - timedelta(minutes=number),
            "updated": NEWEST,
            "draft": False,
        }
        for number in range(count)
    ]
    with Session(engine, info={"site": site}) as session:
        for start in range(0, count, _BATCH):
            session.execute(sa.insert(Entry), rows[start : start + _BATCH])
        session.commit()
        entry_search.reindex(session)


def measure(engine: sa.Engine, site: Any, query: str, rounds: int) -> tuple[float, float, int]:
    """Return the median milliseconds of processor time and of time of a page of hits, and the number of hits."""
    from multisite.content.listing import visible
    from multisite.content.models import entry_search

    processor, whole, hits = [], [], 0
    for _ in range(rounds):
        with Session(engine, info={"site": site}) as session:
            session.connection()
            begun, begun_processor = time.perf_counter(), time.process_time()
            hits = len(entry_search.search(session, query, where=(visible(NEWEST),)).hits)
            processor.append(1000 * (time.process_time() - begun_processor))
            whole.append(1000 * (time.perf_counter() - begun))
    return median(processor), median(whole), hits


@contextmanager
def _sqlite() -> Any:
    with tempfile.TemporaryDirectory(prefix="multisite-bench-") as folder:
        yield f"sqlite:///{folder}/sites.db"


def _table(url: str, sizes: Sequence[int], rounds: int) -> None:
    from multisite.alembic.migrate import upgrade_own
    from multisite.content.tables import Base
    from multisite.core.settings import Settings
    from multisite.directory import engine_from_url
    from multisite.sites import add_site

    engine = engine_from_url(url)
    upgrade_own(engine)
    Base.metadata.create_all(engine)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(sites_dir=Path(folder, "sites"), templates_dir=Path(folder, "templates"))
        sites = {size: add_site(engine, f"n{size}.example", settings=settings) for size in sizes}
    for size, site in sites.items():
        fill(engine, site, size)
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    print(f"\n{engine.dialect.name}, milliseconds of processor time of the client / of time\n")
    print(f"| query | {' | '.join(f'{size:,} entries' for size in sizes)} |\n|---|{'---:|' * len(sizes)}")
    for name, query in QUERIES.items():
        found = [measure(engine, site, query, rounds) for site in sites.values()]
        if all((hits == 0) != (query in FOUND) for _cpu, _whole, hits in found):
            print(f"| {name} | {' | '.join(f'{cpu:.1f} / {whole:.1f}' for cpu, whole, _hits in found)} |")
        else:
            raise SystemExit(f"the search for {query} has other hits than it must have")
    engine.dispose()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few entries")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], help="only this one")
    options = parser.parse_args(arguments)
    sizes, rounds = ((10, 30), 2) if options.quick else ((100, 10_000, 100_000), 15)
    databases: dict[str, Callable[[], Any]] = {"sqlite": _sqlite, "postgresql": postgresql}
    for name, database in databases.items():
        if options.database in (None, name):
            with database() as url:
                if url is not None:  # Without a server of PostgreSQL.
                    _table(url, sizes, rounds)


if __name__ == "__main__":
    main()
