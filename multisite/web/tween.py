"""The tween that finds the site of each request.

It is placed over the exception view and over pyramid_tm, so that error pages and the commit still have their site. An
exception from here would therefore reach the server: the tween never raises, and invokes the exception views itself for
400, 404 and 503. The rows that a session sees do not depend on the tween (`multisite.scoping`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any
from urllib.parse import urlunsplit

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPMovedPermanently, HTTPPermanentRedirect
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import EXCVIEW

from multisite import hosts
from multisite.core import fork_safety
from multisite.core.concurrency import WAIT_SECONDS, ConcurrencyLimit
from multisite.core.current_site import pop_scope, push_scope
from multisite.core.host_header import DEFAULT_PORTS
from multisite.core.keys import CLOSED, OPEN_PATH, RELEASES, SETTINGS, SHIFTED_PATH
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory import Match
from multisite.errors import MultisiteError, SiteSettingError, UnknownSite
from multisite.web.exception_views import unknown_site_response
from multisite.web.request import canonical_netloc, escape_path, find_match
from multisite.web.site_limit import release_after_send, release_held, too_busy_response
from multisite.web.startup import run_startup

__all__ = ["includeme", "site_tween_factory"]

log = logging.getLogger(__name__)

LOG_PAUSE_SECONDS = 1.0
"""Minimum time between two log lines about requests without a site, which anybody can send in any number."""

REDIRECT_SECONDS = 300
"""How long browsers and proxies cache the redirect of a domain.

Without a limit they may cache it forever (RFC 9110 section 15.4.2, RFC 9111 section 4.2.2), but the domain may belong
to another site tomorrow.
"""

Handler = Callable[[Request], Response]


def site_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Return a tween that sets the site of each request, or responds with an error if there is none."""
    run_startup(registry)
    refuse = _refusing(registry)
    tween = _make_tween(handler, registry, refuse)
    if registry[SETTINGS].console_host is None:
        return tween
    # Imported here, because only applications with the setting need the module.
    console_first: Callable[..., Handler] = import_module("multisite.web.console_host").console_first
    return console_first(tween, registry, refuse)


def _make_tween(handler: Handler, registry: Registry, refuse: Callable[[Request, MultisiteError], Response]) -> Handler:
    settings: Settings = registry[SETTINGS]
    open_paths = {path for path in settings.open_paths if not path.endswith("/")}
    open_paths.update(path for path in (settings.tls_ask_path, settings.metrics_path) if path is not None)
    open_prefixes = tuple(path for path in settings.open_paths if path.endswith("/"))

    has_open_paths = bool(open_paths or open_prefixes)
    site_limit = _site_limit(settings)

    def is_open(path: str) -> bool:
        return path in open_paths or path.startswith(open_prefixes)

    def site_tween(request: Request) -> Response:
        environ = request.environ
        # The environ may have passed here before: pyramid_retry reuses it, and a subrequest may have a copy of it.
        if SHIFTED_PATH in environ:
            _unshift_path(environ)
        if has_open_paths and is_open(environ.get("PATH_INFO", "")):
            environ[OPEN_PATH] = True
            # This may be a subrequest of a request that has a site.
            return _handle(handler, request, None)
        environ.pop(OPEN_PATH, None)
        try:
            match = find_match(environ, registry)
        except MultisiteError as error:
            return refuse(request, error)
        if isinstance(match, UnknownSite):
            return refuse(request, match)
        if match.kind == "redirect" and (response := _redirect(request, match)) is not None:
            return response
        if match.path:
            _shift_path(environ, match.path)
        environ[CLOSED] = match.closed
        request.site = match.site
        if site_limit is not None:
            return _with_site_limit(site_limit, handler, request, match.site)
        return _handle(handler, request, match.site)

    return site_tween


def _site_limit(settings: Settings) -> ConcurrencyLimit | None:
    limit = settings.max_requests_per_site
    return ConcurrencyLimit(limit, settings.max_waiting_requests_per_site) if limit else None


def _refusing(registry: Registry) -> Callable[[Request, MultisiteError], Response]:
    """Return a function that logs an error and returns the response to it."""
    refusals, respond_unknown = _RateLimitedLog(), unknown_site_response(registry)

    def refuse(request: Request, error: MultisiteError) -> Response:
        refusals.log(error)
        if respond_unknown is not None and isinstance(error, UnknownSite):
            request.exception = error
            return respond_unknown()
        return _handle(partial(_show_exception, error), request, None)

    return refuse


