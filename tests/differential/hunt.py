"""Counts the operations until the comparison finds each fault that is planted in the scoping layer.

In the folder `tests`, `python -m differential.hunt SEEDS` prints the table of docs/security.md: the number of
operations for seed 1, and the maximum for the seeds 1 to SEEDS.
"""

from __future__ import annotations

import re
import sys
import tempfile
import warnings
from itertools import islice
from pathlib import Path

from differential.comparison import Comparison, Disagreement
from differential.faults import FAULTS, forget
from differential.program import SITES, random_programs
from differential.reference import Reference, Remembered
from differential.shared import SharedWorld, shared_world

_CRASH = re.compile(r"\b(?:AttributeError|KeyError|NameError|TypeError): .*")
"""Matches the outcome of code that does not fit what it replaces."""

WITHIN_OPERATIONS = 3_000
"""Within how many operations a fault has to be found."""


def hunt(shared: SharedWorld, reference: Remembered, name: str, seed: int, *, first: int = 0) -> int | None:
    """Return the number of operations after which the named fault was found, or None if it was not found.

    Args:
        shared: The side with the fault.
        reference: The other side.
        name: A key of `FAULTS`.
        seed: Chooses the programs.
        first: How many programs are skipped.
    """
    comparison = Comparison(shared, reference)
    forget(shared)
    try:
        with FAULTS[name]():
            for program in islice(random_programs(seed), first, None):
                if comparison.operations >= WITHIN_OPERATIONS:
                    return None
                comparison.run(program)
    except Disagreement as disagreement:
        if crash := _CRASH.search(str(disagreement)):
            raise AssertionError(f"the planted fault fails by itself, which proves nothing: {crash[0]}") from None
        return comparison.operations
    finally:
        forget(shared)
    raise AssertionError("there are always more programs")


def table(seeds: int, folder: Path) -> str:
    """Return the table of docs/security.md."""
    reference = Remembered(Reference({site: f"sqlite:///{folder / f'own{site}.db'}" for site in SITES}))
    counts: dict[str, list[int | None]] = {name: [] for name in FAULTS}
    with shared_world(f"sqlite:///{folder / 'shared.db'}") as shared:
        for seed in range(1, seeds + 1):
            for name, found in counts.items():
                found.append(hunt(shared, reference, name, seed))
    reference.reference.close()
    lines = [f"| fault | operations | at most, of {seeds} seeds |", "|---|---|---|"]
    for name, found in counts.items():
        most = "not found" if None in found else f"{max(filter(None, found)):,}"
        lines.append(f"| {name} | {found[0] or 'not found'} | {most} |")
    return "\n".join(lines)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        print(table(int(sys.argv[1]), Path(temporary)))
