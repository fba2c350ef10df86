"""Turns: of several requests that want one page at the same time, one makes it, and the others wait for that.

Who waits does so at the view that says `page_cache`, so that nobody waits for what is not kept anyway.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from threading import Event, get_ident

from multisite.directory.shelf import LRUCache
from multisite.page_cache.pages import Page

__all__ = ["Turn", "Turns"]

PATIENCE_SECONDS = 5.0
"""For how long one that makes a page is waited for."""

REMEMBERED = 10_000
"""Of how many addresses, at most, it is known that their page was not kept."""


class Turns:
    """Who makes which page in this process, by its key."""

    def __init__(self) -> None:
        self.making: dict[Hashable, Turn] = {}
        # By their hashes, since an address may be of any length. Nobody waits for such a page: to no end.
        self.not_kept: LRUCache[int, bool] = LRUCache(REMEMBERED)


class Turn:
    """The turn of one request, to make the page under `key`. `find` returns the page as soon as it is kept."""

    def __init__(self, turns: Turns, key: Hashable, find: Callable[[], Page | None]) -> None:
        self.page: Page | None = None
        """The page that another request has made, None if this one has to."""
        self.is_kept = False
        self._turns = turns
        self._key = key
        self._find = find
        self._thread = get_ident()
        self._done: Event | None = None

    def wait(self) -> Page | None:
        """Return the page once it is kept, if another request is making it; None if it is for this one to make."""
        if self._turns.not_kept.get(hash(self._key)):
            return None
        self._done = Event()
        until = time.monotonic() + PATIENCE_SECONDS
        while (ahead := self._turns.making.setdefault(self._key, self)) is not self:
            # A page may ask for itself, within itself.
            if ahead._thread == self._thread or not ahead._ends_until(until):
                return None
            self.page = self._find()
            if self.page is not None or not ahead.is_kept:
                return self.page
        # It may have been kept since this request has looked for it.
        self.page = self._find()
        return self.page

    def _ends_until(self, until: float) -> bool:
        if self._done is not None and self._done.wait(max(0.0, until - time.monotonic())):
            return True
        # It takes too long, or its thread was left behind by a fork: nobody else waits for it.
        self._leave()
        return False

    def end(self, *, is_kept: bool) -> None:
        """Let those go on that wait; `is_kept` says whether there is a page for them."""
        self.is_kept = is_kept
        if is_kept:
            self._turns.not_kept.drop(hash(self._key))
        elif self._done is not None:
            self._turns.not_kept.put(hash(self._key), True)
        self._leave()
        if self._done is not None:
            self._done.set()

    def _leave(self) -> None:
        if self._turns.making.get(self._key) is self:
            self._turns.making.pop(self._key, None)
