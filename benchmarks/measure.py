"""Measure pages: the functions return results and print nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copy
from statistics import median

from benchmarks.alternatives import ALTERNATIVES, BASELINE, Alternative
from benchmarks.interleaving import Cost, count_instructions, ratios, take_turns
from benchmarks.page import ENTRIES, PATHS, VISITED
from benchmarks.process import Process, serving, start_up_seconds

__all__ = ["Costs", "Effort", "check_pages", "memory", "requests", "start_up"]

OWN = ALTERNATIVES[1]
"""Multisite's own session, with one site."""

_NO_REFRESH = {"refresh_seconds": "86400", "max_age_seconds": "86400"}
"""Settings for counting instructions. Callgrind makes the process about fifty times slower, so work that is done once
a second would count fifty times."""


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Times are measured in `rounds` of `batch` requests, instructions with `counted` requests, and start-up `starts`
    times. `domains` are the numbers of domains for start-up, `known` the numbers of sites for memory; with the last of
    these, `visited` sites are requested.
    """

    rounds: int
    batch: int
    counted: int
    warm_up: int
    starts: int
    domains: tuple[int, ...]
    known: tuple[int, ...]
    visited: tuple[int, ...]


Costs = dict[str, dict[str, Cost]]
"""By alternative and by piece of work."""


def requests(
    alternatives: Sequence[Alternative], folder: Path, effort: Effort, *, count: bool
) -> tuple[Costs, dict[str, str]]:
    """Return the cost of the page and its parts for each alternative, and each one's page.

    The alternatives take turns, in a new random order for each round. With `count`, instructions are counted.
    """
    with ExitStack() as stack:
        processes = [stack.enter_context(_ready(each, folder, effort)) for each in alternatives]
        pages = {
            each.key: process.ask("visit", _visited(each))
            for each, process in zip(alternatives, processes, strict=True)
        }
        check_pages(pages)
        seconds = take_turns(processes, PATHS, effort.rounds, effort.batch)
    counted = _count_all(alternatives, folder, effort) if count else {}
    return ratios(seconds, counted, BASELINE.key), pages


def _visited(alternative: Alternative) -> int:
    return min(alternative.sites, VISITED)


def database(folder: Path, sites: int) -> Path:
    """Return the database with `sites` sites in `folder`; create it if necessary."""
    # Imported here, because the model imports multisite, which installs scoping in this process.
    from benchmarks.databases import make_database

    path = folder / f"{sites}.db"
    if not path.exists():
        # With many domains, each site has ten.
        many = 10 if sites >= 1_000_000 else 1
        make_database(path, sites // many, domains_per_site=many)
    return path


@contextmanager
def _ready(alternative: Alternative, folder: Path, effort: Effort, *, callgrind: bool = False) -> Iterator[Process]:
    """Start a process that has done everything a few hundred times, on its own database."""
    name = f"{alternative.key}-{'counted' if callgrind else 'timed'}"
    own = Path(copy(database(folder, alternative.sites), folder / f"{name}.db"))
    settings = _NO_REFRESH if callgrind else {}
    words = serving(alternative, own, folder / name, **settings)
    with Process(alternative.key, words, folder / name, callgrind=callgrind) as process:
        process.ask("visit", _visited(alternative))
        for piece in PATHS:
            process.ask("run", piece, effort.warm_up)
        process.ask("freeze")
        yield process
    own.unlink()


def check_pages(pages: dict[str, str]) -> None:
    """Raise `RuntimeError` unless all alternatives have served the same page with its entries."""
    if len(set(pages.values())) != 1 or pages[BASELINE.key].count("<article>") != ENTRIES:
        raise RuntimeError("the alternatives do not serve the same page, so there is nothing to compare")


def _count_all(alternatives: Sequence[Alternative], folder: Path, effort: Effort) -> dict[str, dict[str, float]]:
    """Return the instructions of one piece of work, by alternative and piece."""

    def count(alternative: Alternative) -> dict[str, float]:
        with _ready(alternative, folder, effort, callgrind=True) as process:
            return count_instructions(process, PATHS, effort.counted)

    # Instruction counts do not depend on the load, so two processes may run at a time.
    with ThreadPoolExecutor(2) as pool:
        return dict(zip([each.key for each in alternatives], pool.map(count, alternatives), strict=True))


def start_up(folder: Path, effort: Effort) -> dict[str, float]:
    """Return the processor seconds from the start of a process to its first page, the median of several.

    For the baseline, and with different numbers of domains in the tables.
    """
    starts = [("hand-written", BASELINE, database(folder, 1))]
    starts += [(f"{domains:,} domains", OWN, database(folder, domains)) for domains in effort.domains]
    seconds: dict[str, list[float]] = {title: [] for title, *_ in starts}
    draw = random.Random(2)
    for number in range(effort.starts):
        for title, alternative, path in draw.sample(starts, len(starts)):
            seconds[title].append(start_up_seconds(alternative, path, folder / f"start {title} {number}"))
    return {title: median(each) for title, each in seconds.items()}


def memory(folder: Path, effort: Effort) -> dict[str, int]:
    """Return the resident memory of a process in bytes, after a hundred pages or more.

    For the baseline; for each number of sites in the tables, with one visited; and with more visited, each twice.
    """
    found: dict[str, int] = {}
    for alternative, sites in [(BASELINE, 1), *((OWN, sites) for sites in effort.known)]:
        folder_of_process = folder / f"memory {alternative.key} {sites}"
        words = serving(alternative, database(folder, sites), folder_of_process)
        with Process(alternative.key, words, folder_of_process) as process:
            process.ask("visit", 1)
            process.ask("run", "/", effort.warm_up)
            title = "hand-written" if alternative is BASELINE else f"{sites:,} known, 1 visited"
            found[title] = process.ask("resident_bytes")
            for visited in effort.visited if sites == effort.known[-1] and alternative is OWN else ():
                process.ask("visit", visited)
                process.ask("run", "/", visited)
                found[f"{sites:,} known, {visited:,} visited"] = process.ask("resident_bytes")
    return found
