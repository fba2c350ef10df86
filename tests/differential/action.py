"""What an action is, what it has to work with, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from differential.program import SITES, Step, Tape
from differential.rows import key
from differential.statements import Statements

if TYPE_CHECKING:
    from differential.world import World


@dataclass(frozen=True)
class Action:
    """Something that a step may do.

    `refusable`: an attack that is the same as on a row that does not exist; the shared side may refuse it instead.
    `hostile`: an attack that nothing may come of; it is not run on the reference's side. `everywhere`: for all sites.
    `needs_session`: not with a Connection. `place`: where it happens, if not where the step says.
    """

    do: Callable[[Call], Any]
    needs_session: bool = True
    refusable: bool = False
    hostile: bool = False
    everywhere: bool = False
    place: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a step gave: a value, or the name of an error. `message` is for the reader, since it may name what only one
    side has."""

    value: Any = None
    error: str | None = None
    message: str = field(default="", compare=False)


def name_of(error: Exception) -> str:
    """Return the name of an error's type; for one of the database, of the error of the driver."""
    original = getattr(error, "orig", None)
    return type(original or error).__name__


@dataclass
class Call:
    """What an action has to work with. `session` is a Session, or a Connection where a statement is all there is."""

    world: World
    session: Any
    site: int
    step: Step
    number: int
    tape: Tape

    def __post_init__(self) -> None:
        self.models = self.world.models
        self._new_ids = 0

    def statement(self, kind: str) -> Any:
        """Return the statement that a method of `Statements` makes of this step's bytes; the same for each site."""
        known = self.world.statements
        if (kind, self.step.tape) not in known:
            made = Statements(self.models, self.world.dialect, Tape(self.step.tape[::-1]))
            known[kind, self.step.tape] = getattr(made, kind)()
        return known[kind, self.step.tape]

    def new_id(self) -> int:
        """Return an id that no row has had."""
        self._new_ids += 1
        return key(self.site, self.number * 1000 + self._new_ids)

    def other(self) -> int:
        """Return another site than the one that the step is for."""
        return int(self.tape.pick([site for site in SITES if site != self.site]))
