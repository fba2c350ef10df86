"""The home page that every alternative serves: its columns, its views, and the request.

Its cost is broken down by omitting parts: `/bare` is the router and a view, `/rows` renders the same page from rows in
memory, `/session` also begins and ends a transaction, and `/` is the page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from sqlalchemy.orm import Mapped, mapped_column

__all__ = [
    "ENTRIES",
    "PATHS",
    "ROWS",
    "TEMPLATES",
    "VISITED",
    "EntryColumns",
    "add_views",
    "ask",
    "environ_of",
    "host_of",
    "values_of",
]

ROWS = 10_000
"""Number of entries in the table, of all sites together."""
ENTRIES = 10
"""Number of entries on the page."""
VISITED = 1_000
"""Number of sites that are visited in turn and share the entries, if there are more."""
TEMPLATES = Path(__file__).parent / "templates"
PATHS = ("/bare", "/rows", "/session", "/")
"""Each does everything that the previous one does, and one more thing."""

_RENDERER = "benchmarks:templates/home.mako"
_FIRST_DAY = datetime(2020, 1, 1)  # noqa: DTZ001 - SQLite keeps no zone.


class EntryColumns:
    """The columns of the model `Entry`, except for its site."""

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(sa.String(100))
    title: Mapped[str] = mapped_column(sa.String(200))
    summary: Mapped[str] = mapped_column(sa.Text)
    published: Mapped[datetime]


def values_of(number: int) -> dict[str, Any]:
    """Return the columns of the entry with this number; some of its text needs escaping."""
    return {
        "slug": f"entry-{number}",
        "title": f"Notes & queries, part {number}",
        "summary": f"What the {number}th day brought: <rain> in the morning, and a walk along the river. " * 2,
        "published": _FIRST_DAY + timedelta(hours=number),
    }


def add_views(config: Configurator, latest: Callable[[Request], Sequence[Any]], model: type[Any]) -> None:
    """Add the page and its parts; `latest` runs the query, and `model` creates the rows in memory."""
    at_hand = [model(**values_of(ROWS - number)) for number in range(ENTRIES)]

    def bare(request: Request) -> Response:
        return Response("<!DOCTYPE html>")

    def rows(request: Request) -> dict[str, Any]:
        return {"entries": at_hand}

    def session(request: Request) -> dict[str, Any]:
        request.dbsession.connection()
        return {"entries": at_hand}

    def home(request: Request) -> dict[str, Any]:
        return {"entries": latest(request)}

    config.add_route("bare", "/bare")
    config.add_route("rows", "/rows")
    config.add_route("session", "/session")
    config.add_route("home", "/")
    config.add_view(bare, route_name="bare")
    config.add_view(rows, route_name="rows", renderer=_RENDERER)
    config.add_view(session, route_name="session", renderer=_RENDERER)
    config.add_view(home, route_name="home", renderer=_RENDERER)


def host_of(number: int) -> str:
    """Return the host of the site with this number."""
    return f"site{number}.bench.example"


class Unavailable(RuntimeError):
    """A 503: the database has not responded in time, which happens on a slow and busy machine."""


def ask(app: Callable[..., Any], path: str, host: str) -> bytes:
    """Send a request like that of a browser behind waitress to `app`, and return the page.

    Raises:
        Unavailable: the status is 503.
        RuntimeError: the status is neither 200 nor 503.
    """
    answered: list[str] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> None:
        answered.append(status)

    chunks = app(environ_of(path, host), start_response)
    try:
        body = b"".join(chunks)
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()
    if answered != ["200 OK"]:
        error = Unavailable if answered == ["503 Service Unavailable"] else RuntimeError
        raise error(f"{host}{path} answered {answered}")
    return body


def environ_of(path: str, host: str) -> dict[str, Any]:
    return {
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_HOST": "127.0.0.1",
        "REMOTE_PORT": "51234",
        "REQUEST_METHOD": "GET",
        "SERVER_PORT": "80",
        "SERVER_NAME": "waitress.invalid",
        "SERVER_SOFTWARE": "waitress",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SCRIPT_NAME": "",
        "PATH_INFO": path.partition("?")[0],
        "REQUEST_URI": path,
        "QUERY_STRING": path.partition("?")[2],
        "HTTP_HOST": host,
        "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        "HTTP_ACCEPT": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "HTTP_ACCEPT_LANGUAGE": "en-US,en;q=0.5",
        "HTTP_ACCEPT_ENCODING": "gzip, deflate",
        "HTTP_CONNECTION": "keep-alive",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(),
        "wsgi.errors": None,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
