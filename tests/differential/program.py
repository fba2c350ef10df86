"""Programs as plain data: lists of steps, with the choices of each step given as bytes.

An action reads each of its choices from a `Tape`, so the same bytes have the same effect on both sides. Hypothesis
chooses the seed of a random number generator that builds the program, and the steps that are omitted; so it shrinks a
failing program to the steps that matter. Hypothesis could also choose the steps, or their bytes. This was measured:
three in four steps were duplicates, and choosing the bytes took longer than running the steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import strategies as st

SITES = (1, 2, 3, 4)
"""The ids of the sites."""

STRIDE = 1_000_000
"""The rows of site N have ids above N times this, on both sides, so that ids need not be translated."""

TAPE_BYTES = 48

STEPS = 32
"""How many steps a program has."""

PROGRAMS = 2**23
"""How many programs there are; of greater ranges Hypothesis prefers the small numbers."""

ACTIONS = {
    "nothing": 1, "select": 6, "load": 6, "get": 2, "corner": 5, "related": 2, "polymorphic": 3, "query": 3,
    "ids": 1, "threads": 1, "everywhere": 4,
    "add": 3, "change": 5, "relink": 3, "remove": 3, "merge": 2, "bulk": 5, "modify": 8, "upsert": 4, "link": 3,
    "end": 3,
    "ask for another's": 5, "change another's": 6, "point at another's": 3, "take another's": 14,
}  # fmt: skip
"""The actions, and how often each is drawn."""

PLACES = {"kept": 3, "fresh": 1, "roaming": 2, "connection": 2, "lent": 2, "nested": 1, "undone": 1}
"""Where an action happens, and how often; `World.place` says what they are."""


@dataclass(frozen=True)
class Step:
    """One action, performed for each of `sites` in turn; `tape` contains its choices."""

    sites: tuple[int, ...]
    place: str
    action: str
    tape: bytes


Program = tuple[Step, ...]


class Tape:
    """The choices of one action, read from the start; after the end, every choice is 0, the simplest one."""

    def __init__(self, choices: bytes) -> None:
        self._choices = iter(choices)

    def number(self, below: int) -> int:
        """Return a number from 0, the simplest, to `below` - 1."""
        return next(self._choices, 0) % below

    def pick(self, options: Sequence[Any]) -> Any:
        """Return one of `options`; the first is the simplest."""
        return options[self.number(len(options))]

    def chance(self, one_in: int = 2) -> bool:
        """Return True with a probability of one in `one_in`."""
        return self.number(one_in) == one_in - 1


def _chosen(random: Random, weights: dict[str, int]) -> str:
    return random.choices(list(weights), list(weights.values()))[0]


def program_of(number: int) -> Program:
    """Return the program with this number, which does not depend on the release of Hypothesis."""
    random = Random(number)
    return tuple(
        Step(
            sites=tuple(random.choices(SITES, k=random.choice((1, 1, 2, 3)))),
            place=_chosen(random, PLACES),
            action=_chosen(random, ACTIONS),
            tape=random.randbytes(TAPE_BYTES),
        )
        for _ in range(STEPS)
    )


def programs() -> st.SearchStrategy[Program]:
    """Return a Hypothesis strategy for programs of which half the steps are omitted; shrinking omits more steps."""

    def made(number: int, kept: int) -> Program:
        return tuple(step for place, step in enumerate(program_of(number)) if kept >> place & 1)

    # The two draws use different strategies: of two equal ones, Hypothesis would reuse the value of one for the other,
    # and try the same programs repeatedly.
    return st.builds(made, st.sampled_from(range(PROGRAMS)), st.integers(0, 2**STEPS - 1))


def random_programs(seed: int) -> Iterator[Program]:
    """Yield programs without end, the same for the same seed."""
    random = Random(seed)
    while True:
        yield program_of(random.randrange(PROGRAMS))
