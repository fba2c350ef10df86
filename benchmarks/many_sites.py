"""Commands on a directory with 100,000 sites, and with ten: processor time and the greatest memory of the process.

`python -m benchmarks.many_sites`; `--sites N` for another number, `--quick` only checks that it works.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["COMMANDS", "measure"]

ROOT = Path(__file__).parent.parent
SITES = 100_000
COMMANDS = (("check",), ("list-sites",), ("list-sites", "--count"), ("show-site", "site1.bench.example"))


def _run(ini: Path, command: Sequence[str]) -> tuple[float, float]:
    """Return the processor seconds of a command, and the greatest memory of its process in MB."""
    # The reference application's tables are missing, so that `check` reports them and ends with 1.
    words = [sys.executable, "-W", "ignore", "-m", "multisite", "--config", str(ini), *command]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in ((0, 1) if command == ("check",) else (0,)) or not printed:
        raise RuntimeError(f"{' '.join(command)} ended with exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def measure(folder: Path, sites: int) -> dict[tuple[str, ...], tuple[float, float]]:
    """Return the processor seconds and the memory in MB of each command, on a database with `sites` sites."""
    database, ini = folder / f"{sites}.db", folder / f"{sites}.ini"
    # In a process of its own: the greatest memory of a process includes that of the one that has started it.
    words = [sys.executable, "-W", "ignore", "-m", "benchmarks.many_sites", "--prepare", str(database), str(sites)]
    subprocess.run(words, cwd=ROOT, check=True)
    ini.write_text(
        "[app:main]\nuse = egg:pyramid-multisite\n"
        f"sqlalchemy.url = sqlite:///{database}\n"
        f"multisite.sites_dir = {folder}/sites\n"
        f"multisite.templates_dir = {ROOT}/templates\n"
    )
    return {command: _run(ini, command) for command in COMMANDS}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_sites", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only check that it works; the results mean nothing")
    parser.add_argument("--sites", type=int, default=SITES, help="the number of sites")
    parser.add_argument("--prepare", nargs=2, metavar=("FILE", "SITES"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.prepare:
        from benchmarks.databases import make_database

        make_database(Path(options.prepare[0]), int(options.prepare[1]))
        return
    sites = 10 if options.quick else options.sites
    with tempfile.TemporaryDirectory(prefix="multisite-bench-") as name:
        few = measure(Path(name), 10)
        many = few if options.quick else measure(Path(name), sites)
    print(f"| command | s, 10 sites | s, {sites:,} sites | MB, 10 sites | MB, {sites:,} sites |")
    print("|---|---:|---:|---:|---:|")
    for command, (seconds, size) in many.items():
        before_seconds, before_size = few[command]
        name = " ".join(word for word in command if word != COMMANDS[-1][1])
        print(f"| {name} | {before_seconds:.2f} | {seconds:.2f} | {before_size:.0f} | {size:.0f} |", flush=True)


if __name__ == "__main__":
    main()
