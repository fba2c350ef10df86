"""What the compiler has written of a statement, to be compared with what the finished SQL reads; pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Written"]


@dataclass
class Written:
    """What the compiler has written, and limited, of one statement."""

    tables: Counter[str] = field(default_factory=Counter)
    """How often each scoped table was written, by name, and whatever hides one; also what `known` says."""
    unlimited: Counter[str] = field(default_factory=Counter)
    """How many of these need no limit: the target of an INSERT, a CTE that hides a table, what is `known`."""
    known: set[str] = field(default_factory=set)
    """The names that a `scoped_text()` uses, whose author vouches for them."""
    conflicts: int = 0
    """How often an ON CONFLICT was written."""

    def add(self, name: str, *, limited: bool = True) -> None:
        """Take note that the table of that name was written."""
        self.tables[name.lower()] += 1
        self.unlimited[name.lower()] += not limited
