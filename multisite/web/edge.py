"""The outermost layer of the application: clean header fields before Pyramid reads them, and release slots at the end.

It wraps Pyramid's execution policy, outside of all tweens, because Pyramid and the application's tweens parse header
fields before a tween of multisite runs, and WebOb parses some of them only while the response is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.response import Response

from multisite.core.concurrency import ClosingIterator
from multisite.core.keys import RELEASES, SETTINGS
from multisite.core.settings import Settings
from multisite.web import header_fields
from multisite.web.header_fields import (
    MAX_CONTENT_TYPE_CHARACTERS,
    MAX_CREDENTIALS_CHARACTERS,
    SHORT_COOKIE_CHARACTERS,
)
from multisite.web.site_limit import release_held
from multisite.web.startup import on_app_created

__all__ = ["includeme"]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]
ExecutionPolicy = Callable[[Environ, Any], WSGIApp]
"""Pyramid's execution policy: takes the environ and the router, and returns the response (a WSGI application)."""


def _with_clean_headers(policy: ExecutionPolicy) -> ExecutionPolicy:
    """Wrap `policy`: drop unreadable header fields, and respond with 431 if one is too long."""

    def clean_policy(environ: Environ, router: Any) -> WSGIApp:
        # Unrolled, because most requests have none of these fields, and a loop would dominate the cost for them.
        if (
            ("HTTP_COOKIE" in environ and len(environ["HTTP_COOKIE"]) > SHORT_COOKIE_CHARACTERS)
            or ("CONTENT_TYPE" in environ and len(environ["CONTENT_TYPE"]) > MAX_CONTENT_TYPE_CHARACTERS)
            or ("HTTP_AUTHORIZATION" in environ and len(environ["HTTP_AUTHORIZATION"]) > MAX_CREDENTIALS_CHARACTERS)
            or "HTTP_RANGE" in environ
            or "HTTP_IF_MODIFIED_SINCE" in environ
            or "HTTP_IF_UNMODIFIED_SINCE" in environ
            or "HTTP_X_VHM_ROOT" in environ
        ) and (name := header_fields.clean(environ)) is not None:
            refusal: WSGIApp = _too_long(name)
            return refusal
        return policy(environ, router)

    return clean_policy


def _too_long(name: str) -> Response:
    """Return the 431 for a request whose header field `name` is too long (RFC 6585 section 5)."""
    text = f"Request Header Fields Too Large: the field {name} of this request is too long.\n"
    response = Response(text, "431 Request Header Fields Too Large", content_type="text/plain", charset="utf-8")
    response.headers["Cache-Control"] = "no-store"
    return response


def _releasing_after_send(policy: ExecutionPolicy) -> ExecutionPolicy:
    """Wrap `policy`: release the slots that a request holds once its response has been sent."""

    def releasing_policy(environ: Environ, router: Any) -> WSGIApp:
        environ[RELEASES] = []
        try:
            response = policy(environ, router)
        except BaseException:
            release_held(environ)
            raise
        return partial(_send, response) if environ[RELEASES] else response

    return releasing_policy


def _send(response: WSGIApp, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Send `response`, and release the slots of its request when it has been sent, is closed or fails."""
    release = partial(release_held, environ)
    try:
        return ClosingIterator(response(environ, start_response), release)
    except BaseException:
        release()
        raise


def _wrap_policy(settings: Settings, router: Any) -> None:
    # On the router, because `set_execution_policy` would conflict with an application's own policy, such as
    # pyramid_retry's, which this one calls.
    router.execution_policy = _with_clean_headers(router.execution_policy)
    if settings.max_requests_per_site:
        router.execution_policy = _releasing_after_send(router.execution_policy)


def includeme(config: Configurator) -> None:
    """Wrap the execution policy of each application made from `config`."""
    registry: Registry = config.registry
    on_app_created(registry, partial(_wrap_policy, registry[SETTINGS]))
