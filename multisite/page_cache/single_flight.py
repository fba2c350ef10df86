"""Single flight: when several requests miss the same page, one renders it and the rest wait.

They wait just before the view with the option `page_cache` is called, so that no request waits for an uncacheable page.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from threading import Event, get_ident

from multisite.core.lru_cache import LRUCache
from multisite.page_cache.store import Page

__all__ = ["Flight", "SingleFlight"]

WAIT_TIMEOUT_SECONDS = 5.0
"""How long a request waits for another one to render the page."""

MAX_UNCACHEABLE_KEYS = 10_000
"""At most this many uncacheable URLs are remembered."""


class SingleFlight:
    """The flights of this process, by the key of the page."""

    def __init__(self) -> None:
        self.in_flight: dict[Hashable, Flight] = {}
        # Hashes, since a URL may have any length. Waiting for an uncacheable page would be pointless.
        self.uncacheable: LRUCache[int, bool] = LRUCache(MAX_UNCACHEABLE_KEYS)


class Flight:
    """One request's attempt to render the page under `key`. `find` returns the page if it has been stored."""

    def __init__(self, flights: SingleFlight, key: Hashable, find: Callable[[], Page | None]) -> None:
        self.page: Page | None = None
        """The page that another request has rendered, or None if this request has to render it."""
        self.is_kept = False
        """Whether the page was stored."""
        self._flights = flights
        self._key = key
        self._find = find
        self._thread = get_ident()
        self._done: Event | None = None

    def wait(self) -> Page | None:
        """Wait for the request that is rendering the page and return it; return None if this one has to render it."""
        if self._flights.uncacheable.get(hash(self._key)):
            return None
        self._done = Event()
        until = time.monotonic() + WAIT_TIMEOUT_SECONDS
        while (leader := self._flights.in_flight.setdefault(self._key, self)) is not self:
            # A page may request itself while it is rendered.
            if leader._thread == self._thread or not leader._ends_before(until):
                return None
            self.page = self._find()
            if self.page is not None or not leader.is_kept:
                return self.page
        # It may have been stored since this request missed it.
        self.page = self._find()
        return self.page

    def _ends_before(self, until: float) -> bool:
        if self._done is not None and self._done.wait(max(0.0, until - time.monotonic())):
            return True
        # It takes too long, or its thread did not survive a fork: let no other request wait for it.
        self._leave()
        return False

    def end(self, *, is_kept: bool) -> None:
        """Wake up the waiting requests; `is_kept` says whether the page was stored."""
        self.is_kept = is_kept
        if is_kept:
            self._flights.uncacheable.discard(hash(self._key))
        elif self._done is not None:
            self._flights.uncacheable.set(hash(self._key), True)
        self._leave()
        if self._done is not None:
            self._done.set()

    def _leave(self) -> None:
        if self._flights.in_flight.get(self._key) is self:
            self._flights.in_flight.pop(self._key, None)
