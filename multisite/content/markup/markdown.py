"""Render Markdown to sanitized HTML.

The source may contain HTML, but authors of a site must not be able to run scripts in a visitor's browser. So
markdown-it-py renders everything, and nh3 then sanitizes it with a list of allowed elements. This happens once, when an
entry is saved. Time and memory are proportional to the length of the text, or the text is rejected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import unescape
from itertools import pairwise
from typing import Any

from markdown_it.token import Token

from multisite.content.limits import MAX_DEPTH, MAX_MARKUP
from multisite.content.markup.cleaning import clean, text_of
from multisite.content.markup.dialects import Dialect, Parser, prepare
from multisite.content.markup.links import FindFile, FindOld, Links, Resolve
from multisite.content.markup.shortcodes import expand_shortcodes
from multisite.content.markup.tidy import BECAME_LINK, NestingTooDeep, count_depth
from multisite.content.report import Loss

__all__ = [
    "EXCERPT_LENGTH",
    "MAX_DEPTH",
    "SUMMARY_LENGTH",
    "NestingTooDeep",
    "Rendered",
    "check_markup",
    "render",
    "render_stored",
    "shorten",
]

SUMMARY_LENGTH = 240
"""Characters of a summary generated from the first paragraph."""

EXCERPT_LENGTH = 1000
"""Characters of a summary that the author marked with `<!--more-->`."""

_MAX_LOSSES = 100
_MARKUP = re.compile(r"[\n\t*_`\[\]<>&~|!\\]")
_MORE = re.compile(r"\s*(?:<!--@\d+-->)?<!--\s*more\s*-->\s*", re.IGNORECASE)
_PLAIN = frozenset(
    {
        "text",
        "softbreak",
        "code_inline",
        "em_open",
        "em_close",
        "strong_open",
        "strong_close",
        "link_open",
        "link_close",
    }
)
"""Tokens whose text needs no sanitizing."""

_RAW_HTML = frozenset({"html_block", "html_inline"})


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered text: sanitized `html`, and the plain text of its first paragraph as `summary`.

    `dialect` is that of the source. `losses` lists what was left out, at most 100 items. `addresses` has the new
    address for each that was replaced.
    """

    html: str
    summary: str
    dialect: Dialect = "commonmark"
    losses: tuple[Loss, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)


def render(
    source: str,
    dialect: Dialect = "commonmark",
    resolve: Resolve | None = None,
    find_file: FindFile | None = None,
    find_old: FindOld | None = None,
) -> Rendered:
    """Render the Markdown `source`, which may contain HTML, and sanitize the result.

    If the text has a heading of level 1, which belongs to the page's title, all headings move down one level.

    Args:
        source: The text without front matter.
        dialect: `commonmark` is CommonMark with tables and strikethrough, and `html` the same with ids; the others are
            those of blog tools, with ids of headings, footnotes and more (`multisite.content.markup.dialects`).
        resolve: Returns the targets of links to Markdown files; None leaves such links unchanged.
        find_file: Returns the attributes of local images and other files; None leaves them unchanged.
        find_old: Returns what absolute links to the old site stand for; None leaves them unchanged. It needs the two
            others.

    Returns:
        The HTML, a summary and what was lost.

    Raises:
        NestingTooDeep: The text would take minutes to render, or fill the memory.
    """
    check_markup(source)
    source = prepare(source, dialect)
    parser = Parser.for_text(source, dialect)
    environment: dict[str, Any] = {}
    tokens = parser.parse(source, environment)
    _leave_first_level_to_the_title(tokens)
    losses = _take_data_images(tokens) if "data:" in source else []
    links = None if resolve is None and find_file is None else Links(resolve, find_file, find_old)
    if links is not None:
        links.follow(tokens)
    raw = _has_raw_html(tokens)
    summary = _summary(tokens, parser)
    if raw:
        _mark_lines(tokens)
    html = parser.render(tokens, environment)
    if not raw and html.count("<") > MAX_DEPTH and count_depth(html) > MAX_DEPTH:  # Few texts have as many tags.
        raise NestingTooDeep(f"HTML nested more than {MAX_DEPTH} deep")

    def on_removed(line: int, kind: str, text: str) -> None:
        if len(losses) < _MAX_LOSSES:
            losses.append(Loss(line, kind, text, lost=kind != BECAME_LINK))

    rewrite = None if links is None else links.rewrite
    cleaned = clean(html, raw=raw, anchors=dialect != "commonmark", on_removed=on_removed, rewrite=rewrite)
    if links is not None:
        losses += links.losses
    addresses = {} if links is None else links.replaced
    return Rendered(html=cleaned, summary=summary, dialect=dialect, losses=tuple(losses), addresses=addresses)


