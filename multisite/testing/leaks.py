"""The leak detector: what an application brings forth for one site is searched for the canaries of another.

A `Detector` watches every application of the process while it is on: the rows that come out of database cursors (those
of the driver too, which no wall limits), responses with their headers and cookies, log records, and the keys and values
of dogpile.cache. Before each GET the same page is asked for as the canaries' site, so that what one site leaves in the
process (a module's variable, a cache without a site in its key) is there for the other one to stumble over.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Self

from sqlalchemy.engine import Engine

import multisite
from multisite.current import Scope, current_scope
from multisite.errors import escape_for_message
from multisite.keys import DIRECTORY
from multisite.testing import probes
from multisite.testing.canaries import Canaries
from multisite.testing.rows import remove_rows
from multisite.testing.seeding import CANARY_SITE, Seeded, Values, seed

__all__ = ["Detector", "Leak"]

_paused: ContextVar[bool] = ContextVar("multisite_leaks_paused", default=False)
"""Whether what happens is the detector's own doing."""

_PACKAGE = Path(multisite.__file__).parent
_SENT = frozenset({"body", "header", "cookie"})
_NOT_THE_APPLICATION = ("/site-packages/", "/dist-packages/", "<", f"{Path(threading.__file__).parent}/")


@dataclass(frozen=True, slots=True)
class Leak:
    """A canary where it must not be.

    `door` is where it came through (`SQL result`, `body`, `header`, `cookie`, `log`, `cache key`, `cache value`),
    `canary` what was planted there, `detail` the statement, the request or the like, `code` the line of the application
    that was running, None if there was none.
    """

    channel: str
    canary: str
    detail: str
    code: str | None = None

    def __str__(self) -> str:
        where = f"\n    at {self.code}" if self.code else ""
        return f"{self.channel}: {self.canary}, of another site\n    in {self.detail}{where}"


class Detector:
    """Plants canaries in the databases of applications, and collects the leaks that show.

    `values` are as `multisite.testing.seeding.seed` takes them. With `shadow`, pages are asked for as the canaries'
    site too. Use it as a context manager: the doors are watched inside the block.
    """

    def __init__(self, values: Values | None = None, *, shadow: bool = True, seed: int | None = None) -> None:
        self.canaries = Canaries(seed)
        self.values = values
        self.shadow = shadow
        self.allowed_reason: str | None = None
        self.seeded: dict[str, Seeded] = {}
        self.leaks: list[Leak] = []
        self.missed: dict[str, str] = {}
        self._watched: dict[int, Any] = {}
        self._engines: dict[str, Engine] = {}
        self._probed: set[int] = set()

    def __enter__(self) -> Self:
        # The doors reach into Pyramid's router and the drivers: only while somebody watches.
        from multisite.testing import doors

        self._close = doors.install_watchers(self)
        return self

    def __exit__(self, *_error: object) -> None:
        self._close()
        with self.paused():
            for registry in self._watched.values():
                probes.remove_templates(registry)
            for engine in self._engines.values():
                _ignoring_errors(remove_rows, engine, CANARY_SITE)

    def take(self) -> list[Leak]:
        """Return the leaks since the last call, each once."""
        found, self.leaks = self.leaks, []
        return list(dict.fromkeys(found))

    def watch(self, registry: Any) -> None:
        """Plant canaries in the database of an application, unless that is done already; what cannot be is `missed`."""
        if id(registry) in self._watched or DIRECTORY not in registry:
            return
        self._watched[id(registry)] = registry
        engine: Engine = registry[DIRECTORY].engine
        url = engine.url.render_as_string()
        with self.paused():
            try:
                seeded = seed(engine, self.canaries, self.values)
                probes.plant_templates(registry, self.canaries)
                probes.plant_settings(registry, self.canaries)
            except Exception as error:
                # The tables may not be there yet: then it is tried again at the next request.
                del self._watched[id(registry)]
                self.missed[url] = " ".join(str(getattr(error, "orig", None) or error).split())
                return
        self.missed.pop(url, None)
        self.seeded[url] = seeded
        self._engines[url] = engine

    def probe(self, registry: Any, host: str) -> None:
        """Try, once for each application, whether `host` accepts a session or a log-in of the canaries' site."""
        if id(registry) in self._probed or self.allows(current_scope()):
            return
        self._probed.add(id(registry))
        with self.paused():
            accepted = list(probes.accepted_cookies(registry, host, self.canaries))
        self.leaks += [Leak("cookie", what, f"a request to {host}") for what in accepted]

    def is_watched(self, registry: Any) -> bool:
        """Return whether the database of this application has canaries."""
        return id(registry) in self._watched

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let what happens inside the block be nobody's leak."""
        token = _paused.set(True)
        try:
            yield
        finally:
            _paused.reset(token)

    def allows(self, scope: Scope | None) -> bool:
        """Return whether canaries may show where `scope` is current: for all sites, for their own, in a test that says
        so, and to the detector itself."""
        if _paused.get() or self.allowed_reason is not None:
            return True
        return scope is not None and (scope.site is None or scope.site.id == CANARY_SITE.id)

    def inspect(
        self, channel: str, text: str, detail: str, *, scope: Scope | None = None, encoded: bool = False
    ) -> None:
        """Note a leak for each canary in `text`, which came through `door`, unless `scope` (None: what is current)
        expects them. With `encoded` the text is looked at as URLs and cookies are written, too."""
        if self.allows(scope or current_scope()):
            return
        for place in self.canaries.find_encoded(text) if encoded else self.canaries.find(text):
            # Where a page or a header is sent, no line of the application is running any more.
            code = None if channel in _SENT else _application_line()
            self.leaks.append(
                Leak(channel, place.partition(" (row ")[0], escape_for_message(" ".join(detail.split())), code)
            )


def _ignoring_errors(function: Any, *args: Any) -> None:
    try:
        function(*args)
    except Exception as error:  # The database of a test is often gone by then.
        del error


def _application_line() -> str | None:
    """Return the innermost line of the application that is running, as `file:line in function`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_globals.get("_template_filename") or frame.f_code.co_filename
        ours = file.startswith(f"{_PACKAGE}/") and not file.startswith(f"{_PACKAGE}/content/")
        if not ours and not any(sign in file for sign in _NOT_THE_APPLICATION):
            return f"{file}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back
    return None
