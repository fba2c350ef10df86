"""Origins: whether what asks, or what a redirect leads to, belongs to the site of the request.

    config.set_default_csrf_options(check_origin=False, callback=origin_check())

Pyramid's own check knows one list for all sites, and looks at requests over https alone. In one process another site is
as foreign as any other host.
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
from multisite.directory import Directory, Match
from multisite.directory.places import HostMatches
from multisite.errors import MultisiteError, escape_for_message
from multisite.host_header import DEFAULT_PORTS
from multisite.keys import DIRECTORY, SETTINGS, SHIFTED_PATH
from multisite.settings import Settings
from multisite.site import Site

__all__ = ["Origin", "check_origins", "is_local_url", "origin_check", "parse_origin"]

MAX_URL_CHARACTERS = 8_000
"""The longest URL that anything is said about: recipients should take as many (RFC 9110 section 4.1)."""

_ORIGIN = re.compile(r"(https?)://([^/?#@\\\s]+)", re.IGNORECASE)
_FOREIGN = re.compile(r"(?!https?:)[A-Za-z][A-Za-z0-9+.-]*://[^/?#@\\\s]+", re.IGNORECASE)
"""Of a scheme that is not ours, such as that of a browser's extension."""

_URL = re.compile(r"(?:(https?://[^/?#@\\\s]+)|(?=/))(/(?!/)[^?#]*)?(?:[?#].*)?", re.IGNORECASE)


class Origin(NamedTuple):
    """Where a page comes from (RFC 6454). `port` is None for that which is the scheme's own."""

    scheme: str
    host: str
    port: int | None


def parse_origin(text: str) -> Origin:
    """Return the origin that `text` spells, as it stands in an Origin header. Raises `ValueError` if it is none."""
    match = _ORIGIN.fullmatch(text)
    if match is None:
        raise ValueError(f"'{escape_for_message(text)}' is not an origin such as https://example.com")
    scheme = match[1].lower()
    name, port = hosts.parse(match[2], underscores=True)
    return Origin(scheme, name, None if port == DEFAULT_PORTS[scheme] else port)


def check_origins(texts: Iterable[str]) -> None:
    """Raise `ValueError`, which says what was expected, if one of `texts` is not an origin: for a setting of sites."""
    for text in texts:
        try:
            parse_origin(text)
        except ValueError:
            raise ValueError(f"origins such as https://example.com, not '{escape_for_message(text)}'") from None


