"""The question that a proxy asks before it gets a certificate: is there a site with this domain?

Caddy's on-demand TLS sends `GET PATH?domain=example.com`, and gets a certificate exactly if the answer is 200. Whoever
may ask this learns which domains are here, so only this machine may unless `multisite.tls_ask_from` says otherwise.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED

from multisite import hosts
from multisite.directory import Directory
from multisite.errors import DirectoryUnavailable, InvalidHost
from multisite.keys import DIRECTORY, OPEN_PATH, SETTINGS
from multisite.setting_parsers import Network
from multisite.settings import Settings

__all__ = ["ask_view", "includeme", "is_allowed_peer"]

_FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_VIA")
"""What a proxy adds to a request of somebody else; the proxy's own question has none of them."""


def ask_view(request: Request) -> Response:
    """Answer 200 if `domain` is one of a site that answers, else 404; 503 if nobody can say; 403 to who may not ask."""
    if OPEN_PATH not in request.environ:
        # Below the path of a site, where the proxy that keeps visitors from this one path does not look.
        return _answer(404)
    settings: Settings = request.registry[SETTINGS]
    if not is_allowed_peer(request, settings.tls_ask_from):
        return _answer(403)
    try:
        host = hosts.parse(request.params.get("domain", ""), underscores=settings.allow_underscores)
        directory: Directory = request.registry[DIRECTORY]
        found = host.port is None and directory.has_host(host.name)
    except (InvalidHost, UnicodeDecodeError):
        found = False
    except DirectoryUnavailable:
        return _answer(503)
    return _answer(200 if found else 404)


def is_allowed_peer(request: Request, networks: Sequence[Network]) -> bool:
    """Return whether `request` comes from one of `networks` itself, and not through a proxy for somebody else."""
    if any(header in request.environ for header in _FORWARDED):
        return False
    try:
        address = ipaddress.ip_address(request.environ.get("REMOTE_ADDR", ""))
    except ValueError:  # none, or that of a Unix socket, which says nothing about who is behind it
        return False
    # A socket for both kinds of addresses shows 127.0.0.1 as ::ffff:127.0.0.1.
    plain = getattr(address, "ipv4_mapped", None) or address
    return any(plain in network for network in networks)


def _answer(status: int) -> Response:
    response = Response(status=status, content_type="text/plain")
    response.headers["Cache-Control"] = "no-store"
    return response


def includeme(config: Configurator) -> None:
    """Answer at `multisite.tls_ask_path`, if that is set."""
    settings: Settings = config.registry[SETTINGS]
    if settings.tls_ask_path is not None:
        config.add_route("multisite.tls_ask", settings.tls_ask_path, request_method="GET")
        config.add_view(ask_view, route_name="multisite.tls_ask", permission=NO_PERMISSION_REQUIRED)
