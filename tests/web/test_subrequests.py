"""Subrequests and the page cache. The site of a subrequest is tested in test_context."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from webtest import TestApp

from multisite.alembic.migrate import upgrade_own
from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.sites.creation import add_site
from multisite.web import subrequests

HOST = "one.example"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[TestApp]:
    settings = {
        "sqlalchemy.url": f"sqlite:///{tmp_path / 'database'}",
        "multisite.sites_dir": str(tmp_path / "sites"),
        "multisite.templates_dir": str(tmp_path / "templates"),
        "multisite.page_cache_seconds": "600",
    }
    engine = sa.create_engine(settings["sqlalchemy.url"])
    upgrade_own(engine)
    add_site(engine, HOST, settings=parse_settings(settings))
    engine.dispose()
    numbers = count()

    def part(request: Request) -> Response:
        return Response(f"part {next(numbers)}")

    def whole(request: Request) -> Response:
        asked = Request.blank("/part", environ={"HTTP_HOST": HOST})
        return Response("whole of " + request.invoke_subrequest(asked, use_tweens="tweens" in request.GET).text)

    def copied(request: Request) -> Response:
        request.invoke_subrequest(Request.blank("/part", environ={"HTTP_HOST": HOST}))
        asked = request.copy()
        asked.path_info = "/part"
        return Response("copy of " + request.invoke_subrequest(asked, use_tweens=True).text)

    with Configurator(settings=settings) as config:
        config.include("multisite")
        config.include("multisite.page_cache")
        for view in (part, whole, copied):
            config.add_route(view.__name__, f"/{view.__name__}")
            config.add_view(view, route_name=view.__name__, page_cache=True)
        router = config.make_wsgi_app()
    yield TestApp(router, extra_environ={"HTTP_HOST": HOST})
    router.registry[DIRECTORY].engine.dispose()


def answers(app: TestApp, path: str) -> list[str]:
    return [app.get(path).text for _ in range(3)]


def test_a_response_made_from_a_subrequest_is_not_cached(app: TestApp) -> None:
    assert answers(app, "/part") == ["part 0"] * 3
    assert answers(app, "/whole") == ["whole of part 1", "whole of part 2", "whole of part 3"]
    assert answers(app, "/whole?tweens") == ["whole of part 0"] * 3, "the part itself is"


def test_without_the_mark_it_would_be_cached(app: TestApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subrequests, "get_current_request", lambda: None)
    assert answers(app, "/whole") == ["whole of part 0"] * 3


def test_a_copy_of_a_request_that_made_a_subrequest_is_cached(app: TestApp) -> None:
    assert answers(app, "/copied") == ["copy of part 1"] * 3, "part 0, 2 and 3 are those of the first subrequests"
