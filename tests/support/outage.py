"""The application of tests/directory/test_directory_outage.py, which waitress imports as `outage:app`."""

from __future__ import annotations

import os
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from scoped_models import Book


def hello(request: Request) -> Response:
    """Return the name of the site, without the database."""
    return Response(request.site.host)


def write(request: Request) -> Response:
    """Insert a row; the response follows the commit."""
    request.dbsession.add(Book(slug=request.params["slug"], secret=request.site.host))
    return Response("written")


def make() -> Any:
    from multisite.directory import cache, snapshot

    # Shorter timeouts.
    cache.QUERY_TIMEOUT_SECONDS, cache.HANG_PAUSE_SECONDS, snapshot.WRITE_PAUSE_SECONDS = 0.5, 0.5, 0.1
    config = Configurator(
        settings={
            "sqlalchemy.url": os.environ["OUTAGE_URL"],
            "multisite.sites_dir": os.environ["OUTAGE_SITES"],
            "multisite.snapshot": os.environ["OUTAGE_SNAPSHOT"],
            "multisite.refresh_seconds": "0.1",
        }
    )
    config.include("multisite")
    for name, view in (("/", hello), ("/write", write)):
        config.add_route(name, name)
        config.add_view(view, route_name=name)
    return config.make_wsgi_app()


app = make() if "OUTAGE_URL" in os.environ else None
