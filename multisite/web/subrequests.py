"""Subrequests run for the site of their own host, not for that of the outer request.

With `use_tweens=True`, the tween finds the site of a subrequest as it does for every request, and response callbacks
run without a site. Without tweens, this module makes the site current while Pyramid handles the subrequest: that of
its host, or `request.site` if who made the subrequest has set it, as for a preview of another theme.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from pyramid.threadlocal import get_current_request

from multisite.core.current_site import pop_scope, push_scope
from multisite.core.keys import MADE_SUBREQUEST
from multisite.core.site import Site
from multisite.errors import MultisiteError
from multisite.web.request import match_request
from multisite.web.startup import on_app_created

__all__ = ["includeme"]


def _invoke_for_site(
    plain: Callable[..., Response], registry: Any, request: Request, use_tweens: bool = False
) -> Response:
    outer = get_current_request()
    if outer is not request:
        # A copy of a request that has made a subrequest has made none itself.
        request.environ.pop(MADE_SUBREQUEST, None)
        if outer is not None:
            # The outer response may depend on what the inner one used: a session, a language, another site's rows.
            outer.environ[MADE_SUBREQUEST] = True
    with _scope_of(None if use_tweens else _site_of_subrequest(request, registry)):
        response = plain(request, use_tweens=use_tweens)
    body = response.app_iter
    if not isinstance(body, (list, tuple)):
        length = response.content_length
        response.app_iter = _SitelessBody(body)
        # WebOb drops the length when the body is replaced.
        response.content_length = length
    return response


@contextmanager
def _scope_of(site: Site | None) -> Iterator[None]:
    token = push_scope(site)
    try:
        yield
    finally:
        pop_scope(token)


class _SitelessBody:
    """Reads the streaming body of a subrequest without a current site, as a server would."""

    def __init__(self, body: Iterable[bytes]) -> None:
        self._body = body
        self._pieces = iter(body)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with _scope_of(None):
            return next(self._pieces)

    def close(self) -> None:
        if hasattr(self._body, "close"):
            with _scope_of(None):
                self._body.close()


def _site_of_subrequest(request: Request, registry: Any) -> Site | None:
    request.registry = registry
    given: Site | None = request.__dict__.get("site")
    if given is not None:
        return given
    try:
        return match_request(request).site
    except MultisiteError:
        # Not the outer request's site either: `request.site` raises this error.
        return None


def _wrap_invoke_subrequest(app: Any) -> None:
    # The router passes this attribute to its requests. A tween or an event would cost every request.
    app.invoke_subrequest = partial(_invoke_for_site, app.invoke_subrequest, app.registry)


def includeme(config: Configurator) -> None:
    """Make `request.invoke_subrequest` run each subrequest for its own site."""
    on_app_created(config.registry, _wrap_invoke_subrequest)
