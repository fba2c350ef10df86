"""Actions, the arguments that they receive, and their outcomes."""

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
    """An action that a step performs.

    `refusable`: an attack that acts as on a row that does not exist; the shared side may refuse it instead.
    `hostile`: an attack that must have no effect; the reference does not run it. `everywhere`: runs for all sites.
    `needs_session`: does not run with a Connection. `place`: overrides the place of the step.
    """

    do: Callable[[Call], Any]
    needs_session: bool = True
    refusable: bool = False
    hostile: bool = False
    everywhere: bool = False
    place: str = ""


@dataclass(frozen=True)
class Outcome:
    """The result of a step: a value, or the name of an error.

    `message` is only displayed, not compared: it may contain names that only one side has.
    """

    value: Any = None
    error: str | None = None
    message: str = field(default="", compare=False)


def name_of(error: Exception) -> str:
    """Return the name of the error's type; for an error of SQLAlchemy that wraps a driver's, the driver's type."""
    original = getattr(error, "orig", None)
    return type(original or error).__name__


@dataclass
class Call:
    """The arguments of an action. `session` is a Session, or a Connection for actions that only execute statements."""

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
        """Return the statement that a method of `Statements` builds from the step's tape, the same for each site."""
        known = self.world.statements
        if (kind, self.step.tape) not in known:
            made = Statements(self.models, self.world.dialect, Tape(self.step.tape[::-1]))
            known[kind, self.step.tape] = getattr(made, kind)()
        return known[kind, self.step.tape]

    def new_id(self) -> int:
        """Return an id that no row has used."""
        self._new_ids += 1
        return key(self.site, self.number * 1000 + self._new_ids)

    def other(self) -> int:
        """Return a site other than the step's own."""
        return int(self.tape.pick([site for site in SITES if site != self.site]))
