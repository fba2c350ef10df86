"""The endpoint of on-demand TLS: before a proxy obtains a certificate, it asks whether a site has the domain.

Caddy's on-demand TLS sends `GET PATH?domain=example.com`, and obtains a certificate only if the response is a 200. The
endpoint reveals which domains exist, so only the local machine may query it unless `multisite.tls_ask_from` is set.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED

from multisite import hosts
from multisite.core.keys import DIRECTORY, OPEN_PATH, SETTINGS
from multisite.core.setting_parsers import Network
from multisite.core.settings import Settings
from multisite.directory import Directory
from multisite.errors import DirectoryUnavailable, InvalidHost

__all__ = ["FORWARDED", "ask_view", "includeme", "is_allowed_peer"]

FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_VIA")
"""Headers that proxies add to forwarded requests; a request by the proxy itself has none of them."""


def ask_view(request: Request) -> Response:
    """Return 200 if a served site or the console has `domain`, else 404; 503 without an answer; 403 for others."""
    if OPEN_PATH not in request.environ:
        # Below the path of a site, which a proxy that blocks the endpoint for visitors does not cover.
        return _respond(404)
    settings: Settings = request.registry[SETTINGS]
    if not is_allowed_peer(request, settings.tls_ask_from):
        return _respond(403)
    try:
        host = hosts.parse(request.params.get("domain", ""), underscores=settings.allow_underscores)
        directory: Directory = request.registry[DIRECTORY]
        is_console = host.name == settings.console_host
        found = host.port is None and (is_console or directory.has_host(host.name))
    except (InvalidHost, UnicodeDecodeError):
        found = False
    except DirectoryUnavailable:
        return _respond(503)
    return _respond(200 if found else 404)


def is_allowed_peer(request: Request, networks: Sequence[Network]) -> bool:
    """Return whether `request` comes from one of `networks` directly, and was not forwarded by a proxy."""
    if any(header in request.environ for header in FORWARDED):
        return False
    try:
        address = ipaddress.ip_address(request.environ.get("REMOTE_ADDR", ""))
    except ValueError:  # No address, or a Unix socket, which does not identify the client.
        return False
    # A dual-stack socket reports 127.0.0.1 as ::ffff:127.0.0.1.
    plain = getattr(address, "ipv4_mapped", None) or address
    return any(plain in network for network in networks)


def _respond(status: int) -> Response:
    response = Response(status=status, content_type="text/plain")
    response.headers["Cache-Control"] = "no-store"
    return response


def includeme(config: Configurator) -> None:
    """Add the endpoint at `multisite.tls_ask_path`, if that is set."""
    settings: Settings = config.registry[SETTINGS]
    if settings.tls_ask_path is not None:
        config.add_route("multisite.tls_ask", settings.tls_ask_path, request_method="GET")
        config.add_view(ask_view, route_name="multisite.tls_ask", permission=NO_PERMISSION_REQUIRED)
