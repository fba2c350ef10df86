"""A server of `outage:app` in front of a database that fails, and clients that request pages and write meanwhile."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from directories import DEADLINE_SECONDS, until
from paths import PYTHONPATH, SUPPORT


class Served:
    """A waitress process; `ask` returns status and body, or (0, "") if the connection breaks."""

    def __init__(self, database_url: str, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        environ = {
            **os.environ,
            "OUTAGE_URL": database_url,
            "OUTAGE_SITES": str(folder / "sites"),
            "OUTAGE_SNAPSHOT": str(folder / "snapshot"),
            "PYTHONPATH": PYTHONPATH,
        }
        command = [sys.executable, "-m", "waitress", f"--listen=127.0.0.1:{self.port}", "--threads=8", "outage:app"]
        self.log = (folder / f"{self.port}.log").open("wb")
        self.process = subprocess.Popen(command, env=environ, cwd=SUPPORT, stdout=self.log, stderr=self.log)

    def ask(self, host: str, path: str = "/") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_SECONDS)
        try:
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(DEADLINE_SECONDS)
        self.log.close()


@contextmanager
def served(database_url: str, folder: Path) -> Iterator[Served]:
    server = Served(database_url, folder)
    try:
        assert until(lambda: server.ask("a.example")[0])
        yield server
    finally:
        server.end()


class Load:
    """Eight clients that request known sites and unknown hosts, and write, until the end of the block."""

    def __init__(self, server: Served) -> None:
        self.server = server
        self.written: list[str] = []
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.wrong: list[object] = []
        self.is_over = False
        self.writes = True

    def __enter__(self) -> Self:
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(8)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.is_over = True
        for thread in self.threads:
            thread.join(DEADLINE_SECONDS)

    def _run(self, client: int) -> None:
        count = 0
        while not self.is_over:
            count += 1
            time.sleep(0.01)  # Leaves the processor to the server.
            host = ("a.example", "b.example")[count % 2]
            answer = self.server.ask(host)
            if answer != (200, host):
                self.wrong.append(answer)
            unknown = self.server.ask(f"w{client}-{count}.example")[0]
            self.statuses["unknown", unknown] += 1
            if self.writes and client < 3:
                slug = f"{client}-{count}"
                if self.server.ask(host, f"/write?slug={slug}") == (200, "written"):
                    self.written.append(slug)

    def goes_on(self, *, unknown: int) -> bool:
        """Return whether more requests succeed and unknown hosts get this status."""
        before = self.statuses["unknown", unknown]
        return until(lambda: self.statuses["unknown", unknown] >= before + 30)

    def writes_again(self) -> bool:
        before = len(self.written)
        return until(lambda: len(self.written) >= before + 10)