def origin_check(
    *, trusted_setting: str | None = None, callback: Callable[[Request], bool] | None = None
) -> Callable[[Request], bool]:
    """Return a `callback` for Pyramid's `set_default_csrf_options`, which lets pass only what comes from the same site.

    That is any domain of the site, at the port of the request or one that the domain names. `trusted_setting` is the
    name of a setting of sites that lists other origins, as `https://example.com`. `callback` is one of the
    application's own, which is asked first whether the request is to be checked at all.

    What it returns raises `BadCSRFOrigin`, which is a 400, for all else: another site of the process too, an Origin
    that is `null` or malformed, over https an origin that is not, and a request that has neither Origin nor Referer
    unless `allow_no_origin` is set in the options.
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
    """Return why `request` may not change anything at its site, None if it may."""
    text, referrer = request.headers.get("Origin"), request.headers.get("Referer")
    if not text and not referrer:
        return None if _allows_no_origin(request) else "missing Origin or Referer."
    if text and (text == "null" or _FOREIGN.fullmatch(text)):
        return f"{escape_for_message(text)} is not an origin of this site."
    try:
        origin = parse_origin(text or _origin_of(referrer))
    except ValueError:
        return "the Origin or Referer is malformed."
    if origin in map(parse_origin, trusted):
        return None
    if request.scheme == "https" and origin.scheme != "https":
        return "Origin is insecure while host is secure."
    is_own = _is_own(request, origin) and not _is_sibling_path(request, origin, referrer)
    return None if is_own else f"{origin.scheme}://{origin.host} is not an origin of this site."


def _allows_no_origin(request: Request) -> bool:
    options = request.registry.queryUtility(IDefaultCSRFOptions)
    return bool(options is not None and options.allow_no_origin)


def _origin_of(url: str) -> str:
    scheme, netloc, *_ = urlsplit(url)
    return f"{scheme}://{netloc}"


def _is_own(request: Request, origin: Origin) -> bool:
    """Return whether a domain of the request's site is at `origin`.

    Where several domains fit, that is looked at in the order in which a request is found: a wildcard of this site says
    nothing of a name that is another's, nor a domain of any port of a port that is.
    """
    if origin == _own_origin(request):
        return True
    directory: Directory = request.registry[DIRECTORY]
    for name, port in _candidates(request, origin):
        for wanted, matches in (directory.matches_of(name) or HostMatches(())).groups:
            if not (_is_at_own_port(request, origin) if wanted is None else wanted == port):
                continue
            if any(match.is_served and _is_site_of(request, match) for match in matches.values()):
                return True
            if "" in matches:
                return False  # It has all paths there, and what comes behind it has none.
    return _is_of_request(request, origin)


def _is_sibling_path(request: Request, origin: Origin, referrer: str | None) -> bool:
    """Return whether the page is known to be of another site of the same host, under another path.

    Those have one origin. Only the Referer tells them apart, which a page can keep back.
    """
    if not referrer or not _is_of_request(request, origin):
        return False
    try:
        if parse_origin(_origin_of(referrer)) != origin:
            return False
    except ValueError:
        return False
    return not _leads_to_site(request, origin, urlsplit(referrer).path or "/")


def is_local_url(request: Request, url: object) -> bool:
    """Return whether `url` leads to the site of `request`: what may stand in a `next=` parameter.

    It is a path that begins with one slash, or begins with `http://` or `https://` and a domain of the site, at the
    port of the request or one that the domain names. Another site of this process is foreign, also one under another
    path of the same host, and so is `http://` where the request came over https. Never raises; False for what is no
    text.
    """
    try:
        return isinstance(url, str) and _is_local(request, url)
    except (MultisiteError, ValueError):
        # The request has no site, or the database cannot be asked: then nothing is known to be local.
        return False


def _is_local(request: Request, url: str) -> bool:
    # Browsers drop control characters and white space at the ends, and take a backslash for a slash.
    if len(url) > MAX_URL_CHARACTERS or not url.isprintable() or " " in url or "\\" in url:
        return False
    match = _URL.fullmatch(url)
    if match is None or not (match[1] or match[2]):
        return False
    own = _own_origin(request)
    origin = own if match[1] is None else parse_origin(match[1])
    if own.scheme == "https" and origin.scheme != "https":
        return False
    return _leads_to_site(request, origin, match[2] or "/")


def _leads_to_site(request: Request, origin: Origin, path: str) -> bool:
    """Return whether a request for `path`, escaped, at `origin` would be one for the site of `request`."""
    plain = unquote(path, "latin-1")
    if {".", ".."} & set(plain.split("/")):
        return False  # Browsers would work those out, and may come to another site.
    mount = request.environ.get("SCRIPT_NAME", "").removesuffix(request.environ.get(SHIFTED_PATH, ""))
    if mount and not (plain + "/").startswith(mount + "/"):
        return False
    plain = plain.removeprefix(mount)
    directory: Directory = request.registry[DIRECTORY]
    for name, port in _candidates(request, origin):
        matches = directory.matches_of(name) or HostMatches(())
        if not _is_at_own_port(request, origin):
            # Only a domain that names this port is one there: what else listens on this machine is not known here.
            matches = HostMatches.of_groups(group for group in matches.groups if group[0] is not None)
        match = matches.find(port, plain)
        if match is not None:
            return match.is_served and _is_site_of(request, match)
    settings: Settings = request.registry[SETTINGS]
    if settings.unknown_host in {"404", "421"} or not _is_of_request(request, origin):
        return False
    # The site that answers for every unknown host is at that of the request. At all others is whoever has them.
    match = directory.find(settings.unknown_host, origin.port or DEFAULT_PORTS[origin.scheme], plain)
    return match is not None and _is_site_of(request, match)


def _is_site_of(request: Request, match: Match) -> bool:
    site: Site = request.site
    return match.site.id == site.id


def _candidates(request: Request, origin: Origin) -> Iterable[tuple[str, int | None]]:
    """Yield what the directory may know `origin` by, a name and a port, in the order in which a request is found."""
    yield origin.host, origin.port or DEFAULT_PORTS[origin.scheme]
    suffix = request.registry[SETTINGS].development_suffix
    if suffix is not None and origin.host.endswith(f".{suffix}"):
        yield origin.host.removesuffix(f".{suffix}"), None


def _own_origin(request: Request) -> Origin:
    """Return the origin that a page at the address of `request` would have."""
    name, port = hosts.parse(request.environ.get("HTTP_HOST", ""), underscores=True)
    # Of http and https either: a proxy that ends TLS may not have told which.
    return Origin(request.scheme, name, None if port in DEFAULT_PORTS.values() else port)


def _is_at_own_port(request: Request, origin: Origin) -> bool:
    return _own_origin(request).port == origin.port


def _is_of_request(request: Request, origin: Origin) -> bool:
    return _own_origin(request)[1:] == origin[1:]
