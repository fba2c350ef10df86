"""Let processes take turns at the same pieces of work, and compare the cost of each with the first process."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.process import Process

__all__ = ["Cost", "count_instructions", "ratios", "take_turns"]

Seconds = dict[str, dict[str, list[float]]]
"""By process and piece of work, one value for each round."""


@dataclass(frozen=True)
class Cost:
    """The cost of one piece of work. `ratio` is the median, over all rounds, of the ratio to the work by hand."""

    microseconds: float
    ratio: float
    instructions: float | None = None


def take_turns(
    processes: Sequence[Process], pieces: Iterable[str], rounds: int, batch: int, *, clock: bool = False
) -> Seconds:
    """Return the processor seconds of one piece of work, or with `clock` the elapsed seconds.

    In each of the `rounds`, every process runs each piece as often as `batch` says, in a new random order.
    """
    seconds: Seconds = {process.key: {} for process in processes}
    draw = random.Random(1)
    pieces = list(pieces)
    for _ in range(rounds):
        for piece in pieces:
            for process in draw.sample(processes, len(processes)):
                took = process.ask("run_by_the_clock" if clock else "run", piece, batch)
                seconds[process.key].setdefault(piece, []).append(took / batch)
    return seconds


def count_instructions(process: Process, pieces: Iterable[str], counted: int) -> dict[str, float]:
    """Return the instructions of one piece of work, by piece, for a process that runs under callgrind."""
    process.ask("instrument")
    # The cost of the dump itself, and of anything done once, is in both and cancels out.
    return {
        piece: (process.ask("instructions", piece, 2 * counted) - process.ask("instructions", piece, counted)) / counted
        for piece in pieces
    }


def ratios(seconds: Seconds, counted: Mapping[str, Mapping[str, float]], hand: str) -> dict[str, dict[str, Cost]]:
    """Return the costs by process and piece, compared with the process `hand`."""
    costs: dict[str, dict[str, Cost]] = {}
    for key, pieces in seconds.items():
        costs[key] = {}
        for piece, mine in pieces.items():
            ratio = median(one / other for one, other in zip(mine, seconds[hand][piece], strict=True))
            costs[key][piece] = Cost(median(mine) * 1e6, ratio, counted.get(key, {}).get(piece))
    return costs
