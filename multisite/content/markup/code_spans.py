"""Positions of code in Markdown: preprocessing must not change code."""

from __future__ import annotations

import re
import sys
from bisect import bisect_right

__all__ = ["find_code", "is_in"]

_FENCE = re.compile(r"[ \t]{0,3}(?:>[ \t]?)*[ \t]*(`{3,}|~{3,})")
_CODE = re.compile(r"`[^`\n]+`")


def find_code(text: str) -> list[tuple[int, int]]:
    """Return the positions (start, end) of code in `text`, in order: fenced blocks, and spans within a line."""
    found: list[tuple[int, int]] = []
    position, opened, fence = 0, 0, ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if fence:
            if mark is not None and mark[1].startswith(fence) and not line[mark.end() :].strip():
                found.append((opened, position + len(line)))
                fence = ""
        elif mark is not None:
            opened, fence = position, mark[1]
        else:
            found += [(position + span.start(), position + span.end()) for span in _CODE.finditer(line)]
        position += len(line)
    if fence:
        found.append((opened, len(text)))
    return found


def is_in(position: int, spans: list[tuple[int, int]]) -> bool:
    """Return whether `position` is inside one of the sorted `spans`."""
    index = bisect_right(spans, (position, sys.maxsize)) - 1
    return index >= 0 and position < spans[index][1]
