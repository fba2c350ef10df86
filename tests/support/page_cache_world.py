"""An application with cacheable pages and two sites that have books, for tests/caching/test_page_cache.py.

Run as `python tests/support/page_cache_world.py URL FOLDER HOST PATH`, it sends a POST from another process.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import two_workers
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response
from pyramid.session import SignedCookieSessionFactory
from scoped_models import Book
from webtest import TestApp

from multisite.core.keys import DIRECTORY

GARDEN, KITCHEN = "garden.example", "kitchen.example"


class Policy:
    """A security policy that reads the user from a header which caches ignore."""

    def identity(self, request: Request) -> str | None:
        return request.headers.get("X-User")

    def authenticated_userid(self, request: Request) -> str | None:
        return self.identity(request)

    def permits(self, request: Request, context: object, permission: str) -> bool:
        return True


def books(request: Request) -> str:
    """The books of the site, and how often this process rendered a page."""
    request.registry["made"].append(request.path)
    return f"{request.site.host} {request.url} {' '.join(request.dbsession.scalars(sa.select(Book.slug)))}"


def page(request: Request) -> Response:
    """Apply the effect that the last part of the path names to the page."""
    response = Response(books(request), conditional_response=True)
    response.md5_etag()
    EFFECTS.get(request.matchdict["effect"], lambda _request, _response: None)(request, response)
    return response


def _stream(_request: Request, response: Response) -> None:
    response.app_iter = (part for part in [response.body])


EFFECTS: dict[str, Any] = {
    "cookie": lambda _request, response: response.set_cookie("a", "1"),
    "later": lambda request, _response: request.add_response_callback(lambda _, late: late.set_cookie("a", "1")),
    "session": lambda request, _response: request.session.get("a"),
    "csrf": lambda request, _response: request.session.get_csrf_token(),
    "cookies": lambda request, response: setattr(response, "text", f"{response.text} {dict(request.cookies)}"),
    "identity": lambda request, _response: request.identity,
    "userid": lambda request, _response: request.authenticated_userid,
    "permission": lambda request, _response: request.has_permission("view"),
    "private": lambda _request, response: response.headers.update({"Cache-Control": "private, max-age=5"}),
    "no-store": lambda _request, response: response.headers.update({"Cache-Control": "No-Store"}),
    "vary": lambda _request, response: response.headers.update({"Vary": "X-User"}),
    "vary-star": lambda _request, response: response.headers.update({"Vary": "*"}),
    "stream": _stream,
    "gzip": lambda _request, response: response.encode_content(),
    "public": lambda _request, response: (
        response.set_cookie("a", "1"), response.headers.update({"Cache-Control": "public, max-age=5"}),
    ),
    "nonce": lambda _request, response: response.headers.update(
        {"Content-Security-Policy": "script-src 'NONCE-abc'"}
    ),
    "status": lambda _request, response: setattr(response, "status", 203),
    "language": lambda request, response: setattr(response, "text", f"{request.locale_name} {request.site.host}"),
    "vary-language": lambda _request, response: response.headers.update({"Vary": "Accept-Language, Cookie"}),
    "path": lambda request, _response: request.environ.update({"PATH_INFO": "/page/changed"}),
}  # fmt: skip
CACHEABLE_EFFECTS = frozenset({"cookies", "language", "vary-language", "path"})


def missing(request: Request) -> Response:
    raise HTTPNotFound


def inner(request: Request) -> Response:
    return Response(books(request))


def outer(request: Request) -> Response:
    """An uncacheable page that contains a cacheable one."""
    from pyramid.view import render_view_to_response

    found = render_view_to_response(None, request, name="inner")
    return Response(f"{request.headers.get('X-User')} {found.text}")


def add(request: Request) -> Response:
    """Add a book by the method that the path names."""

    way, slug = request.matchdict["way"], request.matchdict["slug"]
    values = {"slug": slug, "secret": "x"}
    if way == "flush":
        request.dbsession.add(Book(**values))
    elif way == "core":
        request.dbsession.execute(sa.insert(Book.__table__), values)
    elif way == "cte":
        inserted = sa.insert(Book).values(**values).returning(Book.id).cte()
        request.dbsession.execute(sa.select(inserted.c.id)).all()
    elif way == "savepoint":
        with request.dbsession.begin_nested():
            request.dbsession.add(Book(**values))
    elif way == "undone":
        request.dbsession.add(Book(**values))
        request.dbsession.flush()
        request.tm.doom()
    elif way == "second":
        request.site_session(request.site).add(Book(**values))
    elif way == "all":
        request.all_sites_session("a test").add(Book(site_id=request.site.id, **values))
    return Response("done")


def negotiate(request: Request) -> str:
    return str(request.accept_language.lookup(["de", "en"], default="en"))


def make_app(url: str, folder: str, **settings: Any) -> Any:
    """Return the application; `settings` are those of the page cache, without `multisite.`"""
    defaults = {"page_cache_seconds": "600", "refresh_seconds": "0"}
    given = {f"multisite.{name}": str(value) for name, value in {**defaults, **settings}.items()}
    given = {
        "sqlalchemy.url": url,
        "tm.manager_hook": "pyramid_tm.explicit_manager",
        "multisite.sites_dir": f"{folder}/sites",
        "multisite.templates_dir": f"{folder}/templates",
        **given,
    }
    if not two_workers.ASKED_FOR.always:
        return application({}, **given)
    Path(folder, "templates").mkdir(exist_ok=True)
    Path(folder, "templates", "layout.mako").touch()
    return two_workers.WritesElsewhere(application, two_workers.settings_of_both(Path(folder)) | given)


def application(_global_config: dict[str, str], **settings: Any) -> Any:
    config = Configurator(settings=settings)
    config.include("multisite")
    config.include("multisite.page_cache")
    config.registry["made"] = []
    config.set_session_factory(SignedCookieSessionFactory("secret"))
    config.set_security_policy(Policy())
    config.set_locale_negotiator(negotiate)
    for name, view, pattern, options in (
        ("page", page, "/page/{effect:.*}", {"page_cache": True}),
        ("other", books_page, "/other", {}),
        ("brief", books_page, "/brief", {"page_cache": 0.5}),
        ("missing", missing, "/missing", {"page_cache": True}),
        ("outer", outer, "/outer", {}),
        ("add", add, "/add/{way}/{slug}", {"request_method": "POST"}),
    ):
        config.add_route(name, pattern)
        config.add_view(view, route_name=name, **options)
    config.add_view(inner, name="inner", page_cache=True)
    return config.make_wsgi_app()


def books_page(request: Request) -> Response:
    return Response(books(request))


def browser(app: Any, host: str = GARDEN, **environ: str) -> TestApp:
    return TestApp(app, extra_environ={"HTTP_HOST": host, **environ})


def dispose(app: Any) -> None:
    app.registry[DIRECTORY].engine.dispose()
    if isinstance(app, two_workers.TwoWorkers):
        app.dispose()


if __name__ == "__main__":
    _url, _folder, _host, _path = sys.argv[1:]
    _app = make_app(_url, _folder)
    browser(_app, _host).post(_path)
    dispose(_app)
