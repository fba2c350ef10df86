"""Render Mobiledoc, the documents of Ghost's editor from version 1 to 4.

Source of the format: https://github.com/bustle/mobiledoc-kit/blob/master/MOBILEDOC.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from multisite.content.exports.cards import OnLost, render_card

__all__ = ["mobiledoc_html"]

_TAG = re.compile(r"[a-z][a-z0-9]{0,15}")
_TAGS = {"aside": "blockquote", "pull-quote": "blockquote"}


def mobiledoc_html(document: Mapping[str, Any], on_lost: OnLost) -> str:
    """Return the HTML of `document`, not sanitized; what does not have the form of the format is left out."""
    return "\n".join(filter(None, _Renderer(document, on_lost).sections()))


@dataclass(frozen=True, slots=True)
class _Renderer:
    document: Mapping[str, Any]
    on_lost: OnLost

    def sections(self) -> Iterator[str]:
        """Yield the HTML of each section: a text (1), an image (2), a list (3) or a card (10)."""
        for section in _list(self.document.get("sections")):
            match section:
                case [1, str(tag), list(markers), *_]:
                    yield self._markup(tag, markers)
                case [2, str(address), *_]:
                    yield f'<p><img src="{escape(address)}" alt=""></p>'
                case [3, str(tag), list(items), *_]:
                    content = "".join(f"<li>{self._text(each)}</li>" for each in items if isinstance(each, list))
                    yield f"<ol>{content}</ol>" if tag == "ol" else f"<ul>{content}</ul>"
                case [10, int(number), *_]:
                    yield self._card(number)
                case _:
                    self.on_lost("a section that is not of Mobiledoc 0.3")

    def _markup(self, tag: str, markers: list[Any]) -> str:
        content = self._text(markers)
        tag = _TAGS.get(tag.lower(), tag.lower())
        if not content.strip():
            return ""
        if tag == "blockquote":
            return f"<blockquote><p>{content}</p></blockquote>"
        return f"<{tag}>{content}</{tag}>" if _TAG.fullmatch(tag) else f"<p>{content}</p>"

    def _card(self, number: int) -> str:
        match self._part("cards", number):
            case [str(name), dict(fields), *_]:
                return render_card(name, fields, self.on_lost)
            case [str(name), *_]:
                return render_card(name, {}, self.on_lost)
            case _:
                return ""

    def _text(self, markers: list[Any]) -> str:
        """Return the HTML of markers: texts (0) and atoms (1). Each opens elements, and closes some that are open."""
        parts: list[str] = []
        opened: list[str] = []
        for marker in markers:
            match marker:
                case [0 | 1 as kind, list(opens), int(closes), str() | int() as value, *_]:
                    pass
                case _:
                    continue
            for number in opens:
                tag, attributes = self._element(number)
                opened.append(tag)
                parts.append(f"<{tag}{attributes}>" if tag else "")
            parts.append(escape(value, quote=False) if kind == 0 and isinstance(value, str) else self._atom(value))
            for _ in range(min(closes, len(opened))):
                tag = opened.pop()
                parts.append(f"</{tag}>" if tag else "")
        return "".join(parts) + "".join(f"</{tag}>" for tag in reversed(opened) if tag)

    def _element(self, number: Any) -> tuple[str, str]:
        """Return the name of an element in a text, empty if there is no such one, and its attributes as HTML."""
        match self._part("markups", number):
            case [str(tag), *rest] if _TAG.fullmatch(tag.lower()):
                pairs = _list(rest[0]) if rest else []
                names = zip(pairs[::2], pairs[1::2], strict=False)
                return tag.lower(), "".join(f' href="{escape(str(value))}"' for name, value in names if name == "href")
            case _:
                return "", ""

    def _atom(self, number: Any) -> str:
        match self._part("atoms", number):
            case ["soft-return" | "soft-break", *_]:
                return "<br>"
            case [str(), str(text), *_]:
                return escape(text, quote=False)
            case _:
                return ""

    def _part(self, name: str, number: Any) -> Any:
        parts = _list(self.document.get(name))
        is_valid = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(parts)
        return parts[number] if is_valid else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
