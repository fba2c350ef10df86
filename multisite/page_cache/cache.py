"""The cache: who is answered from memory, what is kept for the next one, and whose turn it is to make a page."""

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

from multisite.keys import OPEN_PATH
from multisite.language import negotiate_locale
from multisite.negotiation import MAX_HEADER_CHARACTERS
from multisite.page_cache.keeping import ignoring, is_for_anybody, reason_against, says_language
from multisite.page_cache.pages import Page, Pages
from multisite.page_cache.turns import Turn, Turns
from multisite.page_cache.versions import Version, Versions
from multisite.settings import Settings
from multisite.site import Site

__all__ = ["Handler", "PageCache", "made_by"]

log = logging.getLogger(__name__)

MADE = "multisite.page_cache.made"
"""The key in the WSGI environ of the seconds for which a view's answer may be kept, and of that answer."""

TURN = "multisite.page_cache.turn"
"""The attribute of a request with its `Turn`."""

MAX_KEY_CHARACTERS = 2_000
"""The longest address of a page that is kept, in characters of the key: what a page is taken to need besides itself."""

Handler = Callable[[Request], Response]
Key = tuple[int, str, str, str, str, str]


class PageCache:
    """The pages of one application, in this process."""

    def __init__(self, versions: Versions, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.versions = versions
        self.pages = Pages(settings.page_cache_size * 1_000_000)
        self.hits = self.misses = 0
        self.unsure_routes: list[Any] = []
        """Routes that fit or do not by what is not in the key of a page."""
        self._ignores = ignoring(settings.page_cache_ignored_cookies)
        self._turns = Turns()
        self._clock = clock

    def answer(self, request: Request, handler: Handler) -> Response:
        """Return the kept page for `request`, else what `handler` answers, and keep that if it may be."""
        environ = request.environ
        environ.pop(MADE, None)
        if OPEN_PATH in environ or not is_for_anybody(environ, self._ignores):
            return handler(request)
        site: Site = request.site
        version = self.versions.of(site.id)
        if version is None:
            return handler(request)
        key = _key_of(environ, site)  # Now: what handles the request may change its environ.
        page = self._find(request, key, site, version)
        if page is not None:
            self.hits += 1
            return _response_of(page)
        if environ["REQUEST_METHOD"] != "GET":
            return handler(request)
        turn = Turn(self._turns, key, lambda: self._find(request, key, site, version))
        # Not in the environ, which a subrequest for another page may have a copy of.
        request.__dict__[TURN] = turn
        is_kept = False
        try:
            response = handler(request)
            made = environ.pop(MADE, None)
            if turn.page is not None:
                # What the tweens below have made of it is for who made the page: that is in it already.
                self.hits += 1
                return _response_of(turn.page)
            # The very answer of the view, which no other view and no tween has put into another one.
            if made is not None and made[1] is response:
                self.misses += 1
                is_kept = self._keep(request, response, key, site, version, made[0])
            return response
        finally:
            turn.end(is_kept=is_kept or turn.page is not None)

    def _find(self, request: Request, key: Hashable, site: Site, version: Version) -> Page | None:
        page = self.pages.get(key)
        if page is not None and page.body is None:
            page = self.pages.get((key, _language_of(request, page.by_header)))
        # The site is in the key as well. What is compared here is all of it: its settings, templates and secrets.
        if page is None or page.version != version or self._clock() >= page.expires:
            return None
        return page if page.site is site or page.site == site else None

    def _keep(
        self, request: Request, response: Response, key: Key, site: Site, version: Version, seconds: float
    ) -> bool:
        """Keep the answer unless something speaks against it; return whether it is kept."""
        reason = reason_against(request, response) or self._reason_in(key)
        if reason is None and self.versions.of(site.id) != version:
            reason = "rows of the site were changed meanwhile"
        expires = self._clock() + seconds
        if reason is None:
            headers = tuple(response.headerlist)
            page = Page(site, version, expires, headers, b"".join(response.app_iter), response.conditional_response)
            by_header = "accept-language" in {each.lower() for each in response.vary or ()}
            if by_header or _differs_by_language(request):
                # For a little longer than any of the pages: who finds this looks for the page of their language.
                self.pages.put(key, page._replace(body=None, headers=(), by_header=by_header))
                kept = self.pages.put((key, _language_of(request, by_header)), page)
            else:
                kept = self.pages.put(key, page)
            if not kept:
                reason = "it is too large"
        if reason is not None:
            log.debug("not kept: %s%s: %s", site, request.environ.get("PATH_INFO", ""), reason)
        return reason is None

    def _reason_in(self, key: Key) -> str | None:
        """Return why nothing is kept under `key`, None if something is."""
        if sum(map(len, key[1:])) > MAX_KEY_CHARACTERS:
            return "its address is too long"
        if self.unsure_routes:
            path = decode_path_info(key[4] or "/")
            for route in self.unsure_routes:
                if route.match(path) is not None:
                    return f"the route '{route.name}' fits its address, by what is not in the key"
        return None


def _key_of(environ: dict[str, Any], site: Site) -> Key:
    """Return what a page is kept under: its site, and all that its address is made of, as it came."""
    return (
        site.id,
        environ["wsgi.url_scheme"],
        environ.get("HTTP_HOST", ""),
        environ.get("SCRIPT_NAME", ""),
        environ.get("PATH_INFO", ""),
        environ.get("QUERY_STRING", ""),
    )


def _language_of(request: Request, by_header: bool) -> Hashable:
    """Return what the pages of an address that differ by language are told apart by."""
    name: str = request.locale_name
    if not by_header:
        return name
    header = request.environ.get("HTTP_ACCEPT_LANGUAGE", "")
    # A long one is no browser's, and would take more memory than the page.
    return name, header if len(header) <= MAX_HEADER_CHARACTERS else sha256(header.encode()).digest()


def _differs_by_language(request: Request) -> bool:
    if says_language(request):
        return True
    # Another negotiator than ours need not say that it has looked at what the visitor wants.
    ours = request.registry.queryUtility(ILocaleNegotiator) is negotiate_locale
    return "locale_name" in request.__dict__ and not ours


def _response_of(page: Page) -> Response:
    return Response(headerlist=list(page.headers), app_iter=[page.body], conditional_response=page.is_conditional)


def made_by(view: Callable[[], Response], request: Request, seconds: float) -> Response:
    """Return the answer of `view`, and note that it may be kept for so long; or the page that another request makes."""
    turn: Turn | None = request.__dict__.get(TURN)
    page = None if turn is None else turn.wait()
    if page is not None:
        return _response_of(page)
    response = view()
    request.environ[MADE] = (seconds, response)
    return response
