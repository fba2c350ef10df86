"""A busy site and a quiet one: response times of the quiet site, with and without the limit on a site's requests.

`python -m benchmarks.fair_share`: waitress with eight threads, sixteen clients of the busy site, and one client of the
quiet site, whose responses are timed; each in its own process. First alone, then under load, in turns. With the limit,
most requests to the busy site are refused. Its clients then send the next one at once, or wait for half a second, as
`Retry-After` asks them to. On a machine that does something else too, the ratios mean nothing.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

THREADS = 8
VISITORS = 16
SLEEP_SECONDS = 0.1
LIMIT = 4
PAUSES = (0.5, 0.0)
"""How long a client waits after a refusal, in seconds."""
AIM = 1.5
"""How many times as long as alone the 99th percentile may be."""
BUSY, OTHER = "busy.example", "other.example"


def serve(url: str, limit: int) -> None:
    """Serve two sites until killed; print the port first. Runs in its own process."""
    from pyramid.config import Configurator
    from pyramid.request import Request
    from pyramid.response import Response
    from waitress.server import create_server

    from multisite.testing import plant_site

    def sleep(request: Request) -> Response:
        time.sleep(SLEEP_SECONDS)
        return Response("slept")

    def quick(request: Request) -> Response:
        return Response("quick")

    config = Configurator(settings={"sqlalchemy.url": url, "multisite.max_requests_per_site": str(limit)})
    config.include("multisite")
    for view in (sleep, quick):
        config.add_route(view.__name__, f"/{view.__name__}")
        config.add_view(view, route_name=view.__name__)
    app = config.make_wsgi_app()
    for host in (BUSY, OTHER):
        plant_site(app, host)
    server = create_server(app, host="127.0.0.1", port=0, threads=THREADS)
    print(f"port {server.effective_port}", flush=True)
    server.run()


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
def _served(folder: Path, limit: int) -> Iterator[int]:
    with _running("--serve", f"sqlite:///{folder}/x.db", str(limit)) as process:
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
        # Without the limit nothing is refused.
        for limit, pause in ((0, PAUSES[0]), *((LIMIT, pause) for pause in PAUSES)):
            with _served(Path(folder), limit) as port:
                _visit(port, 50)
                found = [_run(port, times, pause) for _ in range(runs)]
            lines.append(format_line(limit, pause, found))
    return "\n".join(lines)


def _run(port: int, times: int, pause: float) -> tuple[list[float], list[float]]:
    alone = _visit(port, times)
    with _running("--hammer", str(port), str(pause)):
        time.sleep(1 + 3 * SLEEP_SECONDS)
        return alone, _visit(port, times)


def format_line(limit: int, pause: float, runs: Sequence[tuple[list[float], list[float]]]) -> str:
    """Return the median of the runs, with the least and the greatest ratio."""
    medians = [[statistics.median(seconds) for seconds in run] for run in runs]
    percentiles = [[_percentile_99(seconds) for seconds in run] for run in runs]
    ratios = [loaded / alone for alone, loaded in percentiles]
    columns = (*zip(*medians, strict=True), *zip(*percentiles, strict=True))
    cells = [f"{1000 * statistics.median(column):.1f}" for column in columns]
    name = f"{limit} of {THREADS} threads" if limit else "none"
    waits = f"{pause:g}" if limit else ""
    within = sum(ratio <= AIM for ratio in ratios)
    cells += [f"{min(ratios):.1f}–{max(ratios):.1f}", f"{within} of {len(runs)}"]
    return " | ".join(["| " + name, waits, *cells]) + " |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve, or measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fair_share")
    parser.add_argument("--serve", nargs=2, metavar=("URL", "LIMIT"), help=argparse.SUPPRESS)
    parser.add_argument("--hammer", nargs=2, metavar=("PORT", "PAUSE"), help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="only check that it works; the results mean nothing")
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve[0], int(options.serve[1]))
    elif options.hammer:
        hammer(int(options.hammer[0]), float(options.hammer[1]))
    elif options.quick:
        print(measure(1, 5))
    else:
        print(measure(6, 300))


if __name__ == "__main__":
    main()
