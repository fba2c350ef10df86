"""Paragraphs of WordPress's classic editor, in which an empty line ends one and a line break is kept.

WordPress adds the tags when it shows a post (`wpautop`), so that an export does not have them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["add_paragraphs"]

_BLOCK = (
    "address|article|aside|audio|blockquote|center|details|div|dl|dd|dt|fieldset|figcaption|figure|footer|form"
    "|h[1-6]|header|hr|iframe|li|main|nav|object|ol|p|section|summary|table|caption|tbody|td|tfoot|th|thead|tr|ul|video"
)
_HOLDERS = re.compile(r"<(?:caption|dd|dt|figcaption|figure|h[1-6]|li|p|summary|td|th)\b", re.IGNORECASE)
"""Opening tags after which text is not a paragraph."""

_KEPT = re.compile(r"<(pre|script|style|textarea)\b|(<!--)", re.IGNORECASE)
"""Elements in which line breaks are kept, up to the closing tag; and comments."""

_EDGE = re.compile(rf"(</?(?:{_BLOCK})\b[^<>]*>)", re.IGNORECASE)
_BLANK = re.compile(r"(\n[ \t]*\n\s*)")
_BREAK = re.compile(r"(?<![ \t])(?<!<br>)(?<!<br/>)(?<!<br />)[ \t]*\n")


def add_paragraphs(text: str) -> str:
    """Return `text` with `<p>` around its paragraphs and `<br>` at their line breaks; the lines are kept."""
    return "".join(_parts(text))


def _parts(text: str) -> Iterator[str]:
    position = 0
    unclosed: set[str] = set()
    for kept in _KEPT.finditer(text):
        end = "-->" if kept[2] else f"</{kept[1].lower()}>"
        if kept.start() < position or end in unclosed:
            continue
        closing = re.compile(re.escape(end), re.IGNORECASE).search(text, kept.end())
        if closing is None:
            unclosed.add(end)  # The search is not repeated, which would take quadratic time.
            continue
        yield _outside(text[position : kept.start()])
        yield text[kept.start() : closing.end()]
        position = closing.end()
    yield _outside(text[position:])


def _outside(text: str) -> str:
    """Return `text`, which has no preformatted element, with paragraphs."""
    written = []
    in_holder = False
    for number, piece in enumerate(_EDGE.split(text)):
        if number % 2:
            written.append(piece)
            in_holder = _HOLDERS.match(piece) is not None
            continue
        for index, part in enumerate(_BLANK.split(piece)):
            written.append(part if index % 2 else _paragraph(part, wraps=not (in_holder and index == 0)))
    return "".join(written)


def _paragraph(text: str, *, wraps: bool) -> str:
    inner = text.strip()
    if not inner:
        return text
    start = text.index(inner)
    before, after = text[:start], text[start + len(inner) :]
    broken = _BREAK.sub("<br>\n", inner)
    return f"{before}<p>{broken}</p>{after}" if wraps else f"{before}{broken}{after}"
