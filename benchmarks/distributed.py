"""Latency of pages of the reference application on a plain PostgreSQL and on Citus, side by side.

`python -m benchmarks.distributed` makes two databases on the coordinator that `MULTISITE_TEST_CITUS_URL` names, the
second one distributed over its workers, and requests each page in turns from an application on either: the medians are
of the same seconds of the machine. Without that variable nothing is measured. `--quick` only checks that it works.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.page import environ_of
from benchmarks.sizing import fill_database, host_of, settings_of

__all__ = ["PAGES", "coordinator_url", "measure"]

PAGES = ("/", "/entries/entry-1", "/archive", "/feed.xml", "/search?q=entry")
SITES = 10
ROUNDS = 200


def coordinator_url() -> str:
    """Return the URL of a superuser on a coordinator of Citus; empty if there is none."""
    return os.environ.get("MULTISITE_TEST_CITUS_URL", "")


@contextmanager
def databases(coordinator: str) -> Iterator[dict[str, str]]:
    """Yield the URLs of two databases with the same sites, a plain and a distributed one; drop both after the block."""
    sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
    from citus_nodes import Nodes

    from multisite.directory import engine_from_url
    from multisite.sharding.plan import plan_distribution
    from multisite.sharding.run import catalog_of, run

    nodes, name = Nodes(coordinator), f"bench_{uuid.uuid4().hex[:12]}"
    with ExitStack() as stack:
        stack.callback(nodes.drop, f"{name}_plain")
        stack.callback(nodes.drop, name)
        with nodes.connect(nodes.coordinator) as connection:
            connection.execute(f"CREATE DATABASE {name}_plain".encode())
        distributed = nodes.create(name)
        plain = distributed.replace(name, f"{name}_plain")
        for url in (plain, distributed):
            fill_database(url, SITES, SITES)
        engine = engine_from_url(distributed)
        run(engine, plan_distribution(catalog_of(engine), allow_triggers=True), lambda _line: None)
        engine.dispose()
        yield {"plain": plain, "distributed": distributed}


def measure(urls: dict[str, str], folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of each page, by database."""
    from multisite.content import main
    from multisite.core.keys import DIRECTORY

    apps = {name: main({}, **settings_of(url, folder)) for name, url in urls.items()}
    taken: dict[str, dict[str, list[float]]] = {page: {name: [] for name in apps} for page in PAGES}
    for number in range(rounds + SITES):
        for page in PAGES:
            for name, app in apps.items():
                seconds = _request(app, host_of(number % SITES + 1), page)
                if number >= SITES:  # Each site's first page compiles and looks up.
                    taken[page][name].append(seconds)
    for app in apps.values():
        app.registry[DIRECTORY].engine.dispose()
    return {page: {name: statistics.median(each) for name, each in by.items()} for page, by in taken.items()}


def _request(app: Any, host: str, page: str) -> float:
    statuses: list[str] = []
    start = time.perf_counter()
    body = app(environ_of(page, host), lambda status, _headers, _error=None: statuses.append(status))
    content = b"".join(body)
    seconds = time.perf_counter() - start
    if statuses != ["200 OK"] or not content:
        raise RuntimeError(f"{page} of {host} was answered by {statuses}")
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distributed", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    rounds = 1 if parser.parse_args(arguments).quick else ROUNDS
    if not coordinator_url():
        print("Nothing was measured: MULTISITE_TEST_CITUS_URL names no coordinator")
        return
    with tempfile.TemporaryDirectory() as folder, databases(coordinator_url()) as urls:
        print(f"{'page':18} {'plain':>9} {'Citus':>9} {'ratio':>6}")
        for page, by in measure(urls, Path(folder), rounds).items():
            plain, citus = by["plain"], by["distributed"]
            print(f"{page:18} {plain * 1000:>6.1f} ms {citus * 1000:>6.1f} ms {citus / plain:>6.2f}")


if __name__ == "__main__":
    main()
