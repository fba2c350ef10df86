"""Limit the number of concurrent requests per key, and notice when a streamed response ends. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from threading import Event

from multisite.core import fork_safety

__all__ = ["RETRY_AFTER_SECONDS", "WAIT_SECONDS", "ClosingIterator", "ConcurrencyLimit"]

RETRY_AFTER_SECONDS = 1
"""The Retry-After of a refused request: the requests before it end within moments, unless the site is broken."""


WAIT_SECONDS = 1.0
"""How long a request waits for a slot before it is refused."""


class ConcurrencyLimit:
    """Allows at most `limit` concurrent requests for each key, such as the id of a site. Thread-safe.

    Up to `waiting` further requests of a key wait for a slot, in the order in which they came. Each holds a thread, but
    a client that sends the next request as soon as it has a response is slowed down, where a refusal would make it
    faster. The rest is refused.
    """

    def __init__(self, limit: int, waiting: int = 0) -> None:
        self.limit = limit
        self.waiting = waiting
        self._lock = fork_safety.fork_safe_lock()
        self._in_progress: dict[Hashable, int] = {}
        self._queues: dict[Hashable, deque[Event]] = {}
        fork_safety.run_in_forked_child(self, ConcurrencyLimit._reset)

    def _reset(self) -> None:
        """Start from zero in a forked child: the requests of the other threads continue in the parent."""
        self._in_progress.clear()
        self._queues.clear()

    def acquire(self, key: Hashable, seconds: float = 0.0) -> bool:
        """Acquire a slot for a request of `key`, and wait at most `seconds` for it; return False if none is free."""
        with self._lock:
            count = self._in_progress.get(key, 0)
            if count < self.limit:
                self._in_progress[key] = count + 1
                return True
            queue = self._queues.get(key, ())
            if seconds <= 0 or len(queue) >= self.waiting:
                return False
            turn = Event()
            self._queues.setdefault(key, deque()).append(turn)
        try:
            turn.wait(seconds)
        except BaseException:  # KeyboardInterrupt, or what ends a greenlet.
            if self._leave_queue(key, turn):
                self.release(key)
            raise
        return self._leave_queue(key, turn)

    def _leave_queue(self, key: Hashable, turn: Event) -> bool:
        """Return whether `turn` has got a slot; if not, it gets none any more."""
        with self._lock:
            if turn.is_set():
                return True
            queue = self._queues[key]
            queue.remove(turn)
            if not queue:
                del self._queues[key]
            return False

    def release(self, key: Hashable) -> None:
        """Release the slot of one successful `acquire`; the request that waits longest for one gets it."""
        with self._lock:
            queue = self._queues.get(key)
            if queue is not None:
                queue.popleft().set()
                if not queue:
                    del self._queues[key]
                return
            count = self._in_progress.get(key, 0) - 1
            if count > 0:
                self._in_progress[key] = count
            else:
                # Idle keys take no memory: there may be a million sites.
                self._in_progress.pop(key, None)

    def in_progress(self, key: Hashable) -> int:
        """Return how many requests of `key` are in progress, without those that wait."""
        return self._in_progress.get(key, 0)


class ClosingIterator:
    """Wraps a streaming body and calls `closed` once, when the body is exhausted or closed.

    It is its own iterator, because for a `Range` WebOb iterates over a part of the body and closes only the iterator.
    `closed` is also called at the end of the body, because a wrapper such as WebOb's compression may never close it.
    """

    def __init__(self, body: Iterable[bytes], closed: Callable[[], None]) -> None:
        self._body = body
        self._iterator = iter(body)
        self._closed: Callable[[], None] | None = closed

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._iterator)
        except BaseException:
            self._call_closed()
            raise

    def close(self) -> None:
        """Close the body."""
        try:
            if hasattr(self._body, "close"):
                self._body.close()
        finally:
            self._call_closed()

    def _call_closed(self) -> None:
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()
