"""A finding of `multisite check` as a value, so that modules can report one without importing the command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Severity"]

Severity = Literal["fault", "notice"]
"""A fault must be fixed; a notice may be intended."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    `kind` is a hyphenated word for programs to compare, `subject` the thing that it is about ("books.author_id"),
    `message` the reason and `remedy` what to do. The last two are parts of a sentence: no capital letter at the start
    and no full stop at the end.
    """

    kind: str
    subject: str
    message: str
    remedy: str
    severity: Severity = "fault"

    def __str__(self) -> str:
        return f"{self.severity} {self.kind} {self.subject}: {self.message}; {self.remedy}"