def _handle(handler: Handler, request: Request, site: Site | None) -> Response:
    token = push_scope(site)
    try:
        return handler(request)
    finally:
        pop_scope(token)


def _show_exception(error: MultisiteError, request: Request) -> Response:
    """Return the response of the exception view for `error`."""
    return request.invoke_exception_view((type(error), error, error.__traceback__))


def _with_site_limit(site_limit: ConcurrencyLimit, handler: Handler, request: Request, site: Site) -> Response:
    """Handle `request` if its site has a free slot, and hold the slot until the response has been sent."""
    # The environ may have passed here before, for a response that pyramid_retry or another tween has dropped.
    release_held(request.environ)
    # A subrequest does not wait: it might be for the slot of the request that it is part of.
    if not site_limit.acquire(site.id, WAIT_SECONDS if RELEASES in request.environ else 0.0):
        return too_busy_response()
    try:
        response = _handle(handler, request, site)
    except BaseException:
        site_limit.release(site.id)
        raise
    release_after_send(request.environ, response, partial(site_limit.release, site.id))
    return response


def _requested_netloc(request: Request) -> str:
    name, port = hosts.parse(request.environ["HTTP_HOST"], underscores=True)
    return name if port in {None, DEFAULT_PORTS.get(request.scheme)} else f"{name}:{port}"


class _RateLimitedLog:
    """Logs requests without a site, at most one line per `LOG_PAUSE_SECONDS`."""

    def __init__(self) -> None:
        self._lock = fork_safety.fork_safe_lock()
        self._next_at = 0.0
        self._left_out = 0

    def log(self, error: MultisiteError) -> None:
        """Log `error`, or count it for the next line."""
        if isinstance(error, SiteSettingError):  # Logged when it was first raised.
            return
        now = time.monotonic()
        with self._lock:
            if now < self._next_at:
                self._left_out += 1
                return
            left_out, self._left_out = self._left_out, 0
            self._next_at = now + LOG_PAUSE_SECONDS
        more = f" ({left_out} more were refused since the last line)" if left_out else ""
        log.info("refused: %s%s", error, more)


def _shift_path(environ: dict[str, Any], prefix: str) -> None:
    """Move `prefix` from the start of PATH_INFO to SCRIPT_NAME (PEP 3333)."""
    environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + prefix
    environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(prefix)
    environ[SHIFTED_PATH] = prefix


def _unshift_path(environ: dict[str, Any]) -> None:
    """Undo `_shift_path`, unless SCRIPT_NAME has changed since: without the path, another site would match."""
    prefix, script_name = environ.pop(SHIFTED_PATH), environ.get("SCRIPT_NAME", "")
    if script_name.endswith(prefix):
        environ["SCRIPT_NAME"] = script_name.removesuffix(prefix)
        environ["PATH_INFO"] = prefix + environ.get("PATH_INFO", "")


def _redirect(request: Request, match: Match) -> Response | None:
    """Return a redirect to the canonical domain, with the same path below the domain's, the same query and port.

    Returns None if the request is there already, because a redirect for a port or a wildcard takes precedence over the
    canonical domain: it is served, to avoid a redirect loop. The status is 301 for GET and HEAD, and 308 otherwise,
    because browsers turn other methods into GET on a 301 (RFC 9110 section 15.4).
    """
    environ, site = request.environ, match.site
    netloc, path_info = canonical_netloc(request, site), environ.get("PATH_INFO", "")
    path = site.path + path_info.removeprefix(match.path)
    if path == path_info and netloc == _requested_netloc(request):
        return None
    # Not request.path, which raises for bytes that are not valid UTF-8: the canonical domain rejects those.
    escaped = escape_path(environ.get("SCRIPT_NAME", "") + (path or "/"))
    location = urlunsplit((request.scheme, netloc, escaped, request.query_string, ""))
    kind = HTTPMovedPermanently if request.method in {"GET", "HEAD"} else HTTPPermanentRedirect
    return kind(location=location, headers={"Cache-Control": f"max-age={REDIRECT_SECONDS}"})


def includeme(config: Configurator) -> None:
    """Add the tween over pyramid_tm's and over the exception view."""
    # Both are named, because pyramid_tm is over the exception view too, and may have been included first.
    config.add_tween("multisite.web.tween.site_tween_factory", over=("pyramid_tm.tm_tween_factory", EXCVIEW))
