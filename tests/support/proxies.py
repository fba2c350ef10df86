"""Servers such as a proxy in front of an application: start one, and send it requests."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], port: int, log: Path, *, cwd: Path | None = None, **environ: str) -> Iterator[None]:
    """Run a server until the end of the block, and wait until it listens."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environ, cwd=cwd)
    try:
        for _ in range(300):
            assert process.poll() is None, log.read_text()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail(f"it does not listen: {log.read_text()}")
        yield
    finally:
        process.terminate()
        process.wait(30)


def https_get(port: int, host: str, context: ssl.SSLContext, path: str = "/") -> bytes:
    """Return the response; raise `ssl.SSLError` or `OSError` if there is no certificate for `host`."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer
