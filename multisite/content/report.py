"""What an import did, and what it left out: for people, for programs, and for `--strict`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["BadPath", "Counts", "ImportReport", "Loss", "Note"]


@dataclass(slots=True)
class Counts:
    """What became of entries: how many were added, updated, and found unchanged."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0


@dataclass(frozen=True, slots=True)
class BadPath:
    """A path that was not imported, as text, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Loss:
    """Something of a text that is not in what it became, or otherwise: its line, from 0 in the text, and what it is."""

    line: int
    kind: str
    text: str
    lost: bool = True


@dataclass(frozen=True, slots=True)
class Note:
    """Something of a file that did not become part of its entry, or stands in it otherwise.

    `kind` groups notes of one sort, `line` is the number of the line in the file, from 1, None where it is none.
    `lost` says whether something is missing from the entry; else it is only worth knowing.
    """

    path: str
    line: int | None
    kind: str
    text: str
    lost: bool = True


@dataclass(slots=True)
class ImportReport:
    """What an import did: how many entries it added, updated and found unchanged, and which paths it could not use.

    `skipped` are files that are no entries by the rules of the tool that wrote them. `notes` tell what of the others
    was left out. `rolled_back` is true where `strict` or `dry_run` took everything back, the counts then say what would
    have been.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    bad: list[BadPath] = field(default_factory=list)
    skipped: list[BadPath] = field(default_factory=list)
    rolled_back: bool = False
    notes: list[Note] = field(default_factory=list)
    dry_run: bool = False

    def count(self, counts: Counts) -> None:
        """Add what became of one batch."""
        self.added += counts.added
        self.updated += counts.updated
        self.unchanged += counts.unchanged

    @property
    def seen(self) -> int:
        """How many paths there were, good and bad ones."""
        return self.added + self.updated + self.unchanged + len(self.bad) + len(self.skipped)

    @property
    def lost(self) -> list[Note]:
        """The notes about what is missing from an entry."""
        return [note for note in self.notes if note.lost]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as what JSON can hold."""
        return asdict(self)
