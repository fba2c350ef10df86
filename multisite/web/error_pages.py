"""Error pages of a site: its template `404.mako` (or that of another status), else its `error.mako`.

The application's own exception views run first, and their responses stay unchanged. An error page replaces the empty
body of one of Pyramid's HTTP exceptions, raised or returned, and the response to an uncaught error: 503 if the database
is unavailable, 500 otherwise. `multisite.error_pages = false` leaves all of them to Pyramid and the server.

This is a tween, not an exception view, for two reasons. Two exception views for one exception conflict in Pyramid. And
pyramid_tm has rolled back the failed transaction by the time the tween runs, so an error page can query the database.
"""

from __future__ import annotations

import logging
import sqlite3
import sys
from collections.abc import Callable

from mako.exceptions import TopLevelLookupException, html_error_template
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPError, HTTPInternalServerError, HTTPServiceUnavailable
from pyramid.registry import Registry
from pyramid.renderers import render
from pyramid.request import Request
from pyramid.response import Response
from pyramid.settings import asbool
from pyramid.tweens import EXCVIEW
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from multisite.core.current_site import current_site
from multisite.core.site import Site
from multisite.errors import DirectoryUnavailable, escape_for_message
from multisite.web.renderer import TEMPLATES

__all__ = ["NAMES", "RETRY_AFTER_SECONDS", "add_error_page", "error_page_tween_factory", "includeme"]

log = logging.getLogger(__name__)

NAMES = ("/{status}.mako", "/error.mako")
"""The template names of an error page: the first one that exists in the site's overlay is rendered."""

RETRY_AFTER_SECONDS = 5
"""The Retry-After of a 503 for an unavailable database of the application."""

Handler = Callable[[Request], Response]


def error_page_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Return a tween that responds to errors with the pages of the site."""
    development = asbool(registry.settings.get("pyramid.reload_templates"))

    def error_page_tween(request: Request) -> Response:
        try:
            response = handler(request)
        except Exception as error:
            # Set by WebTest and other test tools, which expect the error itself.
            if request.environ.get("paste.throw_errors") or _will_be_retried(request, error):
                raise
            response = _response_to(request, error)
            if development and _wants_html(request):
                _add_traceback(response, error)
        if isinstance(response, HTTPError) and _has_no_body(response) and _wants_html(request):
            add_error_page(response, request, current_site())
        return response

    return error_page_tween


def _response_to(request: Request, error: Exception) -> HTTPError:
    """Log an uncaught error, and return a response without a body."""
    # As Pyramid does for exception views: pyramid_tm's hooks, pyramid_retry and pyramid_debugtoolbar read these.
    request.exception, request.exc_info = error, sys.exc_info()
    unavailable = _is_unavailable(error)
    log.log(
        logging.WARNING if unavailable else logging.ERROR,
        "%s %s%s: %s%s",
        request.method,
        escape_for_message(request.environ.get("HTTP_HOST", "-")),
        escape_for_message(request.environ.get("PATH_INFO", "")),
        type(error).__name__,
        "".join(f" ({note})" for note in getattr(error, "__notes__", ())),
        exc_info=error,
    )
    if unavailable:
        seconds = error.retry_after_seconds if isinstance(error, DirectoryUnavailable) else RETRY_AFTER_SECONDS
        return HTTPServiceUnavailable(headers={"Retry-After": str(seconds)})
    return HTTPInternalServerError()


def _will_be_retried(request: Request, error: Exception) -> bool:
    """Return whether pyramid_retry, if the application uses it, will retry the request."""
    retry = sys.modules.get("pyramid_retry")
    return retry is not None and bool(retry.is_error_retryable(request, error))


def _is_unavailable(error: Exception) -> bool:
    """Return whether the database was unreachable, disconnected or locked, so that a retry may succeed."""
    if isinstance(error, (DirectoryUnavailable, PoolTimeout)):
        return True
    if not isinstance(error, DBAPIError):
        return False
    # A writer locks the whole SQLite file, and this connection has already waited for its timeout.
    if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
        return True
    # Without a statement, connecting failed. SQLite also raises OperationalError for a missing table.
    return error.connection_invalidated or (isinstance(error, OperationalError) and error.statement is None)


def _has_no_body(response: HTTPError) -> bool:
    """Return whether `response` has neither a body nor a body template of its own."""
    return not response.has_body and not response.empty_body and "body_template" not in vars(response)


def _wants_html(request: Request) -> bool:
    """Return whether the client prefers HTML. For a client that prefers JSON, Pyramid renders the error as JSON."""
    if not request.headers.get("Accept"):
        return True
    offers = request.accept.acceptable_offers(["text/html", "application/json"])
    return bool(offers) and offers[0][0] == "text/html"


def add_error_page(response: HTTPError, request: Request, site: Site | None) -> None:
    """Set the error page of `site` as the body of `response`; leave it unchanged if no page exists or renders.

    Existing headers are kept. Without a site, as on open paths, there is no error page.
    """
    response.headers.setdefault("Cache-Control", "no-cache")
    if site is None:
        return
    for name in NAMES:
        page = _render(name.format(status=response.status_code), response, request, site)
        if page is not None:
            _set_html(response, page)
            return


def _render(name: str, response: HTTPError, request: Request, site: Site) -> str | None:
    value = {"status": response.status_code, "reason": response.title, "detail": response.detail}
    try:
        request.registry[TEMPLATES].lookup(site).get_template(name)
    except TopLevelLookupException:
        return None
    except Exception:
        log.exception("the error page %s of the site %s cannot be loaded", name, site)
        return None
    try:
        page: str = render(name, value, request=request)
    except Exception:
        log.exception("the error page %s of the site %s cannot be rendered", name, site)
        return None
    return page


def _add_traceback(response: HTTPError, error: Exception) -> None:
    """Set Mako's HTML traceback as the body. Only for development, because it shows source code."""
    try:
        page = html_error_template().render_unicode(error=error, traceback=error.__traceback__)
    except Exception:
        log.exception("the traceback of the error above cannot be rendered")
        return
    _set_html(response, page)


def _set_html(response: HTTPError, page: str) -> None:
    response.content_type = "text/html"
    response.charset = "utf-8"
    response.text = page


def includeme(config: Configurator) -> None:
    """Add the tween over pyramid_tm's and over the exception view, and under multisite's site tween."""
    config.add_tween(
        "multisite.web.error_pages.error_page_tween_factory",
        under="multisite.web.tween.site_tween_factory",
        over=("pyramid_tm.tm_tween_factory", EXCVIEW),
    )
