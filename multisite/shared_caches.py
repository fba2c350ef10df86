"""Shared caches: what a proxy or a CDN must not hand to somebody else says so.

Sites differ by their host, which is part of what such a cache keeps an answer under (RFC 9111 section 2). Visitors do
not: an answer that sets a cookie, or for which the session was used, is of one visitor. Such a cache may keep it all
the same unless it is told (RFC 9111 section 7.3). What differs by language says `Vary` in `multisite.language`.
"""

from __future__ import annotations

from pyramid.config import Configurator
from pyramid.events import NewResponse

__all__ = ["includeme"]


def _mark_private(event: NewResponse) -> None:
    """Add `Cache-Control: private` to the answer for one visitor, unless the application has said what may be kept."""
    headers = event.response.headerlist
    names = {name.lower() for name, _value in headers}
    if "cache-control" not in names and ("set-cookie" in names or "session" in event.request.__dict__):
        headers.append(("Cache-Control", "private"))


def includeme(config: Configurator) -> None:
    """Mark what is of one visitor, when the callbacks that add cookies have run."""
    config.add_subscriber(_mark_private, NewResponse)
