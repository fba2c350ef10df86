"""Requests in progress: how many there are, and when one of them is over. Pure; `share` and `vhosts` limit them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator

from multisite import forks

__all__ = ["RETRY_AFTER_SECONDS", "ClosingIterator", "ConcurrencyLimit"]

RETRY_AFTER_SECONDS = 1
"""What a refused visitor is told: the requests before theirs are a matter of a moment, or the site is broken."""


class ConcurrencyLimit:
    """The requests in progress, by the id of a site or another key, of which there may be `limit` each. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = forks.fork_safe_lock()
        self._in_progress: dict[Hashable, int] = {}
        forks.run_in_forked_child(self, ConcurrencyLimit._begin_anew)

    def _begin_anew(self) -> None:
        """Count from nothing in a process that was forked: what others were at there is the parent's."""
        self._in_progress.clear()

    def acquire(self, key: Hashable) -> bool:
        """Take a place for a request of this key; return False, and take none, if all of its places are taken."""
        with self._lock:
            taken = self._in_progress.get(key, 0)
            if taken >= self.limit:
                return False
            self._in_progress[key] = taken + 1
            return True

    def release(self, key: Hashable) -> None:
        """Give back the place that one successful `take` has taken."""
        with self._lock:
            taken = self._in_progress.get(key, 0) - 1
            if taken > 0:
                self._in_progress[key] = taken
            else:
                # What is not in use costs nothing: there may be a million sites.
                self._in_progress.pop(key, None)

    def in_progress(self, key: Hashable) -> int:
        """Return how many requests of this key are in progress."""
        return self._in_progress.get(key, 0)


class ClosingIterator:
    """A body that is made while it is sent, and says when it is closed or over.

    It is its own iterator: WebOb takes that for a piece of it (`Range`), and closes nothing else. It says so at its end
    too, since what stands in between, such as WebOb's compression, may close nothing at all.
    """

    def __init__(self, body: Iterable[bytes], closed: Callable[[], None]) -> None:
        self._body = body
        self._pieces = iter(body)
        self._closed: Callable[[], None] | None = closed

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._pieces)
        except BaseException:
            self._say()
            raise

    def close(self) -> None:
        try:
            if hasattr(self._body, "close"):
                self._body.close()
        finally:
            self._say()

    def _say(self) -> None:
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()
