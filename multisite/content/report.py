"""Report of an import: what it did, and what was left out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["BadPath", "Counts", "ImportReport", "Loss", "Note"]


@dataclass(slots=True)
class Counts:
    """How many entries were added, updated, or already up to date."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0


@dataclass(frozen=True, slots=True)
class BadPath:
    """A path that was not imported, as text, and the reason."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Loss:
    """Something of a text that is missing from its HTML or was changed: its line (from 0), its kind and its text."""

    line: int
    kind: str
    text: str
    lost: bool = True


@dataclass(frozen=True, slots=True)
class Note:
    """Something of a file that is missing from its entry or was changed.

    `kind` groups notes of one sort; `line` is the line number in the file, from 1, or None. `lost` is whether something
    is missing from the entry; otherwise the note is only informative.
    """

    path: str
    line: int | None
    kind: str
    text: str
    lost: bool = True


@dataclass(slots=True)
class ImportReport:
    """The result of an import: the numbers of added, updated and unchanged entries, and the paths not imported.

    `skipped` are files that are not entries by the rules of their own tool. `notes` list what was left out of the
    others. `redirects` is the number of old addresses that redirect to the new ones, `pages` how many of the
    entries are pages. `pruned` are the paths whose
    entries were deleted, with the slugs of these in the reason. `rolled_back` is true if `strict` or `dry_run` rolled
    everything back; the numbers are then hypothetical. `force` is whether entries are overwritten that people have
    changed since their import.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    bad: list[BadPath] = field(default_factory=list)
    skipped: list[BadPath] = field(default_factory=list)
    rolled_back: bool = False
    notes: list[Note] = field(default_factory=list)
    dry_run: bool = False
    redirects: int = 0
    pages: int = 0
    pruned: list[BadPath] = field(default_factory=list)
    force: bool = False

    def count(self, counts: Counts) -> None:
        """Add the counts of one batch."""
        self.added += counts.added
        self.updated += counts.updated
        self.unchanged += counts.unchanged

    @property
    def seen(self) -> int:
        """The number of paths, good and bad."""
        return self.added + self.updated + self.unchanged + len(self.bad) + len(self.skipped)

    @property
    def lost(self) -> list[Note]:
        """The notes about missing parts of entries."""
        return [note for note in self.notes if note.lost]

    def as_dict(self) -> dict[str, Any]:
        """Return the report in types that JSON supports."""
        return asdict(self)
