"""Several applications in one process: routing, start-up, memory, and a busy neighbour.

`python3 dev.py bench vhosts`. Compares with Paste's urlmap if Paste is installed, and with one process each.
"""

from __future__ import annotations

import random
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from threading import Event, Thread
from typing import Any

from paste.deploy import loadapp
from paste.deploy.loadwsgi import ConfigLoader

from benchmarks.process import Process
from benchmarks.tables import _table

__all__ = ["FULL", "QUICK", "measure"]


@dataclass(frozen=True)
class Effort:
    """How many `domains` there are, up to `paste_domains` for Paste, and how many `requests` are timed.

    `applications` are loaded in one process, and compared with `processes` processes of one application each. `visits`
    is the number of requests to an application with a busy neighbour.
    """

    domains: tuple[int, ...]
    paste_domains: int
    requests: int
    applications: tuple[int, ...]
    processes: int
    visits: int


FULL = Effort(
    domains=(10, 100, 1_000, 10_000), paste_domains=1_000, requests=20_000, applications=(1, 10, 50), processes=10,
    visits=200,
)  # fmt: skip
QUICK = Effort(domains=(10, 100), paste_domains=10, requests=20, applications=(1, 2), processes=1, visits=3)

URLMAP, VHOSTS = "Paste's urlmap", "egg:pyramid-multisite#vhosts"
_USES = {VHOSTS: "egg:pyramid-multisite#vhosts", URLMAP: "egg:Paste#urlmap"}

Results = dict[str, Any]


def measure(folder: Path, *, quick: bool) -> Results:
    """Measure, print tables, and return the results."""
    effort = QUICK if quick else FULL
    domains = _domains(folder, effort)
    print(_format_domains(domains), flush=True)
    memory = _memory(folder, effort)
    print(_format_memory(memory), flush=True)
    neighbour = _neighbour(folder, effort)
    print(_format_neighbour(neighbour), flush=True)
    return {"vhosts": {"domains": domains, "memory": memory, "neighbour": neighbour}}


# Routing, and start-up with many domains


def _domains(folder: Path, effort: Effort) -> list[Results]:
    kinds = [VHOSTS]
    try:
        import paste.urlmap  # noqa: F401

        kinds.append(URLMAP)
    except ImportError:
        print("Not measured beside Paste's urlmap: pip install Paste")
    return [
        _domains_of(folder, kind, count, effort)
        for kind in kinds
        for count in effort.domains
        if kind == VHOSTS or count <= effort.paste_domains
    ]


def _domains_of(folder: Path, kind: str, count: int, effort: Effort) -> Results:
    hosts = [f"site{number}.example" for number in range(count)]
    ini = folder / f"{count} domains.ini"
    lines = "\n".join(f"domain {host} / = answers" for host in hosts)
    ini.write_text(
        f"[composite:main]\nuse = {_USES[kind]}\n{lines}\n[app:answers]\nuse = call:benchmarks.vhosts_worker:answers\n",
        "utf-8",
    )
    # Reading the file with ConfigParser takes the same time for both.
    begun = time.process_time()
    ConfigLoader(str(ini))
    read = time.process_time() - begun
    begun = time.process_time()
    app = loadapp(f"config:{ini}")
    loaded = time.process_time() - begun - read
    asked = random.Random(3).choices(hosts, k=effort.requests)
    found = _microseconds(app, asked)
    nowhere = _microseconds(app, ["nowhere.example"] * effort.requests)
    return {
        "kind": kind, "domains": count, "microseconds": found, "microseconds_unknown": nowhere,
        "seconds_to_load": loaded, "seconds_to_read": read,
    }  # fmt: skip


