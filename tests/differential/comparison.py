"""Runs a program on both sides and compares them after every step."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Protocol

from differential.action import Outcome
from differential.actions import ACTIONS
from differential.program import SITES, Program, Step
from differential.reference import Answer
from differential.rows import Rows
from differential.world import World

REFUSALS = frozenset({"CrossSiteError", "UnscopedStatement", "NoCurrentSite"})
"""The errors with which multisite refuses an attack."""

FAILURES = frozenset({"IntegrityError", "UniqueViolation", "ForeignKeyViolation"})
"""The errors with which the database refuses one."""

OTHER_FAILURES = frozenset({"InvalidRequestError", "StaleDataError", "ObjectDeletedError", "FlushError"})
"""The errors with which SQLAlchemy gives up on one, having found no row."""

_CANARY = re.compile(r"canary-(\d+)-")


class Disagreement(AssertionError):
    """The two sides differ in a result, an error or their rows."""


class Side(Protocol):
    """The interface of the reference: `Reference`, or `Remembered`."""

    def begin(self, program: Program) -> None: ...

    def run(self, step: Step, site: int, number: int, *, skip: bool) -> Answer: ...


class Comparison:
    """Compares the shared side with the reference.

    `operations` counts the operations that were compared, `outcomes` counts their outcomes, and `disagreed` is true
    after a program in which the two sides differed.
    """

    def __init__(self, shared: World, reference: Side) -> None:
        self.shared = shared
        self.reference = reference
        self.operations = 0
        self.disagreed = False
        self.outcomes: Counter[tuple[str, str]] = Counter()

    def run(self, program: Program) -> None:
        """Run a program on both sides; raise `Disagreement` at the first step in which they differ."""
        self.shared.reset()
        self.reference.begin(program)
        done: list[str] = []
        for number, step in enumerate(program, 1):
            for site in step.sites:
                self.operations += 1
                done.append(f"{number}. site {site}, {step.place}: {step.action} {step.tape.hex()}")
                try:
                    self._compare(step, site, number)
                except Disagreement as difference:
                    self.disagreed = True
                    raise Disagreement("\n".join([str(difference), "after", *done])) from None

    def _compare(self, step: Step, site: int, number: int) -> None:
        action = ACTIONS[step.action]
        ours = self.shared.perform(step, site, number, action)
        skip = action.hostile
        if action.hostile:
            _expect_nothing(ours)
        elif action.refusable and ours.error in REFUSALS | FAILURES:
            skip = True
        theirs, contents = self.reference.run(step, site, number, skip=skip)
        self.outcomes[step.action, ours.error or "done"] += 1
        # A step for all sites sees the canaries of all sites.
        if not action.everywhere and step.action != "threads":
            _expect_own_canaries(ours.value, site)
        if not skip and ours != theirs:
            raise Disagreement(f"the shared database gives\n{_spell(ours)}\nand the site's own\n{_spell(theirs)}")
        _expect_same_rows(self.shared.contents(site), contents)


def _expect_nothing(outcome: Outcome) -> None:
    """Raise `Disagreement` if an attack had an effect, or failed with an unexpected error."""
    if outcome.error is None and outcome.value[0] is not None:
        raise Disagreement(f"an attack gives {outcome.value[0]!r}")
    if outcome.error is not None and outcome.error not in REFUSALS | FAILURES | OTHER_FAILURES:
        raise Disagreement(f"an attack fails with an unexpected outcome: {_spell(outcome)}")


def _expect_own_canaries(value: Any, site: int) -> None:
    foreign = set(_CANARY.findall(repr(value))) - {str(site)}
    if foreign:
        raise Disagreement(f"site {site} sees canaries of {sorted(foreign)}: {value!r}")


def _expect_same_rows(ours: dict[int, Rows], theirs: dict[int, Rows]) -> None:
    if ours == theirs:
        return
    for site in sorted({*ours, *theirs, *SITES}):
        mine, own = ours.get(site, {}), theirs.get(site, {})
        for table in sorted({*mine, *own}):
            if mine.get(table) != own.get(table):
                more = [row for row in mine.get(table, []) if row not in own.get(table, [])]
                fewer = [row for row in own.get(table, []) if row not in mine.get(table, [])]
                raise Disagreement(
                    f"of {table} of site {site} ({len(mine.get(table, []))} rows, {len(own.get(table, []))} in its "
                    f"own database) the shared database alone holds {more}, and the site's own {fewer}"
                )


def _spell(outcome: Outcome) -> str:
    return f"{outcome.error}: {outcome.message}" if outcome.error else repr(outcome.value)
