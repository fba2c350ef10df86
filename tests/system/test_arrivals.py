"""Requests over a socket to real servers: none gets another site's page, and refused ones begin no session."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest
from databases import closing_engine, make_own_tables
from paths import PYTHONPATH, SUPPORT
from scoped_models import Base, Book
from sqlalchemy.orm import Session

from multisite.core.settings import parse_settings
from multisite.sites.creation import add_site

SERVERS = {
    "waitress": ["-m", "waitress", "--listen=127.0.0.1:{port}", "--threads=4", "arriving:app"],
    "gunicorn": ["-m", "gunicorn", "--bind=127.0.0.1:{port}", "--threads=4", "--no-control-socket", "arriving:app"],
    "granian": [
        "-m",
        "granian",
        "--interface=wsgi",
        "--host=127.0.0.1",
        "--port={port}",
        "--workers=1",
        "arriving:app",
    ],
}


class Served(NamedTuple):
    """The name and the port of a running server."""

    name: str
    port: int


@pytest.fixture(scope="module", params=SERVERS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve two sites, each with a secret, in a process of the server."""
    pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    folder = tmp_path_factory.mktemp(request.param)
    url = f"sqlite:///{folder / 'test.db'}"
    settings = parse_settings({"multisite.sites_dir": folder / "sites"})
    with closing_engine(url) as engine:
        make_own_tables(engine)
        Base.metadata.create_all(engine)
        for host in ("one.example", "two.example"):
            site = add_site(engine, host, settings=settings)
            with Session(engine, info={"site": site}) as session:
                session.add(Book(slug="book", secret=f"secret of {host}"))
                session.commit()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    environ = {**os.environ, "ARRIVING_URL": url, "ARRIVING_SITES": str(folder / "sites"), "PYTHONPATH": PYTHONPATH}
    log = folder / "server.log"
    with log.open("wb") as output:
        command = [sys.executable, *(part.format(port=port) for part in SERVERS[request.param])]
        process = subprocess.Popen(command, env=environ, cwd=SUPPORT, stdout=output, stderr=subprocess.STDOUT)
    try:
        for _ in range(300):
            assert process.poll() is None, log.read_text()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield Served(request.param, port)
    finally:
        process.terminate()
        process.wait(30)


def exchange(port: int, request: bytes) -> bytes:
    """Send `request` and return everything received until the server closes the connection."""
    answer = b""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as connection:
        try:
            connection.sendall(request)
            while chunk := connection.recv(65536):
                answer += chunk
        except ConnectionError:  # A server that refuses a request need not read all of it.
            pass
    return answer


def sessions_begun(port: int) -> int:
    answer = exchange(port, b"GET /sessions HTTP/1.1\r\nHost: prober\r\nConnection: close\r\n\r\n")
    return int(re.findall(rb"\r\n\r\n(?:[0-9a-f]+\r\n)?([0-9]+)", answer)[0])


