"""304 for pages: browsers, feed readers and crawlers ask again often, and mostly nothing has changed.

A page has an entity tag made from its text. That is always right, also when a template, a title in the menu or the
hour at which an entry appears has changed, which no time stamp of an entry could tell; the price is that the page is
made in order to find out. It is a weak tag, since a server in front may compress the page.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from pyramid.request import Request
from pyramid.response import Response

__all__ = ["conditional"]

View = Callable[[Any, Request], Response]


def conditional(view: View) -> View:
    """Decorate a view (`decorator=conditional`): add a weak ETag to its pages and answer 304 where it matches."""

    def conditional_view(context: Any, request: Request) -> Response:
        response = view(context, request)
        if response.status_code == 200 and request.method in ("GET", "HEAD") and response.etag is None:
            response.headers["ETag"] = f'W/"{hashlib.sha256(response.body).hexdigest()[:32]}"'
            response.conditional_response = True
            response.headers.setdefault("Cache-Control", "no-cache")
            response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response

    return conditional_view
