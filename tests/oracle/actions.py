"""All actions by the names that a program gives them."""

from __future__ import annotations

from oracle import attacks, reads, writes
from oracle.action import Action
from oracle.program import WEIGHTS

ACTIONS: dict[str, Action] = {**reads.ACTIONS, **writes.ACTIONS, **attacks.ACTIONS}

assert ACTIONS.keys() == WEIGHTS.keys(), ACTIONS.keys() ^ WEIGHTS.keys()
