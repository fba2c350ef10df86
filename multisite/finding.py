"""What `multisite check` finds, as a value: any part can report something about itself without knowing who asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Severity"]

Severity = Literal["fault", "notice"]
"""A fault is something to put right; a notice is something to know, which may be meant as it is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    `kind` is a word with hyphens that programs can compare, `subject` the thing ("books.author_id"), `message` the
    reason and `remedy` what to do; the last two are parts of a sentence: small letter first, no full stop.
    """

    kind: str
    subject: str
    message: str
    remedy: str
    severity: Severity = "fault"

    def __str__(self) -> str:
        return f"{self.severity} {self.kind} {self.subject}: {self.message}; {self.remedy}"
