"""A record of the revisions that a migration has applied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["RevisionLog"]


class RevisionLog:
    """Records a line for each applied revision in `done`, and the revision that is running.

    Args:
        whose: Whose revisions they are, the first word of each line.
    """

    def __init__(self, whose: str) -> None:
        self.whose = whose
        self.done: list[str] = []
        self.running: str | None = None

    def record(self, steps: Iterable[Any]) -> Iterator[Any]:
        """Yield each step to alembic, which asks for the next one after running it."""
        for step in steps:
            self.running = step.revision.revision
            yield step
            self.done.append(f"{self.whose} {self.running}: {step.doc or 'a revision without a description'}")
            self.running = None
