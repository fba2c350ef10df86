"""What a request knows of sites: `request.site`, `request.site_url`, and the answers where there is no site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlunsplit

from pyramid.config import Configurator
from pyramid.exceptions import URLDecodeError
from pyramid.httpexceptions import HTTPBadRequest
from pyramid.request import Request
from pyramid.response import Response
from pyramid.settings import asbool

from multisite import hosts, program
from multisite.directory import Directory, Match
from multisite.errors import DirectoryUnavailable, InvalidHost, UnknownSite
from multisite.host_header import DEFAULT_PORTS, requested_host
from multisite.keys import DIRECTORY, OPEN_PATH, SETTINGS, SHIFTED_PATH, SUFFIX
from multisite.settings import Settings
from multisite.site import Site

__all__ = [
    "canonical_netloc",
    "cookies_were_read",
    "escape_path",
    "includeme",
    "match_request",
    "mount_path",
    "site_url",
]

_PATH_CHARACTERS = "/:@!$&'()*+,;=-._~"
"""What RFC 3986 section 3.3 allows in a path as it is."""


def cookies_were_read(environ: Mapping[str, Any]) -> bool:
    """Return whether the request has come with cookies, and somebody has looked at them so far."""
    # WebOb keeps here what it has found in the header, for who asks next.
    return "webob._parsed_cookies" in environ and bool(environ.get("HTTP_COOKIE"))


def match_request(request: Request) -> Match:
    """Return the site that `request` is for, and kind and path of the domain it came by.

    Raises `InvalidHost`, or `UnknownSite` also on open paths, or `DirectoryUnavailable` if the host is not in memory
    and the database cannot be asked, or `SiteSettingError` for a site whose own settings cannot be used.
    """
    if OPEN_PATH in request.environ:
        raise UnknownSite(None, "this path is open (multisite.open_paths): it answers without a site")
    environ = request.environ
    settings: Settings = request.registry[SETTINGS]
    host = requested_host(environ, underscores=settings.allow_underscores)
    directory: Directory = request.registry[DIRECTORY]
    port = host.port or DEFAULT_PORTS.get(environ["wsgi.url_scheme"])
    path = environ.get("PATH_INFO", "")
    match = directory.find(host.name, port, path)
    if match is None and settings.development_suffix is not None:
        name = host.name.removesuffix(f".{settings.development_suffix}")
        match = directory.find(name, None, path) if name != host.name else None
        if match is not None:
            environ[SUFFIX] = environ["HTTP_HOST"], f".{settings.development_suffix}"
    if match is None and settings.unknown_host not in {"404", "421"}:
        match = directory.find(settings.unknown_host, port, path)
    if match is None:
        raise UnknownSite(host.name)
    if match.site.own_settings:
        match.site.settings  # noqa: B018  Only what a site has for itself can be bad, and then it answers nothing.
    return match


def _site(request: Request) -> Site:
    return match_request(request).site


def site_url(
    request: Request,
    site: Site,
    path: str = "/",
    query: str | Mapping[str, Any] | Sequence[tuple[str, Any]] | None = None,
) -> str:
    """Return the absolute URL of `path` on `site`, by its canonical domain.

    Scheme and port are those of this request, unless the domain has a port of its own; where the application is mounted
    and the path of the domain come before `path`. That begins with a slash and may hold any characters, `query` is a
    text, a mapping or pairs, None for no query. Raises `ValueError` for a path without its slash.
    """
    if not path.startswith("/"):
        raise ValueError(f"the path of a site's URL begins with a slash, not '{path}'")
    text = query if isinstance(query, str) else urlencode(query or (), doseq=True)
    scheme: str = request.scheme
    whole_path = mount_path(request.environ) + quote(site.path + path, safe=_PATH_CHARACTERS + "%")
    return urlunsplit((scheme, canonical_netloc(request, site), whole_path, text, ""))


def mount_path(environ: Mapping[str, Any]) -> str:
    """Return the path below which the application is mounted, escaped: SCRIPT_NAME without the path of the domain."""
    script_name: str = environ.get("SCRIPT_NAME", "")
    return escape_path(script_name.removesuffix(environ.get(SHIFTED_PATH, "")))


def escape_path(path: str) -> str:
    """Return `path`, as WSGI has it (bytes as Latin-1), for a URL; it need not be UTF-8."""
    return quote(path.encode("latin-1"), safe=_PATH_CHARACTERS)


def canonical_netloc(request: Request, site: Site) -> str:
    """Return host and port of `site`'s canonical domain as `request` came: by its port, and its development suffix.

    A port that is the scheme's own is left out.
    """
    environ = request.environ
    port = environ.get("SERVER_PORT") if "HTTP_HOST" not in environ else _port_of(request)
    found_for, suffix = environ.get(SUFFIX, (None, ""))
    if found_for != environ.get("HTTP_HOST"):
        suffix = ""
    if site.port is not None and not suffix:
        port = site.port
    if port and int(port) != DEFAULT_PORTS.get(request.scheme):
        return f"{site.host}{suffix}:{port}"
    return f"{site.host}{suffix}"


def _port_of(request: Request) -> int | None:
    try:
        return hosts.parse(request.environ["HTTP_HOST"], underscores=True).port
    except InvalidHost:
        return None


def invalid_host_view(error: InvalidHost, request: Request) -> Response:
    """Answer a Host that is not one: 400, and nothing of what was sent."""
    return _plain(400, "Bad Request: the Host of this request is not a host.\n")


def unknown_site_view(error: UnknownSite, request: Request) -> Response:
    """Answer a host without a site, the same for every path; in development with the command that adds it."""
    settings: Settings = request.registry[SETTINGS]
    text = "There is no site here.\n"
    if error.name is not None and _in_development(request):
        command = program.command(f"add-site {error.name}")
        text += f"\nTo add it (said because pyramid.reload_templates is on):\n\n    {command}\n"
    return _plain(421 if settings.unknown_host == "421" else 404, text)


def directory_unavailable_view(error: DirectoryUnavailable, request: Request) -> Response:
    """Answer a host that is not in memory while the database cannot be asked: 503; in development with the reason."""
    text = "Service Unavailable: please try again in a moment.\n"
    if _in_development(request):
        text += f"\nThe directory of sites cannot be read: {error.reason}\n"
    response = _plain(503, text)
    response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def undecodable_address_view(error: URLDecodeError, request: Request) -> Response:
    """Answer a path or a query whose escaped bytes are not UTF-8: 400, as the browser's mistake."""
    # Without a body, so that a site that has a page for this shows it.
    return HTTPBadRequest("The address of this request is not UTF-8.", headers={"Cache-Control": "no-store"})


def _in_development(request: Request) -> bool:
    return bool(asbool(request.registry.settings.get("pyramid.reload_templates")))


def _plain(status: int, text: str) -> Response:
    response = Response(text, status=status, content_type="text/plain", charset="utf-8")
    response.headers["Cache-Control"] = "no-store"
    return response


def includeme(config: Configurator) -> None:
    """Add `request.site` and `request.site_url`, and the views for `InvalidHost`, `UnknownSite`,
    `DirectoryUnavailable` and Pyramid's `URLDecodeError`; an application replaces these with
    `config.add_exception_view` of its own."""
    config.add_request_method(_site, "site", reify=True)
    config.add_request_method(site_url, "site_url")
    config.add_exception_view(invalid_host_view, context=InvalidHost)
    config.add_exception_view(unknown_site_view, context=UnknownSite)
    config.add_exception_view(undecodable_address_view, context=URLDecodeError)
    config.add_exception_view(directory_unavailable_view, context=DirectoryUnavailable)
