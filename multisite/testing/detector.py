"""The leak detector: it searches everything that an application outputs for one site for the canaries of another.

While a `Detector` is active, it inspects all applications of the process: the rows of database cursors (including the
driver's own, which the scoping layer does not limit), responses with their headers and cookies, log records, and keys
and values of dogpile.cache. Before each GET it requests the same page for the canary site, so that whatever one site
leaves in the process (a module's variable, a cache key without the site) can show up for the other.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Any, Self

from sqlalchemy.engine import Engine

import multisite
from multisite.core.current_site import Scope, current_scope
from multisite.core.keys import DIRECTORY
from multisite.errors import escape_for_message
from multisite.testing import probes, watchers
from multisite.testing.canaries import Canaries
from multisite.testing.cleanup import remove_rows
from multisite.testing.leak import Leak
from multisite.testing.seed import CANARY_SITE, Seeded, Values, seed

__all__ = ["Detector"]

_paused: ContextVar[bool] = ContextVar("multisite_leaks_paused", default=False)
"""Whether the detector itself is at work."""

_PACKAGE = Path(multisite.__file__).parent
_SENT = frozenset({"body", "header", "cookie"})
_NOT_THE_APPLICATION = ("/site-packages/", "/dist-packages/", "<", f"{Path(threading.__file__).parent}/")


class Detector:
    """Plants canaries in the databases of applications, and collects leaks; a context manager.

    Args:
        values: Values for columns, as `multisite.testing.seed.seed` takes them.
        shadow: Whether pages are also requested for the canary site.
        seed: The seed of the random canaries; None for a different one each time.

    Attributes:
        allowed_reason: Why canaries are allowed at the moment; None if they are not.
        seeded: What was planted in each database, by URL.
        missed: Why a database has no canaries, by URL.
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
        self._close = watchers.install_watchers(self)
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
        """Plant canaries in the database of an application, unless it has some; a failure is added to `missed`."""
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
                # The tables may not exist yet; the next request tries again.
                del self._watched[id(registry)]
                self.missed[url] = " ".join(str(getattr(error, "orig", None) or error).split())
                return
        self.missed.pop(url, None)
        self.seeded[url] = seeded
        self._engines[url] = engine

    def probe(self, registry: Any, host: str) -> None:
        """Check, once for each application, whether `host` accepts a session or a log-in of the canary site."""
        if id(registry) in self._probed or self.allows(current_scope()):
            return
        self._probed.add(id(registry))
        with self.paused():
            accepted = list(probes.accepted_cookies(registry, host, self.canaries))
        self.leaks += [Leak("cookie", what, f"a request to {host}") for what in accepted]

    def is_watched(self, registry: Any) -> bool:
        """Return whether the database of an application has canaries."""
        return id(registry) in self._watched

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Ignore leaks inside the block."""
        token = _paused.set(True)
        try:
            yield
        finally:
            _paused.reset(token)

    def allows(self, scope: Scope | None) -> bool:
        """Return whether canaries may appear under `scope`.

        They may for all sites, for the canary site, in a test that allows them, and while the detector is paused.
        """
        if _paused.get() or self.allowed_reason is not None:
            return True
        return scope is not None and (scope.site is None or scope.site.id == CANARY_SITE.id)

    def inspect(
        self, channel: str, text: str, detail: str, *, scope: Scope | None = None, encoded: bool = False
    ) -> None:
        """Record a leak for each canary in `text`, unless they are allowed.

        Args:
            channel: Where the text appeared, as in `Leak`.
            text: The text to search.
            detail: The statement, the request or the like.
            scope: The scope that the text is for; None for the current one.
            encoded: Whether the text may be URL-encoded or contain base64.
        """
        if self.allows(scope or current_scope()):
            return
        for place in self.canaries.find_encoded(text) if encoded else self.canaries.find(text):
            # When a body or header is sent, no line of the application is running any more.
            code = None if channel in _SENT else _application_line()
            self.leaks.append(
                Leak(channel, place.partition(" (row ")[0], escape_for_message(" ".join(detail.split())), code)
            )


def _ignoring_errors(function: Any, *args: Any) -> None:
    try:
        function(*args)
    except Exception as error:  # The database of a test may be gone by then.
        del error


def _application_line() -> str | None:
    """Return the innermost running line of the application, as `file:line in function`; None if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_globals.get("_template_filename") or frame.f_code.co_filename
        ours = file.startswith(f"{_PACKAGE}/") and not file.startswith(f"{_PACKAGE}/content/")
        if not ours and not any(sign in file for sign in _NOT_THE_APPLICATION):
            return f"{file}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back
    return None
