"""Start processes of `benchmarks.measured`, and send them commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from benchmarks.alternatives import BASELINE, Alternative
from benchmarks.measured import CALLGRIND_FILE

__all__ = ["ROOT", "Process", "callgrind_missing", "count_whole_process", "serving", "start_up_seconds"]

ROOT = Path(__file__).parent.parent

PYTHON: list[str] = json.loads(os.environ.get("MULTISITE_BENCH_PYTHON", "null")) or [sys.executable]
"""The words that start Python. Tests, which measure nothing, set a command that starts it sooner."""


class Process:
    """A process that runs a `Measured`, by `python -m` and `words`; a context manager that stops it.

    `key` is its name, `folder` its own folder. With `callgrind`, its instructions can be counted, and it is about fifty
    times slower. Another `seed` changes the collisions in Python's dictionaries. `root` is the working directory, from
    which the packages are imported.
    """

    def __init__(
        self, key: str, words: Sequence[str], folder: Path, *, callgrind: bool = False, seed: int = 0, root: Path = ROOT
    ) -> None:
        self.key = key
        folder.mkdir()
        env = _environment(seed)
        command = [*PYTHON, "-m", *words]
        if callgrind:
            out = str(folder / "callgrind")
            env[CALLGRIND_FILE] = out
            # vgdb tells it when to count and when to write; --vgdb-poll makes it check often.
            options = ["--instr-atstart=no", "--vgdb-poll=200", f"--callgrind-out-file={out}"]
            command = ["valgrind", "-q", "--tool=callgrind", *options, *command]
        self._process = subprocess.Popen(
            command, env=env, cwd=root, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, name: str, *arguments: Any) -> Any:
        """Call this method in the process and return the result."""
        self.tell(name, *arguments)
        return self.answer()

    def tell(self, name: str, *arguments: Any) -> None:
        """Call this method in the process, without waiting for the result."""
        assert self._process.stdin is not None
        print(json.dumps([name, *arguments]), file=self._process.stdin, flush=True)

    def answer(self) -> Any:
        """Wait for the result of the oldest `tell` and return it."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.key} ended with exit code {self._process.wait()}")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()


def start_up_seconds(alternative: Alternative, database: Path, folder: Path) -> float:
    """Return the processor seconds of a new process, from its start to the end of its first page."""
    folder.mkdir()
    process = subprocess.Popen(
        [*PYTHON, "-m", *serving(alternative, database, folder)],
        env=_environment(),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    process.stdin.write(b'["visit", 1]\n')
    process.stdin.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the process of {alternative.key} ended with exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def count_whole_process(words: Sequence[str], root: Path) -> float:
    """Return the instructions of a process of `python -m` and `words`, from its start to its end.

    The process runs once before, so that Python has compiled its modules: a package that is installed is compiled.
    """
    command = [sys.executable, "-m", *words]
    subprocess.run(command, env=_environment(), cwd=root, capture_output=True, check=True)
    options = ["--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = subprocess.run(
        ["valgrind", *options, *command],
        env=_environment(), cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise RuntimeError(f"callgrind has counted nothing: {done.stderr[-500:]}")
    return float(found[1])


def callgrind_missing() -> str | None:
    """Return why instructions cannot be counted here, or None if they can."""
    missing = [name for name in ("valgrind", "vgdb") if shutil.which(name) is None]
    return f"{' and '.join(missing)} not found (on Debian: apt-get install valgrind)" if missing else None


def serving(alternative: Alternative, database: Path, folder: Path, **settings: str) -> list[str]:
    """Return the command line of a process that serves `alternative` from the file `database`.

    `settings` are further settings of the application, for multisite only.
    """
    words = ["benchmarks.worker", alternative.key, str(database), str(folder)]
    if alternative is not BASELINE:
        words += [f"multisite.{name}={value}" for name, value in settings.items()]
    return words


def _environment(seed: int = 0) -> dict[str, str]:
    # Other hashes cause other collisions in dictionaries, so that the instructions would differ from run to run.
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    environment.pop(
        "PYTHONDONTWRITEBYTECODE", None
    )  # It would make each process compile multisite, but no other package.
    return environment
