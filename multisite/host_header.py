"""Which host a WSGI request is for, as its Host header says it; pure, as `hosts` is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from multisite import hosts
from multisite.errors import InvalidHost

__all__ = ["DEFAULT_PORTS", "requested_host"]

DEFAULT_PORTS = {"http": 80, "https": 443}
"""The port of a URL that names none, by scheme (RFC 9110 section 4.2)."""

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def requested_host(environ: Mapping[str, Any], *, underscores: bool = False) -> hosts.Host:
    """Return the host that a request is for; `underscores` is as for `hosts.parse`.

    Raises `InvalidHost` if there is none, more than one (servers join them by commas), or a target in absolute form
    that names another (RFC 9112 sections 3.2 and 3.2.2: those are a 400). X-Forwarded-Host is not looked at: believing
    a proxy is the server's decision, which then writes HTTP_HOST.
    """
    text = environ.get("HTTP_HOST")
    if text is None:
        raise InvalidHost("", "the request has no Host")
    host = hosts.parse(text, underscores=underscores)
    target = environ.get("REQUEST_URI") or environ.get("RAW_URI") or ""
    if isinstance(target, str) and _ABSOLUTE.match(target):
        try:
            scheme, netloc, *_ = urlsplit(target)
            named = hosts.parse(netloc, underscores=underscores)
        except ValueError as error:
            raise InvalidHost(target, "the request's target names something else than a host") from error
        own_port = DEFAULT_PORTS.get(scheme)
        # Another port may be another site, and what stands before us may go by the one of the two that we do not.
        if (named.name, named.port or own_port) != (host.name, host.port or own_port):
            raise InvalidHost(target, "the request's target names another host than its Host")
    return host
