"""The tween that finds the site of each request.

It stands over the exception view and over pyramid_tm, so that error pages and the commit still have their site. It
therefore answers 400, 404 and 503 through exception views and never raises: an exception from here would reach the
server. What rows a session sees does not depend on it (`multisite.scoping`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from urllib.parse import quote, urlunsplit

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPMovedPermanently, HTTPPermanentRedirect
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import EXCVIEW

from multisite import hosts
from multisite.errors import MultisiteError
from multisite.request import OPEN_PATH, SETTINGS, find_match
from multisite.settings import Settings
from multisite.site import Site, enter_request, leave_request

__all__ = ["includeme", "site_tween_factory"]

Handler = Callable[[Request], Response]

_PATH_SAFE = "/:@!$&'()*+,;=~"
"""What RFC 3986 section 3.3 allows in a path as it is, beside letters, digits and `-._`."""


def site_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Return a tween that gives each request its site, or answers for want of one."""
    settings: Settings = registry[SETTINGS]
    open_paths = frozenset(path for path in settings.open_paths if not path.endswith("/"))
    open_prefixes = tuple(path for path in settings.open_paths if path.endswith("/"))

    def is_open(path: str) -> bool:
        return path in open_paths or path.startswith(open_prefixes)

    def site_tween(request: Request) -> Response:
        environ = request.environ
        if settings.open_paths and is_open(environ.get("PATH_INFO", "")):
            environ[OPEN_PATH] = True
            return handler(request)
        try:
            match = find_match(request)
        except MultisiteError:
            return request.invoke_exception_view(sys.exc_info())
        if match.kind == "redirect":
            return _redirect(request, match.site)
        request.site = match.site
        token = enter_request(match.site)
        try:
            return handler(request)
        finally:
            leave_request(token)

    return site_tween


def _redirect(request: Request, site: Site) -> Response:
    """Send the browser to the canonical domain: the same path, query and port.

    301 for GET and HEAD; 308 otherwise, since browsers turn another method into GET on a 301 (RFC 9110 section 15.4).
    """
    port = hosts.parse(request.environ["HTTP_HOST"]).port
    netloc = site.host if port is None else f"{site.host}:{port}"
    # Not request.path, which raises for bytes that are no UTF-8: those are for the canonical domain to refuse.
    path = request.environ.get("SCRIPT_NAME", "") + request.environ.get("PATH_INFO", "")
    escaped = quote(path.encode("latin-1"), safe=_PATH_SAFE)
    location = urlunsplit((request.scheme, netloc, escaped, request.query_string, ""))
    kind = HTTPMovedPermanently if request.method in {"GET", "HEAD"} else HTTPPermanentRedirect
    return kind(location=location)


def includeme(config: Configurator) -> None:
    """Add the tween over pyramid_tm's and over the exception view."""
    # Both are named: pyramid_tm stands over the exception view too, and may have been included first.
    config.add_tween("multisite.tween.site_tween_factory", over=("pyramid_tm.tm_tween_factory", EXCVIEW))
