"""A process whose work is measured: it reads commands from standard input and responds with JSON.

The alternatives run in separate processes because scoping, once installed, applies to every engine of its process.
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
"""Environment variable with the name of callgrind's output file, if the process runs under callgrind."""


class Measured:
    """Pieces of work by name, in `work`; each takes the number of repetitions."""

    work: dict[str, Callable[[int], Any]]

    def __init__(self) -> None:
        self.work = {}
        self.dumps = 0

    def freeze(self) -> None:
        """Exclude existing objects from garbage collection, so that its cost is that of the measured work."""
        gc.collect()
        gc.freeze()

    def run(self, name: str, count: int) -> float:
        """Run the work `name` for `count` repetitions, and return the processor seconds."""
        begun = time.process_time()
        self.work[name](count)
        return time.process_time() - begun

    def run_by_the_clock(self, name: str, count: int) -> float:
        """Run this work and return the elapsed seconds, for work that a database server shares."""
        begun = time.perf_counter()
        self.work[name](count)
        return time.perf_counter() - begun

    def resident_bytes(self) -> int:
        """Return the memory of the process, without garbage."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def instrument(self) -> None:
        """Let callgrind start counting."""
        self._tell_callgrind("instrumentation on")

    def instructions(self, name: str, count: int) -> int:
        """Return the instructions of this work, and of making callgrind write them."""
        self.work[name](count)
        self._tell_callgrind("dump")  # This also resets the count.
        self.dumps += 1
        with Path(f"{os.environ[CALLGRIND_FILE]}.{self.dumps}").open("rb") as file:
            # Read only the end of the file: reading counts as instructions of the next work.
            file.seek(-100, os.SEEK_END)
            return int(file.read().rpartition(b"totals:")[2])

    def _tell_callgrind(self, order: str) -> None:
        vgdb = subprocess.Popen(
            ["vgdb", f"--pid={os.getpid()}", order], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        # Callgrind polls for commands while the program runs. If the program slept until vgdb exits, ptrace would have
        # to wake it up, which containers forbid. So it sleeps in short intervals, which cost little.
        while vgdb.poll() is None:
            time.sleep(0.002)
        said = vgdb.communicate()[0].decode()
        if vgdb.returncode:
            raise RuntimeError(f"callgrind does not obey '{order}': {said.strip()}")

    def serve(self) -> None:
        """Run commands from standard input until it ends."""
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            print(json.dumps(getattr(self, name)(*arguments)), flush=True)
