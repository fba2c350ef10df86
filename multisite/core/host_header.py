"""The host of a WSGI request, according to its Host header."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from multisite import hosts
from multisite.errors import InvalidHost

__all__ = ["DEFAULT_PORTS", "requested_host"]

DEFAULT_PORTS = {"http": 80, "https": 443}
"""The default port of each scheme (RFC 9110 section 4.2)."""

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def requested_host(environ: Mapping[str, Any], *, underscores: bool = False) -> hosts.Host:
    """Return the host of the request `environ`.

    X-Forwarded-Host is ignored: whether to trust a proxy is the server's decision, and a server that does writes
    HTTP_HOST.

    Args:
        environ: A WSGI environ.
        underscores: As for `hosts.parse`.

    Raises:
        InvalidHost: If the request has no Host, several of them (servers join them with commas), or a target in
            absolute form with another host. RFC 9112 sections 3.2 and 3.2.2 require a 400 for these.
    """
    text = environ.get("HTTP_HOST")
    if text is None:
        raise InvalidHost("", "the request has no Host")
    host = hosts.parse(text, underscores=underscores)
    target = environ.get("REQUEST_URI") or environ.get("RAW_URI") or ""
    # Nearly all targets are paths, which need no pattern.
    if isinstance(target, str) and target[:1] != "/" and _ABSOLUTE.match(target):
        try:
            scheme, netloc, *_ = urlsplit(target)
            named = hosts.parse(netloc, underscores=underscores)
        except ValueError as error:
            raise InvalidHost(target, "the request's target does not name a host") from error
        default_port = DEFAULT_PORTS.get(scheme)
        # The ports must agree too: another port may be another site, and a proxy may go by the one that we ignore.
        if (named.name, named.port or default_port) != (host.name, host.port or default_port):
            raise InvalidHost(target, "the request's target names another host than its Host")
    return host
