"""Exception views for requests that cannot be matched to a site."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import URLDecodeError
from pyramid.httpexceptions import HTTPBadRequest
from pyramid.interfaces import IExceptionViewClassifier, IMultiView, IRequest, ISecuredView, IView
from pyramid.request import Request
from pyramid.response import Response
from pyramid.settings import asbool
from zope.interface import implementedBy

from multisite.core import program
from multisite.core.keys import SETTINGS
from multisite.core.settings import Settings
from multisite.errors import DirectoryUnavailable, InvalidHost, UnknownSite
from multisite.web.derivers import has_own_derivers

__all__ = ["includeme", "unknown_site_response"]

_NO_SITE = "There is no site here.\n"
_DEVELOPMENT = "pyramid.reload_templates"


def invalid_host_view(error: InvalidHost, request: Request) -> Response:
    """Return a 400 for an invalid Host header, without repeating the header."""
    return _plain(400, "Bad Request: the Host of this request is not a host.\n")


def unknown_site_view(error: UnknownSite, request: Request) -> Response:
    """Return a 404 or 421 for a host without a site; in development, with the command that adds the site."""
    text = _NO_SITE
    if error.name is not None and _in_development(request):
        command = program.command(f"add-site {error.name}")
        text += f"\nTo add it (shown because pyramid.reload_templates is on):\n\n    {command}\n"
    return _plain(_unknown_status(request.registry[SETTINGS]), text)


def _unknown_status(settings: Settings) -> int:
    return 421 if settings.unknown_host == "421" else 404


def unknown_site_response(registry: Any) -> Callable[[], Response] | None:
    """Return a function that returns the response of `unknown_site_view`, without calling it through Pyramid.

    Anybody can send requests for unknown hosts, in any number. None if the application has replaced or wrapped the
    view, and in development, where the response depends on the host.
    """
    wanted = (IExceptionViewClassifier, IRequest, implementedBy(UnknownSite))
    found = [registry.adapters.lookup(wanted, kind) for kind in (IView, ISecuredView, IMultiView)]
    views = {getattr(view, "__original_view__", view) for view in found if view is not None}
    if views != {unknown_site_view} or has_own_derivers(registry) or asbool(registry.settings.get(_DEVELOPMENT)):
        return None
    plain = _plain(_unknown_status(registry[SETTINGS]), _NO_SITE)
    status, headers, body = plain.status, list(plain.headerlist), plain.body

    def respond() -> Response:
        return Response(status=status, headerlist=list(headers), app_iter=[body])

    return respond


def directory_unavailable_view(error: DirectoryUnavailable, request: Request) -> Response:
    """Return a 503 for a host that cannot be looked up; in development, with the reason."""
    text = "Service Unavailable: please try again in a moment.\n"
    if _in_development(request):
        text += f"\nThe directory of sites cannot be read: {error.reason}\n"
    response = _plain(503, text)
    response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def undecodable_path_view(error: URLDecodeError, request: Request) -> Response:
    """Return a 400 for a path or query that is not valid UTF-8."""
    # Without a body, so that the site's own error page is shown.
    return HTTPBadRequest("The address of this request is not valid UTF-8.", headers={"Cache-Control": "no-store"})


def _in_development(request: Request) -> bool:
    return bool(asbool(request.registry.settings.get(_DEVELOPMENT)))


def _plain(status: int, text: str) -> Response:
    response = Response(text, status=status, content_type="text/plain", charset="utf-8")
    response.headers["Cache-Control"] = "no-store"
    return response


def includeme(config: Configurator) -> None:
    """Add views for `InvalidHost`, `UnknownSite`, `DirectoryUnavailable` and Pyramid's `URLDecodeError`.

    An application replaces each of them with `config.add_exception_view`.
    """
    config.add_exception_view(invalid_host_view, context=InvalidHost)
    config.add_exception_view(unknown_site_view, context=UnknownSite)
    config.add_exception_view(undecodable_path_view, context=URLDecodeError)
    config.add_exception_view(directory_unavailable_view, context=DirectoryUnavailable)
