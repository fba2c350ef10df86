"""A process that serves one alternative, and is measured.

python -m benchmarks.worker ALTERNATIVE DATABASE FOLDER [SETTING=VALUE]…
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from benchmarks.alternatives import ALTERNATIVES, BASELINE, Alternative
from benchmarks.measured import Measured
from benchmarks.page import PATHS, TEMPLATES, Unavailable, ask, host_of

_ATTEMPTS = 5
_PAUSE_SECONDS = 11
"""Under callgrind on a busy machine, the first query may take longer than the directory's timeout, after which the
directory leaves the database alone for ten seconds."""


class Worker(Measured):
    """One alternative, ready to be measured. `folder` is an empty folder for files named in the settings."""

    def __init__(self, alternative: Alternative, database: str, folder: str, settings: dict[str, str]) -> None:
        super().__init__()
        given = {"sqlalchemy.url": f"sqlite:///{database}"}
        if alternative is not BASELINE:
            given |= {"multisite.sites_dir": f"{folder}/sites", "multisite.templates_dir": str(TEMPLATES)}
        self.app = alternative.make_app(given | settings)
        self.hosts: Iterator[str] = itertools.repeat(host_of(1))
        self.work = {path: self._asking(path) for path in PATHS}

    def _asking(self, path: str) -> Callable[[int], bytes]:
        def asking(count: int) -> bytes:
            page = b""
            for _ in range(count):
                page = ask(self.app, path, next(self.hosts))
            return page

        return asking

    def visit(self, sites: int) -> str:
        """Request the first `sites` sites, and those in turn from now on; return the last page."""
        hosts = [host_of(number) for number in range(1, sites + 1)]
        self.hosts = itertools.cycle(hosts)
        page = b""
        for host in hosts:
            page = self._first_page(host)
        return page.decode()

    def _first_page(self, host: str) -> bytes:
        for _ in range(_ATTEMPTS):
            with suppress(Unavailable):
                return ask(self.app, "/", host)
            time.sleep(_PAUSE_SECONDS)
        return ask(self.app, "/", host)


def main() -> None:
    """Serve the alternative named on the command line until standard input ends."""

    key, database, folder, *settings = sys.argv[1:]
    alternative = next(each for each in ALTERNATIVES if each.key == key)
    Worker(alternative, database, folder, dict(each.split("=", 1) for each in settings)).serve()


if __name__ == "__main__":
    main()
