"""The cached request class: equivalent to Pyramid's, separate per application, and bounded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.interfaces import IRequest, IRequestExtensions
from pyramid.request import Request, apply_request_extensions
from pyramid.response import Response
from pyramid.testing import DummyRequest
from webtest import TestApp

from multisite.core.keys import DIRECTORY
from multisite.web import request_class
from multisite.web.request_class import MAX_CLASSES, NAME, RequestClass


def twice(request: Any, text: str) -> str:
    """Return a text twice."""
    return f"{text} {text} at {request.path}"


def configured(**settings: Any) -> Configurator:
    """Return an application with a request method, a property and a reified property, which a view shows."""
    config = Configurator(settings=settings)
    config.add_request_method(twice)
    config.add_request_method(lambda request: request.path, "where", property=True)
    config.add_request_method(lambda request: object(), "once", reify=True)
    config.add_route("page", "/{name}")
    config.add_view(
        lambda request: Response(f"{request.twice('a')} {request.where} {request.once is request.once}"),
        route_name="page",
    )
    return config


def prepared(config: Configurator) -> Any:
    config.commit()
    request_class.prepare(config.registry)
    return config.make_wsgi_app()


def extended(app: Any, path: str = "/page") -> Any:
    with app.request_context(Request.blank(path).environ) as request:
        return request


def test_a_request_has_the_attributes_that_pyramid_gives_it() -> None:
    ours, theirs = extended(prepared(configured())), extended(configured().make_wsgi_app())
    assert set(dir(ours)) == set(dir(theirs))
    assert (type(ours).__name__, type(ours).__module__) == (type(theirs).__name__, type(theirs).__module__)
    assert isinstance(ours, Request)
    assert IRequest.providedBy(ours)
    assert ours.twice("b") == theirs.twice("b") == "b b at /page"
    assert ours.twice.__doc__ == "Return a text twice."
    assert ours.where == theirs.where == "/page"
    assert ours.once is ours.once
    for request in (ours, theirs):
        request.where = "elsewhere"  # Pyramid's properties can be set.
        assert request.where == "elsewhere"


def test_requests_share_one_class_and_nothing_else() -> None:
    app, plain = prepared(configured()), configured().make_wsgi_app()
    one, other = extended(app, "/one"), extended(app, "/other")
    assert type(one) is type(other)
    assert type(extended(plain)) is not type(extended(plain))
    assert (one.where, other.where) == ("/one", "/other")
    assert one.once is not other.once
    one.where = "set"
    one.twice = "set too"
    assert (other.where, other.twice("c")) == ("/other", "c c at /other")


def test_two_applications_keep_what_each_of_them_added() -> None:
    one, other = configured(), configured()
    one.add_request_method(lambda request: "one", "only", property=True)
    apps = [prepared(one), prepared(other)]
    assert [hasattr(extended(app), "only") for app in apps * 2] == [True, False] * 2


def test_extensions_added_later_are_applied() -> None:
    config = configured()
    app = prepared(config)
    assert not hasattr(extended(app), "late")
    config.add_request_method(lambda request: request.where, "late", reify=True)
    config.add_request_method(lambda request: request.where, "method")
    config.commit()
    request = extended(app)
    assert (request.late, request.method(), request.where) == ("/page", "/page", "/page")
    again = extended(prepared(config))
    assert (again.late, again.method(), again.where) == ("/page", "/page", "/page")
    assert type(again) is type(extended(app))


def test_nothing_was_added() -> None:
    config = Configurator()
    config.registry.registerUtility(None, IRequestExtensions)
    request_class.prepare(config.registry)
    assert config.registry.queryUtility(IRequestExtensions) is None


def own_factory(config: Configurator) -> None:
    class Own(Request):
        pass

    config.set_request_factory(Own)


def factory_with_a_class_each(config: Configurator) -> None:
    def factory(environ: dict[str, Any]) -> Request:
        request = Request(environ)
        request.set_property(lambda _request: "mine", "mine")
        return request

    factory.blank = Request.blank  # type: ignore[attr-defined]
    config.set_request_factory(factory)
    config.add_view(lambda request: Response(f"{request.mine} {request.where}"), route_name="page", name="")


@pytest.mark.parametrize(
    ("change", "page"), [(own_factory, "a a at /x /x True"), (factory_with_a_class_each, "mine /x")]
)  # fmt: skip
def test_request_factories_of_an_application(change: Callable[[Configurator], None], page: str) -> None:
    config = configured()
    config.commit()
    change(config)
    app = prepared(config)
    assert {TestApp(app).get("/x").text for _ in range(2 * MAX_CLASSES)} == {page}
    kept: RequestClass = app.request_extensions.methods[NAME]
    assert 0 < len(kept._ready) <= MAX_CLASSES


def test_requests_made_by_other_tools() -> None:
    config = configured()
    app = prepared(config)
    for _ in range(3):
        request = DummyRequest(path="/dummy")
        request.registry = config.registry
        apply_request_extensions(request)
        assert (request.where, request.twice("d")) == ("/dummy", "d d at /dummy")
    asked = Request.blank("/sub")
    assert app.invoke_subrequest(asked).text == "a a at /sub /sub True"
    ready = type(asked)
    assert app.invoke_subrequest(asked).text == "a a at /sub /sub True"
    assert type(asked) is ready


def test_an_application_that_includes_multisite_has_it(tmp_path: Path) -> None:
    config = configured(**{
        "sqlalchemy.url": f"sqlite:///{tmp_path / 'app.db'}", "multisite.sites_dir": f"{tmp_path}/sites",
        "multisite.templates_dir": f"{tmp_path}/templates",
    })  # fmt: skip
    config.include("multisite")
    app = config.make_wsgi_app()
    try:
        request = extended(app)
        assert type(request) is type(extended(app))
        assert {"site_url", "site_session", "where", "once", "twice"} <= set(dir(request))
        assert request.twice("e") == "e e at /page"
    finally:
        app.registry[DIRECTORY].deactivate()
        app.registry[DIRECTORY].engine.dispose()
