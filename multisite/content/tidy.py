"""Bring raw HTML into a form that can be cleaned in bounded time: balanced, flat, and only the elements we allow.

An HTML parser repairs unbalanced markup, and that is where its time and memory go: each open element is walked over
for each tag behind it, and an open `<b>` is repeated in every block that follows (70 kB of text became 85 MB). So the
elements are balanced here first, in one pass. This is not what keeps scripts out: nh3 does that afterwards, and
nothing here can weaken it, since its input may be anything.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from multisite.content.embeds import embed_link
from multisite.content.limits import MAX_DEPTH

__all__ = ["BECAME_LINK", "TooDeep", "balance", "count_depth"]

BECAME_LINK = "became a link"
"""The kind of what is not left out: a link leads to what an element has shown."""

_VOID = frozenset({"br", "col", "hr", "img", "source", "track", "wbr"})
_EMBEDS = frozenset({"embed", "iframe", "object", "script"})
"""Elements that show something from elsewhere, and become a link to it."""

_REPORTED = _EMBEDS | {
    "applet",
    "button",
    "canvas",
    "form",
    "frame",
    "input",
    "math",
    "select",
    "style",
    "svg",
    "textarea",
}
"""Elements that a reader would miss; others are layout."""

_DROPPED = frozenset({"iframe", "noembed", "noframes", "script", "style"})
"""Elements whose content is no text for a reader, and is not parsed as HTML."""

_RAW_TEXT = frozenset({"textarea", "title", "xmp"})
"""Elements whose content is text in which tags have no meaning."""

_FORMATTING = frozenset({"a", "b", "code", "em", "i", "s", "small", "strong", "u"})
_MAX_FORMATTING = 20
"""How many of these are open at a time; the ones within are left out, their content stays."""

_CELLS = frozenset({"caption", "table", "td", "th"})
"""Elements out of which no closing tag reaches, but those of tables."""

_TABLE = _CELLS | {"tbody", "tfoot", "thead", "tr"}
_ROWS = frozenset({"tbody", "tfoot", "thead"})
_BLOCKS = frozenset(
    """
    blockquote dd details div dl dt figcaption figure h1 h2 h3 h4 h5 h6 hr li ol p pre summary table ul
    """.split()  # noqa: SIM905 (as in multisite.content.markdown)
)
_CLOSES: Mapping[str, tuple[AbstractSet[str], AbstractSet[str]]] = {
    **{name: (frozenset({"p"}), _CELLS) for name in _BLOCKS},
    "a": (frozenset({"a"}), _CELLS),
    "dd": (frozenset({"dd", "dt"}), _CELLS | {"dl"}),
    "dt": (frozenset({"dd", "dt"}), _CELLS | {"dl"}),
    "li": (frozenset({"li"}), _CELLS | {"ol", "ul"}),
    "td": (frozenset({"td", "th"}), frozenset({"table", "tr"})),
    "th": (frozenset({"td", "th"}), frozenset({"table", "tr"})),
    "tr": (frozenset({"tr"}), frozenset({"table"}) | _ROWS),
    **{name: (_ROWS, frozenset({"table"})) for name in _ROWS},
}
"""Which open elements an opening tag closes, and which stand in between (HTML, 13.1.2.4 Optional tags)."""

_REACH = 50
"""How many open elements are looked at for one to close."""

_START = re.compile(r"<(?:!--|[!?]|/?[a-zA-Z])")
_LINE = re.compile(r"<!--@(\d{1,7})-->")
_COMMENT_END = re.compile(r"--!?>")
_NAME = re.compile(r"[^\s/>]+")
_ATTRIBUTE = re.compile(r"[\s/]*([^\s/>][^\s/>=]*)(\s*=\s*)?")
_UNQUOTED = re.compile(r"[^\s>]*")
_TAG_EDGE = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9-]*)")


class TooDeep(ValueError):
    """A text whose HTML is nested more than `MAX_DEPTH` deep, or that has more markup than `MAX_MARKUP`."""


@dataclass(frozen=True, slots=True)
class _Tag:
    name: str
    closing: bool
    attributes: Mapping[str, str]
    line: int


@dataclass(slots=True)
class _Open:
    """The elements that are open, outermost first; `scopes` counts those outside of and within each table cell."""

    names: list[str] = field(default_factory=list)
    scopes: list[Counter[str]] = field(default_factory=lambda: [Counter()])
    formatting: int = 0

    def push(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) > MAX_DEPTH:
            raise TooDeep(f"HTML nested more than {MAX_DEPTH} deep")
        self.scopes[-1][name] += 1
        self.formatting += name in _FORMATTING
        if name in _CELLS:
            self.scopes.append(Counter())

    def pop(self) -> str:
        name = self.names.pop()
        if name in _CELLS:
            self.scopes.pop()
        self.scopes[-1][name] -= 1
        self.formatting -= name in _FORMATTING
        return name

    def pop_to(self, name: str) -> Iterator[str]:
        """Close elements up to the innermost `name`, and give their names."""
        while (popped := self.pop()) != name:
            yield popped
        yield name

    def has(self, name: str) -> bool:
        scopes = self.scopes if name in _TABLE else self.scopes[-1:]
        return any(scope[name] for scope in reversed(scopes))


def balance(
    html: str,
    allowed: Mapping[str, AbstractSet[str]],
    on_removed: Callable[[int, str, str], None] = lambda _line, _kind, _text: None,
) -> str:
    """Return `html` with the elements and attributes in `allowed` only, each closed where it has to be.

    `allowed` maps each element to its attributes. An element that shows something from elsewhere becomes a link to
    that. `on_removed(line, kind, text)` is called for what is left out; its line is that of the last comment
    `<!--@LINE-->` and the lines since. Time and length of what is returned grow with the length of `html`.
    Raises `TooDeep` where more than `MAX_DEPTH` elements are open.
    """
    written: list[str] = []
    is_open = _Open()
    for part in _tokens(html):
        if isinstance(part, str):
            written.append(part)
        elif part.name not in allowed:
            written.append(_replaced(part, on_removed))
        elif part.closing:
            if is_open.has(part.name):
                written += [f"</{name}>" for name in is_open.pop_to(part.name)]
        else:
            if part.name == "img" and part.attributes.get("src", "").lstrip().startswith("data:"):
                on_removed(part.line, "left out", "a picture in a data: address")
            written += [f"</{name}>" for name in _closed_by(part.name, is_open)]
            if part.name in _VOID:
                written.append(_opening(part, allowed[part.name]))
            elif part.name not in _FORMATTING or is_open.formatting < _MAX_FORMATTING:
                is_open.push(part.name)
                written.append(_opening(part, allowed[part.name]))
    written += [f"</{name}>" for name in reversed(is_open.names)]
    return "".join(written)


def count_depth(html: str) -> int:
    """Return how deep the elements of `html` are nested, which is what a Markdown renderer made: it is balanced."""
    depth = deepest = 0
    for closing, name in _TAG_EDGE.findall(html):
        if name not in _VOID:
            depth += -1 if closing else 1
            deepest = max(deepest, depth)
    return deepest


def _closed_by(name: str, is_open: _Open) -> Iterator[str]:
    """Close what an opening tag closes: a paragraph ends where a list begins."""
    closes, barriers = _CLOSES.get(name, ((), ()))
    if not closes:
        return
    for candidate in is_open.names[: -_REACH - 1 : -1]:
        if candidate in closes:
            yield from is_open.pop_to(candidate)
            return
        if candidate in barriers:
            return


def _replaced(tag: _Tag, on_removed: Callable[[int, str, str], None]) -> str:
    """Return what stands in the place of an element that is not allowed, and tell of it."""
    if tag.closing or tag.name not in _REPORTED:
        return ""
    link = embed_link(tag.name, tag.attributes) if tag.name in _EMBEDS else None
    if link is not None:
        on_removed(tag.line, BECAME_LINK, f"<{tag.name}>")
    else:
        on_removed(tag.line, "left out", f"<{tag.name}>")
    return link or ""


def _opening(tag: _Tag, allowed: AbstractSet[str]) -> str:
    attributes = "".join(f' {name}="{value}"' for name, value in tag.attributes.items() if name in allowed)
    return f"<{tag.name}{attributes}>"


def _tokens(html: str) -> Iterator[str | _Tag]:
    """Yield the tags of `html`, and the text between them; what is never closed ends it (HTML, 13.2.5)."""
    position = line = counted = 0
    while (start := _START.search(html, position)) is not None:
        yield html[position : start.start()].replace("<", "&lt;")
        if start[0] == "<!--":
            end = _COMMENT_END.search(html, start.end() - 2)
            position = end.end() if end else len(html)
            if mark := _LINE.match(html, start.start(), position):
                line, counted = int(mark[1]), position
        elif start[0] in ("<!", "<?"):
            position = (html.find(">", start.end()) + 1) or len(html)
        else:
            line += html.count("\n", counted, start.start())
            counted = start.start()
            tag, position = _read_tag(html, start.start(), line)
            if tag is None:
                return
            yield tag
            if not tag.closing and tag.name in _DROPPED | _RAW_TEXT:
                end = re.compile(f"</{tag.name}(?=[\\s/>])", re.IGNORECASE).search(html, position)
                if tag.name in _RAW_TEXT:
                    yield html[position : end.start() if end else len(html)].replace("<", "&lt;")
                position = end.start() if end else len(html)
    yield html[position:].replace("<", "&lt;")


def _read_tag(html: str, start: int, line: int) -> tuple[_Tag | None, int]:
    """Return the tag that begins at `start`, and where it ends; None for the tag if it does not end."""
    closing = html[start + 1] == "/"
    name = _NAME.match(html, start + 1 + closing)
    assert name is not None  # noqa: S101 (the pattern before has seen a letter)
    position = name.end()
    attributes: dict[str, str] = {}
    while (found := _ATTRIBUTE.match(html, position)) is not None:
        position = found.end()
        value = ""
        if found[2] is not None:
            quote = html[position : position + 1]
            if quote in ('"', "'") and quote:
                end = html.find(quote, position + 1)
                if end < 0:
                    return None, len(html)
                value, position = html[position + 1 : end], end + 1
            else:
                unquoted = _UNQUOTED.match(html, position)
                value, position = (unquoted[0], unquoted.end()) if unquoted else ("", position)
        attributes.setdefault(found[1].lower(), value.replace('"', "&quot;"))
    end = html.find(">", position)
    if end < 0:
        return None, len(html)
    return _Tag(name[0].lower(), closing, attributes, line), end + 1
