"""CircuitBreaker: whether the database answers the directory, when to ask it again, and what the log says of that."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from multisite.errors import DirectoryUnavailable

__all__ = ["CircuitBreaker"]

log = logging.getLogger(__name__)

LOG_PAUSE_SECONDS = 60.0
"""How often, at most, a failing database is logged: it fails at every request that finds nothing in memory."""


class CircuitBreaker:
    """An outage, or none. Only one thread at a time changes it; `clock` is that of the directory.

    `retry_at` is when the database may be asked again.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.retry_at = clock()
        self._log_at: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether the database did not answer the last time."""
        return self._log_at is not None

    def fail(self, reason: str, pause_seconds: float) -> DirectoryUnavailable:
        """Note that the database did not answer, log it once in a while, and return the error to raise."""
        now = self._clock()
        self.retry_at = now + pause_seconds
        if self._log_at is None or now >= self._log_at:
            self._log_at = now + LOG_PAUSE_SECONDS
            log.error("the directory of sites cannot be read, known sites are served from memory: %s", reason)
        return self.error(reason)

    def error(self, reason: str) -> DirectoryUnavailable:
        """Return the error to raise until the database is asked again."""
        return DirectoryUnavailable(reason, max(1, math.ceil(self.retry_at - self._clock())))

    def end(self) -> None:
        """Note that the database has answered."""
        if self._log_at is not None:
            self._log_at = None
            log.info("the directory of sites can be read again")
