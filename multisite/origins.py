"""Check that the origin of a request, or the target of a redirect, belongs to the request's site.

    config.set_default_csrf_options(check_origin=False, callback=origin_check())

Pyramid's own check has one list of origins for all sites, and only checks requests over https. This one also rejects
the other sites of the process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from pyramid.exceptions import BadCSRFOrigin
from pyramid.interfaces import IDefaultCSRFOptions
from pyramid.request import Request

from multisite import hosts
from multisite.core.host_header import DEFAULT_PORTS
from multisite.core.keys import DIRECTORY, SETTINGS, SHIFTED_PATH
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory import Directory, Match
from multisite.directory.matching import HostMatches
from multisite.errors import MultisiteError, escape_for_message

__all__ = ["Origin", "check_origins", "is_local_url", "origin_check", "parse_origin"]

MAX_URL_CHARACTERS = 8_000
"""Maximum length of a URL that is checked: recipients should support at least this (RFC 9110 section 4.1)."""

_ORIGIN = re.compile(r"(https?)://([^/?#@\\\s]+)", re.IGNORECASE)
_FOREIGN = re.compile(r"(?!https?:)[A-Za-z][A-Za-z0-9+.-]*://[^/?#@\\\s]+", re.IGNORECASE)
"""An origin with another scheme, such as that of a browser extension."""

_URL = re.compile(r"(?:(https?://[^/?#@\\\s]+)|(?=/))(/(?!/)[^?#]*)?(?:[?#].*)?", re.IGNORECASE)


class Origin(NamedTuple):
    """The origin of a page (RFC 6454). `port` is None for the scheme's default port."""

    scheme: str
    host: str
    port: int | None


def parse_origin(text: str) -> Origin:
    """Parse an origin as in an Origin header. Raises `ValueError` if `text` is not an origin."""
    match = _ORIGIN.fullmatch(text)
    if match is None:
        raise ValueError(f"'{escape_for_message(text)}' is not an origin such as https://example.com")
    scheme = match[1].lower()
    name, port = hosts.parse(match[2], underscores=True)
    return Origin(scheme, name, None if port == DEFAULT_PORTS[scheme] else port)


def check_origins(texts: Iterable[str]) -> None:
    """Raise `ValueError` if one of `texts` is not an origin. For use as the `check` of a site setting."""
    for text in texts:
        try:
            parse_origin(text)
        except ValueError:
            raise ValueError(f"origins such as https://example.com, not '{escape_for_message(text)}'") from None


def origin_check(
    *, trusted_setting: str | None = None, callback: Callable[[Request], bool] | None = None
) -> Callable[[Request], bool]:
    """Return a `callback` for Pyramid's `set_default_csrf_options` that only accepts requests from the same site.

    Accepted are all domains of the site, at the port of the request or at the port of the domain. The callback raises
    `BadCSRFOrigin` (a 400) for all other origins, including other sites of the process, an Origin that is `null` or
    malformed, an http origin on https, and a request with neither Origin nor Referer, unless the CSRF option
    `allow_no_origin` is set.

    Args:
        trusted_setting: The name of a site setting that lists further origins, such as `https://example.com`.
        callback: The application's own callback, which decides first whether a request is checked at all.
    """

    def check(request: Request) -> bool:
        if callback is not None and not callback(request):
            return False
        trusted = request.site.settings[trusted_setting] if trusted_setting is not None else ()
        reason = _rejection_reason(request, trusted)
        if reason is not None:
            raise BadCSRFOrigin(f"Origin checking failed - {reason}")
        return True

    return check


def _rejection_reason(request: Request, trusted: Iterable[str]) -> str | None:
    """Return why the origin of `request` is rejected; None if it is accepted."""
    text, referrer = request.headers.get("Origin"), request.headers.get("Referer")
    if not text and not referrer:
        return None if _allows_no_origin(request) else "missing Origin or Referer."
    if text and (text == "null" or _FOREIGN.fullmatch(text)):
        return f"{escape_for_message(text)} is not an origin of this site."
    try:
        origin = parse_origin(text or _origin_text(referrer))
    except ValueError:
        return "the Origin or Referer is malformed."
    if origin in map(parse_origin, trusted):
        return None
    if request.scheme == "https" and origin.scheme != "https":
        return "Origin is insecure while host is secure."
    is_own = _is_origin_of_site(request, origin) and not _is_sibling_path(request, origin, referrer)
    return None if is_own else f"{origin.scheme}://{origin.host} is not an origin of this site."


def _allows_no_origin(request: Request) -> bool:
    options = request.registry.queryUtility(IDefaultCSRFOptions)
    return bool(options is not None and options.allow_no_origin)


def _origin_text(url: str) -> str:
    scheme, netloc, *_ = urlsplit(url)
    return f"{scheme}://{netloc}"


