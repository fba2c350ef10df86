"""Mark personal responses as private, so that a proxy or CDN does not serve them to other visitors.

Sites are told apart by their host, which is part of a shared cache's key (RFC 9111 section 2). Visitors are not: a
response that sets a cookie, or that was made after the session or a cookie of the request was read, belongs to one
visitor. A shared cache may store even that unless the response forbids it (RFC 9111 section 7.3).
`multisite.language.request` adds `Vary` to responses that differ by language.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from multisite.web.request import cookies_were_read
from multisite.web.startup import on_app_created

__all__ = ["includeme"]


def mark_private_response(plain: Callable[..., Response], request: Request, *args: Any, **options: Any) -> Response:
    """Call `plain`, the router's `invoke_request`, and mark its response as private if it is personal."""
    response = plain(request, *args, **options)
    _mark_private(request, response)
    return response


def _mark_private(request: Request, response: Response) -> None:
    """Add `Cache-Control: private` to a personal response, unless the application has set Cache-Control."""
    headers = response.headerlist
    is_personal = False
    for name, _value in headers:
        lowered = name.lower()
        if lowered == "cache-control":
            return
        if lowered == "set-cookie":
            is_personal = True
    if is_personal or "session" in request.__dict__ or cookies_were_read(request.environ):
        headers.append(("Cache-Control", "private"))


def wrap_router(app: Any) -> None:
    """Mark the personal responses of `app`, a Pyramid router."""
    # The only hook after all response callbacks, which add cookies, that does not cost every request an event.
    app.invoke_request = partial(mark_private_response, app.invoke_request)


def includeme(config: Configurator) -> None:
    """Mark personal responses as private, after all response callbacks have run."""
    on_app_created(config.registry, wrap_router)
