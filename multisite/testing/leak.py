"""What the watchers of the leak detector share: a leak, and the detector that they report to."""

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
    """What a watcher needs of `multisite.testing.detector.Detector`."""

    shadow: bool

    def watch(self, registry: Any) -> None: ...

    def is_watched(self, registry: Any) -> bool: ...

    def probe(self, registry: Any, host: str) -> None: ...

    def paused(self) -> AbstractContextManager[None]: ...

    def allows(self, scope: Scope | None) -> bool: ...

    def inspect(
        self, channel: str, text: str, detail: str, *, scope: Scope | None = None, encoded: bool = False
    ) -> None: ...