def _is_origin_of_site(request: Request, origin: Origin) -> bool:
    """Return whether a domain of the request's site is served at `origin`.

    Domains are tried in the order in which requests are matched: a wildcard of this site does not cover a name that
    belongs to another site, nor does a domain for any port cover a port that belongs to another site.
    """
    if origin == _origin_of_request(request):
        return True
    directory: Directory = request.registry[DIRECTORY]
    for name, port in _candidates(request, origin):
        for wanted, matches in (directory.matches_of(name) or HostMatches(())).groups:
            if not (_has_port_of_request(request, origin) if wanted is None else wanted == port):
                continue
            if any(match.is_served and _is_match_of_site(request, match) for match in matches.values()):
                return True
            if "" in matches:
                return False  # It matches all paths, so later groups match none.
    return _has_host_of_request(request, origin)


def _is_sibling_path(request: Request, origin: Origin, referrer: str | None) -> bool:
    """Return whether the Referer is a page of another site on the same host, under another path.

    Such sites have the same origin. Only the Referer tells them apart, and a page can withhold it.
    """
    if not referrer or not _has_host_of_request(request, origin):
        return False
    try:
        if parse_origin(_origin_text(referrer)) != origin:
            return False
    except ValueError:
        return False
    return not _belongs_to_site(request, origin, urlsplit(referrer).path or "/")


def is_local_url(request: Request, url: object) -> bool:
    """Return whether `url` points to the site of `request`, so that a `next=` parameter may be followed.

    Accepted are paths that start with a single slash, and `http://` or `https://` URLs of a domain of the site, at the
    port of the request or at the port of the domain. Not accepted are other sites of this process, even under another
    path of the same host, and `http://` if the request came over https. Never raises; anything but a string is False.
    """
    try:
        return isinstance(url, str) and _is_local(request, url)
    except (MultisiteError, ValueError):
        # The request has no site, or the database is unavailable.
        return False


def _is_local(request: Request, url: str) -> bool:
    # Browsers strip control characters and white space, and treat a backslash as a slash.
    if len(url) > MAX_URL_CHARACTERS or not url.isprintable() or " " in url or "\\" in url:
        return False
    match = _URL.fullmatch(url)
    if match is None or not (match[1] or match[2]):
        return False
    own = _origin_of_request(request)
    origin = own if match[1] is None else parse_origin(match[1])
    if own.scheme == "https" and origin.scheme != "https":
        return False
    return _belongs_to_site(request, origin, match[2] or "/")


def _belongs_to_site(request: Request, origin: Origin, path: str) -> bool:
    """Return whether the escaped `path` at `origin` belongs to the site of `request`."""
    plain = unquote(path, "latin-1")
    if {".", ".."} & set(plain.split("/")):
        return False  # Browsers resolve these segments, and may end up on another site.
    mount = request.environ.get("SCRIPT_NAME", "").removesuffix(request.environ.get(SHIFTED_PATH, ""))
    if mount and not (plain + "/").startswith(mount + "/"):
        return False
    plain = plain.removeprefix(mount)
    directory: Directory = request.registry[DIRECTORY]
    for name, port in _candidates(request, origin):
        matches = directory.matches_of(name) or HostMatches(())
        if not _has_port_of_request(request, origin):
            # Another server may listen at another port, unless a domain names that port.
            matches = HostMatches.of_groups(group for group in matches.groups if group[0] is not None)
        match = matches.find(port, plain)
        if match is not None:
            return match.is_served and _is_match_of_site(request, match)
    settings: Settings = request.registry[SETTINGS]
    if settings.unknown_host in {"404", "421"} or not _has_host_of_request(request, origin):
        return False
    # The site for unknown hosts is served at the request's own host. Other unknown hosts may belong to anybody.
    match = directory.find(settings.unknown_host, origin.port or DEFAULT_PORTS[origin.scheme], plain)
    return match is not None and _is_match_of_site(request, match)


def _is_match_of_site(request: Request, match: Match) -> bool:
    site: Site = request.site
    return match.site.id == site.id


def _candidates(request: Request, origin: Origin) -> Iterable[tuple[str, int | None]]:
    """Yield the names and ports under which the directory may know `origin`, in the order of request matching."""
    yield origin.host, origin.port or DEFAULT_PORTS[origin.scheme]
    suffix = request.registry[SETTINGS].development_suffix
    if suffix is not None and origin.host.endswith(f".{suffix}"):
        yield origin.host.removesuffix(f".{suffix}"), None


def _origin_of_request(request: Request) -> Origin:
    """Return the origin of pages at the URL of `request`."""
    name, port = hosts.parse(request.environ.get("HTTP_HOST", ""), underscores=True)
    # Both default ports count: a proxy that terminates TLS may not have forwarded the scheme.
    return Origin(request.scheme, name, None if port in DEFAULT_PORTS.values() else port)


def _has_port_of_request(request: Request, origin: Origin) -> bool:
    return _origin_of_request(request).port == origin.port


def _has_host_of_request(request: Request, origin: Origin) -> bool:
    return _origin_of_request(request)[1:] == origin[1:]
