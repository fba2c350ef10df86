"""Shortcodes around a text in Markdown, as themes have them: notes, quotes and details. They become HTML elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["block_edges"]

_NOTES = frozenset(
    {
        "admonition", "alert", "attention", "callout", "caution", "danger", "hint", "important", "info", "note",
        "notice", "tip", "warning",
    }
)  # fmt: skip
_NEUTRAL = frozenset({"admonition", "alert", "callout", "hint", "notice"})
_QUOTES = frozenset({"blockquote", "pullquote", "quote"})
_DETAILS = frozenset({"collapse", "details", "expand", "spoiler"})
_RAW = frozenset({"html", "raw_html", "rawhtml", "unsafe"})


def block_edges(name: str, words: Sequence[str], named: Mapping[str, str]) -> tuple[str, str] | None:
    """Return what replaces the opening and the closing tag of the shortcode `name`; None if it is not known.

    Args:
        name: The name in lower case.
        words: The arguments without a name.
        named: The arguments with a name.
    """
    if name in _RAW:
        return "", ""
    if name in _NOTES:
        title = _title_of_note(name, words, named)
        return "<blockquote>" + (f"\n<p><strong>{escape(title)}</strong></p>" if title else ""), "</blockquote>"
    if name in _QUOTES:
        author = ", ".join(filter(None, (named.get("author") or " ".join(words), named.get("source"))))
        return "<blockquote>", (f"<p>— {escape(author)}</p>\n" if author else "") + "</blockquote>"
    if name in _DETAILS:
        title = named.get("summary") or named.get("title") or next(iter(words), "") or "…"
        return f"<details><summary>{escape(title)}</summary>", "</details>"
    return None


def _title_of_note(name: str, words: Sequence[str], named: Mapping[str, str]) -> str:
    """Return the title that the author wrote, else the kind of the note; empty if that says nothing."""
    has_kind = bool(words) and words[0].lower() in _NOTES
    if title := named.get("title") or " ".join(words[1:] if has_kind else words):
        return title
    kind = next(each for each in (named.get("type", ""), *words[:1], name) if each.lower() in _NOTES)
    return "" if kind.lower() in _NEUTRAL else kind.capitalize()
