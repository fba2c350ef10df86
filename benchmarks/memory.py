"""Memory of a process in which a thousand sites with their own layouts are in use, beside plain Pyramid with one site.

`python -m benchmarks.memory` prints a table: resident memory, and the part of it that the process does not share (PSS
of Linux). "Everything" has a session for each visitor, metrics, logs and a page cache. `--profile` prints instead which
modules have allocated what the sites take, by tracemalloc. `--quick` only checks that it works. SQLite's page cache is
kept small in each: rows of a thousand sites fill its 2 MB, those of one site do not, and neither is memory of sites.
"""

from __future__ import annotations

import argparse
import gc
import re
import shutil
import sys
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from benchmarks.measured import Measured
from benchmarks.page import TEMPLATES, ask, host_of
from benchmarks.process import Process

__all__ = ["AIMS", "BASELINE", "measure", "profile"]

BASELINE = "plain Pyramid"
AIMS = {BASELINE: 1.0, "multisite": 1.20, "everything": 1.35}
"""The greatest ratio to the memory of the baseline, by kind of application."""

SITES = 1_000


class Worker(Measured):
    """An application of this kind, with a database and the layouts of `sites` sites in `folder`."""

    def __init__(self, kind: str, folder: str, sites: str) -> None:
        super().__init__()
        event.listen(Engine, "connect", _keep_few_pages)
        self.sites = int(sites)
        self.app = _application(kind, Path(folder))
        self.work = {"visit": self._visit}

    def _visit(self, first: int) -> None:
        """Request the page of each site from `first` on, twice."""
        for number in [*range(first, self.sites + 1)] * 2:
            ask(self.app, "/", host_of(number))

    def memory(self) -> dict[str, int]:
        """Return the bytes of the process, without garbage: resident, and its part of shared ones."""
        gc.collect()
        rollup = Path("/proc/self/smaps_rollup").read_text("ascii")
        return {name: 1024 * int(re.search(rf"^{name}: +(\d+) kB$", rollup, re.M)[1]) for name in ("Rss", "Pss")}  # type: ignore[index]

    def profile(self) -> list[tuple[str, int]]:
        """Visit all sites, and return the bytes that each module has allocated since the first was visited."""
        self._visit(self.sites)
        gc.collect()
        tracemalloc.start()
        self._visit(1)
        gc.collect()
        by_module: Counter[str] = Counter()
        for statistic in tracemalloc.take_snapshot().statistics("filename"):
            by_module[_module_name(statistic.traceback[0].filename)] += statistic.size
        return by_module.most_common(25)


def _keep_few_pages(connection: Any, record: Any) -> None:
    connection.execute("PRAGMA cache_size = 20")


def _module_name(file: str) -> str:
    return re.sub(r"^.*/(site-packages|lib/python3[.]\d+)/", "", file.removeprefix(f"{Path(__file__).parents[1]}/"))


def _application(kind: str, folder: Path) -> Any:
    settings: dict[str, Any] = {"sqlalchemy.url": f"sqlite:///{folder}/bench.db"}
    if kind == BASELINE:
        from benchmarks import baseline

        return baseline.main(settings)
    from benchmarks import served

    settings |= {"multisite.sites_dir": f"{folder}/sites", "multisite.templates_dir": str(TEMPLATES)}
    if kind == "multisite":
        return served.with_own_session(settings)
    return served.with_environment_and_sessions(settings)


def prepare(folder: Path, sites: int) -> None:
    """Write the database and the layouts."""
    from benchmarks.databases import make_database

    make_database(folder / "bench.db", sites)
    for number in range(1, sites + 1):
        own = folder / "sites" / host_of(number)
        own.mkdir(parents=True)
        shutil.copy(TEMPLATES / "layout.mako", own)


def _started(kind: str, folder: Path, sites: int) -> Process:
    return Process(kind, ["benchmarks.memory", "--serve", kind, str(folder), str(sites)], folder / f"process of {kind}")


def measure(folder: Path, sites: int) -> dict[str, dict[str, int]]:
    """Return the bytes of each kind of application once all sites have been visited; of the baseline, one."""
    found = {}
    for kind in AIMS:
        with _started(kind, folder, 1 if kind == BASELINE else sites) as process:
            process.ask("run", "visit", 1)
            if kind == BASELINE:
                # As many pages as the others, so that what the allocator keeps is the same.
                for _ in range(sites):
                    process.ask("run", "visit", 1)
            found[kind] = process.ask("memory")
    return found


def profile(folder: Path, kind: str, sites: int) -> list[tuple[str, int]]:
    """Return the bytes of the sites of an application by module, the largest first."""
    with _started(kind, folder, sites) as process:
        return [(module, size) for module, size in process.ask("profile")]


def _print_table(found: dict[str, dict[str, int]]) -> None:
    print("| application | sites | RSS, MiB | × | PSS, MiB | × | aim |\n|---|---:|---:|---:|---:|---:|---:|")
    for kind, size in found.items():
        cells = "".join(f" {size[part] / 2**20:.1f} | {size[part] / found[BASELINE][part]:.2f} |" for part in size)
        sites, aim = (1, "") if kind == BASELINE else (SITES, f"{AIMS[kind]:.2f}")
        print(f"| {kind} | {sites:,} |{cells} {aim} |")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table, or the profile."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only check that it works; the results mean nothing")
    parser.add_argument("--profile", action="store_true", help="print which modules have allocated the memory of sites")
    parser.add_argument("--serve", nargs=3, metavar=("KIND", "FOLDER", "SITES"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        Worker(*options.serve).serve()
        return
    sites = 3 if options.quick else SITES
    with tempfile.TemporaryDirectory(prefix="multisite-bench-") as name:
        prepare(Path(name), sites)
        if not options.profile:
            _print_table(measure(Path(name), sites))
            return
        for kind in [kind for kind in AIMS if kind != BASELINE]:
            print(f"\n{kind}: bytes for each site\n")
            for module, size in profile(Path(name), kind, sites):
                print(f"{size / sites:10,.0f}  {module}")


if __name__ == "__main__":
    sys.exit(main())
