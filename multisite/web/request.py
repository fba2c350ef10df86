"""Match a request to its site: `request.site` and `request.site_url`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlunsplit

from pyramid.config import Configurator
from pyramid.request import Request

from multisite import hosts
from multisite.core.host_header import DEFAULT_PORTS, requested_host
from multisite.core.keys import DIRECTORY, OPEN_PATH, SETTINGS, SHIFTED_PATH, SUFFIX
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory import Directory, Match
from multisite.errors import InvalidHost, UnknownSite

__all__ = [
    "canonical_netloc",
    "cookies_were_read",
    "escape_path",
    "find_match",
    "includeme",
    "match_request",
    "mount_path",
    "site_url",
]

_PATH_CHARACTERS = "/:@!$&'()*+,;=-._~"
"""The characters that RFC 3986 section 3.3 allows unescaped in a path."""


def cookies_were_read(environ: Mapping[str, Any]) -> bool:
    """Return whether the request has cookies and its cookies have been read."""
    # WebOb caches the parsed Cookie header under this key.
    return "webob._parsed_cookies" in environ and bool(environ.get("HTTP_COOKIE"))


def match_request(request: Request) -> Match:
    """Return the site of `request`, with the kind and the path of the domain that the request was sent to.

    Raises:
        UnknownSite: No site has this host, or the path is an open path.
        MultisiteError: As `find_match`.
    """
    match = find_match(request.environ, request.registry)
    if isinstance(match, UnknownSite):
        raise match
    return match


def find_match(environ: dict[str, Any], registry: Any) -> Match | UnknownSite:
    """Return the match of the request `environ`, or the error that `match_request` raises if there is none.

    Raises:
        InvalidHost: The Host header is not a valid host.
        UnknownSite: The path is an open path.
        DirectoryUnavailable: The host is not in memory and the database does not answer.
        SiteSettingError: One of the site's own settings is invalid.
    """
    if OPEN_PATH in environ:
        raise UnknownSite(None, "this path is open (multisite.open_paths): it is served without a site")
    settings: Settings = registry[SETTINGS]
    host = requested_host(environ, underscores=settings.allow_underscores)
    directory: Directory = registry[DIRECTORY]
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
        return UnknownSite(host.name)
    if match.site.own_settings:
        match.site.settings  # noqa: B018  A site with an invalid setting of its own is not served.
    return match


def _site(request: Request) -> Site:
    return match_request(request).site


def site_url(
    request: Request,
    site: Site,
    path: str = "/",
    query: str | Mapping[str, Any] | Sequence[tuple[str, Any]] | None = None,
) -> str:
    """Return the absolute URL of `path` on the canonical domain of `site`.

    Scheme and port are those of the current request, unless the domain has a port of its own. The path below which the
    application is mounted and the path of the domain are put in front of `path`.

    Args:
        request: The current request.
        site: The site to link to.
        path: Starts with a slash; may contain any characters, which are escaped.
        query: A query string, a mapping or pairs; None for no query.

    Raises:
        ValueError: `path` does not start with a slash.
    """
    if not path.startswith("/"):
        raise ValueError(f"the path of a site's URL must start with a slash, not '{path}'")
    text = query if isinstance(query, str) else urlencode(query or (), doseq=True)
    scheme: str = request.scheme
    whole_path = mount_path(request.environ) + quote(site.path + path, safe=_PATH_CHARACTERS + "%")
    return urlunsplit((scheme, canonical_netloc(request, site), whole_path, text, ""))


def mount_path(environ: Mapping[str, Any]) -> str:
    """Return the escaped path below which the application is mounted: SCRIPT_NAME without the domain's path."""
    script_name: str = environ.get("SCRIPT_NAME", "")
    return escape_path(script_name.removesuffix(environ.get(SHIFTED_PATH, "")))


def escape_path(path: str) -> str:
    """Return a WSGI path (bytes decoded as Latin-1) escaped for a URL. It need not be valid UTF-8."""
    return quote(path.encode("latin-1"), safe=_PATH_CHARACTERS)


def canonical_netloc(request: Request, site: Site) -> str:
    """Return the canonical host and port of `site`, with the port and the development suffix of `request`.

    The scheme's default port is omitted.
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


def includeme(config: Configurator) -> None:
    """Add `request.site` and `request.site_url`."""
    config.add_request_method(_site, "site", reify=True)
    config.add_request_method(site_url, "site_url")
