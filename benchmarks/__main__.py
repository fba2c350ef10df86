"""Run the benchmark: `python3 dev.py bench [--quick] [--json FILE]`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import measure, tables
from benchmarks.candidates import BARE, CANDIDATES
from benchmarks.measure import OWN, Effort
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
    rounds=2, batch=2, counted=2, warm_up=5, starts=1, domains=(1, 1_000), known=(1_000,), visited=(20,)
)  # fmt: skip
"""Only shows that everything works."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print tables, and write the figures where the command line says."""
    options = _parse(arguments)
    effort = QUICK if options.quick else FULL
    candidates = CANDIDATES
    if options.quick:
        candidates = tuple(dataclasses.replace(each, sites=min(each.sites, 20)) for each in CANDIDATES)
    missing = "not with --quick" if options.quick else callgrind_missing()
    print(_machine(), flush=True)
    figures: dict[str, Any] = {"machine": _machine(), "quick": options.quick}
    with tempfile.TemporaryDirectory(prefix="multisite-bench-") as name:
        folder = Path(name)
        costs, pages = measure.requests(candidates, folder, effort, count=missing is None)
        print(tables.format_pages(candidates, costs))
        if missing is not None:
            print(f"Instructions were not counted: {missing}")
        print(tables.format_parts(candidates, costs))
        print(tables.format_statements(costs[BARE.key], costs[OWN.key]), flush=True)
        start_up = measure.start_up(folder, effort)
        print(tables.format_start_up(start_up), flush=True)
        memory = measure.memory(folder, effort)
        print(tables.format_memory(memory))
    figures["costs"] = {
        key: {piece: dataclasses.asdict(cost) for piece, cost in pieces.items()} for key, pieces in costs.items()
    }
    figures |= {"page_bytes": len(pages[BARE.key]), "start_up_seconds": start_up, "memory_bytes": memory}
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py bench", description="Compare multisite with bare Pyramid.")
    parser.add_argument("--quick", action="store_true", help="only see that it works; the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE as well")
    return parser.parse_args(arguments)


def _machine() -> str:
    packages = ("pyramid", "SQLAlchemy", "Mako", "zope.sqlalchemy")
    return f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages)


if __name__ == "__main__":
    main()
