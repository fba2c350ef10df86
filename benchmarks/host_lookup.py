"""The time of a host lookup, compared with Paste's urlmap and a plain dictionary: `dev.py bench finding`.

One process measures all of them in turns, with up to a million domains in the tables.
"""

from __future__ import annotations

import gc
import random
import sqlite3
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.databases import make_database
from benchmarks.page import host_of
from multisite import hosts
from multisite.directory import Directory, engine_from_url

__all__ = ["FULL", "KINDS", "QUICK", "Effort", "finding"]

DICTIONARY = "a dictionary of all hosts"

KINDS = {
    DICTIONARY: "a plain dictionary of all hosts, unchecked",
    "exact": "multisite, a host of a site",
    "wildcard": "multisite, a host below a wildcard",
    "unknown": "multisite, an unknown host",
    "few": "multisite, one of few unknown hosts",
    "cold": "multisite, the first lookup of a site",
    "urlmap": "Paste's urlmap, a host of a site",
    "urlmap unknown": "Paste's urlmap, an unknown host",
}

URLMAP_DOMAINS = 10_000
"""Largest number of domains for urlmap, whose lookup is linear."""

Texts = Sequence[str]


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    For each number in `domains`, `batch` lookups of each kind are timed in each of `rounds`; memory is measured for
    `held` hosts.
    """

    domains: tuple[int, ...]
    rounds: int
    batch: int
    held: int


FULL = Effort(domains=(10, 1_000, 10_000, 100_000, 1_000_000), rounds=21, batch=1_000, held=10_000)
QUICK = Effort(domains=(10, 100), rounds=2, batch=10, held=50)


class Finding:
    """Lookups among `domains` domains, with every method that supports that number."""

    def __init__(self, path: Path, domains: int, batch: int) -> None:
        self._engine = engine_from_url(f"sqlite:///{path}")
        # The version is not polled during the measurement: that costs one query a second, whatever the load.
        self._directory = Directory(self._engine, refresh_seconds=86_400, max_age_seconds=86_400)
        self._batch = batch
        numbers = [1 + each * domains // batch for each in range(batch)]
        self._exact = [host_of(number) for number in numbers]
        self._wild = [f"www.{host_of(number)}" for number in numbers]
        self._few = [f"unknown{each % 50}.example" for each in range(batch)]
        self._never = (f"never{number}.example" for number in range(10**9))
        self._dictionary = {host_of(number): number for number in range(1, domains + 1)}
        self._urlmap: Any = _urlmap(domains) if domains <= URLMAP_DOMAINS else None
        self._warm_up(domains)

    def _warm_up(self, domains: int) -> None:
        # A few unknown hosts are remembered individually.
        for texts in (self._exact, self._wild, self._few):
            self._find(texts)
        # With so many unknown hosts, the names of all domains are read, and further ones need no query.
        self._find([next(self._never) for _ in range(max(100, domains // 400))])
        reader = self._directory._cache._host_filter._reader
        if reader is not None:
            reader.join()

    def _find(self, texts: Texts) -> None:
        parse, find = hosts.parse, self._directory.find
        for text in texts:
            name, port = parse(text)
            find(name, port or 80, "/")

    def _get(self, texts: Texts) -> None:
        get = self._dictionary.get
        for text in texts:
            get(text)

    def _find_cold(self, texts: Texts) -> None:
        forget, find = self._directory._cache._known.discard, self._directory.find
        for text in texts:
            forget(text)
            find(text, 80, "/")

    def _route(self, texts: Texts) -> None:
        for text in texts:
            environ = {"HTTP_HOST": text, "wsgi.url_scheme": "http", "SCRIPT_NAME": "", "PATH_INFO": "/"}
            self._urlmap(environ, _start_response)

    def kinds(self) -> Iterator[tuple[str, Callable[[Texts], None], Callable[[], Texts]]]:
        """Yield each kind with its function, and a function that returns the hosts of a round."""
        yield DICTIONARY, self._get, lambda: self._exact
        yield "exact", self._find, lambda: self._exact
        yield "wildcard", self._find, lambda: self._wild
        yield "few", self._find, lambda: self._few
        yield "unknown", self._find, lambda: [next(self._never) for _ in range(self._batch)]
        yield "cold", self._find_cold, lambda: self._exact[:50]
        if self._urlmap is not None:
            yield "urlmap", self._route, lambda: self._exact[:: max(1, self._batch // 50)]
            yield "urlmap unknown", self._route, lambda: self._few[:5]

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()


def _start_response(*_anything: object) -> None:
    pass


def _urlmap(domains: int) -> Any:
    with suppress(ImportError):
        from paste.urlmap import URLMap

        def app(environ: dict[str, Any], start_response: object) -> list[bytes]:
            return []

        urlmap = URLMap()
        # Not one by one, since urlmap sorts all of them again for each.
        urlmap.applications = [((host_of(number), ""), app) for number in range(1, domains + 1)]
        urlmap.sort_apps()
        return urlmap
    return None


def finding(folder: Path, effort: Effort) -> tuple[dict[int, dict[str, tuple[float, float]]], float]:
    """Return the cost of a lookup, by number of domains and kind, and the bytes of memory for a cached host.

    The cost is the microseconds in the fastest round, and the median ratio to a dictionary lookup.
    """
    found: dict[int, dict[str, tuple[float, float]]] = {}
    for domains in effort.domains:
        path = folder / f"finding {domains}.db"
        _make(path, domains, min(domains, effort.batch))
        each = Finding(path, domains, effort.batch)
        found[domains] = _measure(each, effort.rounds)
        each.close()
        del each
    return found, _held_bytes(folder, effort.held)


def _make(path: Path, domains: int, wildcards: int) -> None:
    make_database(path, domains)
    with closing(sqlite3.connect(path)) as connection:
        connection.executemany(
            "INSERT INTO domains (site_id, host, kind) VALUES (?, ?, 'alias')",
            ((number, f"*.{host_of(number)}") for number in {1 + n * domains // wildcards for n in range(wildcards)}),
        )
        connection.commit()


def _measure(found: Finding, rounds: int) -> dict[str, tuple[float, float]]:
    kinds = list(found.kinds())
    draw = random.Random(1)
    seconds: dict[str, list[float]] = {kind: [] for kind, _, _ in kinds}
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for kind, work, give in draw.sample(kinds, len(kinds)):
            texts = give()
            begun = time.perf_counter() if kind == "cold" else time.process_time()
            work(texts)
            ended = time.perf_counter() if kind == "cold" else time.process_time()
            seconds[kind].append((ended - begun) / len(texts))
    gc.unfreeze()
    return {
        kind: (
            min(mine) * 1e6,
            median(one / other for one, other in zip(mine, seconds[DICTIONARY], strict=True) if other),
        )
        for kind, mine in seconds.items()
    }


def _held_bytes(folder: Path, held: int) -> float:
    path = folder / "held.db"
    make_database(path, held + 100)
    engine = engine_from_url(f"sqlite:///{path}")
    directory = Directory(engine, refresh_seconds=86_400, directory_size=4 * held)
    for number in range(1, 101):  # Anything created once.
        directory.find(host_of(number))
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(101, held + 101):
        directory.find(host_of(number))
    gc.collect()
    bytes_each = (tracemalloc.get_traced_memory()[0] - before) / held
    tracemalloc.stop()
    engine.dispose()
    return bytes_each
