"""The response to an unknown host is that of its exception view, also where Pyramid does not call the view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from content_sites import ContentSites
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from multisite import UnknownSite
from multisite.core.keys import DIRECTORY
from multisite.errors import MultisiteError
from multisite.web import exception_views


def wrapping(view: Any, info: Any) -> Any:
    def wrapped(context: Any, request: Request) -> Response:
        response = view(context, request)
        if isinstance(context, UnknownSite):
            response.headers["X-Wrapped"] = "yes"
        return response

    return wrapped


def own(error: Exception, request: Request) -> Response:
    return Response("own", status=404)


def make(sites: ContentSites, change: Callable[[Configurator], object] = lambda config: None, **settings: str) -> Any:
    config = Configurator(settings=sites.settings | settings)
    config.include("multisite")
    change(config)
    return config.make_wsgi_app()


def ask(app: Any, method: str = "GET") -> tuple[str, list[tuple[str, str]], bytes]:
    request = Request.blank("/page", host="unknown.example", method=method)
    response = request.get_response(app)
    return response.status, response.headerlist, response.body


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[UnknownSite]:
    """The errors for which Pyramid has called multisite's view."""
    plain, errors = exception_views.unknown_site_view, []

    def noting(error: UnknownSite, request: Request) -> Response:
        errors.append(error)
        return plain(error, request)

    monkeypatch.setattr(exception_views, "unknown_site_view", noting)
    return errors


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("status", ["404", "421"])
def test_both_ways_give_the_same_response(
    sqlite_sites: ContentSites, called: list[UnknownSite], status: str, method: str
) -> None:
    settings = {"multisite.unknown_host": status}
    direct = make(sqlite_sites, **settings)
    through_pyramid = make(sqlite_sites, lambda config: config.add_view_deriver(wrapping), **settings)
    for _ in range(2):  # A response is not changed by whoever got the one before.
        found = ask(direct, method)
    assert called == []
    code, headers, body = ask(through_pyramid, method)
    assert len(called) == 1
    assert found == (code, [header for header in headers if header[0] != "X-Wrapped"], body)
    assert ("X-Wrapped", "yes") in headers
    for app in (direct, through_pyramid):
        app.registry[DIRECTORY].engine.dispose()


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.add_exception_view(own, context=UnknownSite),
        lambda config: (config.commit(), config.add_exception_view(own, context=UnknownSite, request_method="GET")),
    ],
    ids=["replaced", "with a predicate"],
)
def test_the_application_s_own_view_is_called(
    sqlite_sites: ContentSites, change: Callable[[Configurator], object]
) -> None:
    app = make(sqlite_sites, change)
    assert ask(app)[2] == b"own"
    app.registry[DIRECTORY].engine.dispose()


def test_a_view_for_a_base_class_is_not_called(sqlite_sites: ContentSites, called: list[UnknownSite]) -> None:
    app = make(sqlite_sites, lambda config: config.add_exception_view(own, context=MultisiteError))
    assert ask(app)[2] == b"There is no site here.\n"
    app.registry[DIRECTORY].engine.dispose()


def test_in_development_the_view_names_the_command(sqlite_sites: ContentSites, called: list[UnknownSite]) -> None:
    app = make(sqlite_sites, **{"pyramid.reload_templates": "true"})
    assert b"add-site unknown.example" in ask(app)[2]
    assert [error.name for error in called] == ["unknown.example"]
    app.registry[DIRECTORY].engine.dispose()
