"""A shared page in a site's own layout, compared with the same page by pyramid_mako in an application for one site.

`python -m benchmarks.layouts` prints the cost of the page, and the memory and time of the templates of many sites: with
their own layouts, with only a theme, and with one process per site. `--quick` only checks that it works.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.interleaving import Cost, count_instructions, ratios, take_turns
from benchmarks.measured import Measured
from benchmarks.page import ENTRIES, ROWS, TEMPLATES, values_of
from benchmarks.process import Process, callgrind_missing

__all__ = ["KINDS", "PLAIN", "costs", "growth"]

PLAIN = "pyramid_mako"
KINDS = {PLAIN: "pyramid_mako, one site", "own": "multisite, own layout", "theme": "multisite, theme only"}
PIECES = {"page": "request", "render": "rendering alone"}
THEME = "bench"


@dataclass(frozen=True)
class Effort:
    """How much is measured; `sites` are the numbers of sites for the memory measurement."""

    rounds: int
    batch: int
    counted: int
    warm_up: int
    sites: tuple[int, ...]


FULL = Effort(rounds=31, batch=100, counted=100, warm_up=300, sites=(1, 100, 1_000, 10_000))
QUICK = Effort(rounds=2, batch=2, counted=2, warm_up=5, sites=(1, 10))


class Worker(Measured):
    """An application whose page shows ten entries in memory, for each of its sites in turn."""

    def __init__(self, kind: str, folder: Path, sites: int) -> None:
        super().__init__()
        from pyramid.config import Configurator
        from pyramid.events import NewRequest
        from pyramid.renderers import RendererHelper
        from pyramid.request import Request

        import benchmarks

        settings: dict[str, Any] = {
            "multisite.sites_dir": str(folder / "sites"),
            "multisite.templates_dir": str(folder / "templates"),
            "mako.directories": str(folder / "templates"),
        }
        config = Configurator(package=benchmarks, settings=settings)
        self.sites = itertools.cycle(self._sites(kind, sites))
        # Like multisite's tween, and the same for all kinds: only the rendering is compared.
        config.add_subscriber(lambda event: setattr(event.request, "site", next(self.sites)), NewRequest)
        config.include("pyramid_mako" if kind == PLAIN else "multisite.web.renderer")
        entries = [SimpleNamespace(**values_of(ROWS - number)) for number in range(ENTRIES)]
        config.add_route("page", "/")
        config.add_view(lambda request: {"entries": entries}, route_name="page", renderer="/home.mako")
        app = config.make_wsgi_app()
        from benchmarks.page import ask

        def page(count: int) -> str:
            body = b""
            for _ in range(count):
                body = ask(app, "/", "www.bench.example")
            return body.decode()

        def render(count: int) -> str:
            text = ""
            for _ in range(count):
                request = Request.blank("/")
                request.registry = app.registry
                request.site = next(self.sites)
                text = helper.render({"entries": entries}, None, request=request)
            return text

        helper = RendererHelper("/home.mako", benchmarks, app.registry)
        self.work = {"page": page, "render": render}

    def _sites(self, kind: str, count: int) -> list[Any]:
        if kind == PLAIN:
            return [None]
        from multisite.core.site import Site

        theme = THEME if kind == "theme" else None
        return [Site(n, f"site{n}.bench.example", f"Site {n}", f"site{n}", theme=theme) for n in range(1, count + 1)]

    def result(self, piece: str) -> str:
        """Run a piece of work once and return the page."""
        text: str = self.work[piece](1)
        return text


def make_folders(kind: str, folder: Path, sites: int) -> None:
    """Write the templates where `kind` finds them: the layout into each site's folder, or into a theme."""
    shared = folder / "templates"
    shared.mkdir(parents=True)
    shutil.copy(TEMPLATES / "home.mako", shared)
    if kind == PLAIN:
        shutil.copy(TEMPLATES / "layout.mako", shared)
        return
    theme = shared / "themes" / THEME
    owners = [folder / "sites" / f"site{number}" for number in range(1, sites + 1)] if kind == "own" else [theme]
    for owner in owners:
        owner.mkdir(parents=True)
        shutil.copy(TEMPLATES / "layout.mako", owner)


