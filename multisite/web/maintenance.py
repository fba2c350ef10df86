"""Maintenance mode: visitors of a site get a 503, and operators bypass it with a link.

The page is the site's own error page for 503 (`multisite.error_pages`), which gets the message as `detail`. Static
files are still served, because the page needs its style sheet.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPSeeOther, HTTPServiceUnavailable
from pyramid.interfaces import IRoutesMapper, IStaticURLInfo
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.traversal import decode_path_info
from pyramid.tweens import EXCVIEW

from multisite.core.keys import CLOSED
from multisite.core.site import Site
from multisite.directory.matching import BYPASS_NAME, SiteClosure, bypass_digest
from multisite.web.request import escape_path

__all__ = ["RETRY_AFTER_SECONDS", "cookie_name", "includeme", "maintenance_tween_factory"]

RETRY_AFTER_SECONDS = 300
"""The Retry-After of a maintenance without an end time."""

Handler = Callable[[Request], Response]


def cookie_name(site: Site) -> str:
    """Return the name of the cookie with the bypass token of `site`.

    It contains the site's id, because browsers do not separate cookies by port, and send cookies of `/` to `/shop` too
    (RFC 6265 sections 5.4 and 8.5).
    """
    return f"{BYPASS_NAME}_{site.id}"


def maintenance_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Return a tween that responds for sites in maintenance."""

    def maintenance_tween(request: Request) -> Response:
        closed: SiteClosure | None = request.environ.get(CLOSED)
        if closed is None:
            return handler(request)
        query = parse_qsl(request.query_string, keep_blank_values=True)
        token = dict(query).get(BYPASS_NAME)
        if token is not None and _is_valid_token(closed, token):
            rest = [(name, value) for name, value in query if name != BYPASS_NAME]
            return _redirect_with_cookie(request, token, rest)
        if not _is_valid_token(closed, _token_of_cookie(request)):
            return handler(request) if _is_for_static_file(request) else _unavailable(closed)
        response = handler(request)
        # Only operators may see this response.
        response.headers["Cache-Control"] = "no-store"
        return response

    return maintenance_tween


def _token_of_cookie(request: Request) -> str:
    try:
        token: str = request.cookies.get(cookie_name(request.site), "")
    except UnicodeDecodeError:
        # Clients can send any bytes, and an exception from here would reach the server.
        return ""
    return token


def _is_for_static_file(request: Request) -> bool:
    """Return whether `request` is for a static view of multisite or of Pyramid."""
    views = request.registry.queryUtility(IStaticURLInfo)
    mapper = request.registry.queryUtility(IRoutesMapper)
    if views is None or mapper is None or request.method not in {"GET", "HEAD"}:
        return False
    names = {name for _url, _spec, name in views.registrations if name is not None}
    try:
        path = decode_path_info(request.environ.get("PATH_INFO") or "/")
    except UnicodeDecodeError:
        return False
    # Try these routes first: predicates of other routes may query a database that is unavailable in maintenance.
    if not any(route.name in names and route.match(path) is not None for route in mapper.get_routes()):
        return False
    # Then check that no route before it matches the request.
    route = mapper(request)["route"]
    return route is not None and route.name in names


def _is_valid_token(closed: SiteClosure, token: str) -> bool:
    return closed.pass_digest is not None and hmac.compare_digest(bypass_digest(token), closed.pass_digest)


def _redirect_with_cookie(request: Request, token: str, query: list[tuple[str, str]]) -> Response:
    """Redirect to the same URL without the token, and store the token in a cookie of this site."""
    location = request.application_url + "/" + escape_path(request.environ.get("PATH_INFO", "").lstrip("/"))
    response = HTTPSeeOther(location=location + (f"?{urlencode(query)}" if query else ""))
    response.set_cookie(
        cookie_name(request.site),
        token,
        path=request.script_name or "/",
        secure=request.scheme == "https",
        httponly=True,
        samesite="Lax",
    )
    response.headers["Cache-Control"] = "no-store"
    return response


def _unavailable(closed: SiteClosure) -> Response:
    seconds = RETRY_AFTER_SECONDS
    if closed.until is not None:
        left = math.ceil((closed.until - datetime.now(UTC)).total_seconds())
        seconds = left if left > 0 else seconds
    # A delay in seconds (RFC 9110 section 10.2.3), because a date would depend on the visitor's clock.
    headers = {"Retry-After": str(seconds), "Cache-Control": "no-store"}
    return HTTPServiceUnavailable(detail=closed.message, headers=headers)


def includeme(config: Configurator) -> None:
    """Add the tween under the error page tween, which renders the page, and over pyramid_tm's."""
    config.add_tween(
        "multisite.web.maintenance.maintenance_tween_factory",
        # The second name applies if error pages are disabled.
        under=("multisite.web.error_pages.error_page_tween_factory", "multisite.web.tween.site_tween_factory"),
        over=("pyramid_tm.tm_tween_factory", EXCVIEW),
    )
