"""The difference between two texts, line by line, and word by word where a line was changed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Literal

__all__ = ["Line", "difference"]

CONTEXT_LINES = 3
"""Unchanged lines that are shown around a change."""

MAX_LINES = 1000
"""Lines of both texts together that are compared with each other, between the first change and the last.

`difflib` takes quadratic time. Beyond this, all of them are shown as removed and added.
"""

MAX_WORDS = 1000
"""Words of both versions of changed lines that are compared with each other."""

_WORD = re.compile(r"\s+|[^\s]+")

Kind = Literal["same", "removed", "added", "left out"]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a difference: its words, each with whether it was changed. `left out` stands for unchanged lines."""

    kind: Kind
    words: tuple[tuple[str, bool], ...] = ()
    count: int = 1


def difference(before: str, after: str) -> list[Line]:
    """Return the lines of both texts, and what happened to each; empty if the texts are the same."""
    if before == after:
        return []
    old, new = before.splitlines(), after.splitlines()
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    found = [Line("same", ((line, False),)) for line in old[:start]]
    found += _middle(old[start : len(old) - end], new[start : len(new) - end])
    found += [Line("same", ((line, False),)) for line in old[len(old) - end :]]
    return list(_shortened(found))


def _common(old: Sequence[str], new: Sequence[str]) -> int:
    """Return how many lines both begin with."""
    return sum(1 for _pair in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))


def _middle(old: list[str], new: list[str]) -> Iterator[Line]:
    if len(old) + len(new) > MAX_LINES:
        yield from _replaced(old, new)
        return
    for tag, old_start, old_end, new_start, new_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from (Line("same", ((line, False),)) for line in old[old_start:old_end])
        else:
            yield from _replaced(old[old_start:old_end], new[new_start:new_end])


def _replaced(old: list[str], new: list[str]) -> Iterator[Line]:
    """Yield the lines of `old` as removed and those of `new` as added, with the words marked that differ."""
    before, after = _WORD.findall("\n".join(old)), _WORD.findall("\n".join(new))
    if not old or not new or len(before) + len(after) > MAX_WORDS:
        yield from (Line("removed", ((line, True),)) for line in old)
        yield from (Line("added", ((line, True),)) for line in new)
        return
    removed: list[tuple[str, bool]] = []
    added: list[tuple[str, bool]] = []
    for tag, old_start, old_end, new_start, new_end in SequenceMatcher(None, before, after, False).get_opcodes():
        removed.append(("".join(before[old_start:old_end]), tag != "equal"))
        added.append(("".join(after[new_start:new_end]), tag != "equal"))
    yield from (Line("removed", words) for words in _lines(removed))
    yield from (Line("added", words) for words in _lines(added))


def _lines(words: list[tuple[str, bool]]) -> Iterator[tuple[tuple[str, bool], ...]]:
    """Yield the words of each line."""
    line: list[tuple[str, bool]] = []
    for text, is_changed in words:
        first, *others = text.split("\n")
        line.append((first, is_changed))
        for other in others:
            yield tuple(pair for pair in line if pair[0])
            line = [(other, is_changed)]
    yield tuple(pair for pair in line if pair[0])


def _shortened(lines: list[Line]) -> Iterator[Line]:
    """Yield the lines without those that are far from a change."""
    changed = [number for number, line in enumerate(lines) if line.kind != "same"]
    near = {each for number in changed for each in range(number - CONTEXT_LINES, number + CONTEXT_LINES + 1)}
    left_out = 0
    for number, line in enumerate(lines):
        if number not in near:
            left_out += 1
            continue
        if left_out:
            yield Line("left out", count=left_out)
            left_out = 0
        yield line
    if left_out:
        yield Line("left out", count=left_out)
