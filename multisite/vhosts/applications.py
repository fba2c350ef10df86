"""One application of the process: loaded once for all of its domains, and tried again while it is broken."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import invalidate_caches
from threading import get_ident

from multisite import forks
from multisite.application import ApplicationName, current_application
from multisite.vhosts.answers import WSGIApplication
from multisite.vhosts.loads import Load, load

__all__ = ["Application", "Unavailable"]

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0
"""For how long a request waits while another one loads its application for the first time."""


class Unavailable(Exception):
    """The application cannot answer now; it may in `retry_after_seconds`."""

    def __init__(self, retry_after_seconds: int) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"not before {retry_after_seconds} s")


class Application:
    """An application by its `name` in the ini file, and what became of loading it. Safe in threads.

    `title` is what errors call it: its section in brackets. `make` loads it; `failed` is told of each `Load` that was
    none and returns the reason in words, for the log. `clock` gives seconds that never go back.
    """

    def __init__(
        self,
        name: str,
        title: str,
        make: Callable[[], WSGIApplication],
        *,
        retry_seconds: float,
        failed: Callable[[Application, BaseException], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = ApplicationName(name)
        self.title = title
        self.last_load: Load[WSGIApplication] | None = None
        """The last attempt to load it, None before the first."""
        self.reason: str | None = None
        """Why it is broken, in words; None if it is not."""
        self.modules: frozenset[str] = frozenset()
        """The names of the modules that were imported while it was loaded, or tried to be."""
        self._make = make
        self._retry_seconds = retry_seconds
        self._failed = failed
        self._clock = clock
        self._wsgi: WSGIApplication | None = None
        self._turn = forks.fork_safe_lock()
        self._loading_in: int | None = None
        self._retry_at = 0.0

    @property
    def state(self) -> str:
        """`serving`, `broken`, `loading`, or `not loaded` before the first request, where loading is lazy."""
        if self._wsgi is not None:
            return "serving"
        if self._loading_in is not None:
            return "loading"
        return "not loaded" if self.last_load is None else "broken"

    def get(self) -> WSGIApplication:
        """Return the application, loaded now if it is not and its time has come.

        One thread loads it. Meanwhile others wait a little if it is the first time, and not at all if it is broken.
        Raises `Unavailable`.
        """
        wsgi = self._wsgi
        return wsgi if wsgi is not None else self._get_in_turn()

    def _get_in_turn(self) -> WSGIApplication:
        self._raise_if_broken()
        if self._loading_in == get_ident():
            raise Unavailable(1)  # It asks for itself while it is loaded: waiting for the end would be for ever.
        if not self._turn.acquire(timeout=PATIENCE_SECONDS if self.last_load is None else 0):
            raise Unavailable(1)
        try:
            if self._wsgi is None:
                self._raise_if_broken()
                self._load()
            if self._wsgi is None:
                raise Unavailable(self._seconds_left())
            return self._wsgi
        finally:
            self._turn.release()

    def _raise_if_broken(self) -> None:
        if self.last_load is not None and self._clock() < self._retry_at:
            raise Unavailable(self._seconds_left())

    def _seconds_left(self) -> int:
        return max(1, math.ceil(self._retry_at - self._clock()))

    def _load(self) -> None:
        """Load it, and log what came of it. Only for who has the turn."""
        was_broken = self.reason is not None
        if was_broken:
            # A module that was missing may be there now, and Python remembers what a folder did not have.
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
        # Without the error, whose traceback would keep what the attempt has made: an application that nobody serves.
        self.last_load = replace(done, error=None)
        log.error(
            "%s cannot be loaded: %s. Its domains answer 503; it is tried again after %g s",
            self.title, self.reason, self._retry_seconds, exc_info=done.error,
        )  # fmt: skip
