"""How to size: pages a second and memory of one worker by server and number of sites, and workers behind a proxy.

`python -m benchmarks.sizing` serves the front page of the reference application, not cached, for 500 sites of a
directory of 10,000, 100,000 and 1,000,000, from SQLite. The server runs on one core, the clients on the others. Then
Caddy stands before one worker and before two, each in turns with one worker that is asked directly: the ratios are of
the same seconds of the machine. `--proxy` measures these ratios alone, in a minute and a half; `--quick` only checks
that it works.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import sqlalchemy as sa

ROOT = Path(__file__).parents[1]
CLIENTS = 4
ENTRIES = 10
SETTINGS = "MULTISITE_SIZING_SETTINGS"
"""The variable with the settings of the application that a server loads, as JSON."""

SERVERS = {
    "waitress": ["waitress-serve", "--threads=4", "--listen=127.0.0.1:{port}", "--call", "benchmarks.sizing:make_app"],
    "gunicorn": ["gunicorn", "--threads=4", "--bind=127.0.0.1:{port}", "--no-control-socket",
                 "benchmarks.sizing:make_app()"],
    "granian": ["granian", "--interface=wsgi", "--blocking-threads=4", "--host=127.0.0.1", "--port={port}", "--factory",
                "benchmarks.sizing:make_app"],
}  # fmt: skip
"""The command of each server, with one process and four threads."""


@dataclass(frozen=True)
class Effort:
    """The numbers of sites, how many of them are visited, and the rounds and seconds of each measurement."""

    sites: tuple[int, ...]
    visited: int
    rounds: int
    seconds: float


FULL = Effort(sites=(10_000, 100_000, 1_000_000), visited=500, rounds=3, seconds=4)
QUICK = Effort(sites=(3,), visited=2, rounds=1, seconds=0.2)


@dataclass(frozen=True)
class Load:
    """What the clients have measured: pages a second, and the 99th percentile of their seconds."""

    pages_per_second: float
    p99_seconds: float


def make_app() -> Any:
    """Return the reference application with the settings in the environment."""
    from multisite.content import main

    return main({}, **json.loads(os.environ[SETTINGS]))


def host_of(number: int) -> str:
    return f"site-{number}.example"


def make_database(path: Path, sites: int, visited: int) -> str:
    """Create a database of SQLite, as `fill_database` does, and return its URL."""
    url = f"sqlite:///{path}"
    fill_database(url, sites, visited)
    return url


def settings_of(url: str, folder: Path) -> dict[str, str]:
    """Return the settings of the reference application for a database."""
    return {
        "sqlalchemy.url": url,
        "multisite.sites_dir": str(folder / "sites"),
        "multisite.templates_dir": str(ROOT / "templates"),
        "multisite.media_url": str(folder / "media"),
    }


def fill_database(url: str, sites: int, visited: int) -> None:
    """Create all tables in a database, and `sites` sites, of which the first `visited` have entries."""
    from datetime import UTC, datetime, timedelta

    from multisite import all_sites
    from multisite.alembic.migrate import upgrade_own
    from multisite.content.models import Entry
    from multisite.content.tables import Base
    from multisite.directory import engine_from_url
    from multisite.directory.models import AS_MULTISITE, DomainRow, SiteRow

    engine = engine_from_url(url)
    upgrade_own(engine)
    Base.metadata.create_all(engine)
    newest = datetime(2024, 5, 5, tzinfo=UTC)
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        for start in range(1, sites + 1, 10_000):
            ids = range(start, min(start + 10_000, sites + 1))
            connection.execute(sa.insert(SiteRow), [{"id": i, "name": f"Site {i}", "folder": host_of(i)} for i in ids])
            rows = [{"site_id": i, "host": host_of(i), "kind": "canonical"} for i in ids]
            connection.execute(sa.insert(DomainRow), rows)
    with all_sites("filling a benchmark"), engine.begin() as connection:
        entries = [
            {
                "site_id": site, "slug": f"entry-{number}", "title": f"Entry {number}", "body": "x", "body_html": "x",
                "summary": "x", "published": newest - timedelta(hours=number), "updated": newest, "draft": False,
            }
            for site in range(1, visited + 1)
            for number in range(ENTRIES)
        ]  # fmt: skip
        connection.execute(sa.insert(Entry.__table__), entries)
    engine.dispose()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str], port: int, folder: Path, *, core: int | None = None, **environ: str
) -> Iterator[int]:
    """Run a server that listens on `port`, on one core if given, and yield the id of its process."""
    words = [word.format(port=port) for word in command]
    if core is not None and shutil.which("taskset"):
        words = ["taskset", "--cpu-list", str(core), *words]
    with (folder / f"{port}.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, env={**os.environ, **environ}, cwd=ROOT)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError((folder / f"{port}.log").read_text("utf-8")) from None
                time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def worker(server: str, url: str, folder: Path, *, core: int | None = 0) -> Iterator[tuple[int, int]]:
    """Run a server with the application, and yield its port and the id of its process."""
    program, *arguments = SERVERS[server]
    port = free_port()
    command = [str(Path(sys.executable).parent / program), *arguments]
    with running(command, port, folder, core=core, **{SETTINGS: json.dumps(settings_of(url, folder))}) as process:
        yield port, process


def load(port: int, effort: Effort, *, seconds: float) -> Load:
    """Request front pages of the visited sites from several threads, and measure."""
    taken: list[float] = []
    end = time.perf_counter() + seconds

    def visit(first: int) -> None:
        connection, number = HTTPConnection("127.0.0.1", port, timeout=60), first
        while time.perf_counter() < end:
            number += CLIENTS
            start = time.perf_counter()
            connection.request("GET", "/", headers={"Host": host_of(number % effort.visited + 1)})
            response = connection.getresponse()
            body = response.read()
            if response.status != 200 or b"Entry 0" not in body:
                raise HTTPException(f"status {response.status}")
            taken.append(time.perf_counter() - start)
        connection.close()

    threads = [threading.Thread(target=visit, args=(first,)) for first in range(CLIENTS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(len(taken) / (time.perf_counter() - start), statistics.quantiles(taken, n=100)[98])


def memory_bytes(process: int) -> int:
    """Return the memory of a process and its children, shared pages in parts: PSS of proc(5)."""
    total = 0
    for line in Path(f"/proc/{process}/smaps_rollup").read_text("ascii").splitlines():
        if line.startswith("Pss:"):
            total += int(line.split()[1]) << 10
    children = Path(f"/proc/{process}/task/{process}/children").read_text("ascii").split()
    return total + sum(memory_bytes(int(child)) for child in children)


def by_server(url: str, folder: Path, effort: Effort) -> dict[str, tuple[Load, int]]:
    """Return the load of each server and its memory afterwards; the median of the rounds, taken in turns."""
    with ExitStack() as stack:
        started = {server: stack.enter_context(worker(server, url, folder)) for server in SERVERS}
        for port, _ in started.values():
            load(port, effort, seconds=effort.seconds)  # Each site's first page compiles and looks up.
        rounds: dict[str, list[Load]] = {server: [] for server in SERVERS}
        for _ in range(effort.rounds):
            for server, (port, _) in started.items():
                rounds[server].append(load(port, effort, seconds=effort.seconds))
        return {server: (middle(rounds[server]), memory_bytes(process)) for server, (_, process) in started.items()}


def middle(loads: Sequence[Load]) -> Load:
    return Load(
        statistics.median(each.pages_per_second for each in loads),
        statistics.median(each.p99_seconds for each in loads),
    )


CADDYFILE = """{{
	admin off
}}
http://127.0.0.1:{port}, http://*.example:{port} {{
	reverse_proxy {workers} {{
		lb_policy least_conn
	}}
}}
"""


@contextmanager
def proxy(ports: Sequence[int], folder: Path) -> Iterator[int]:
    """Run Caddy before workers, and yield its port."""
    port = free_port()
    workers = " ".join(f"127.0.0.1:{each}" for each in ports)
    file = folder / f"Caddyfile-{port}"
    file.write_text(CADDYFILE.format(port=port, workers=workers), "utf-8")
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(file)]
    with running(command, port, folder, HOME=str(folder)):
        yield port


def behind_proxy(url: str, folder: Path, effort: Effort) -> dict[str, tuple[float, float]]:
    """Return pages a second and 99th percentile behind Caddy, as ratios to one worker that is asked directly."""
    with ExitStack() as stack:
        ports = [stack.enter_context(worker("gunicorn", url, folder, core=None))[0] for _ in range(2)]
        places = {
            "one worker": stack.enter_context(proxy(ports[:1], folder)),
            "two workers": stack.enter_context(proxy(ports, folder)),
        }
        for port in ports:
            load(port, effort, seconds=effort.seconds)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in places}
        for _ in range(effort.rounds):
            for name, port in places.items():
                direct, through = (
                    load(ports[0], effort, seconds=effort.seconds),
                    load(port, effort, seconds=effort.seconds),
                )
                pages = through.pages_per_second / direct.pages_per_second
                found[name].append((pages, through.p99_seconds / direct.p99_seconds))
        return {
            name: (statistics.median(pages for pages, _ in each), statistics.median(p99 for _, p99 in each))
            for name, each in found.items()
        }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizing", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--proxy", action="store_true")
    options = parser.parse_args(arguments)
    effort = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if options.proxy:
            url = make_database(folder / "proxy.db", effort.visited, effort.visited)
        else:
            url = print_servers(folder, effort)
        print_proxy(url, folder, effort)


def print_servers(folder: Path, effort: Effort) -> str:
    """Print a line for each server and number of sites, and return the URL of the largest database."""
    url = ""
    print(f"{'sites':>9}  {'server':9} {'pages/s':>8} {'p99':>8} {'memory':>8}")
    for sites in effort.sites:
        url = make_database(folder / f"{sites}.db", sites, effort.visited)
        for server, (measured, memory) in by_server(url, folder, effort).items():
            pages, p99 = f"{measured.pages_per_second:.0f}", f"{measured.p99_seconds * 1000:.0f} ms"
            print(f"{sites:>9,}  {server:9} {pages:>8} {p99:>8} {memory >> 20:>4} MiB", flush=True)
    return url


def print_proxy(url: str, folder: Path, effort: Effort) -> None:
    """Print a line for each number of workers behind Caddy."""
    if shutil.which("caddy") is None:
        print("Nothing was measured behind a proxy: caddy not found (on Debian: apt-get install caddy)")
        return
    for name, (pages_ratio, p99_ratio) in behind_proxy(url, folder, effort).items():
        print(f"{name} behind Caddy, beside one without: {pages_ratio:.2f} x pages/s, {p99_ratio:.2f} x p99")


if __name__ == "__main__":
    main()
