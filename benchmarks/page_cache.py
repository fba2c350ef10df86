"""The page for anonymous readers from the page cache, compared with the same page rendered each time.

`python -m benchmarks.page_cache` prints the cost for one site and for a hundred in turn; their pages are compared byte
for byte with rendered ones. `--quick` only checks that it works.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shutil import copy
from typing import Any

from benchmarks.interleaving import Cost, count_instructions, ratios, take_turns
from benchmarks.measured import Measured
from benchmarks.page import TEMPLATES, ask, host_of
from benchmarks.process import Process, callgrind_missing

__all__ = ["KINDS", "RENDERED", "costs"]

RENDERED = "rendered"
KINDS = {RENDERED: "rendered each time", "off": "rendered each time, the page cache on", "kept": "from the page cache"}
PIECES = {"one": "one site", "many": "all sites in turn"}


@dataclass(frozen=True)
class Effort:
    """How much is measured, and how many `sites` there are."""

    rounds: int
    batch: int
    counted: int
    sites: int


FULL = Effort(rounds=31, batch=100, counted=100, sites=100)
QUICK = Effort(rounds=2, batch=2, counted=2, sites=3)


class Worker(Measured):
    """The application of one kind; the view of the kind `off` does not have the option `page_cache`."""

    def __init__(self, kind: str, database: str, sites: int) -> None:
        super().__init__()
        from pyramid.config import Configurator

        from benchmarks.served import latest

        settings: dict[str, Any] = {
            "sqlalchemy.url": f"sqlite:///{database}",
            "multisite.sites_dir": f"{database}-sites",
            "multisite.templates_dir": str(TEMPLATES),
            "multisite.page_cache_seconds": "0" if kind == RENDERED else "86400",
            # Callgrind makes the process fifty times slower, so work done once a second would count fifty times.
            "multisite.refresh_seconds": "86400",
            "multisite.max_age_seconds": "86400",
        }
        with Configurator(settings=settings) as config:
            config.include("multisite")
            config.include("multisite.page_cache")
            config.add_route("home", "/")
            config.add_view(
                lambda request: {"entries": latest(request)},
                route_name="home",
                renderer="benchmarks:templates/home.mako",
                page_cache=kind != "off",
            )
            self.app = config.make_wsgi_app()
        self.hosts = [host_of(number) for number in range(1, sites + 1)]
        self.work = {"one": self._asking(self.hosts[:1]), "many": self._asking(self.hosts)}

    def _asking(self, hosts: list[str]) -> Any:
        turns = itertools.cycle(hosts)

        def asking(count: int) -> bytes:
            page = b""
            for _ in range(count):
                page = ask(self.app, "/", next(turns))
            return page

        return asking

    def pages(self) -> list[str]:
        """Return the pages of all sites."""
        return [ask(self.app, "/", host).decode() for host in self.hosts]


def costs(folder: Path, effort: Effort, *, count: bool) -> dict[str, dict[str, Cost]]:
    """Return the cost of the page, by kind. Raises `RuntimeError` if a site gets a page other than its own."""
    # Imported here, because it installs scoping in this process, which measures nothing itself.
    from benchmarks.databases import make_database

    database = folder / "pages.db"
    make_database(database, effort.sites)

    def process(kind: str, *, callgrind: bool = False) -> Process:
        own = folder / f"{kind}{'-counted' if callgrind else ''}"
        file = copy(database, f"{own}.db")
        words = ["benchmarks.page_cache", "--serve", kind, str(file), str(effort.sites)]
        return Process(kind, words, own, callgrind=callgrind)

    with ExitStack() as stack:
        processes = [stack.enter_context(process(kind)) for kind in KINDS]
        check_pages({each.key: [each.ask("pages") for _ in range(2)][1] for each in processes}, effort.sites)
        for each in processes:
            each.ask("freeze")
        seconds = take_turns(processes, PIECES, effort.rounds, effort.batch)

    def counted(kind: str) -> dict[str, float]:
        with process(kind, callgrind=True) as one:
            one.ask("pages")
            one.ask("pages")
            one.ask("freeze")
            return count_instructions(one, PIECES, effort.counted)

    with ThreadPoolExecutor(2) as pool:
        instructions = dict(zip(KINDS, pool.map(counted, KINDS), strict=True)) if count else {}
    return ratios(seconds, instructions, RENDERED)


def check_pages(pages: dict[str, list[str]], sites: int) -> None:
    """Raise `RuntimeError` unless each site has its own page, which is the same for every kind."""
    if len(set(pages[RENDERED])) != sites or any(found != pages[RENDERED] for found in pages.values()):
        raise RuntimeError("a site gets a page that is not its own, so the results cannot be compared")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page_cache", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only check that it works; the results mean nothing")
    parser.add_argument("--serve", nargs=3, metavar=("KIND", "DATABASE", "SITES"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        kind, database, sites = options.serve
        Worker(kind, database, int(sites)).serve()
        return
    effort = QUICK if options.quick else FULL
    missing = "not with --quick" if options.quick else callgrind_missing()
    with tempfile.TemporaryDirectory(prefix="multisite-bench-") as name:
        found = costs(Path(name), effort, count=missing is None)
    print("| page | | µs | × | 1000 instructions | × |\n|---|---|---:|---:|---:|---:|")
    for piece, title in PIECES.items():
        for kind, pieces in found.items():
            cost, rendered = pieces[piece], found[RENDERED][piece].instructions
            counted = f"{cost.instructions / 1000:,.0f} | {cost.instructions / rendered:.3f}" if rendered else "| "
            print(f"| {KINDS[kind]} | {title} | {cost.microseconds:,.0f} | {cost.ratio:.3f} | {counted} |")
    if missing is not None:
        print(f"\nInstructions were not counted: {missing}")


if __name__ == "__main__":
    sys.exit(main())
