"""The application of tests/system/test_arrivals.py, which servers import as `arriving:app`."""

from __future__ import annotations

import os
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from scoped_models import Book
from sqlalchemy import event, select
from sqlalchemy.orm import Session

begun: list[Any] = []


@event.listens_for(Session, "after_begin")
def count(session: Session, *_: Any) -> None:
    begun.append(1)


def books(request: Request) -> Response:
    return Response(" ".join(request.dbsession.scalars(select(Book.secret))))


def sessions(request: Request) -> Response:
    """Return the number of sessions begun in this process."""
    return Response(str(len(begun)))


def make() -> Any:
    config = Configurator(
        settings={
            "sqlalchemy.url": os.environ["ARRIVING_URL"],
            "multisite.sites_dir": os.environ["ARRIVING_SITES"],
            "multisite.open_paths": "/sessions",
        }
    )
    config.include("multisite")
    for name, view in (("/sessions", sessions), ("/*path", books)):
        config.add_route(name, name)
        config.add_view(view, route_name=name)
    return config.make_wsgi_app()


app = make() if "ARRIVING_URL" in os.environ else None
