"""The sessions of all sites have one class, and answer as those of a class of each site's own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
import webob.cookies
from pyramid import session as pyramid_session
from pyramid.request import Request
from pyramid.response import Response
from pyramid.session import BaseCookieSessionFactory
from webob.cookies import JSONSerializer

from multisite.web import cookie_sessions
from multisite.web.cookie_sessions import SignedCookieSessions
from multisite.web.signer import Signer

KEYS = {"one": [b"1" * 32], "two": [b"2" * 32]}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"timeout": 60, "reissue_time": 10},
    {"timeout": None, "reissue_time": None, "max_age": "3600"},
    {"set_on_exception": False, "samesite": None, "httponly": True},
]


def arguments(site: str, options: dict[str, Any]) -> dict[str, Any]:
    return {"secret": "x", "cookie_name": f"session_{site}", "path": f"/{site}", "secure": site == "one", **options}


def own_class(site: str, options: dict[str, Any]) -> Callable[[Request], Any]:
    """Return the factory that a site would have with a class of its own."""
    given = arguments(site, options)
    del given["secret"]
    signer = Signer(KEYS[site], "pyramid.session.", serializer=JSONSerializer())
    made: Callable[[Request], Any] = BaseCookieSessionFactory(signer, **given)
    return made


class Day(datetime):
    """The clock by which WebOb says when a cookie expires."""

    @classmethod
    def utcnow(cls) -> Day:
        return cls(2023, 11, 14)


def nothing(session: Any) -> None:
    pass


def write(session: Any) -> None:
    session["who"] = "visitor"
    session.flash("saved")
    session.flash("saved", allow_duplicate=False)


def read(session: Any) -> Any:
    return session.get("who"), session.peek_flash(), "who" in session, len(session)


def end(session: Any) -> None:
    session.invalidate()


def take(session: Any) -> Any:
    return session.pop_flash(), session.setdefault("who", "nobody"), sorted(session.items())


def overflow(session: Any) -> None:
    session["who"] = "x" * 5000


ACTS: list[Callable[[Any], Any]] = [nothing, write, read, end, take, overflow]


def visit(factory: Callable[[Request], Any], cookie: str, act: Callable[[Any], Any], *, failed: bool) -> list[Any]:
    """Return everything that can be seen of a request with this Cookie header whose view does `act`."""
    request = Request.blank("/", headers={"Cookie": cookie} if cookie else {})
    session = factory(request)
    seen = [session.new, session.created, session.renewed, act(session), dict(session)]
    response = Response()
    if failed:
        request.exception = RuntimeError()
    try:
        request._process_response_callbacks(response)
    except ValueError as error:
        seen.append(str(error))
    return [*seen, response.headers.getall("Set-Cookie")]


@pytest.mark.parametrize("options", OPTIONS)
def test_each_request_is_answered_as_with_a_class_of_the_sites_own(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_700_000_000.0
    monkeypatch.setattr(pyramid_session.time, "time", lambda: now)
    monkeypatch.setattr(webob.cookies, "datetime", Day)
    shared = SignedCookieSessions()
    ours = {site: shared(None, keys, arguments(site, options)) for site, keys in KEYS.items()}
    issued = {}
    for site, factory in ours.items():
        (header,) = visit(factory, "", write, failed=False)[-1]
        issued[site] = header.partition(";")[0]
    stolen = issued["one"].replace("session_one", "session_two")
    sent = ["", *issued.values(), stolen, f"{issued['one']}; {issued['two']}", "session_one=", "session_two=%00.x"]
    compared = 0
    for now in (1_700_000_000.0, 1_700_000_030.0, 1_700_000_090.0):  # noqa: B007  `time.time` reads it.
        for site, factory in ours.items():
            plain = own_class(site, options)
            for cookie in sent:
                for act in ACTS:
                    for failed in (False, True):
                        found = visit(factory, cookie, act, failed=failed)
                        assert found == visit(plain, cookie, act, failed=failed)
                        compared += 1
    assert compared == 3 * 2 * 7 * 6 * 2
    now = 1_700_000_000.0
    assert visit(ours["one"], issued["one"], read, failed=False)[0] is False
    assert visit(ours["two"], stolen, read, failed=False)[0] is True


def test_sessions_of_two_sites_that_are_open_at_once_keep_their_keys() -> None:
    shared = SignedCookieSessions()
    requests = {site: Request.blank("/") for site in KEYS}
    sessions = {site: shared(None, KEYS[site], arguments(site, {}))(requests[site]) for site in KEYS}
    assert len({type(session) for session in sessions.values()}) == 1
    for site, session in sessions.items():
        session["who"] = site
    cookies = {}
    for site in KEYS:
        response = Response()
        requests[site]._process_response_callbacks(response)
        cookies[site] = response.headers["Set-Cookie"].partition(";")[0]
    for site in KEYS:
        for other, cookie in cookies.items():
            request = Request.blank("/", headers={"Cookie": cookie.replace(f"session_{other}", f"session_{site}")})
            found = own_class(site, {})(request).get("who")
            assert found == (site if other == site else None)


def test_without_a_site_nothing_is_signed() -> None:
    serializer = cookie_sessions._CurrentSigner()
    with pytest.raises(LookupError):
        serializer.dumps("x")
    with pytest.raises(LookupError):
        serializer.loads(b"x")


def test_a_release_of_pyramid_with_other_attributes_gets_a_class_for_each_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cookie_sessions._OF_SITE, "path", "_renamed")
    shared = SignedCookieSessions()
    one, two = (shared(None, KEYS[site], arguments(site, {})) for site in KEYS)
    assert isinstance(one, type)
    assert isinstance(two, type)
    assert one is not two
    assert "path=/two" in visit(two, "", write, failed=False)[-1][0].lower()
