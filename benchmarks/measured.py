"""A process whose work is measured: it does what the lines on its standard input say, and answers with JSON.

What is compared is kept in processes of their own because the wall, once up, is up for every engine of its process.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["CALLGRIND_FILE", "Measured"]

CALLGRIND_FILE = "BENCHMARK_CALLGRIND_FILE"
"""The environment variable with the name of callgrind's output file, where the process runs under it."""


class Measured:
    """Pieces of work by name, in `work`; each takes how often it is done."""

    work: dict[str, Callable[[int], Any]]

    def __init__(self) -> None:
        self.work = {}
        self.dumps = 0

    def freeze(self) -> None:
        """Leave what there is to itself, so that collections cost what the work at hand makes them cost."""
        gc.collect()
        gc.freeze()

    def run(self, name: str, count: int) -> float:
        """Do this work so many times and return the seconds of processor time that it took."""
        begun = time.process_time()
        self.work[name](count)
        return time.process_time() - begun

    def run_by_the_clock(self, name: str, count: int) -> float:
        """Do the same and return the seconds that passed: another process, a server, has its part in the work."""
        begun = time.perf_counter()
        self.work[name](count)
        return time.perf_counter() - begun

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

    def serve(self) -> None:
        """Do what the standard input says until it ends."""
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            print(json.dumps(getattr(self, name)(*arguments)), flush=True)
