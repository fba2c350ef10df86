"""The tables that the compiler has rendered, to be compared with those in the finished SQL. No I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Written"]


@dataclass
class Written:
    """What the compiler has rendered, and limited, in one statement."""

    tables: Counter[str] = field(default_factory=Counter)
    """How often each scoped table, or a name that hides one, was rendered; the names in `known` are included."""
    unlimited: Counter[str] = field(default_factory=Counter)
    """How many of these need no limit: targets of INSERT, CTEs that hide a table, and the names in `known`."""
    known: set[str] = field(default_factory=set)
    """The names in a `scoped_text()`, whose author is responsible for them."""
    conflicts: int = 0
    """How often an ON CONFLICT was rendered."""

    def add(self, name: str, *, limited: bool = True) -> None:
        """Record that the table with that name was rendered."""
        self.tables[name.lower()] += 1
        self.unlimited[name.lower()] += not limited
