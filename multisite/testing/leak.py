"""A leak, and the interface of the detector that the watchers report it to."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from multisite.core.current_site import Scope

__all__ = ["Leak", "LeakDetector"]


@dataclass(frozen=True, slots=True)
class Leak:
    """A canary of another site.

    Attributes:
        channel: Where it appeared: `SQL result`, `body`, `header`, `cookie`, `log`, `cache key` or `cache value`.
        canary: The place where it was planted.
        detail: The statement, the request or the like.
        code: The line of the application that was running; None if there was none.
    """

    channel: str
    canary: str
    detail: str
    code: str | None = None

    def __str__(self) -> str:
        where = f"\n    at {self.code}" if self.code else ""
        return f"{self.channel}: {self.canary}, of another site\n    in {self.detail}{where}"


class LeakDetector(Protocol):
    """The part of `multisite.testing.detector.Detector` that watchers use."""

    shadow: bool

    def watch(self, registry: Any) -> None:
        """Plant canaries in the databases of an application."""

    def is_watched(self, registry: Any) -> bool:
        """Return whether an application has canaries."""

    def probe(self, registry: Any, host: str) -> None:
        """Request pages of an application at `host`."""

    def paused(self) -> AbstractContextManager[None]:
        """Watch nothing within the block."""

    def allows(self, scope: Scope | None) -> bool:
        """Return whether code in `scope` may see canaries."""

    def inspect(
        self, channel: str, text: str, detail: str, *, scope: Scope | None = None, encoded: bool = False
    ) -> None:
        """Record a leak for each canary in `text`."""
