"""Cacheability: which requests may be served a shared page, and which responses may be shared.

In doubt the answer is no: rendering a page once more costs milliseconds, sharing a personal one leaks it to everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyramid.request import Request
from pyramid.response import Response

from multisite import language
from multisite.core.keys import CLOSED, MADE_SUBREQUEST
from multisite.web.request import cookies_were_read

__all__ = ["USER_WAS_READ", "cookie_matcher", "is_cacheable_request", "uncacheable_reason", "varies_by_language"]

USER_WAS_READ = "multisite.page_cache.user_was_read"
"""WSGI environ key: set once something has read the user of the request."""

_PERSONAL_HEADERS = frozenset(
    {
        "HTTP_AUTHORIZATION", "REMOTE_USER", "HTTP_PROXY_AUTHORIZATION", "HTTP_RANGE", "HTTP_TRANSFER_ENCODING",
        # Pyramid's traversal starts at this path, and any client can send it.
        "HTTP_X_VHM_ROOT",
    }
)  # fmt: skip
"""Request headers that make a response personal, partial, or not determined by its URL."""

_UNCACHEABLE_MARKS = {
    USER_WAS_READ: "something read the user",
    MADE_SUBREQUEST: "it was made from the response to a subrequest",
}
"""WSGI environ keys that make the response of a request uncacheable, with the reason."""

_KNOWN_VARY = frozenset({"accept-language", "cookie", "host"})
"""What a page may vary by: the cache key has language and host, and a request with a cookie is not served from it."""

CookieMatcher = Callable[[str], bool]


def cookie_matcher(names: Sequence[str]) -> CookieMatcher:
    """Return a predicate: are all cookies of a `Cookie` header among `names`? A name may end in a star."""
    exact = frozenset(name for name in names if not name.endswith("*"))
    beginnings = tuple(name[:-1] for name in names if name.endswith("*"))

    def ignores(header: str) -> bool:
        found = [pair.partition("=")[0].strip() for pair in header.split(";")]
        return all(name in exact or name.startswith(beginnings) for name in found if name)

    return ignores


def is_cacheable_request(environ: Mapping[str, Any], ignores: CookieMatcher) -> bool:
    """Return whether a request may be served a shared page."""
    if environ["REQUEST_METHOD"] not in {"GET", "HEAD"} or environ.get(CLOSED) is not None:
        return False
    cookie = environ.get("HTTP_COOKIE")
    if cookie and not ignores(cookie):
        return False
    return _PERSONAL_HEADERS.isdisjoint(environ) and environ.get("CONTENT_LENGTH") in {None, "", "0"}


def varies_by_language(request: Request) -> bool:
    """Return whether the response to `request` is going to vary by language, because the site has several."""
    return language.vary_by_language in request.response_callbacks


def uncacheable_reason(request: Request, response: Response) -> str | None:
    """Return why a response is not cacheable, or None if it is."""
    if request.method != "GET" or response.status_code != 200:
        return f"it is a {response.status_code} to {request.method}"
    if any(callback is not language.vary_by_language for callback in request.response_callbacks):
        return "a response callback changes it later, by adding a cookie for example"
    if "session" in request.__dict__:
        return "the session was used"
    for key, reason in _UNCACHEABLE_MARKS.items():
        if key in request.environ:
            return reason
    if cookies_were_read(request.environ):
        # Ignored cookies, or what only WebOb parses as cookies: it finds two in "_ga=1,theme=dark".
        return "something read the cookies of the request"
    return _reason_in(response)


def _reason_in(response: Response) -> str | None:
    if not isinstance(response.app_iter, (list, tuple)):
        return "its body is streamed"
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
    return "its Content-Security-Policy has a nonce, which must not be reused" if "'nonce-" in value.lower() else None


_CHECKS: dict[str, Callable[[str], str | None]] = {
    "set-cookie": lambda _value: "it sets a cookie",
    "content-encoding": lambda value: (
        f"it is encoded as {value}, which not every client accepts: compress in the proxy"
    ),
    "cache-control": _in_cache_control,
    "vary": _in_vary,
    "content-security-policy": _in_policy,
    "content-security-policy-report-only": _in_policy,
    "www-authenticate": lambda _value: "it requests authentication",
}
