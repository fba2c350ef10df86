"""The operator's console with ten sites, with more than a page of them, and with ten thousand.

`python -m benchmarks.console` prints the statements and the instructions of pages of the console. On PostgreSQL the
instructions are those of the application alone, on SQLite those of the database too. `--quick` only checks that it
works.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from benchmarks.compare import postgresql
from benchmarks.interleaving import count_instructions
from benchmarks.measured import Measured
from benchmarks.page import environ_of
from benchmarks.process import Process, callgrind_missing

__all__ = ["FULL", "PAGES", "QUICK", "Effort", "make_sites"]

HOST = "console.example"
PASSWORD = "correct horse battery staple"
ALIASES = 9


@dataclass(frozen=True)
class Effort:
    """Numbers of sites, the least of them first, and how many requests for each page are counted."""

    sites: tuple[int, ...]
    counted: int


FULL = Effort(sites=(10, 60, 10_000), counted=2)
QUICK = Effort(sites=(2, 3), counted=1)

PAGES = {
    "list": "/",
    "search by a part of a domain": "/?q=a3.many-00001",
    "search by a name": "/?q=Name+00001",
    "search that finds every site": "/?q=example",
    "by status and theme": "/?status=active&theme=-",
    "the last page": "/?after={last}",
    "a site": "/sites/1",
    "domains of a site": "/sites/1/domains",
    "settings of a site": "/sites/1/settings",
}
"""The pages, by what is shown; of 10,000 sites, the last page is the two hundredth."""


def make_sites(url: str, count: int) -> None:
    """Create the tables of the reference application, `count` sites with ten domains each, and an operator."""
    import sqlalchemy as sa

    from multisite.alembic.migrate import upgrade_own
    from multisite.console.operators import add_operator, use_link
    from multisite.content.tables import Base
    from multisite.directory import engine_from_url
    from multisite.directory.models import AS_MULTISITE, DomainRow, SiteRow
    from multisite.sites.site_words import complete_words

    engine = engine_from_url(url)
    upgrade_own(engine)
    Base.metadata.create_all(engine)
    names = [f"many-{number:05}.example" for number in range(1, count + 1)]
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        sites = [
            {"id": number, "name": f"Name {number:05}", "folder": name, "status": "active"}
            for number, name in enumerate(names, 1)
        ]
        connection.execute(sa.insert(SiteRow), sites)
        rows = [
            {"site_id": number, "host": f"{prefix}{name}", "kind": kind}
            for number, name in enumerate(names, 1)
            for prefix, kind in [("", "canonical"), *((f"a{alias}.", "alias") for alias in range(ALIASES))]
        ]
        connection.execute(sa.insert(DomainRow), rows)
    complete_words(engine)
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT", **AS_MULTISITE) as connection:
            connection.exec_driver_sql("ANALYZE")
    use_link(engine, add_operator(engine, "bench", "everything"), PASSWORD, None)
    engine.dispose()


class Console(Measured):
    """The reference application with the console, with an operator who has logged in."""

    def __init__(self, url: str, folder: str, count: int) -> None:
        super().__init__()
        from sqlalchemy import event

        from multisite.content import main
        from multisite.core.keys import DIRECTORY

        settings = {
            "sqlalchemy.url": url, "multisite.sites_dir": f"{folder}/sites", "multisite.templates_dir": folder,
            "multisite.console_host": HOST, "multisite.console_second_factor": "false",
        }  # fmt: skip
        self.app = main({}, **settings)
        self.statements = 0
        event.listen(self.app.registry[DIRECTORY].engine, "before_cursor_execute", self._count)
        form = urlencode({"login": "bench", "password": PASSWORD}).encode()
        self._cookie = ""
        self._cookie = self._send("/login", form)[1]
        last = quote(json.dumps([f"many-{max(count - 50, 0):05}.example", 0, ""]))
        self.work = {name: partial(self._get, path.format(last=last)) for name, path in PAGES.items()}

    def _count(self, *_arguments: Any) -> None:
        self.statements += 1

    def _get(self, path: str, count: int) -> None:
        for _ in range(count):
            status, _cookie, page = self._send(path)
            if status != "200 OK" or b"<h1>" not in page:
                raise RuntimeError(f"{path} answered {status}")

    def _send(self, path: str, form: bytes | None = None) -> tuple[str, str, bytes]:
        """Return the status, the cookie and the body of a page."""
        path, _, query = path.partition("?")
        environ = environ_of(path, HOST) | {
            "QUERY_STRING": query, "HTTP_ORIGIN": f"http://{HOST}", "HTTP_COOKIE": self._cookie,
        }  # fmt: skip
        if form is not None:
            environ |= {
                "REQUEST_METHOD": "POST", "wsgi.input": io.BytesIO(form), "CONTENT_LENGTH": str(len(form)),
                "CONTENT_TYPE": "application/x-www-form-urlencoded",
            }  # fmt: skip
        answered: list[Any] = []
        body = b"".join(self.app(environ, lambda status, headers, *_: answered.extend((status, dict(headers)))))
        return answered[0], answered[1].get("Set-Cookie", "").partition(";")[0], body

    def count_statements(self, name: str) -> int:
        """Return the number of statements of a page."""
        self.work[name](2)
        before = self.statements
        self.work[name](1)
        return self.statements - before


def measure(url: str, count: int, folder: Path, effort: Effort, *, counts: bool) -> dict[str, tuple[int, float]]:
    """Return the statements and the instructions of each page, with `count` sites in an empty database."""
    folder.mkdir()
    make_sites(url, count)
    words = ["benchmarks.console", "--serve", url, str(folder), str(count)]
    with Process(f"console with {count} sites", words, folder / "process", callgrind=counts) as process:
        statements = {name: process.ask("count_statements", name) for name in PAGES}
        if not counts:
            return {name: (number, 0.0) for name, number in statements.items()}
        process.ask("freeze")
        counted = count_instructions(process, PAGES, effort.counted)
        return {name: (number, counted[name]) for name, number in statements.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table for each database."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.console", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="only check that it works; the results mean nothing")
    parser.add_argument("--serve", nargs=3, metavar=("URL", "FOLDER", "SITES"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        url, folder, count = options.serve
        Console(url, folder, int(count)).serve()
        return
    effort = QUICK if options.quick else FULL
    missing = "not with --quick" if options.quick else callgrind_missing()
    if missing is not None:
        print(f"Instructions are not counted: {missing}")
    for name in ("SQLite", "PostgreSQL"):
        costs: dict[int, dict[str, tuple[int, float]]] = {}
        for count in effort.sites:
            with tempfile.TemporaryDirectory(prefix="multisite-bench-") as made:
                costs[count] = _measure_on(name, count, Path(made), effort, counts=missing is None)
        if all(costs.values()):
            print(format_costs(name, costs), flush=True)


def _measure_on(name: str, count: int, folder: Path, effort: Effort, *, counts: bool) -> dict[str, tuple[int, float]]:
    measured: Callable[[str], dict[str, tuple[int, float]]] = lambda url: measure(  # noqa: E731
        url, count, folder / "console", effort, counts=counts
    )
    if name == "SQLite":
        return measured(f"sqlite:///{folder}/console.db")
    with postgresql() as server:
        return {} if server is None else measured(server)


def format_costs(name: str, costs: dict[int, dict[str, tuple[int, float]]]) -> str:
    """Return a table with a row for each page: its statements, and its instructions for each number of sites."""
    head = [f"| {name} | statements |", "|---|---:|"]
    for count in costs:
        head = [head[0] + f" {count:,} sites |", head[1] + "---:|"]
    head = [head[0] + " × |", head[1] + "---:|"]
    lines = []
    for page in PAGES:
        found = [of_count[page] for of_count in costs.values()]
        numbers = sorted({statements for statements, _instructions in found})
        line = f"| {page} | {' to '.join(map(str, numbers))} |"
        line += "".join(f" {instructions / 1e6:.2f} |" for _statements, instructions in found)
        ratio = found[-1][1] / found[-2][1] if found[-2][1] else 0
        lines.append(f"{line} {ratio:.2f} |")
    return "\n".join(["", *head, *lines])


if __name__ == "__main__":
    main(sys.argv[1:])
