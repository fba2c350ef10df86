"""Limit failed log-ins in the memory of one process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable

from multisite.core.fork_safety import fork_safe_lock
from multisite.errors import MultisiteError

__all__ = ["LoginThrottle", "TooManyAttempts"]


class TooManyAttempts(MultisiteError):
    """Raised after too many failed login attempts. `retry_after_seconds` is a whole number."""

    def __init__(self, retry_after_seconds: int) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"too many login attempts: try again in {retry_after_seconds} seconds")


class LoginThrottle:
    """Counts recent login attempts per key, and rejects further ones after too many failures.

    After `limit` failed attempts, a key is locked until `pause_seconds` after the first of them. For each number of
    attempts, the last `max_keys` keys with that number are kept: any number of keys with one attempt cannot displace a
    key with two. Each process counts in its own memory, because a count in a table would be rolled back with the failed
    request.

    Args:
        clock: A monotonic clock in seconds.
    """

    def __init__(
        self,
        limit: int = 10,
        pause_seconds: float = 900.0,
        *,
        max_keys: int = 100_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._pause_seconds = pause_seconds
        self._max_keys = max_keys
        self._clock = clock
        self._counts: dict[Hashable, tuple[int, float]] = {}
        # The keys grouped by their number of attempts, starting with one, in insertion order.
        self._keys_by_count: list[dict[Hashable, None]] = [{} for _ in range(limit)]
        self._lock = fork_safe_lock()

    def record_attempt(self, key: Hashable) -> None:
        """Count an attempt before its outcome is known, so that each concurrent one counts.

        Raises:
            TooManyAttempts: The key is locked.
        """
        with self._lock:
            now = self._clock()
            count, until = self._counts.get(key, (0, 0.0))
            if now >= until:
                count, until = 0, now + self._pause_seconds
            if count >= self._limit:
                raise TooManyAttempts(max(1, math.ceil(until - now)))
            self._forget(key)
            self._counts[key] = count + 1, until
            keys = self._keys_by_count[count]
            keys[key] = None
            if len(keys) > self._max_keys:
                self._forget(next(iter(keys)))

    def reset(self, key: Hashable) -> None:
        """Reset the count of `key`, after a successful attempt."""
        with self._lock:
            self._forget(key)

    def _forget(self, key: Hashable) -> None:
        count, _ = self._counts.pop(key, (0, 0.0))
        if count:
            del self._keys_by_count[count - 1][key]
