"""Notes of an import from an export: each kind up to a limit, so that memory use does not grow with the export."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from multisite.content.imports.files import printable
from multisite.content.report import BadPath, ImportReport, Note

__all__ = ["MAX_NOTES", "ExportNotes"]

MAX_NOTES = 1000
"""Notes of one kind, and paths of one list, that are kept; the number of further ones is reported at the end."""


@dataclass(slots=True)
class ExportNotes:
    """Adds to the report of an import what is left out of the export `path`."""

    path: Path
    report: ImportReport
    _seen: Counter[tuple[str, bool]] = field(default_factory=Counter)
    _types: Counter[str] = field(default_factory=Counter)

    def note(self, line: int | None, kind: str, text: str, *, lost: bool = True) -> None:
        """Add a note about `line` of the export."""
        self._seen[kind, lost] += 1
        if self._seen[kind, lost] <= MAX_NOTES:
            self.report.notes.append(Note(printable(self.path), line, kind, text, lost=lost))

    def skip(self, line: int | str, reason: str) -> None:
        """Report a post that is not imported, for a reason that is not an error."""
        self._seen["skipped", False] += 1
        if self._seen["skipped", False] <= MAX_NOTES:
            self.report.skipped.append(BadPath(f"{printable(self.path)}:{line}", reason))

    def reject(self, line: int | str, reason: str) -> None:
        """Report a post that cannot become an entry."""
        self._seen["bad", True] += 1
        if self._seen["bad", True] <= MAX_NOTES:
            self.report.bad.append(BadPath(f"{printable(self.path)}:{line}", reason))

    def count_type(self, name: str) -> None:
        """Count an item of a type that is not imported at all."""
        if name in self._types or len(self._types) < MAX_NOTES:
            self._types[name] += 1

    def finish(self) -> None:
        """Add the numbers of what was not noted one by one."""
        for name, number in sorted(self._types.items()):
            self.note(None, "left out", f"{number} of type {name}")
        path = printable(self.path)
        for (kind, lost), number in self._seen.items():
            if number <= MAX_NOTES:
                continue
            more = f"{number - MAX_NOTES:,} more"
            if kind in ("skipped", "bad"):
                getattr(self.report, kind).append(BadPath(path, more))
            else:
                self.report.notes.append(Note(path, None, kind, more, lost=lost))
