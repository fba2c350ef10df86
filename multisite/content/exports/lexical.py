"""Render Lexical, the documents of Ghost's editor since version 5.

Source of the format: the package kg-lexical-html-renderer of https://github.com/TryGhost/Koenig
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape, unescape
from typing import Any

from multisite.content.exports.cards import OnLost, render_card
from multisite.content.markup.tidy import NestingTooDeep

__all__ = ["MAX_LEVELS", "lexical_html"]

MAX_LEVELS = 100
"""Nesting depth of a document."""

_FORMATS = ((1, "strong"), (2, "em"), (4, "s"), (8, "u"), (16, "code"), (32, "sub"), (64, "sup"), (128, "mark"))
"""The bits of a text's format, and their elements."""

_TEXTS = frozenset({"text", "extended-text", "tk"})
_LINKS = frozenset({"link", "autolink", "at-link"})
_TAGS = re.compile("<[^>]*>")
_SYMBOLS = re.compile(r"""[\]\[!"#$%&'()*+,./:;<=>?@\\^_{|}~]""")

Node = Mapping[str, Any]


def lexical_html(root: Node, on_lost: OnLost) -> str:
    """Return the HTML of the document with this `root`, not sanitized. Raises `NestingTooDeep`."""
    return _Renderer(on_lost).render_children(root, 0, "\n")


@dataclass(slots=True)
class _Renderer:
    on_lost: OnLost
    ids: Counter[str] = field(default_factory=Counter)

    def render_children(self, node: Node, depth: int, separator: str = "") -> str:
        if depth > MAX_LEVELS:
            raise NestingTooDeep(f"a document nested more than {MAX_LEVELS} deep")
        children = node.get("children")
        nodes = [child for child in children if isinstance(child, dict)] if isinstance(children, list) else []
        return separator.join(filter(None, (self._render(child, depth + 1) for child in nodes)))

    def _render(self, node: Node, depth: int) -> str:
        kind = str(node.get("type"))
        if kind in _TEXTS:
            return _text(node)
        if kind in _LINKS:
            content = self.render_children(node, depth)
            url = node.get("url")
            return f'<a href="{escape(url)}">{content}</a>' if isinstance(url, str) and url and content else content
        render = _RENDERERS.get(kind)
        if render is not None:
            return render(self, node, depth)
        if isinstance(node.get("children"), list):  # An element of a later version: its text is kept.
            self.on_lost(f"an element of the kind '{kind[:40]}', except its text")
            return self.render_children(node, depth)
        return render_card(kind, node, self.on_lost)

    def paragraph(self, node: Node, depth: int) -> str:
        content = self.render_children(node, depth)
        return f"<p>{content}</p>" if content.strip() else ""

    def heading(self, node: Node, depth: int) -> str:
        tag = node.get("tag")
        level = tag if tag in ("h1", "h2", "h3", "h4", "h5", "h6") else "h2"
        content = self.render_children(node, depth)
        # The ids of Ghost 4 and later.
        text = unescape(_TAGS.sub("", content)).strip().lower()
        name = re.sub(r"^-|-{2,}|-$", "", re.sub(r"\s+", "-", _SYMBOLS.sub("", text)))
        self.ids[name] += 1
        number = f"-{self.ids[name] - 1}" if self.ids[name] > 1 else ""
        return f'<{level} id="{escape(name + number)}">{content}</{level}>' if content else ""

    def quote(self, node: Node, depth: int) -> str:
        return f"<blockquote><p>{self.render_children(node, depth)}</p></blockquote>"

    def items(self, node: Node, depth: int) -> str:
        """Return a list. One within another is an item of its own, and belongs to the item before it."""
        tag = "ol" if node.get("listType") == "number" or node.get("tag") == "ol" else "ul"
        start = node.get("start")
        attribute = f' start="{start}"' if tag == "ol" and isinstance(start, int) and start != 1 else ""
        found: list[str] = []
        children = node.get("children")
        for child in children if isinstance(children, list) else []:
            if not isinstance(child, dict):
                continue
            content = self.render_children(child, depth + 1)
            if found and _is_list(child):
                found[-1] += content
            else:
                found.append(content)
        return f"<{tag}{attribute}>{''.join(f'<li>{each}</li>' for each in found)}</{tag}>"


def _is_list(item: Node) -> bool:
    children = item.get("children")
    first = children[0] if isinstance(children, list) and children else None
    return isinstance(first, dict) and first.get("type") == "list"


def _text(node: Node) -> str:
    text = node.get("text")
    content = escape(text, quote=False) if isinstance(text, str) else ""
    bits = node.get("format")
    if content and isinstance(bits, int):
        for bit, tag in reversed(_FORMATS):
            if bits & bit:
                content = f"<{tag}>{content}</{tag}>"
    return content


_RENDERERS: Mapping[str, Callable[[_Renderer, Node, int], str]] = {
    "aside": _Renderer.quote,
    "extended-heading": _Renderer.heading,
    "extended-quote": _Renderer.quote,
    "heading": _Renderer.heading,
    "linebreak": lambda _renderer, _node, _depth: "<br>",
    "list": _Renderer.items,
    "paragraph": _Renderer.paragraph,
    "quote": _Renderer.quote,
    "tab": lambda _renderer, _node, _depth: " ",
    "zwnj": lambda _renderer, _node, _depth: "",
}