def _microseconds(app: Callable[..., Any], hosts: list[str]) -> float:
    """Return the processor time of one request, the median of twenty parts."""
    took = []
    size = max(1, len(hosts) // 20)
    for begin in range(0, len(hosts), size):
        environs = [
            {"HTTP_HOST": host, "SCRIPT_NAME": "", "PATH_INFO": "/page", "wsgi.url_scheme": "http",
             "REQUEST_METHOD": "GET"}
            for host in hosts[begin : begin + size]
        ]  # fmt: skip
        begun = time.process_time()
        for environ in environs:
            app(environ, _start_response)
        took.append((time.process_time() - begun) / len(environs))
    return statistics.median(took) * 1e6


def _start_response(status: str, headers: Any, exc_info: Any = None) -> None:
    """Accept the status, like a server."""


def _format_domains(rows: list[Results]) -> str:
    head = ["", "domains", "µs", "µs, unknown host", "s to read the file", "s to load"]
    return _table(
        "Finding the application, by request, and starting",
        head,
        (
            [
                row["kind"], f"{row['domains']:,}", f"{row['microseconds']:.1f}", f"{row['microseconds_unknown']:.1f}",
                f"{row['seconds_to_read']:.3f}", f"{row['seconds_to_load']:.3f}",
            ]
            for row in rows
        ),
    )  # fmt: skip


# Memory


def _memory(folder: Path, effort: Effort) -> list[Results]:
    found = []
    for count in effort.applications:
        with _loaded(folder, f"one process of {count}", range(count)) as process:
            found.append({"applications": count, "processes": 1, **process.ask("memory")})
    with ExitStack() as stack:
        several = [
            stack.enter_context(_loaded(folder, f"process {number}", [number])) for number in range(effort.processes)
        ]
        each = [process.ask("memory") for process in several]
    # Each further process needs the private memory of one, so the rest is extrapolated.
    own = {key: statistics.mean(results[key] for results in each) for key in each[0]}
    return found + [
        {"applications": count, "processes": count, **{key: value * count for key, value in own.items()}}
        for count in effort.applications
    ]


@contextmanager
def _loaded(folder: Path, name: str, numbers: Any) -> Iterator[Process]:
    """Start a process that has loaded these applications and requested a page of each."""
    ini = folder / f"{name}.ini"
    numbers = list(numbers)
    lines = [f"domain site{number}.example / = app{number}" for number in numbers]
    sections = [
        f"[app:app{number}]\nuse = call:benched_app_{number}:main\nsqlalchemy.url = sqlite:///{folder}/app{number}.db"
        for number in numbers
    ]
    ini.write_text("\n".join(["[composite:main]", "use = egg:pyramid-multisite#vhosts", *lines, *sections]), "utf-8")
    from benchmarks.vhosts_worker import APPLICATION

    for number in numbers:
        (folder / f"benched_app_{number}.py").write_text(APPLICATION.replace("NUMBER", str(number)), "utf-8")
    with Process(name, ["benchmarks.vhosts_worker", str(ini)], folder / name) as process:
        process.ask("visit", [f"site{number}.example" for number in numbers])
        yield process


def _format_memory(rows: list[Results]) -> str:
    head = ["applications", "processes", "MiB", "MiB, shared pages divided", "s to start and show a page"]
    return _table(
        "Pyramid applications with models and templates of their own",
        head,
        (
            [
                f"{row['applications']}", f"{row['processes']}", f"{row['resident'] / 2**20:,.0f}",
                f"{row['proportional'] / 2**20:,.0f}", f"{row['seconds']:.1f}",
            ]
            for row in rows
        ),
    )  # fmt: skip


# A busy neighbour


def _neighbour(folder: Path, effort: Effort) -> list[Results]:
    found = []
    for title, together, busy in (
        ("idle neighbour", True, 0),
        ("neighbour that computes, in the same process", True, 2),
        ("neighbour that computes, in another process", False, 2),
    ):
        with ExitStack() as stack:
            port = stack.enter_context(_serving(folder, f"{title} one"))
            other = port if together else stack.enter_context(_serving(folder, f"{title} other"))
            for _ in range(busy):
                stack.enter_context(_hammering(other))
            took = sorted(_visit(port) for _ in range(effort.visits))
        found.append(
            {
                "title": title,
                "median": statistics.median(took),
                "worst": took[min(len(took) - 1, len(took) * 99 // 100)],
            }
        )
    return found


@contextmanager
def _serving(folder: Path, name: str) -> Iterator[int]:
    ini = folder / f"{name}.ini"
    ini.write_text(
        "[composite:main]\nuse = egg:pyramid-multisite#vhosts\ndomain quick.example / = answers\n"
        "domain busy.example / = computes\n[app:answers]\nuse = call:benchmarks.vhosts_worker:answers\n"
        "[app:computes]\nuse = call:benchmarks.vhosts_worker:computes\n",
        "utf-8",
    )
    with Process(name, ["benchmarks.vhosts_worker", str(ini)], folder / name) as process:
        yield process.ask("listen")


@contextmanager
def _hammering(port: int) -> Iterator[None]:
    """Request pages of the busy application without a pause."""
    ended = Event()

    def ask() -> None:
        while not ended.is_set():
            _visit(port, "busy.example")

    thread = Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _visit(port: int, host: str = "quick.example") -> float:
    begun = time.perf_counter()
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.connect()
    assert connection.sock is not None
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.request("GET", "/", headers={"Host": host})
    connection.getresponse().read()
    connection.close()
    return time.perf_counter() - begun


def _format_neighbour(rows: list[Results]) -> str:
    return _table(
        "A page that is quick, over waitress with four threads",
        ["", "ms, median", "ms, worst of a hundred"],
        ([row["title"], f"{row['median'] * 1e3:.1f}", f"{row['worst'] * 1e3:.1f}"] for row in rows),
    )
