"""Keeping: which requests may get a page that was made for somebody else, and which answers are for everybody.

In doubt the answer is no: a page that is made once more costs milliseconds, one that was meant for somebody else is in
the hands of everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyramid.request import Request
from pyramid.response import Response

from multisite import language
from multisite.keys import CLOSED
from multisite.request import looked_at_cookies

__all__ = ["LOOKED_AT_USER", "ignoring", "is_for_anybody", "reason_against", "says_language"]

LOOKED_AT_USER = "multisite.page_cache.looked_at_user"
"""The key in the WSGI environ that says that something asked who is logged in."""

_SOMEBODY = frozenset(
    {
        "HTTP_AUTHORIZATION", "REMOTE_USER", "HTTP_PROXY_AUTHORIZATION", "HTTP_RANGE", "HTTP_TRANSFER_ENCODING",
        # By this one Pyramid's traversal begins somewhere else, and whoever likes can send it.
        "HTTP_X_VHM_ROOT",
    }
)  # fmt: skip
"""What a request has that is not anybody's, is for a part of a page, or asks for another page than its address says."""

_KNOWN_VARY = frozenset({"accept-language", "cookie", "host"})
"""What a page may depend on: the language and the host are in the key, and a request with a cookie gets none."""

Ignores = Callable[[str], bool]


def ignoring(names: Sequence[str]) -> Ignores:
    """Return what tells whether all cookies of a header `Cookie` are among `names`, the ends of which may be a star."""
    exact = frozenset(name for name in names if not name.endswith("*"))
    beginnings = tuple(name[:-1] for name in names if name.endswith("*"))

    def ignores(header: str) -> bool:
        found = [pair.partition("=")[0].strip() for pair in header.split(";")]
        return all(name in exact or name.startswith(beginnings) for name in found if name)

    return ignores


def is_for_anybody(environ: Mapping[str, Any], ignores: Ignores) -> bool:
    """Tell whether a request may get a page that everybody gets."""
    if environ["REQUEST_METHOD"] not in {"GET", "HEAD"} or environ.get(CLOSED) is not None:
        return False
    cookie = environ.get("HTTP_COOKIE")
    if cookie and not ignores(cookie):
        return False
    return _SOMEBODY.isdisjoint(environ) and environ.get("CONTENT_LENGTH") in {None, "", "0"}


def says_language(request: Request) -> bool:
    """Tell whether the answer to `request` is going to say that it differs by language: one of several of the site."""
    return language._vary in request.response_callbacks


def reason_against(request: Request, response: Response) -> str | None:
    """Return why an answer is not for everybody, None if it is."""
    if request.method != "GET" or response.status_code != 200:
        return f"it is a {response.status_code} to {request.method}"
    if any(callback is not language._vary for callback in request.response_callbacks):
        return "something is added to it later, such as a cookie"
    if "session" in request.__dict__:
        return "the session was used"
    if LOOKED_AT_USER in request.environ:
        return "something asked who is logged in"
    if looked_at_cookies(request.environ):
        # Ignored ones, or what only WebOb takes for a cookie: by "_ga=1,theme=dark" it has two.
        return "something looked at the cookies, and the request had some"
    return _reason_in(response)


def _reason_in(response: Response) -> str | None:
    if not isinstance(response.app_iter, (list, tuple)):
        return "its body is made while it is sent"
    for name, value in response.headerlist:
        check = _CHECKS.get(name.lower())
        if check is not None and (reason := check(value)) is not None:
            return reason
    return None


def _in_cache_control(value: str) -> str | None:
    named = {each.partition("=")[0].strip().lower() for each in value.split(",")}
    return f"its Cache-Control is {value}" if named & {"private", "no-store"} else None


def _in_vary(value: str) -> str | None:
    named = {each.strip().lower() for each in value.split(",")}
    return None if named <= _KNOWN_VARY else f"it varies by {value}"


def _in_policy(value: str) -> str | None:
    return "its Content-Security-Policy has a nonce, which is for one answer" if "'nonce-" in value.lower() else None


_CHECKS: dict[str, Callable[[str], str | None]] = {
    "set-cookie": lambda _value: "it sets a cookie",
    "content-encoding": lambda value: f"it is in {value}, which not everybody reads: let the proxy compress",
    "cache-control": _in_cache_control,
    "vary": _in_vary,
    "content-security-policy": _in_policy,
    "content-security-policy-report-only": _in_policy,
    "www-authenticate": lambda _value: "it asks for a log-in",
}
