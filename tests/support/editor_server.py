"""The reference application on waitress in processes of its own, forked without start-up time, which a test can kill.

Each line that this program reads makes it fork a server, and it responds with the number of its process and its port.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from paths import PYTHONPATH

__all__ = ["Servers", "editor_servers"]


class Servers:
    """Starts servers, one at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._running: int | None = None

    def start(self) -> int:
        """Start a server, and return its port."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._running, port = json.loads(self._process.stdout.readline())
        return int(port)

    def kill(self) -> None:
        """Kill the server, as by `kill -9`, if it runs."""
        if self._running is not None:
            os.kill(self._running, signal.SIGKILL)
            self._running = None


@contextmanager
def editor_servers(settings: dict[str, str]) -> Iterator[Servers]:
    """Yield the servers of an application with these settings; kill the last one after the block."""
    command = [sys.executable, "-W", "ignore:pkg_resources", __file__, json.dumps(settings)]
    environ = {**os.environ, "PYTHONPATH": PYTHONPATH}
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        servers = Servers(process)
        try:
            yield servers
        finally:
            servers.kill()
            assert process.stdin is not None
            process.stdin.close()


def _serve(settings: dict[str, str], answer: int) -> None:
    from waitress.server import create_server

    from multisite.content import main

    server = create_server(main({}, **settings), host="127.0.0.1", port=0, threads=4)
    os.write(answer, f"{json.dumps([os.getpid(), server.effective_port])}\n".encode())
    server.run()


def _fork_at_each_line() -> None:
    import PIL.Image  # noqa: F401
    import sqlalchemy.dialects.postgresql  # noqa: F401

    import multisite.content.tables  # noqa: F401

    settings = json.loads(sys.argv[1])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nobody waits for the servers.
    for _line in sys.stdin:
        if not os.fork():
            try:
                _serve(settings, 1)
            finally:
                os._exit(70)


if __name__ == "__main__":
    _fork_at_each_line()