ONE = b"Host: one.example\r\n"
REFUSED = {
    "no Host": (b"GET / HTTP/1.1", b"", b"400"),
    "no Host in HTTP/1.0": (b"GET / HTTP/1.0", b"", b"400"),
    "an empty Host": (b"GET / HTTP/1.1", b"Host:\r\n", b"400"),
    "white space as Host": (b"GET / HTTP/1.1", b"Host:  \t \r\n", b"400"),
    "two Hosts": (b"GET / HTTP/1.1", ONE + b"Host: two.example\r\n", b"400"),
    "the same Host twice": (b"GET / HTTP/1.1", ONE + ONE, b"400"),
    "Hosts joined by a comma": (b"GET / HTTP/1.1", b"Host: one.example,two.example\r\n", b"400"),
    "a user before the Host": (b"GET / HTTP/1.1", b"Host: one.example@two.example\r\n", b"400"),
    "a path behind the Host": (b"GET / HTTP/1.1", b"Host: one.example/two\r\n", b"400"),
    "a control byte": (b"GET / HTTP/1.1", b"Host: one.example\x01\r\n", b"400"),
    "a NUL": (b"GET / HTTP/1.1", b"Host: one.example\x00.two.example\r\n", b"400"),
    "a high byte": (b"GET / HTTP/1.1", b"Host: one.ex\xe4mple\r\n", b"400"),
    "a port that is none": (b"GET / HTTP/1.1", b"Host: one.example:99999\r\n", b"400"),
    "a Host of 200 kB": (b"GET / HTTP/1.1", b"Host: " + b"a" * 200_000 + b"\r\n", b"4.."),
    "another absolute target": (b"GET http://two.example/ HTTP/1.1", ONE, b"400"),
    "an absolute target at another port": (b"GET http://one.example:8080/ HTTP/1.1", ONE, b"400"),
    "an absolute target without a host": (b"GET http:///x HTTP/1.1", ONE, b"400"),
    "an unknown host": (b"GET / HTTP/1.1", b"Host: unknown.example\r\n", b"404"),
    "a forwarded host": (b"GET / HTTP/1.1", b"Host: unknown.example\r\nX-Forwarded-Host: one.example\r\n", b"404"),
    "a space before the colon": (b"GET / HTTP/1.1", b"Host : one.example\r\n", b"400"),
    "an obsolete fold": (b"GET / HTTP/1.1", b"Host: one.example\r\n two.example\r\n", b"400"),
    "a path that is no UTF-8": (b"GET /%c0%ae HTTP/1.1", ONE, b"400"),
}

DROPPED_TARGETS = {"granian"}
"""Servers that keep only the path of an absolute target, so that the application cannot compare it with Host."""


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_shows_no_site_and_begins_no_session(served: Served, what: str) -> None:
    line, headers, status = REFUSED[what]
    before = sessions_begun(served.port)
    answer = exchange(served.port, line + b"\r\n" + headers + b"Connection: close\r\n\r\n")
    if "absolute target" in what and served.name in DROPPED_TARGETS:
        # Only the Host header decides: the response shows its site, or none.
        assert b"secret of two.example" not in answer
        return
    assert b"secret of" not in answer
    assert sessions_begun(served.port) == before
    # A server may also close the connection without a response if the request is not valid HTTP.
    assert re.match(rb"HTTP/1\.[01] " + status, answer) or answer == b"", answer[:200]


@pytest.mark.parametrize(
    ("line", "headers"),
    [
        (b"GET / HTTP/1.1", ONE),
        (b"GET / HTTP/1.0", ONE),
        (b"GET / HTTP/1.1", b"Host: ONE.Example.:8080\r\n"),
        (b"GET http://one.example/ HTTP/1.1", ONE),
        (b"GET //two.example/ HTTP/1.1", ONE),
        (b"GET / HTTP/1.1", ONE + b"X-Forwarded-Host: two.example\r\nForwarded: host=two.example\r\n"),
    ],
)
def test_what_is_served_is_the_hosts_own_site(served: Served, line: bytes, headers: bytes) -> None:
    before = sessions_begun(served.port)
    answer = exchange(served.port, line + b"\r\n" + headers + b"Connection: close\r\n\r\n")
    assert re.match(rb"HTTP/1\.[01] 200", answer)
    assert b"secret of one.example" in answer
    assert b"secret of two.example" not in answer
    assert sessions_begun(served.port) == before + 1


def test_requests_in_a_row_on_one_connection_get_each_their_own_site(served: Served) -> None:
    hosts = ["one.example", "two.example", "unknown.example", "one.example", "bad..host", "two.example"]
    ends = b"GET / HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n"
    answer = exchange(
        served.port, b"".join(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() for host in hosts) + ends
    )
    found = re.findall(rb"HTTP/1\.1 ([0-9]+)|secret of ((?:one|two)\.example)", answer)
    shown = [(status or site).decode() for status, site in found]
    expected = ["200", "one.example", "200", "two.example", "404", "200", "one.example", "400"]
    # After a 400, a server may close the connection; if it does not, its further responses must be correct.
    assert shown in (expected, [*expected, "200", "two.example", "200", "one.example"])