@contextmanager
def _started(kind: str, folder: Path, sites: int, *, callgrind: bool = False) -> Iterator[Process]:
    make_folders(kind, folder, sites)
    words = ["benchmarks.layouts", "--serve", kind, str(folder), str(sites)]
    with Process(kind, words, folder / "process", callgrind=callgrind) as process:
        yield process


def costs(folder: Path, effort: Effort, *, count: bool) -> dict[str, dict[str, Cost]]:
    """Return the cost of the page and of its rendering, by kind. Raises `RuntimeError` if the pages differ."""
    with ExitStack() as stack:
        processes = [stack.enter_context(_started(kind, folder / kind, 1)) for kind in KINDS]
        if len({process.ask("result", piece) for process in processes for piece in PIECES}) != 1:
            raise RuntimeError("the pages differ, so they cannot be compared")
        _warm_up(processes, effort)
        seconds = take_turns(processes, PIECES, effort.rounds, effort.batch)

    def counted(kind: str) -> dict[str, float]:
        with _started(kind, folder / f"{kind}-counted", 1, callgrind=True) as process:
            _warm_up([process], effort)
            return count_instructions(process, PIECES, effort.counted)

    with ThreadPoolExecutor(2) as pool:
        instructions = dict(zip(KINDS, pool.map(counted, KINDS), strict=True)) if count else {}
    return ratios(seconds, instructions, PLAIN)


def _warm_up(processes: Sequence[Process], effort: Effort) -> None:
    for process in processes:
        for piece in PIECES:
            process.ask("run", piece, effort.warm_up)
        process.ask("freeze")


def growth(folder: Path, effort: Effort) -> dict[tuple[str, int], tuple[int, float]]:
    """Return the memory of a process in bytes and its processor seconds, by kind and number of sites.

    The memory is measured after showing each site's page twice; the processor seconds are those of the first round.
    """
    found = {}
    for kind in KINDS:
        for sites in effort.sites if kind != PLAIN else (1,):
            with _started(kind, folder / f"{kind}-{sites}", sites) as process:
                seconds = process.ask("run", "page", sites)
                process.ask("run", "page", sites)
                found[kind, sites] = (process.ask("resident_bytes"), seconds)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layouts", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only check that it works; the results mean nothing")
    parser.add_argument("--serve", nargs=3, metavar=("KIND", "FOLDER", "SITES"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        kind, served, sites = options.serve
        Worker(kind, Path(served), int(sites)).serve()
        return
    effort = QUICK if options.quick else FULL
    missing = "not with --quick" if options.quick else callgrind_missing()
    with tempfile.TemporaryDirectory(prefix="multisite-bench-") as name:
        _print_costs(costs(Path(name), effort, count=missing is None))
        if missing is not None:
            print(f"\nInstructions were not counted: {missing}")
        _print_growth(growth(Path(name), effort))


def _print_costs(found: dict[str, dict[str, Cost]]) -> None:
    print("| page | | µs | × | 1000 instructions | × |\n|---|---|---:|---:|---:|---:|")
    for piece, title in PIECES.items():
        for kind, pieces in found.items():
            cost, plain = pieces[piece], found[PLAIN][piece].instructions
            counted = f"{cost.instructions / 1000:,.0f} | {cost.instructions / plain:.3f}" if plain else "| "
            print(f"| {KINDS[kind]} | {title} | {cost.microseconds:,.0f} | {cost.ratio:.3f} | {counted} |", flush=True)


def _print_growth(found: dict[tuple[str, int], tuple[int, float]]) -> None:
    one, _ = found[PLAIN, 1]
    print("\n| sites | | MiB | kB a further site | seconds for all pages |\n|---:|---|---:|---:|---:|")
    for (kind, sites), (size, seconds) in found.items():
        first, _ = found[kind, 1]
        each = f"{(size - first) / 1024 / (sites - 1):,.1f}" if sites > 1 else ""
        print(f"| {sites:,} | {KINDS[kind]} | {size / 2**20:,.0f} | {each} | {seconds:,.2f} |")
        if kind == "own":
            print(f"| {sites:,} | one process each | {sites * one / 2**20:,.0f} | {one / 1024:,.0f} | |")


if __name__ == "__main__":
    sys.exit(main())
