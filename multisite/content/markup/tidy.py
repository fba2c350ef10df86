"""Prepare raw HTML for sanitizing in bounded time: balanced, flat, and with allowed elements only.

An HTML parser repairs unbalanced markup, which takes time and memory: it walks over each open element for each tag
after it, and repeats an open `<b>` in every following block (70 kB of text became 85 MB). So the elements are balanced
here first, in one pass. Scripts are not kept out here: nh3 does that afterwards, and nothing here can weaken it,
since it accepts any input.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from multisite.content.limits import MAX_DEPTH
from multisite.content.markup.embeds import embed_link

__all__ = ["BECAME_LINK", "NestingTooDeep", "Rewrite", "balance", "count_depth"]

Rewrite = Callable[[str, Mapping[str, str], int], Mapping[str, str]]
"""Called with the name of an element, its attributes and its line; returns its attributes. Values are escaped."""

BECAME_LINK = "became a link"
"""Kind of a removal that is not a loss: the element became a link to its content."""

_VOID = frozenset({"br", "col", "hr", "img", "source", "track", "wbr"})
_EMBEDS = frozenset({"embed", "iframe", "object", "script"})
"""Elements that embed content from elsewhere, and become a link to it."""

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
"""Elements that a reader would miss; others are only layout."""

_DROPPED = frozenset({"iframe", "noembed", "noframes", "script", "style"})
"""Elements whose content is not text for readers, and is not parsed as HTML."""

_RAW_TEXT = frozenset({"textarea", "title", "xmp"})
"""Elements whose content is text in which tags have no meaning."""

_FORMATTING = frozenset({"a", "b", "code", "em", "i", "s", "small", "strong", "u"})
_MAX_FORMATTING = 20
"""How many of these may be open at a time; further ones are removed, their content is kept."""

_CELLS = frozenset({"caption", "table", "td", "th"})
"""Elements that closing tags do not reach out of, except those of tables."""

_TABLE = _CELLS | {"tbody", "tfoot", "thead", "tr"}
_ROWS = frozenset({"tbody", "tfoot", "thead"})
_BLOCKS = frozenset(
    """
    blockquote dd details div dl dt figcaption figure h1 h2 h3 h4 h5 h6 hr li ol p pre summary table ul
    """.split()  # noqa: SIM905 (as in multisite.content.markup.markdown)
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
"""Which open elements an opening tag closes, and which may be in between (HTML, 13.1.2.4 Optional tags)."""

_REACH = 50
"""How many open elements are searched for one to close."""

_START = re.compile(r"<(?:!--|[!?]|/?[a-zA-Z])")
_LINE = re.compile(r"<!--@(\d{1,7})-->")
_COMMENT_END = re.compile(r"--!?>")
_NAME = re.compile(r"[^\s/>]+")
_ATTRIBUTE = re.compile(r"[\s/]*([^\s/>][^\s/>=]*)(\s*=\s*)?")
_UNQUOTED = re.compile(r"[^\s>]*")
_TAG_EDGE = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9-]*)")


class NestingTooDeep(ValueError):
    """HTML is nested more than `MAX_DEPTH` deep, or a text has more markup than `MAX_MARKUP`."""


@dataclass(frozen=True, slots=True)
class _Tag:
    name: str
    closing: bool
    attributes: Mapping[str, str]
    line: int


@dataclass(slots=True)
class _Open:
    """The open elements, outermost first; `scopes` counts those outside of and within each table cell."""

    names: list[str] = field(default_factory=list)
    scopes: list[Counter[str]] = field(default_factory=lambda: [Counter()])
    formatting: int = 0

    def push(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) > MAX_DEPTH:
            raise NestingTooDeep(f"HTML nested more than {MAX_DEPTH} deep")
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
        """Close elements up to the innermost `name`, and yield their names."""
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
    rewrite: Rewrite | None = None,
) -> str:
    """Return `html` with only the elements and attributes in `allowed`, each properly closed.

    An element that embeds content becomes a link to it. Time and length of the result are linear in that of `html`.

    Args:
        html: HTML that may be unbalanced.
        allowed: The allowed attributes by element.
        on_removed: Called as `on_removed(line, kind, text)` for everything removed; the line is that of the last
            comment `<!--@LINE-->`, plus the lines since.
        rewrite: Returns the attributes of each allowed element; None leaves them unchanged.

    Raises:
        NestingTooDeep: More than `MAX_DEPTH` elements are open.
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
                on_removed(part.line, "left out", "an image in a data: URL")
            written += [f"</{name}>" for name in _closed_by(part.name, is_open)]
            if part.name == "source" and not (is_open.has("audio") or is_open.has("video")):
                continue  # Of a <picture>, whose <img> is kept.
            if part.name in _VOID:
                written.append(_opening(part, allowed[part.name], rewrite))
            elif part.name not in _FORMATTING or is_open.formatting < _MAX_FORMATTING:
                is_open.push(part.name)
                written.append(_opening(part, allowed[part.name], rewrite))
    written += [f"</{name}>" for name in reversed(is_open.names)]
    return "".join(written)


def count_depth(html: str) -> int:
    """Return the nesting depth of `html`, which is balanced because a Markdown renderer created it."""
    depth = deepest = 0
    for closing, name in _TAG_EDGE.findall(html):
        if name not in _VOID:
            depth += -1 if closing else 1
            deepest = max(deepest, depth)
    return deepest


def _closed_by(name: str, is_open: _Open) -> Iterator[str]:
    """Close what an opening tag closes: a list ends a paragraph, for example."""
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
    """Return the replacement of an element that is not allowed, and report it."""
    if tag.closing or tag.name not in _REPORTED:
        return ""
    link = embed_link(tag.name, tag.attributes) if tag.name in _EMBEDS else None
    if link is not None:
        on_removed(tag.line, BECAME_LINK, f"<{tag.name}>")
    else:
        on_removed(tag.line, "left out", f"<{tag.name}>")
    return link or ""


def _opening(tag: _Tag, allowed: AbstractSet[str], rewrite: Rewrite | None) -> str:
    attributes = tag.attributes if rewrite is None else rewrite(tag.name, tag.attributes, tag.line)
    kept = "".join(f' {name}="{value}"' for name, value in attributes.items() if name in allowed)
    return f"<{tag.name}{kept}>"


def _tokens(html: str) -> Iterator[str | _Tag]:
    """Yield the tags of `html` and the text between them; an unclosed tag ends it (HTML, 13.2.5)."""
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
    """Return the tag that starts at `start`, or None if it does not end, and its end."""
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
