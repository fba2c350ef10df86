"""Cards of Ghost's editor: leave out the controls of its players, which are text and images without meaning here."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["drop_controls"]

_TAG = re.compile(r"<(/?)(button|div|svg)\b([^<>]*)>", re.IGNORECASE)
_CONTROLS = re.compile(
    r"\bkg-(?:audio-player|audio-thumbnail|file-card-icon|toggle-card-icon|video-(?:overlay|player-container))(?![\w-])"
)
"""Classes of elements with controls; the media file itself is beside them."""


def drop_controls(html: str) -> str:
    """Return `html` without the elements that have one of these classes; the lines are kept."""
    return "".join(_parts(html)) if "kg-" in html else html


def _parts(html: str) -> Iterator[str]:
    position = depth = 0
    name = ""
    for tag in _TAG.finditer(html):
        if depth == 0:
            if not tag[1] and _CONTROLS.search(tag[3]):
                yield html[position : tag.start()]
                position, depth, name = tag.start(), 1, tag[2].lower()
        elif tag[2].lower() == name:
            depth += -1 if tag[1] else 1
            if depth == 0:
                yield "\n" * html.count("\n", position, tag.end())
                position = tag.end()
    yield html[position:]  # With an element that is never closed.
