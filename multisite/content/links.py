"""Turn links to other Markdown files into links to their entries, and report files that are not imported."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import unquote

from markdown_it.token import Token

from multisite.content.report import Loss

__all__ = ["Resolve", "follow_links"]

Resolve = Callable[[str], str | None]
"""Returns the URL path of the entry of a file, or of a post by its name; None if there is none."""

_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//|#|/static/|$", re.IGNORECASE)
_PELICAN = re.compile(r"(?:\{(?:filename|attach|static)\}|\|(?:filename|attach|static)\|)/?", re.IGNORECASE)
_PAGES = (".md", ".markdown")
_BREAKS = frozenset({"hardbreak", "softbreak"})


def follow_links(tokens: Sequence[Token], resolve: Resolve) -> list[Loss]:
    """Replace links in `tokens` to Markdown files by links to their entries.

    Returns:
        What is lost: links to files that are not imported, and images and other files that are not below `/static/`.
    """
    lost = []
    for token in tokens:
        line = token.map[0] if token.map else 0
        for child in token.children or ():
            line += child.type in _BREAKS
            name = {"link_open": "href", "image": "src"}.get(child.type)
            address = "" if name is None else unquote(str(child.attrs.get(name, "")))
            if name is None or _ELSEWHERE.match(address):
                continue
            target = _PELICAN.sub("", address, count=1)
            if re.split(r"[#?]", target, maxsplit=1)[0].lower().endswith(_PAGES):
                found = resolve(target)
                if found is None:
                    lost.append(Loss(line, "link to a file that is not imported", address))
                else:
                    child.attrSet(name, found)
            elif child.type == "image" or target != address:
                lost.append(Loss(line, "file that is not imported", address))
    return lost
