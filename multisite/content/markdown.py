"""Markdown to HTML that can be sent to any visitor.

The source may hold HTML: whoever writes for one site must still not run a script in the browser of a visitor. So
everything is rendered by markdown-it-py first and then cleaned by nh3, which keeps a list of what is allowed. This
happens once, when an entry is saved. Any text takes time and memory in proportion to its length, or is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from itertools import pairwise
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from multisite.content.limits import MAX_DEPTH, MAX_MARKUP
from multisite.content.tidy import TooDeep, balance, count_depth

__all__ = ["MAX_DEPTH", "SUMMARY_LENGTH", "Rendered", "TooDeep", "render"]

SUMMARY_LENGTH = 240
"""Characters of a summary that is made from the first paragraph."""

_TAGS = frozenset(
    """
    a abbr b blockquote br caption cite code col colgroup dd del details dfn div dl dt em figcaption figure
    h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q s samp small span strong sub summary sup
    table tbody td tfoot th thead time tr u ul var
    """.split()  # noqa: SIM905 (sixty quoted words are harder to read)
)
_ATTRIBUTES: dict[str, set[str]] = {
    "*": {"lang", "dir", "title"},
    "a": {"href", "hreflang"},
    "code": {"class"},  # the language of a code block; cut down to language-… below
    "col": {"span"},
    "colgroup": {"span"},
    "del": {"cite", "datetime"},
    "img": {"src", "alt", "width", "height"},
    "ins": {"cite", "datetime"},
    "ol": {"start", "reversed"},
    "td": {"colspan", "rowspan", "style"},  # the style of a column; cut down to text-align below
    "th": {"colspan", "rowspan", "scope", "style"},
    "time": {"datetime"},
}
_SCHEMES = {"http", "https", "mailto", "tel"}


_ALLOWED = {tag: _ATTRIBUTES["*"] | _ATTRIBUTES.get(tag, set()) for tag in _TAGS}
_MARKUP = re.compile(r"[\n\t*_`\[\]<>&~|!\\]")
_RAW_HTML = frozenset({"html_block", "html_inline"})
_SCHEME = re.compile(r"([^/?#:]*):")
_INVISIBLE = re.compile("[\x00-\x20\x7f-\xa0]")


@dataclass(frozen=True, slots=True)
class Rendered:
    """What came out of a Markdown text: clean `html`, and the plain text of its first paragraph as `summary`."""

    html: str
    summary: str


def render(source: str) -> Rendered:
    """Render the Markdown `source` (CommonMark with tables and strikethrough; HTML allowed, then cleaned).

    Headings move down one level where the text has one of level 1, which belongs to the page's title. Raises
    `TooDeep` for a text that would take minutes or fill the memory.
    """
    if len(source) > MAX_MARKUP and sum(1 for _ in _MARKUP.finditer(source)) > MAX_MARKUP:
        raise TooDeep(f"more than {MAX_MARKUP:,} lines and signs of Markdown")
    environment: dict[str, Any] = {}
    tokens = _parser.parse(source, environment)
    _leave_first_level_to_the_title(tokens)
    html = _renderer.render(tokens, _parser.options, environment)
    if _has_raw_html(tokens):
        html = balance(html, _ALLOWED)
    elif count_depth(html) > MAX_DEPTH:
        raise TooDeep(f"HTML nested more than {MAX_DEPTH} deep")
    return Rendered(html=_cleaner.clean(html), summary=_summary(tokens))


def _leave_first_level_to_the_title(tokens: Sequence[Token]) -> None:
    headings = [token for token in tokens if token.type in ("heading_open", "heading_close")]
    if any(token.tag == "h1" for token in headings):
        for token in headings:
            token.tag = f"h{min(int(token.tag[1]) + 1, 6)}"


def _summary(tokens: Sequence[Token]) -> str:
    for before, token in pairwise(tokens):
        if before.type == "paragraph_open" and before.level == 0 and token.type == "inline":
            text = " ".join(_plain_text(token.children or ()).split())
            if text:
                return _shorten(text)
    return ""


def _plain_text(tokens: Sequence[Token]) -> str:
    # Through the cleaner, since only that knows that the text between <script> and </script> is none.
    html = _renderer.renderInline(tokens, _parser.options, {})
    if _has_raw_html(tokens):
        html = balance(html, _ALLOWED)
    return unescape(nh3.clean(html, tags=set()))


def _has_raw_html(tokens: Sequence[Token]) -> bool:
    return any(token.type in _RAW_HTML or (token.children and _has_raw_html(token.children)) for token in tokens)


def _shorten(text: str) -> str:
    if len(text) <= SUMMARY_LENGTH:
        return text
    cut = text[:SUMMARY_LENGTH]
    return (cut.rpartition(" ")[0] or cut).rstrip(" ,;:.") + "…"


def _keep_attribute(tag: str, attribute: str, value: str) -> str | None:
    if tag == "code" and attribute == "class":
        kept = [name for name in value.split() if name.startswith("language-")]
        return " ".join(kept) or None
    if attribute == "style":
        return value if value in ("text-align:left", "text-align:right", "text-align:center") else None
    if attribute == "cite":  # an address that nh3 does not take for one
        scheme = _SCHEME.match(_INVISIBLE.sub("", value))
        return value if scheme is None or scheme[1].lower() in _SCHEMES else None
    return value


_parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
_renderer = RendererHTML(_parser)
_cleaner = nh3.Cleaner(
    tags=set(_TAGS),
    attributes=_ATTRIBUTES,
    attribute_filter=_keep_attribute,
    url_schemes=_SCHEMES,
    link_rel=None,
    set_tag_attribute_values={"img": {"loading": "lazy"}},
)
