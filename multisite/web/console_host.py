"""The host of the operator's console (`multisite.console_host`): requests to it never reach a site.

It takes precedence over the domains of all sites, also over wildcards, in every process with this setting. Only those
that include `multisite.console` serve the console there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response

from multisite.core.current_site import pop_scope, push_scope
from multisite.core.host_header import requested_host
from multisite.core.keys import OPEN_PATH, SETTINGS
from multisite.core.settings import Settings
from multisite.errors import InvalidHost, MultisiteError, UnknownSite

__all__ = ["CONSOLE", "console_first"]

CONSOLE = "multisite.console"
"""Registry key of the WSGI application of the console; missing in processes that do not serve it."""

_ATTRIBUTES = "webob.adhoc_attrs"
"""WebOb's environ key of a request's attributes, which the console must not share with the application."""

Tween = Callable[[Request], Response]
Refuse = Callable[[Request, MultisiteError], Response]


def console_first(
    site_tween: Tween, registry: Registry, refuse: Callable[[Request, MultisiteError], Response]
) -> Tween:
    """Return a tween that passes requests for the host of the console to the console, and others to `site_tween`."""
    settings: Settings = registry[SETTINGS]
    console: Any = registry.get(CONSOLE)

    def console_tween(request: Request) -> Response:
        try:
            host = requested_host(request.environ, underscores=settings.allow_underscores)
        except InvalidHost:
            return site_tween(request)  # It responds with 400.
        if host.name != settings.console_host:
            return site_tween(request)
        # Nothing that sees this request outside of the console, such as a subscriber, finds a site for it.
        request.environ[OPEN_PATH] = True
        if console is None:
            return refuse(request, UnknownSite(host.name))
        token = push_scope(None)
        try:
            own = {key: value for key, value in request.environ.items() if key != _ATTRIBUTES}
            return Request(own).get_response(console)
        finally:
            pop_scope(token)

    return console_tween
