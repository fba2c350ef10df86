"""Markdown dialects: CommonMark with tables, and the extensions of Jekyll, Hugo and Pelican.

`kramdown` is Jekyll's dialect, `goldmark` that of Hugo and Zola, `python-markdown` that of Pelican. All three have
footnotes, task lists, definition lists, URLs that become links, ids of headings, and mathematics, which stays
unchanged. `html` is what was converted from HTML: CommonMark in which elements keep their ids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from typing import Any, Literal, cast

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_block.html_block import html_block
from markdown_it.token import Token
from mdit_py_plugins.admon import admon_plugin
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.footnote import footnote_plugin

from multisite.content.markup.abbreviations import mark_abbreviations, read_definitions, render_abbreviation
from multisite.content.markup.anchors import add_heading_ids
from multisite.content.markup.attribute_lists import drop_inline_lists, read_block_lists
from multisite.content.markup.code_languages import read_code_languages
from multisite.content.markup.code_spans import find_code, is_in
from multisite.content.markup.highlighting import render_fence, render_html_block
from multisite.content.markup.kramdown import prepare_kramdown
from multisite.content.markup.plain_paragraphs import normalize, parse_paragraphs

__all__ = ["Dialect", "Parser", "find_features", "prepare"]

Dialect = Literal["commonmark", "html", "kramdown", "goldmark", "python-markdown"]

_WITHOUT_PLUGINS = ("commonmark", "html")

_PARSED_HTML = re.compile(
    r"""^(<[a-z][a-z0-9]*(?:\s[^<>\n]{0,300})?\smarkdown=["']?(?:1|block|span)["']?[^<>\n]{0,300}>)[ \t]*\n(?!\n)""",
    re.MULTILINE | re.IGNORECASE,
)
_TASK = re.compile(r"\[([ xX])\]\s+")
_HTML_PARAGRAPH = re.compile(
    r"""^<p(?:\s[^<>\n]{0,300})?\smarkdown=["']?(?:1|block|span)["']?[^<>\n]{0,300}>(.*)</p>[ \t]*$""",
    re.MULTILINE | re.IGNORECASE,
)
_HTML_LINE = re.compile(
    r"""^(<(div|section|article|aside|center)(?:\s[^<>\n]{0,300})?\smarkdown=["']?(?:1|block|span)["']?[^<>\n]{0,300}>)"""
    r"(.*)(</\2>)[ \t]*$",
    re.MULTILINE | re.IGNORECASE,
)
_TIGHT_HEADING = re.compile(r"^(#{1,6})(?=[^#\s])", re.MULTILINE)
_HEADING_END = re.compile(r"^(#{1,6}[^\n]*?[^#\\\n])#+[ \t]*$", re.MULTILINE)


_BARE_WWW = re.compile(r"(?<![\w./])www\.\w", re.ASCII)
_BARE_EMAIL = re.compile(r"(?<=[\w.+-])@[\w-]{1,63}\.\w", re.ASCII)
_WWW = re.compile(
    r"""(?:[\w-]{1,63}\.){1,9}[a-z]{2,20}(?![\w-])(?:[/?#](?:[^\s<>()"']*[^\s<>()"'.,;:!?*_~])?)?""", re.IGNORECASE
)
"""What follows `www.` in an address without a scheme."""

_DEFINITION = re.compile(r"^[ ]{0,3}\[([^\[\]\n]{1,200})\]:", re.MULTILINE)
_SPACED_REFERENCE = re.compile(r"(?<=\])[ ](?=\[([^\[\]\n]{1,200})\](?![:(\[]))")
_ADDRESS = re.compile("://")
_INLINE = "a|abbr|b|big|br|cite|code|del|em|font|i|img|ins|kbd|mark|q|s|samp|small|span|strong|sub|sup|tt|u|var"
_INLINE_ELEMENT = re.compile(rf"</?(?:{_INLINE})(?=[\s/>])", re.IGNORECASE)
_SIGNS = {
    "attributes": ("{", "[TOC]"),
    "tasks": ("[ ]", "[x]", "[X]"),
    "footnotes": ("[^",),
    "definitions": (": ", ":\t"),
    "mathematics": ("$",),
    "abbreviations": ("*[",),
    "inline elements": ("<",),
    "admonitions": ("!!!",),
    "code languages": (":::", "#!", "```{", "``` {", "~~~{", "~~~ {"),
}
"""What a text must contain to need a plugin: one of these, and a line that begins as below."""

_LINES = {
    "definitions": re.compile(r"\n[ \t>]*:[ \t]"),
    "abbreviations": re.compile(r"\n[ ]{0,3}\*\["),
    "inline elements": re.compile(rf"\n[ \t>]*</?(?:{_INLINE})(?=[\s/>])", re.IGNORECASE),
    "admonitions": re.compile(r"\n!!! ?\w"),
}


def prepare(source: str, dialect: Dialect) -> str:
    """Return `source` rewritten as CommonMark where a dialect differs in whole lines."""
    if dialect in _WITHOUT_PLUGINS:
        return source
    if "markdown=" in source:
        source = _PARSED_HTML.sub(r"\1\n\n", source)  # Content after an empty line is parsed as Markdown.
        source = _HTML_PARAGRAPH.sub(r"\1", source)
        source = _HTML_LINE.sub(r"\1\n\n\3\n\n\4", source)
    if dialect == "kramdown":
        source = prepare_kramdown(source)
    if dialect != "goldmark" and "]:" in source:
        source = _join_references(source)
    if dialect == "python-markdown" and "#" in source:
        source = _sub_outside_code(_TIGHT_HEADING, r"\1 ", source)
        source = _sub_outside_code(_HEADING_END, r"\1", source)
    return source


def _join_references(source: str) -> str:
    """Remove the space between a text and the name of its link, `[text] [name]`, which CommonMark does not allow."""
    if not _SPACED_REFERENCE.search(source):
        return source
    names = {found[1].lower() for found in _DEFINITION.finditer(source)}
    code = find_code(source)
    lines, position = source.split("\n"), 0

    def join(found: re.Match[str]) -> str:
        is_link = found[1].lower() in names and not is_in(position + found.start(), code)
        return "" if is_link else found[0]

    for number, line in enumerate(lines):
        if "] [" in line and not line.startswith(("    ", "\t")):
            lines[number] = _SPACED_REFERENCE.sub(join, line)
        position += len(line) + 1
    return "\n".join(lines)


def _sub_outside_code(pattern: re.Pattern[str], replacement: str, source: str) -> str:
    if not pattern.search(source):
        return source
    code = find_code(source)
    return pattern.sub(lambda found: found[0] if is_in(found.start(), code) else found.expand(replacement), source)


class Parser:
    """A parser and renderer of one dialect; cached by dialect and features."""

    def __init__(self, dialect: Dialect, features: frozenset[str]) -> None:
        self._markdown = MarkdownIt("commonmark", {"html": True, "linkify": "links" in features})
        self._markdown.enable(["table", "strikethrough"])
        self._markdown.core.ruler.at("normalize", normalize)
        self._markdown.core.ruler.at("inline", parse_paragraphs)
        self._markdown.add_render_rule("fence", render_fence)
        self._markdown.add_render_rule("html_block", render_html_block)
        if dialect not in _WITHOUT_PLUGINS:
            _add_plugins(self._markdown, dialect, features)
        self._renderer = cast(RendererHTML, self._markdown.renderer)

    @classmethod
    def for_text(cls, source: str, dialect: Dialect) -> Parser:
        """Return the parser of `dialect` with the plugins that `source` needs: each plugin slows down parsing."""
        if dialect in _WITHOUT_PLUGINS:
            return _make_parser(dialect, frozenset())
        return _make_parser(dialect, frozenset(find_features(source)))

    def parse(self, source: str, environment: dict[str, Any]) -> list[Token]:
        """Return the tokens of `source`; adds to `environment` what rendering needs."""
        return self._markdown.parse(source, environment)

    def render(self, tokens: Sequence[Token], environment: dict[str, Any]) -> str:
        """Return the HTML of `tokens`, not sanitized."""
        return self._renderer.render(tokens, self._markdown.options, environment)

    def render_inline(self, tokens: Sequence[Token]) -> str:
        """Return the HTML of tokens within a paragraph, not sanitized."""
        return self._renderer.renderInline(tokens, self._markdown.options, {})


def find_features(source: str) -> set[str]:
    """Return the names of the plugins that `source` needs."""
    features = {name for name, signs in _SIGNS.items() if any(sign in source for sign in signs)}
    if not features.isdisjoint(_LINES):
        lines = f"\n{source}"  # A pattern that begins with a newline is found faster than `^` in each line.
        features -= {name for name in features & _LINES.keys() if not _LINES[name].search(lines)}
    has_links = _has_bare_address(source) or ("www." in source and _BARE_WWW.search(source))
    return features | {"links"} if has_links or _BARE_EMAIL.search(source) else features


def _has_bare_address(source: str) -> bool:
    """Return whether `source` contains a URL outside of links, angle brackets and attributes."""
    for colon in _ADDRESS.finditer(source):
        before = source[max(0, colon.start() - 7) : colon.start()].lower()
        rest = before.removesuffix("https").removesuffix("http").removesuffix("ftp")
        if rest != before and not rest.endswith(("](", '="', "='", "<")) and not rest[-1:].isalnum():
            return True
    return False


@cache
def _make_parser(dialect: Dialect, features: frozenset[str]) -> Parser:
    return Parser(dialect, features)


def _add_plugins(markdown: MarkdownIt, dialect: Dialect, features: frozenset[str]) -> None:
    if "links" in features:
        _add_links(markdown, dialect)
    if "footnotes" in features:
        footnote_plugin(markdown, inline=False)
    if "definitions" in features:
        deflist_plugin(markdown)
        _limit_definitions(markdown)
    if "mathematics" in features:
        _add_mathematics(markdown)
    if "attributes" in features:
        markdown.core.ruler.after("block", "attribute_lists", read_block_lists)
        markdown.core.ruler.push("inline_attribute_lists", drop_inline_lists)
    if "tasks" in features:
        markdown.core.ruler.push("task_marks", _write_task_marks)
    if "abbreviations" in features and dialect != "goldmark":
        markdown.core.ruler.after("block", "abbreviation_definitions", read_definitions)
        markdown.core.ruler.push("abbreviations", mark_abbreviations)
        markdown.add_render_rule("abbreviation", render_abbreviation)
    ascii_only = dialect == "python-markdown"
    if dialect != "goldmark" and "inline elements" in features:
        _keep_inline_elements_in_paragraphs(markdown)
    if ascii_only:
        _add_python_extensions(markdown, features)
    raw = dialect == "goldmark"
    markdown.core.ruler.push("heading_ids", lambda state: add_heading_ids(state.tokens, ascii_only=ascii_only, raw=raw))


def _add_links(markdown: MarkdownIt, dialect: Dialect) -> None:
    if markdown.linkify is None:
        return
    markdown.enable("linkify")
    markdown.linkify.set({"fuzzy_link": False, "fuzzy_email": dialect == "goldmark"})  # `content.py` is not a host.
    markdown.linkify.add("//", None)
    if dialect == "goldmark":
        markdown.linkify.add("www.", {"validate": _WWW, "normalize": _add_scheme})


def _add_scheme(_linkify: Any, match: Any) -> None:
    match.url = f"https://{match.url}"


def _add_python_extensions(markdown: MarkdownIt, features: frozenset[str]) -> None:
    if "admonitions" in features:
        admon_plugin(markdown)
    if "code languages" in features:
        markdown.core.ruler.after("block", "code_languages", read_code_languages)


def _limit_definitions(markdown: MarkdownIt) -> None:
    """Let only `:` begin a definition, and no indented code: the plugin also reads Pandoc's `~`, and `    : code`."""
    ruler = markdown.block.ruler
    read = next(rule.fn for rule in ruler.__rules__ if rule.name == "deflist")

    def read_limited(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        line = start if silent else start + 1
        line += not silent and line < end and state.isEmpty(line)
        if line < end:
            position = state.bMarks[line] + state.tShift[line]
            if state.src[position : position + 1] == "~" or state.is_code_block(line):
                return False
        return read(state, start, end, silent)

    ruler.at("deflist", read_limited, {"alt": ["paragraph", "reference", "blockquote"]})


def _keep_inline_elements_in_paragraphs(markdown: MarkdownIt) -> None:
    """Start a paragraph at a line such as `<span id="x" />`, as kramdown and Python-Markdown do.

    CommonMark starts a block of HTML there, which ends at the next empty line and hides a heading in the next line.
    """

    def read(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        position = state.bMarks[start] + state.tShift[start]
        if _INLINE_ELEMENT.match(state.src, position):
            return False
        return html_block(state, start, end, silent)

    markdown.block.ruler.at("html_block", read, {"alt": ["paragraph", "reference", "blockquote"]})


def _add_mathematics(markdown: MarkdownIt) -> None:
    dollarmath_plugin(markdown, allow_labels=False, allow_space=False, allow_digits=False, double_inline=True)
    for name, mark in (("math_inline", "$"), ("math_inline_double", "$$"), ("math_block", "$$")):
        markdown.add_render_rule(name, _as_written(mark))


def _as_written(mark: str) -> Any:
    def render(_renderer: Any, tokens: Sequence[Token], index: int, _options: Any, _env: Mapping[str, Any]) -> str:
        text = escape(f"{mark}{tokens[index].content}{mark}", quote=False)
        return f"<p>{text}</p>\n" if tokens[index].type == "math_block" else text

    return render


def _write_task_marks(state: Any) -> None:
    """Replace the check boxes of task lists by characters, since a page has no form.

    The plugin for task lists is not used: it searches from each item back to the beginning of the text.
    """
    for item, paragraph, token in zip(state.tokens, state.tokens[1:], state.tokens[2:], strict=False):
        if token.type == "inline" and paragraph.type == "paragraph_open" and item.type == "list_item_open":
            first = token.children[0] if token.children else None
            if first is not None and first.type == "text" and (box := _TASK.match(first.content)):
                first.content = f"{'☐' if box[1] == ' ' else '☑'} {first.content[box.end() :]}"
