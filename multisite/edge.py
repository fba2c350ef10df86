"""The WSGI edge: what is done before Pyramid looks at a request, and after its response has been sent.

Both are outside of all tweens. Pyramid and the tweens of an application parse header fields before a tween of ours has
its turn, and WebOb parses some of them only while the response is sent, behind all tweens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.response import Response

from multisite import header_fields
from multisite.header_fields import (
    MAX_CONTENT_TYPE_CHARACTERS,
    MAX_CREDENTIALS_CHARACTERS,
    SHORT_COOKIE_CHARACTERS,
)
from multisite.in_progress import ClosingIterator
from multisite.keys import RELEASES, SETTINGS
from multisite.settings import Settings
from multisite.share import release_held
from multisite.start import on_app_created

__all__ = ["includeme"]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Answer = Callable[[Environ, StartResponse], Iterable[bytes]]
Policy = Callable[[Environ, Any], Answer]
"""An execution policy of Pyramid's: from an environ and the application to a response, which is a WSGI application."""


def _with_clean_headers(policy: Policy) -> Policy:
    """Return `policy` for requests whose header fields can be read; others are answered here."""

    def read(environ: Environ, application: Any) -> Answer:
        # Written out, since most requests have none of them: a loop would cost these more than all else that is done.
        if (
            ("HTTP_COOKIE" in environ and len(environ["HTTP_COOKIE"]) > SHORT_COOKIE_CHARACTERS)
            or ("CONTENT_TYPE" in environ and len(environ["CONTENT_TYPE"]) > MAX_CONTENT_TYPE_CHARACTERS)
            or ("HTTP_AUTHORIZATION" in environ and len(environ["HTTP_AUTHORIZATION"]) > MAX_CREDENTIALS_CHARACTERS)
            or "HTTP_RANGE" in environ
            or "HTTP_IF_MODIFIED_SINCE" in environ
            or "HTTP_IF_UNMODIFIED_SINCE" in environ
            or "HTTP_X_VHM_ROOT" in environ
        ) and (name := header_fields.clean(environ)) is not None:
            refusal: Answer = _too_long(name)
            return refusal
        return policy(environ, application)

    return read


def _too_long(name: str) -> Response:
    """Return the answer to a request whose header field `name` is too long (RFC 6585 section 5)."""
    text = f"Request Header Fields Too Large: the field {name} of this request is too long.\n"
    response = Response(text, "431 Request Header Fields Too Large", content_type="text/plain", charset="utf-8")
    response.headers["Cache-Control"] = "no-store"
    return response


def _releasing_after_send(policy: Policy) -> Policy:
    """Return `policy` for requests that may hold a slot of their site's until their response has been sent."""

    def hold(environ: Environ, application: Any) -> Answer:
        environ[RELEASES] = []
        try:
            answer = policy(environ, application)
        except BaseException:
            release_held(environ)
            raise
        return partial(_send, answer) if environ[RELEASES] else answer

    return hold


def _send(answer: Answer, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Send `answer` and give back what its request holds, whichever response this is, and whatever comes of it."""
    release = partial(release_held, environ)
    try:
        return ClosingIterator(answer(environ, start_response), release)
    except BaseException:
        release()
        raise


def _wrap_policy(settings: Settings, application: Any) -> None:
    # Each application has this attribute of its own. An application may set a policy (pyramid_retry does), which is
    # called within ours: a second one would be a conflict.
    application.execution_policy = _with_clean_headers(application.execution_policy)
    if settings.max_requests_per_site:
        application.execution_policy = _releasing_after_send(application.execution_policy)


def includeme(config: Configurator) -> None:
    """Let each application that is made of `config` be called by way of this module."""
    registry: Registry = config.registry
    on_app_created(registry, partial(_wrap_policy, registry[SETTINGS]))