def render_stored(source: str, dialect: Dialect, find_file: FindFile | None = None) -> Rendered:
    """Render the text of an entry as its import did, with the shortcodes of the tool that it was written for.

    Args:
        source: The text.
        dialect: The dialect that is stored with it.
        find_file: As for `render`.

    Returns:
        As for `render`.

    Raises:
        NestingTooDeep: As for `render`.
    """
    if dialect in ("kramdown", "goldmark"):
        source = expand_shortcodes(source, lambda _target: None, lambda *_loss: None)
    return render(source, dialect, find_file=find_file)


def check_markup(source: str) -> None:
    """Raise `NestingTooDeep` if `source` has more than `MAX_MARKUP` lines and markup characters."""
    if len(source) > MAX_MARKUP and sum(1 for _ in _MARKUP.finditer(source)) > MAX_MARKUP:
        raise NestingTooDeep(f"more than {MAX_MARKUP:,} lines and markup characters")


def _leave_first_level_to_the_title(tokens: Sequence[Token]) -> None:
    headings = [token for token in tokens if token.type in ("heading_open", "heading_close")]
    if any(token.tag == "h1" for token in headings):
        for token in headings:
            token.tag = f"h{min(int(token.tag[1]) + 1, 6)}"


def _mark_lines(tokens: Sequence[Token]) -> None:
    """Insert comments with the line number before the author's HTML, for the report of what is left out."""
    for token in tokens:
        line = token.map[0] if token.map else 0
        if token.type == "html_block":
            token.content = f"<!--@{line}-->{token.content}"
        for child in token.children or ():
            if child.type in ("softbreak", "hardbreak"):
                line += 1
            elif child.type == "html_inline":
                child.content = f"<!--@{line}-->{child.content}"
                line += child.content.count("\n")


def _take_data_images(tokens: Sequence[Token]) -> list[Loss]:
    """Replace images with `data:` URLs, which sanitizing would remove, by their alternative texts, and return them."""
    found = []
    for token in tokens:
        for child in token.children or ():
            if child.type == "image" and str(child.attrs.get("src", "")).startswith("data:"):
                child.type, child.tag, child.attrs, child.children = "text", "", {}, None
                found.append(Loss(token.map[0] if token.map else 0, "left out", "an image in a data: URL"))
    return found[:_MAX_LOSSES]


def _summary(tokens: Sequence[Token], parser: Parser) -> str:
    """Return the text before `<!--more-->`, or else the beginning of the first paragraph with text."""
    more = [
        index for index, token in enumerate(tokens) if token.type == "html_block" and _MORE.fullmatch(token.content)
    ]
    paragraphs = (
        token
        for before, token in pairwise(tokens[: more[0]] if more else tokens)
        if before.type == "paragraph_open" and before.level == 0 and token.type == "inline"
    )
    texts = (" ".join(_plain_text(token.children or (), parser).split()) for token in paragraphs)
    if more:
        return shorten(" ".join(filter(None, texts)), EXCERPT_LENGTH)
    return shorten(next(filter(None, texts), ""), SUMMARY_LENGTH)


def _plain_text(tokens: Sequence[Token], parser: Parser) -> str:
    tokens = [token for token in tokens if token.type != "footnote_ref"]
    if all(token.type in _PLAIN for token in tokens):
        return "".join("\n" if token.type == "softbreak" else token.content for token in tokens if token.nesting == 0)
    return unescape(text_of(parser.render_inline(tokens), raw=_has_raw_html(tokens)))


def _has_raw_html(tokens: Sequence[Token]) -> bool:
    return any(token.type in _RAW_HTML or (token.children and _has_raw_html(token.children)) for token in tokens)


def shorten(text: str, length: int) -> str:
    """Return `text`, cut at a space and with an ellipsis if it has more than `length` characters."""
    if len(text) <= length:
        return text
    cut = text[:length]
    return (cut.rpartition(" ")[0] or cut).rstrip(" ,;:.") + "…"
