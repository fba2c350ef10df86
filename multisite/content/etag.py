"""Weak ETags: revalidation by browsers, feed readers and crawlers, which mostly find that nothing has changed.

A page's ETag is computed from its text. Unlike a timestamp of an entry, it also changes with a template, a title in the
menu, or the time at which an entry appears; the price is that the page is rendered to compute it. It is weak because a
server in front may compress the page.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from pyramid.request import Request
from pyramid.response import Response

__all__ = ["weak_etag"]

View = Callable[[Any, Request], Response]


def weak_etag(view: View) -> View:
    """Decorate a view (`decorator=weak_etag`): add a weak ETag to its pages, and respond with 304 if it matches."""

    def etag_view(context: Any, request: Request) -> Response:
        response = view(context, request)
        if response.status_code == 200 and request.method in ("GET", "HEAD") and response.etag is None:
            response.headers["ETag"] = f'W/"{hashlib.blake2b(response.body, digest_size=16).hexdigest()}"'
            response.conditional_response = True
            response.headers.setdefault("Cache-Control", "no-cache")
            response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response

    return etag_view
