"""All actions, by the names that programs use for them."""

from __future__ import annotations

from differential import attacks, program, reads, writes
from differential.action import Action

ACTIONS: dict[str, Action] = {**reads.ACTIONS, **writes.ACTIONS, **attacks.ACTIONS}

assert ACTIONS.keys() == program.ACTIONS.keys(), ACTIONS.keys() ^ program.ACTIONS.keys()
