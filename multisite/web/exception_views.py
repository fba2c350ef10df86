"""Exception views for requests that cannot be matched to a site."""

from __future__ import annotations

from pyramid.config import Configurator
from pyramid.exceptions import URLDecodeError
from pyramid.httpexceptions import HTTPBadRequest
from pyramid.request import Request
from pyramid.response import Response
from pyramid.settings import asbool

from multisite.core import program
from multisite.core.keys import SETTINGS
from multisite.core.settings import Settings
from multisite.errors import DirectoryUnavailable, InvalidHost, UnknownSite

__all__ = ["includeme"]


def invalid_host_view(error: InvalidHost, request: Request) -> Response:
    """Return a 400 for an invalid Host header, without repeating the header."""
    return _plain(400, "Bad Request: the Host of this request is not a host.\n")


def unknown_site_view(error: UnknownSite, request: Request) -> Response:
    """Return a 404 or 421 for a host without a site; in development, with the command that adds the site."""
    settings: Settings = request.registry[SETTINGS]
    text = "There is no site here.\n"
    if error.name is not None and _in_development(request):
        command = program.command(f"add-site {error.name}")
        text += f"\nTo add it (shown because pyramid.reload_templates is on):\n\n    {command}\n"
    return _plain(421 if settings.unknown_host == "421" else 404, text)


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
    return bool(asbool(request.registry.settings.get("pyramid.reload_templates")))


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
