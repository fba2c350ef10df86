"""Respond to an address without a page: with the site's redirect of it, else with a 404, which is counted.

Redirects are looked up only where there would be a 404, so a page costs no more because of them. The exception is the
home page with a query such as `/?p=123`, as WordPress wrote addresses: `query_redirect`.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from urllib.parse import parse_qsl, quote, urlsplit

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPException, HTTPFound, HTTPGone, HTTPMovedPermanently, HTTPNotFound
from pyramid.interfaces import IRoutesMapper
from pyramid.request import Request
from pyramid.response import Response
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from multisite.content.missing import MissingCounter, save_counts
from multisite.content.models import MissingAddress
from multisite.content.page_view import ROUTE
from multisite.content.redirect_rules import Rule, location, path_key
from multisite.content.redirects import find_redirect
from multisite.core.keys import OPEN_PATH

__all__ = ["COUNTER", "includeme", "not_found", "query_redirect"]

log = logging.getLogger(__name__)

COUNTER = "multisite.content.missing"
"""Registry key of the `MissingCounter`."""

CACHE_SECONDS = 3600
"""How long clients may remember a redirect: without a limit, browsers keep a 301 for ever, even a mistaken one."""

_OWN_PARAMETERS = frozenset({"page", "before", "after"})
"""The parameters of the home page itself."""


def not_found(error: HTTPNotFound, request: Request) -> Response:
    """Return the redirect of the requested address, or `error` itself, for which the site has a page."""
    if request.method not in ("GET", "HEAD") or OPEN_PATH in request.environ:
        return error
    rule = find_redirect(request.dbsession, request.path_info, request.query_string)
    response = _response(rule or _without_slash(request), request)
    if response is None:
        request.registry[COUNTER].count(request.site, path_key(request.path_info))
        # After the request's transaction: SQLite has one writer at a time.
        request.add_finished_callback(_write_counts)
    return response or error


def query_redirect(request: Request) -> HTTPException | None:
    """Return the redirect of the home page with the requested query, or None. No statement without such a query."""
    query = request.query_string
    if not query or _OWN_PARAMETERS.issuperset(name for name, _ in parse_qsl(query, keep_blank_values=True)):
        return None
    rule = find_redirect(request.dbsession, "/", query)
    return None if rule is None or "?" not in rule.path else _response(rule, request)


def _without_slash(request: Request) -> Rule | None:
    """Return the rule for a path with a slash at its end, as other tools have it, if there is a route without."""
    path = request.path_info.rstrip("/")
    routes = request.registry.getUtility(IRoutesMapper).get_routes()
    # The route of pages matches every path.
    if path == request.path_info or not any(route.match(path) is not None for route in routes if route.name != ROUTE):
        return None
    return Rule(path, quote(path))


def _write_counts(request: Request) -> None:
    """Write counts to the database, if it is time. A failure is logged: the visitor already has a response."""
    counter: MissingCounter = request.registry[COUNTER]
    taken = counter.take()
    try:
        for site, counts in taken:
            with suppress(IntegrityError):  # The site was removed meanwhile.
                save_counts(request.dbsession.get_bind(MissingAddress).engine, site, counts)
    except SQLAlchemyError as error:
        counter.pause()
        log.warning("counts of missing addresses were not written: %s", str(error).partition("\n")[0])


def _response(rule: Rule | None, request: Request) -> HTTPException | None:
    if rule is None:
        return None
    if rule.target is None:
        return HTTPGone()
    target = location(rule, request.path_info, request.query_string)
    if target.startswith("/"):
        parts = urlsplit(target)
        target = request.site_url(request.site, parts.path, parts.query)
        target += f"#{parts.fragment}" if parts.fragment else ""
    if target == request.url:
        return None  # `save_redirects` refuses loops, but a URL can be one of this site under another path.
    kind = HTTPMovedPermanently if rule.status == 301 else HTTPFound
    return kind(location=target, headers={"Cache-Control": f"max-age={CACHE_SECONDS}"})


def includeme(config: Configurator) -> None:
    """Add the view for addresses without a page, and count these."""
    config.registry[COUNTER] = MissingCounter()
    config.add_exception_view(not_found, context=HTTPNotFound)
