"""An application that is loaded once for all of its domains, and retried while loading fails."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import invalidate_caches
from threading import get_ident

from multisite.core import fork_safety
from multisite.core.application import ApplicationName, current_application
from multisite.vhosts.loader import LoadResult, load
from multisite.vhosts.responses import WSGIApplication

__all__ = ["LazyApplication", "Unavailable"]

log = logging.getLogger(__name__)

WAIT_TIMEOUT_SECONDS = 5.0
"""How long a request waits while another one loads its application for the first time."""


class Unavailable(Exception):
    """The application cannot serve requests now; it may be able to in `retry_after_seconds`."""

    def __init__(self, retry_after_seconds: int) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"not before {retry_after_seconds} s")


class LazyApplication:
    """An application of the ini file and the state of loading it. Thread-safe.

    Args:
        name: Its name in the ini file.
        title: Its section in brackets, for error messages.
        make: Loads it.
        retry_seconds: Pause after a failed attempt.
        failed: Called after each failed attempt; returns a description of the error for the log.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        name: str,
        title: str,
        make: Callable[[], WSGIApplication],
        *,
        retry_seconds: float,
        failed: Callable[[LazyApplication, BaseException], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = ApplicationName(name)
        self.title = title
        self.last_load: LoadResult[WSGIApplication] | None = None
        """The last attempt to load it, or None before the first."""
        self.reason: str | None = None
        """Why loading failed, or None if it did not."""
        self.modules: frozenset[str] = frozenset()
        """Names of the modules that its attempts to load imported."""
        self._make = make
        self._retry_seconds = retry_seconds
        self._failed = failed
        self._clock = clock
        self._wsgi: WSGIApplication | None = None
        self._load_lock = fork_safety.fork_safe_lock()
        self._loading_in: int | None = None
        self._retry_at = 0.0

    @property
    def state(self) -> str:
        """`serving`, `broken`, `loading`, or `not loaded` before the first request if loading is lazy."""
        if self._wsgi is not None:
            return "serving"
        if self._loading_in is not None:
            return "loading"
        return "not loaded" if self.last_load is None else "broken"

    def get(self) -> WSGIApplication:
        """Return the application, loading it if necessary.

        One thread loads it. Others wait for the first attempt up to a limit, and not at all for later ones.

        Raises:
            Unavailable: It is being loaded, or loading failed.
        """
        wsgi = self._wsgi
        return wsgi if wsgi is not None else self._get_locked()

    def _get_locked(self) -> WSGIApplication:
        self._raise_if_broken()
        if self._loading_in == get_ident():
            raise Unavailable(1)  # Loading it requests itself: waiting for that to end would be a deadlock.
        if not self._load_lock.acquire(timeout=WAIT_TIMEOUT_SECONDS if self.last_load is None else 0):
            raise Unavailable(1)
        try:
            if self._wsgi is None:
                self._raise_if_broken()
                self._load()
            if self._wsgi is None:
                raise Unavailable(self._seconds_left())
            return self._wsgi
        finally:
            self._load_lock.release()

    def _raise_if_broken(self) -> None:
        if self.last_load is not None and self._clock() < self._retry_at:
            raise Unavailable(self._seconds_left())

    def _seconds_left(self) -> int:
        return max(1, math.ceil(self._retry_at - self._clock()))

    def _load(self) -> None:
        """Load it and log the result. The caller holds the lock."""
        was_broken = self.reason is not None
        if was_broken:
            # A missing module may have been added, but Python caches the contents of folders.
            invalidate_caches()
        self._loading_in = get_ident()
        token = current_application.set(self.name)
        try:
            done = load(self._make)
        finally:
            current_application.reset(token)
            self._loading_in = None
        self.modules |= done.modules
        if done.error is None:
            self.reason = None
            self.last_load, self._wsgi = done, done.value
            log.log(
                logging.WARNING if was_broken else logging.INFO, "%s is loaded, in %.2f s", self.title, done.seconds
            )
            return
        self._retry_at = self._clock() + self._retry_seconds
        self.reason = self._failed(self, done.error)
        # Drop the error: its traceback would keep the half-loaded application in memory.
        self.last_load = replace(done, error=None)
        log.error(
            "%s cannot be loaded: %s. Its domains respond with 503; it is retried after %g s",
            self.title, self.reason, self._retry_seconds, exc_info=done.error,
        )  # fmt: skip
