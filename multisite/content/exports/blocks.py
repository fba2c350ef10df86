"""Blocks of WordPress's editor: HTML between comments (`<!-- wp:paragraph -->`).

The HTML is complete for most blocks. Those that WordPress generates with each page, such as a list of the latest
posts, consist of a comment alone, and are reported.

Source: https://developer.wordpress.org/block-editor/getting-started/fundamentals/markup-representation-block/
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from html import escape

__all__ = ["Report", "footnote_list", "has_blocks", "read_blocks"]

Report = Callable[[int, str, str], None]
"""Called with a line (from 0), a kind and a text for everything that is left out or stays as raw text."""

_BLOCK = re.compile(r"<!--\s+(?P<closing>/?)wp:(?P<name>[a-z][\w/-]*)\s.*?(?P<alone>/?)-->", re.DOTALL)
_MORE = re.compile(r"<!--\s*more\b")
_REFERENCE = re.compile(r'"ref":\s*(\d+)')
_URL = re.compile(r'"url":\s*"(https?:[^"\\]*(?:\\/[^"\\]*)*)"')


def has_blocks(content: str) -> bool:
    """Return whether `content` is from the block editor, in which paragraphs have tags."""
    return "<!-- wp:" in content


def read_blocks(content: str, footnotes: str, report: Report) -> str:
    """Return the HTML in `content` without comments, except `<!--more-->`; the lines are kept.

    Args:
        content: The text of a post.
        footnotes: The HTML that replaces the block `footnotes`.
        report: Called for each block that is left out.
    """
    return "".join(_parts(content, footnotes, report))


def _parts(content: str, footnotes: str, report: Report) -> Iterator[str]:
    position = line = counted = 0
    while (start := content.find("<!--", position)) >= 0:
        end = content.find("-->", start + 4)
        if end < 0:
            break
        yield content[position:start]
        position = end + 3
        comment = content[start:position]
        block = _BLOCK.fullmatch(comment)
        line += content.count("\n", counted, start)
        counted = start
        if _MORE.match(comment):
            yield comment
        elif block is not None and block["alone"]:
            yield _standalone(block["name"], comment, footnotes, line, report)
        yield "\n" * comment.count("\n")
    yield content[position:]


def _standalone(name: str, comment: str, footnotes: str, line: int, report: Report) -> str:
    """Return the HTML of a block that is a comment alone."""
    if name == "footnotes":
        return footnotes
    url = _URL.search(comment) if name.startswith(("embed", "core-embed/")) else None
    if url is not None:
        address = escape(url[1].replace("\\/", "/"))
        return f'<p><a href="{address}">{address}</a></p>'
    reference = _REFERENCE.search(comment) if name == "block" else None
    report(line, "left out", f"block {name} {reference[1]}" if reference else f"block {name}")
    return ""


def footnote_list(values: list[str]) -> str:
    """Return the HTML of the footnotes in the field `footnotes` of a post: JSON with an id and a content for each."""
    try:
        notes = json.loads(values[0]) if values else []
    except (ValueError, RecursionError):
        return ""
    items = []
    for note in notes if isinstance(notes, list) else []:
        if isinstance(note, dict) and isinstance(note.get("content"), str):
            name = escape(str(note.get("id", "")))
            items.append(f'<li id="{name}">{note["content"]} <a href="#{name}-link">↩︎</a></li>')
    return f"<ol>{''.join(items)}</ol>" if items else ""
