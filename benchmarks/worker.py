"""A process that serves one candidate: it does what the lines on its standard input say, and answers with JSON.

    python -m benchmarks.worker CANDIDATE DATABASE FOLDER [SETTING=VALUE]…

Candidates are kept in processes of their own because the wall, once up, is up for every engine of its process.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.candidates import BARE, CANDIDATES, Candidate
from benchmarks.page import PATHS, TEMPLATES, Unavailable, ask, host_of

__all__ = ["CALLGRIND_FILE"]

CALLGRIND_FILE = "BENCHMARK_CALLGRIND_FILE"
"""The environment variable with the name of callgrind's output file, where the process runs under it."""


_ATTEMPTS = 5
_PAUSE_SECONDS = 11
"""A first look-up can take longer than the directory waits, under callgrind on a busy machine; it then leaves the
database alone for ten seconds."""


class Worker:
    """One candidate, ready to be asked. `folder` is an empty folder for what the settings want."""

    def __init__(self, candidate: Candidate, database: str, folder: str, settings: dict[str, str]) -> None:
        self.url = f"sqlite:///{database}"
        self.candidate = candidate
        given = {"sqlalchemy.url": self.url}
        if candidate is not BARE:
            given |= {"multisite.sites_dir": f"{folder}/sites", "multisite.templates_dir": str(TEMPLATES)}
        self.app = candidate.make_app(given | settings)
        self.hosts: Iterator[str] = itertools.repeat(host_of(1))
        self.work: dict[str, Callable[[int], Any]] = {path: self._asking(path) for path in PATHS}
        self.dumps = 0

    def _asking(self, path: str) -> Callable[[int], bytes]:
        def asking(count: int) -> bytes:
            page = b""
            for _ in range(count):
                page = ask(self.app, path, next(self.hosts))
            return page

        return asking

    def visit(self, sites: int) -> str:
        """Visit the first `sites` sites, and those in turn from now on; return the last page."""
        hosts = [host_of(number) for number in range(1, sites + 1)]
        self.hosts = itertools.cycle(hosts)
        page = b""
        for host in hosts:
            page = self._first_page(host)
        return page.decode()

    def _first_page(self, host: str) -> bytes:
        for _ in range(_ATTEMPTS):
            with suppress(Unavailable):
                return ask(self.app, "/", host)
            time.sleep(_PAUSE_SECONDS)
        return ask(self.app, "/", host)

    def ready(self) -> None:
        """Make the statements, and what there is so far no business of the garbage collector."""
        from benchmarks.statements import OPERATIONS, Statements

        site = None
        if self.candidate is not BARE:
            from multisite import Site

            site = Site(1, host_of(1), "Site 1", host_of(1))
        statements = Statements(self.candidate.models.Entry, self.url, site)
        self.work |= {name: getattr(statements, name) for name in OPERATIONS}
        self.freeze()

    def freeze(self) -> None:
        """Leave what there is to itself, so that collections cost what the work at hand makes them cost."""
        gc.collect()
        gc.freeze()

    def run(self, name: str, count: int) -> float:
        """Do this work so many times and return the seconds of processor time that it took."""
        begun = time.process_time()
        self.work[name](count)
        return time.process_time() - begun

    def resident_bytes(self) -> int:
        """Return how much memory the process has, without garbage."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def instrument(self) -> None:
        """Let callgrind count from now on."""
        self._tell_callgrind("instrumentation on")

    def instructions(self, name: str, count: int) -> int:
        """Return the instructions of this work, done so many times, and of making callgrind write them down."""
        self.work[name](count)
        self._tell_callgrind("dump")  # This sets the count to zero, too.
        self.dumps += 1
        with Path(f"{os.environ[CALLGRIND_FILE]}.{self.dumps}").open("rb") as file:
            # Only its end is read: reading is counted as well, for the next work.
            file.seek(-100, os.SEEK_END)
            return int(file.read().rpartition(b"totals:")[2])

    def _tell_callgrind(self, order: str) -> None:
        vgdb = subprocess.Popen(
            ["vgdb", f"--pid={os.getpid()}", order], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        # Callgrind looks for its orders while the program runs; were it to sleep until vgdb has ended, it would have to
        # be woken by ptrace, which containers forbid. So it sleeps in short turns, which cost little.
        while vgdb.poll() is None:
            time.sleep(0.002)
        said = vgdb.communicate()[0].decode()
        if vgdb.returncode:
            raise RuntimeError(f"callgrind does not obey '{order}': {said.strip()}")


def main() -> None:
    """Serve the candidate that the command line names until the standard input ends."""
    key, database, folder, *settings = sys.argv[1:]
    candidate = next(each for each in CANDIDATES if each.key == key)
    worker = Worker(candidate, database, folder, dict(each.split("=", 1) for each in settings))
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(getattr(worker, name)(*arguments)), flush=True)


if __name__ == "__main__":
    main()
