"""A circuit breaker for the directory's database: whether it is failing, and when to try it again."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from multisite.errors import DirectoryUnavailable

__all__ = ["CircuitBreaker"]

log = logging.getLogger(__name__)

LOG_PAUSE_SECONDS = 60.0
"""The shortest time between two log records of an outage, during which every request that misses the cache fails."""


class CircuitBreaker:
    """Open while the database does not answer, closed otherwise.

    Only one thread at a time may change it. `clock` is that of the directory; `retry_at` is the time on it from which
    the database may be tried again.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.retry_at = clock()
        self._log_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the last query failed."""
        return self._log_at is not None

    def record_failure(self, reason: str, pause_seconds: float) -> DirectoryUnavailable:
        """Open the circuit for `pause_seconds`, log the outage now and then, and return the error to raise."""
        now = self._clock()
        self.retry_at = now + pause_seconds
        if self._log_at is None or now >= self._log_at:
            self._log_at = now + LOG_PAUSE_SECONDS
            log.error("the directory of sites cannot be read, known sites are served from memory: %s", reason)
        return self.error(reason)

    def error(self, reason: str) -> DirectoryUnavailable:
        """Return the error to raise until the database may be tried again."""
        return DirectoryUnavailable(reason, max(1, math.ceil(self.retry_at - self._clock())))

    def record_success(self) -> None:
        """Close the circuit, and log the end of an outage."""
        if self._log_at is not None:
            self._log_at = None
            log.info("the directory of sites can be read again")
