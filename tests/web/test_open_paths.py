"""Open paths are served without a site, whatever else an application includes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from databases import make_own_tables, share_statements
from pyramid.authentication import AuthTktCookieHelper, SessionAuthenticationHelper
from pyramid.config import Configurator
from pyramid.csrf import CookieCSRFStoragePolicy
from pyramid.request import Request
from pyramid.response import Response
from pyramid.session import SignedCookieSessionFactory
from webtest import TestApp

from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.directory import engine_from_url
from multisite.errors import UnknownSite
from multisite.origins import origin_check
from multisite.sessions import per_site
from multisite.sites.creation import add_site

INCLUDES = (
    "multisite.static", "multisite.logs", "multisite.page_cache", "multisite.metrics", "multisite.tracing",
    "multisite.debugtoolbar", "pyramid_retry", "pyramid_debugtoolbar",
)  # fmt: skip

SECRET = "0123456789abcdef0123456789abcdef"

OPEN = {
    "/health": "ok",
    "/open/below": "ok",
    "/who": "None None",
    "/static/style.css": "shared",
    "/multisite/tls-ask?domain=garden.example": "",
    "/multisite/metrics": None,
    "/_debug_toolbar/static/debugger/debugger.css": None,
}
"""Each open path with its expected text; None if any text is accepted."""

NEEDED = {
    "/static/style.css": "multisite.static",
    "/multisite/metrics": "multisite.metrics",
    "/_debug_toolbar/static/debugger/debugger.css": "pyramid_debugtoolbar",
}


class SecurityPolicy:
    """The policy of docs/sessions.md, with either helper; every permission requires a login."""

    def __init__(self, helper: Any) -> None:
        self.helper = per_site(helper)

    def identity(self, request: Request) -> Any:
        kind = self.helper.factory
        return (
            self.helper.identify(request) if kind is AuthTktCookieHelper else self.helper.authenticated_userid(request)
        )

    def authenticated_userid(self, request: Request) -> Any:
        return self.identity(request)

    def permits(self, request: Request, context: object, permission: str) -> bool:
        return self.identity(request) is not None

    def remember(self, request: Request, userid: str, **kw: Any) -> Any:
        return self.helper.remember(request, userid, **kw)


def who(request: Request) -> Response:
    return Response(f"{request.identity} {request.authenticated_userid}")


def remember(request: Request) -> Response:
    with pytest.raises(UnknownSite):
        request.registry["policy"].remember(request, "jane")
    return Response("refused")


def application(folder: Path, includes: tuple[str, ...], helper: Any, annotate: str) -> Any:
    (folder / "templates" / "static").mkdir(parents=True)
    (folder / "templates" / "static" / "style.css").write_text("shared")
    settings = {
        "sqlalchemy.url": f"sqlite:///{folder / 'open.db'}",
        "multisite.sites_dir": str(folder / "sites"),
        "multisite.templates_dir": str(folder / "templates"),
        "multisite.secret": SECRET,
        "multisite.page_cache_seconds": "600",
        "multisite.max_requests_per_site": "2",
        "multisite.tls_ask_path": "/multisite/tls-ask",
        "multisite.metrics_path": "/multisite/metrics",
        "multisite.open_paths": "/health /open/ /who /remember /static/ /_debug_toolbar/",
        "tm.annotate_user": annotate,
    }
    engine = share_statements(engine_from_url(settings["sqlalchemy.url"]))
    make_own_tables(engine)
    add_site(engine, "garden.example", settings=parse_settings(settings))
    engine.dispose()
    with Configurator(settings=settings) as config:
        config.include("multisite")
        for include in includes:
            config.include(include)
        config.set_session_factory(per_site(SignedCookieSessionFactory))
        config.set_csrf_storage_policy(per_site(CookieCSRFStoragePolicy))
        config.set_default_csrf_options(check_origin=False, callback=origin_check())
        config.registry["policy"] = SecurityPolicy(helper)
        config.set_security_policy(config.registry["policy"])
        for name, pattern, view in (
            ("health", "/health", lambda request: Response("ok")),
            ("below", "/open/{rest}", lambda request: Response("ok")),
            ("who", "/who", who),
            ("remember", "/remember", remember),
        ):
            config.add_route(name, pattern)
            config.add_view(view, route_name=name)
    return config.make_wsgi_app()


CASES: dict[str, tuple[tuple[str, ...], Any, str]] = {
    **{f"{include} alone": ((include,), AuthTktCookieHelper, "true") for include in INCLUDES},
    "none": ((), AuthTktCookieHelper, "true"),
    "none, log-ins in sessions": ((), SessionAuthenticationHelper, "true"),
    "all": (INCLUDES, AuthTktCookieHelper, "false"),
    "all but the page cache": (
        tuple(each for each in INCLUDES if "page_cache" not in each),
        AuthTktCookieHelper,
        "true",
    ),
    "all, log-ins in sessions": (INCLUDES, SessionAuthenticationHelper, "false"),
}
# The page cache refuses to start if pyramid_tm reads the user at every request.
CASES["multisite.page_cache alone"] = (("multisite.page_cache",), AuthTktCookieHelper, "false")


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, tuple[str, ...]]]:
    includes, helper, annotate = CASES[request.param]
    app = application(tmp_path, includes, helper, annotate)
    yield app, includes
    app.registry[DIRECTORY].engine.dispose()


@pytest.mark.parametrize("host", ["10.0.0.7:6543", "nobody.example", "garden.example", "no host", None])
def test_every_open_path_answers(case: tuple[Any, tuple[str, ...]], host: str | None) -> None:
    app, includes = case
    browser = TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    for path, text in OPEN.items():
        if path in NEEDED and NEEDED[path] not in includes:
            continue
        environ = {"HTTP_HOST": host} if host is not None else {}
        answer = browser.get(path, extra_environ=environ, headers={"Cookie": "auth_tkt_1=x; session_1=y"})
        assert answer.status_code == 200, path
        assert text is None or answer.text == text, path


def test_without_a_site_nobody_is_logged_in(case: tuple[Any, tuple[str, ...]]) -> None:
    app, _includes = case
    assert TestApp(app).get("/remember").text == "refused"


def test_with_a_site_somebody_may_be_logged_in(tmp_path: Path) -> None:
    app = application(tmp_path, (), AuthTktCookieHelper, "true")
    policy = app.registry["policy"]
    environ = Request.blank("/", headers={"Host": "garden.example"}).environ
    with app.request_context(environ.copy()) as request:
        cookie = policy.remember(request, "jane")[0][1].partition(";")[0]
    with app.request_context({**environ, "HTTP_COOKIE": cookie}) as request:
        assert policy.identity(request)["userid"] == "jane"
    app.registry[DIRECTORY].engine.dispose()
