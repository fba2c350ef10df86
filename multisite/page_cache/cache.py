"""The cache itself: which requests are served from memory, which responses are stored, and who renders a page."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable
from hashlib import sha256
from typing import Any

from pyramid.interfaces import ILocaleNegotiator
from pyramid.request import Request
from pyramid.response import Response
from pyramid.traversal import decode_path_info

from multisite.core.keys import OPEN_PATH
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.language.negotiation import MAX_HEADER_CHARACTERS
from multisite.language.request import negotiate_locale
from multisite.page_cache.cacheability import (
    cookie_matcher,
    is_cacheable_request,
    uncacheable_reason,
    varies_by_language,
)
from multisite.page_cache.single_flight import Flight, SingleFlight
from multisite.page_cache.store import Page, PageStore
from multisite.page_cache.versions import Version, Versions

__all__ = ["Handler", "PageCache", "render_once"]

log = logging.getLogger(__name__)

RENDERED = "multisite.page_cache.rendered"
"""WSGI environ key: `(seconds, response)`, the response of a cacheable view and how long it may be cached."""

FLIGHT = "multisite.page_cache.flight"
"""Request attribute: the `Flight` of the request."""

MAX_KEY_CHARACTERS = 2_000
"""Longest cacheable URL, in characters of its key; a page's memory use is estimated with keys up to this length."""

Handler = Callable[[Request], Response]
Key = tuple[int, str, str, str, str, str]


class PageCache:
    """The cached pages of one application in this process."""

    def __init__(self, versions: Versions, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.versions = versions
        self.pages = PageStore(settings.page_cache_size * 1_000_000)
        self.hits = self.misses = 0
        self.ambiguous_routes: list[Any] = []
        """Routes whose predicates depend on something that the cache key does not contain."""
        self._ignores = cookie_matcher(settings.page_cache_ignored_cookies)
        self._flights = SingleFlight()
        self._clock = clock

    def answer(self, request: Request, handler: Handler) -> Response:
        """Return the cached page for `request`; otherwise call `handler` and store its response if it is cacheable."""
        environ = request.environ
        environ.pop(RENDERED, None)
        if OPEN_PATH in environ or not is_cacheable_request(environ, self._ignores):
            return handler(request)
        site: Site = request.site
        version = self.versions.of(site.id)
        if version is None:
            return handler(request)
        key = _key_of(environ, site)  # Before the handler runs, which may modify the environ.
        page = self._find(request, key, site, version)
        if page is not None:
            self.hits += 1
            return _response_of(page)
        if environ["REQUEST_METHOD"] != "GET":
            return handler(request)
        flight = Flight(self._flights, key, lambda: self._find(request, key, site, version))
        # Not in the environ, because a subrequest for another page may get a copy of that.
        request.__dict__[FLIGHT] = flight
        is_kept = False
        try:
            response = handler(request)
            rendered = environ.pop(RENDERED, None)
            if flight.page is not None:
                # Discard what the tweens below added to the response: the stored page already contains it.
                self.hits += 1
                return _response_of(flight.page)
            # Only the very response of the view: another view or a tween may have returned a different one.
            if rendered is not None and rendered[1] is response:
                self.misses += 1
                is_kept = self._store(request, response, key, site, version, rendered[0])
            return response
        finally:
            flight.end(is_kept=is_kept or flight.page is not None)

    def _find(self, request: Request, key: Hashable, site: Site, version: Version) -> Page | None:
        page = self.pages.get(key)
        if page is not None and page.body is None:
            page = self.pages.get((key, _language_of(request, page.by_header)))
        # The key contains only the site's id. This compares the rest too: its settings, templates and secrets.
        if page is None or page.version != version or self._clock() >= page.expires:
            return None
        return page if page.site is site or page.site == site else None

    def _store(
        self, request: Request, response: Response, key: Key, site: Site, version: Version, seconds: float
    ) -> bool:
        """Store the response if it is cacheable; return whether it was stored."""
        reason = uncacheable_reason(request, response) or self._reason_in(key)
        if reason is None and self.versions.of(site.id) != version:
            reason = "rows of the site changed while it was rendered"
        expires = self._clock() + seconds
        if reason is None:
            headers = tuple(response.headerlist)
            page = Page(site, version, expires, headers, b"".join(response.app_iter), response.conditional_response)
            by_header = "accept-language" in {each.lower() for each in response.vary or ()}
            if by_header or _differs_by_language(request):
                # Stored before the page, so that it expires no earlier: lookups find the page through it.
                self.pages.put(key, page._replace(body=None, headers=(), by_header=by_header))
                kept = self.pages.put((key, _language_of(request, by_header)), page)
            else:
                kept = self.pages.put(key, page)
            if not kept:
                reason = "it is too large"
        if reason is not None:
            log.debug("not cached: %s%s: %s", site, request.environ.get("PATH_INFO", ""), reason)
        return reason is None

    def _reason_in(self, key: Key) -> str | None:
        """Return why pages under `key` are not cacheable, or None if they are."""
        if sum(map(len, key[1:])) > MAX_KEY_CHARACTERS:
            return "its URL is too long"
        if self.ambiguous_routes:
            path = decode_path_info(key[4] or "/")
            for route in self.ambiguous_routes:
                if route.match(path) is not None:
                    return f"the route '{route.name}' matches its URL, by something that the cache key does not contain"
        return None


def _key_of(environ: dict[str, Any], site: Site) -> Key:
    """Return the cache key: the site and every part of the URL, exactly as received."""
    return (
        site.id,
        environ["wsgi.url_scheme"],
        environ.get("HTTP_HOST", ""),
        environ.get("SCRIPT_NAME", ""),
        environ.get("PATH_INFO", ""),
        environ.get("QUERY_STRING", ""),
    )


def _language_of(request: Request, by_header: bool) -> Hashable:
    """Return the part of the key that separates the languages of one URL."""
    name: str = request.locale_name
    if not by_header:
        return name
    header = request.environ.get("HTTP_ACCEPT_LANGUAGE", "")
    # No browser sends one this long, and it would take more memory than the page.
    return name, header if len(header) <= MAX_HEADER_CHARACTERS else sha256(header.encode()).digest()


def _differs_by_language(request: Request) -> bool:
    if varies_by_language(request):
        return True
    # A third-party negotiator does not have to report that it read the visitor's preferences.
    ours = request.registry.queryUtility(ILocaleNegotiator) is negotiate_locale
    return "locale_name" in request.__dict__ and not ours


def _response_of(page: Page) -> Response:
    return Response(headerlist=list(page.headers), app_iter=[page.body], conditional_response=page.is_conditional)


def render_once(view: Callable[[], Response], request: Request, seconds: float) -> Response:
    """Return the response of `view`, marked as cacheable for `seconds`, or the page that another request rendered."""
    flight: Flight | None = request.__dict__.get(FLIGHT)
    page = None if flight is None else flight.wait()
    if page is not None:
        return _response_of(page)
    response = view()
    request.environ[RENDERED] = (seconds, response)
    return response
