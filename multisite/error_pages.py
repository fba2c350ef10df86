"""Error pages: `404.mako`, or `error.mako` for all of them, from the templates of the request's site.

An application keeps what it has: its own exception views answer first, and their answers are left alone. What is filled
in here is the empty page of an HTTP exception of Pyramid's that nobody gave a body, raised or returned, and of an error
that nobody caught: 503 where the database cannot be reached, 500 otherwise. `multisite.error_pages = false` leaves all
of them to Pyramid and the server.

It is a tween and not an exception view, since two of those for one exception are a conflict in Pyramid, and since the
transaction has been rolled back by the time it runs: nothing that an error page asks can fail for that.
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

from multisite.current import current_site
from multisite.errors import DirectoryUnavailable, escape_for_message
from multisite.renderer import TEMPLATES
from multisite.site import Site

__all__ = ["NAMES", "RETRY_AFTER_SECONDS", "error_page_tween_factory", "includeme"]

log = logging.getLogger(__name__)

NAMES = ("/{status}.mako", "/error.mako")
"""The templates of an error page: the first that the site, its theme or the shared folder has is shown."""

RETRY_AFTER_SECONDS = 5
"""When to ask again after a 503, where the database of the application could not be used."""

Handler = Callable[[Request], Response]


def error_page_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Return a tween that answers errors with the pages of the site."""
    development = asbool(registry.settings.get("pyramid.reload_templates"))

    def error_page_tween(request: Request) -> Response:
        try:
            response = handler(request)
        except Exception as error:
            # What WebTest sets, and others before it: a test wants the error itself.
            if request.environ.get("paste.throw_errors") or _is_tried_again(request, error):
                raise
            response = _response_to(request, error)
            if development and _wants_html(request):
                _show(response, error)
        if isinstance(response, HTTPError) and _is_bare(response) and _wants_html(request):
            _fill(response, request)
        return response

    return error_page_tween


def _response_to(request: Request, error: Exception) -> HTTPError:
    """Log an error that nobody caught, and return an answer without a body."""
    # As Pyramid does where an exception view has answered: pyramid_tm's hooks, pyramid_retry and pyramid_debugtoolbar
    # look here for the error behind a response.
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


def _is_tried_again(request: Request, error: Exception) -> bool:
    """Tell whether pyramid_retry, where the application has it, will do the whole request once more."""
    retry = sys.modules.get("pyramid_retry")
    return retry is not None and bool(retry.is_error_retryable(request, error))


def _is_unavailable(error: Exception) -> bool:
    """Tell whether the database could not be reached, went away, or is locked by another process for long: what a
    visitor may try again in a moment."""
    if isinstance(error, (DirectoryUnavailable, PoolTimeout)):
        return True
    if not isinstance(error, DBAPIError):
        return False
    # What another connection writes to an SQLite file locks all of it, and this one has waited for seconds already.
    if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
        return True
    # Without a statement it was the connection that failed. SQLite calls a missing table operational, too.
    return error.connection_invalidated or (isinstance(error, OperationalError) and error.statement is None)


def _is_bare(response: HTTPError) -> bool:
    """Tell whether nobody said what the page is to be: neither by a body nor by a template of Pyramid's kind."""
    return not response.has_body and not response.empty_body and "body_template" not in vars(response)


def _wants_html(request: Request) -> bool:
    """Tell whether the page is for a browser. A program that asks for JSON gets what Pyramid makes of the error."""
    if not request.headers.get("Accept"):
        return True
    offers = request.accept.acceptable_offers(["text/html", "application/json"])
    return bool(offers) and offers[0][0] == "text/html"


def _fill(response: HTTPError, request: Request) -> None:
    """Give `response` the page of the site, and leave it as it is if there is none, or none that works.

    The headers that it has stay. Without a site, as on open paths, there is nobody whose page it could be.
    """
    response.headers.setdefault("Cache-Control", "no-cache")
    site = current_site()
    if site is None:
        return
    for name in NAMES:
        page = _render(name.format(status=response.status_code), response, request, site)
        if page is not None:
            _set_page(response, page)
            return


def _render(name: str, response: HTTPError, request: Request, site: Site) -> str | None:
    value = {"status": response.status_code, "reason": response.title, "detail": response.detail}
    try:
        request.registry[TEMPLATES].lookup(site).get_template(name)
    except TopLevelLookupException:  # there is none
        return None
    except Exception:
        log.exception("the error page %s of the site %s cannot be used", name, site)
        return None
    try:
        page: str = render(name, value, request=request)
    except Exception:
        log.exception("the error page %s of the site %s fails itself", name, site)
        return None
    return page


def _show(response: HTTPError, error: Exception) -> None:
    """Let the page say what went wrong: for development only, since it shows source code."""
    try:
        page = html_error_template().render_unicode(error=error, traceback=error.__traceback__)
    except Exception:
        log.exception("the error above cannot be shown in the browser")
        return
    _set_page(response, page)


def _set_page(response: HTTPError, page: str) -> None:
    response.content_type = "text/html"
    response.charset = "utf-8"
    response.text = page


def includeme(config: Configurator) -> None:
    """Add the tween over pyramid_tm's and over the exception view, and under the one that finds the site."""
    config.add_tween(
        "multisite.error_pages.error_page_tween_factory",
        under="multisite.tween.site_tween_factory",
        over=("pyramid_tm.tm_tween_factory", EXCVIEW),
    )
