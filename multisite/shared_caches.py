"""Shared caches: what a proxy or a CDN must not hand to somebody else says so.

Sites differ by their host, which is part of what such a cache keeps an answer under (RFC 9111 section 2). Visitors do
not: an answer that sets a cookie, or for which the session was used or a cookie that came was looked at, is of one
visitor. Such a cache may keep it all the same unless it is told (RFC 9111 section 7.3). What differs by language says
`Vary` in `multisite.language`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from multisite.request import cookies_were_read
from multisite.start import on_app_created

__all__ = ["includeme"]


def mark_private_response(plain: Callable[..., Response], request: Request, *args: Any, **options: Any) -> Response:
    response = plain(request, *args, **options)
    _mark_private(request, response)
    return response


def _mark_private(request: Request, response: Response) -> None:
    """Add `Cache-Control: private` to the answer for one visitor, unless the application has said what may be kept."""
    headers = response.headerlist
    names = {name.lower() for name, _value in headers}
    if "cache-control" in names:
        return
    if "set-cookie" in names or "session" in request.__dict__ or cookies_were_read(request.environ):
        headers.append(("Cache-Control", "private"))


def wrap_router(app: Any) -> None:
    # The one place behind all callbacks, which add cookies, that costs a request no event.
    app.invoke_request = partial(mark_private_response, app.invoke_request)


def includeme(config: Configurator) -> None:
    """Mark what is of one visitor, when the callbacks that add cookies have run."""
    on_app_created(config.registry, wrap_router)
