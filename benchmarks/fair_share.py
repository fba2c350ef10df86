"""A busy site and a quiet one: response times of the quiet site, with and without the limit on a site's requests.

`python -m benchmarks.fair_share`: waitress with eight threads, sixteen clients of the busy site, and one client of the
quiet site, whose responses are timed; each in its own process. First alone, then under load, in turns. With the limit,
most requests to the busy site are refused, or wait if the application lets them. Refused clients send the next one at
once, or wait for half a second, as `Retry-After` asks them to. "Bare" is a WSGI function of a few lines with the same
limit, without Pyramid: what the server and the machine make of the same load. On a machine that does something else
too, the ratios mean nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple

VISITORS = 16
SLEEP_SECONDS = 0.1
AIM = 1.5
"""How many times as long as alone the 99th percentile may be."""
BUSY, OTHER = "busy.example", "other.example"


class Case(NamedTuple):
    """An application, its server, and its visitors; `pause` is how long they wait after a refusal, in seconds."""

    limit: int
    waiting: int
    threads: int
    pause: float
    is_bare: bool = False

    @property
    def name(self) -> str:
        """What the application allows the busy site."""
        if not self.limit:
            return "none"
        waiting = f", {self.waiting} wait" if self.waiting else ""
        return f"{self.limit} of {self.threads} threads{waiting}" + (", bare" if self.is_bare else "")


CASES = (
    Case(0, 0, 8, 0.5),  # Nothing is refused.
    Case(4, 0, 8, 0.5),
    Case(4, 0, 8, 0.0),
    Case(4, 0, 8, 0.0, is_bare=True),
    Case(4, 20, 32, 0.5),
    Case(4, 20, 32, 0.0),
)


def serve(url: str, case: Case) -> None:
    """Serve two sites until killed; print the port first. Runs in its own process."""
    from waitress.server import create_server

    app = _bare_application(case.limit) if case.is_bare else _application(url, case)
    server = create_server(app, host="127.0.0.1", port=0, threads=case.threads)
    print(f"port {server.effective_port}", flush=True)
    server.run()


def _application(url: str, case: Case) -> Any:
    from pyramid.config import Configurator
    from pyramid.request import Request
    from pyramid.response import Response

    from multisite.testing import plant_site

    def sleep(request: Request) -> Response:
        time.sleep(SLEEP_SECONDS)
        return Response("slept")

    def quick(request: Request) -> Response:
        return Response("quick")

    limits = {"max_requests_per_site": case.limit, "max_waiting_requests_per_site": case.waiting}
    settings = {"sqlalchemy.url": url} | {f"multisite.{name}": str(value) for name, value in limits.items()}
    config = Configurator(settings=settings)
    config.include("multisite")
    for view in (sleep, quick):
        config.add_route(view.__name__, f"/{view.__name__}")
        config.add_view(view, route_name=view.__name__)
    app = config.make_wsgi_app()
    for host in (BUSY, OTHER):
        plant_site(app, host)
    return app


def _bare_application(limit: int) -> Any:
    slots = threading.Semaphore(limit)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["HTTP_HOST"] == OTHER:
            start_response("200 OK", [("Content-Length", "5")])
            return [b"quick"]
        if not slots.acquire(blocking=False):
            start_response("503 Service Unavailable", [("Content-Length", "4")])
            return [b"busy"]
        try:
            time.sleep(SLEEP_SECONDS)
        finally:
            slots.release()
        start_response("200 OK", [("Content-Length", "5")])
        return [b"slept"]

    return app


@contextmanager
def _running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run this module with `arguments` in its own process until the end of the block."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.fair_share", *arguments]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environ)
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _served(folder: Path, case: Case) -> Iterator[int]:
    with _running("--serve", f"sqlite:///{folder}/x.db", str(CASES.index(case))) as process:
        assert process.stdout is not None
        found = re.match(r"port (\d+)", process.stdout.readline())
        assert found is not None, "the server did not start"
        yield int(found[1])


def hammer(port: int, pause_seconds: float) -> None:
    """Request the slow page with many clients until killed. Runs in its own process."""
    for _ in range(VISITORS):
        threading.Thread(target=_ask_for_ever, args=(port, pause_seconds)).start()


def _ask_for_ever(port: int, pause_seconds: float) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    while True:
        try:
            connection.request("GET", "/sleep", headers={"Host": BUSY})
            answer = connection.getresponse()
            answer.read()
            if answer.status == 503:
                time.sleep(pause_seconds)
        except (HTTPException, OSError):
            connection.close()


def _visit(port: int, times: int) -> list[float]:
    """Return the durations of requests to the quiet site, in seconds."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        connection.request("GET", "/quick", headers={"Host": OTHER})
        connection.getresponse().read()
        seconds.append(time.perf_counter() - begun)
    connection.close()
    return seconds


def _percentile_99(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


def measure(runs: int, times: int) -> str:
    """Return a table: response times of the quiet site alone and under load, without and with the limit."""
    heads = [
        "limit",
        "pause after a refusal, s",
        "median alone, ms",
        "under load",
        "99th percentile alone",
        "under load",
    ]
    lines = [" | ".join(["| " + heads[0], *heads[1:], "×", f"runs within {AIM} |"]), "|---|" + "---:|" * 7]
    with tempfile.TemporaryDirectory(prefix="multisite-bench-") as folder:
        with ExitStack() as servers:
            ports = {case: servers.enter_context(_served(Path(folder), case)) for case in CASES}
            found: dict[Case, list[tuple[list[float], list[float]]]] = {case: [] for case in CASES}
            for _ in range(runs):
                # In turns, so that the same noise of the machine meets all of them.
                for case, port in ports.items():
                    _visit(port, 50 if times > 50 else 1)
                    found[case].append(_run(port, times, case.pause))
        lines += [format_line(case, found[case]) for case in CASES]
    return "\n".join(lines)


def _run(port: int, times: int, pause: float) -> tuple[list[float], list[float]]:
    alone = _visit(port, times)
    with _running("--hammer", str(port), str(pause)):
        time.sleep(1 + 3 * SLEEP_SECONDS)
        return alone, _visit(port, times)


def format_line(case: Case, runs: Sequence[tuple[list[float], list[float]]]) -> str:
    """Return the median of the runs, with the least and the greatest ratio."""
    medians = [[statistics.median(seconds) for seconds in run] for run in runs]
    percentiles = [[_percentile_99(seconds) for seconds in run] for run in runs]
    ratios = [loaded / alone for alone, loaded in percentiles]
    columns = (*zip(*medians, strict=True), *zip(*percentiles, strict=True))
    cells = [f"{1000 * statistics.median(column):.1f}" for column in columns]
    waits = f"{case.pause:g}" if case.limit else ""
    within = sum(ratio <= AIM for ratio in ratios)
    cells += [f"{min(ratios):.1f}–{max(ratios):.1f}", f"{within} of {len(runs)}"]
    return " | ".join(["| " + case.name, waits, *cells]) + " |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve, or measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fair_share")
    parser.add_argument("--serve", nargs=2, metavar=("URL", "CASE"), help=argparse.SUPPRESS)
    parser.add_argument("--hammer", nargs=2, metavar=("PORT", "PAUSE"), help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="only check that it works; the results mean nothing")
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve[0], CASES[int(options.serve[1])])
    elif options.hammer:
        hammer(int(options.hammer[0]), float(options.hammer[1]))
    elif options.quick:
        print(measure(1, 5))
    else:
        print(measure(6, 300))


if __name__ == "__main__":
    main()
