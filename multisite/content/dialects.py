"""The dialects of Markdown: CommonMark with tables, and what Jekyll, Hugo and Pelican understand beside that.

`kramdown` is Jekyll's, `goldmark` that of Hugo and Zola, `python-markdown` Pelican's. All three have footnotes, task
lists, definition lists, addresses that become links, ids of headings, and mathematics, which is left as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from typing import Any, Literal, cast

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.footnote import footnote_plugin

from multisite.content.anchors import add_heading_ids
from multisite.content.attribute_lists import drop_inline_lists, read_block_lists
from multisite.content.code_spans import find_code, is_in

__all__ = ["Dialect", "Parser", "prepare"]

Dialect = Literal["commonmark", "kramdown", "goldmark", "python-markdown"]

_PARSED_HTML = re.compile(
    r"""^(<[a-z][a-z0-9]*(?:\s[^<>\n]*)?\smarkdown=["']?(?:1|block|span)["']?[^<>\n]*>)[ \t]*\n(?!\n)""",
    re.MULTILINE | re.IGNORECASE,
)
_TASK = re.compile(r"\[([ xX])\]\s+")
_TIGHT_HEADING = re.compile(r"^(#{1,6})(?=[^#\s])", re.MULTILINE)


def prepare(source: str, dialect: Dialect) -> str:
    """Return `source` as CommonMark would write it, where a dialect differs in whole lines."""
    if dialect == "commonmark":
        return source
    if "markdown=" in source:
        source = _PARSED_HTML.sub(r"\1\n\n", source)  # what is in the element is Markdown behind an empty line
    if dialect == "python-markdown" and _TIGHT_HEADING.search(source):
        code = find_code(source)
        source = _TIGHT_HEADING.sub(lambda found: found[1] if is_in(found.start(), code) else f"{found[1]} ", source)
    return source


class Parser:
    """A parser of one dialect, and the renderer of its tokens; made once in a process."""

    def __init__(self, dialect: Dialect) -> None:
        self._markdown = MarkdownIt("commonmark", {"html": True, "linkify": dialect != "commonmark"})
        self._markdown.enable(["table", "strikethrough"])
        if dialect != "commonmark":
            _add_plugins(self._markdown, dialect)
        self._renderer = cast(RendererHTML, self._markdown.renderer)

    @staticmethod
    @cache
    def of(dialect: Dialect) -> Parser:
        """Return the parser of `dialect`."""
        return Parser(dialect)

    def parse(self, source: str, environment: dict[str, Any]) -> list[Token]:
        """Return the tokens of `source`; `environment` is filled with what rendering them needs."""
        return self._markdown.parse(source, environment)

    def render(self, tokens: Sequence[Token], environment: dict[str, Any]) -> str:
        """Return the HTML of `tokens`, which is not cleaned yet."""
        return self._renderer.render(tokens, self._markdown.options, environment)

    def render_inline(self, tokens: Sequence[Token]) -> str:
        """Return the HTML of the tokens within a paragraph, which is not cleaned yet."""
        return self._renderer.renderInline(tokens, self._markdown.options, {})


def _add_plugins(markdown: MarkdownIt, dialect: Dialect) -> None:
    markdown.enable("linkify")
    if markdown.linkify is not None:  # only addresses with a scheme: `content.py` is no host
        markdown.linkify.set({"fuzzy_link": False, "fuzzy_email": False})
    footnote_plugin(markdown, inline=False)
    deflist_plugin(markdown)
    dollarmath_plugin(markdown, allow_labels=False, allow_space=False, allow_digits=False, double_inline=True)
    for name, mark in (("math_inline", "$"), ("math_inline_double", "$$"), ("math_block", "$$")):
        markdown.add_render_rule(name, _as_written(mark))
    markdown.core.ruler.after("block", "attribute_lists", read_block_lists)
    markdown.core.ruler.push("inline_attribute_lists", drop_inline_lists)
    markdown.core.ruler.push("task_marks", _write_task_marks)
    markdown.core.ruler.push(
        "heading_ids", lambda state: add_heading_ids(state.tokens, ascii_only=dialect == "python-markdown")
    )


def _as_written(mark: str) -> Any:
    def render(_renderer: Any, tokens: Sequence[Token], index: int, _options: Any, _env: Mapping[str, Any]) -> str:
        text = escape(f"{mark}{tokens[index].content}{mark}", quote=False)
        return f"<p>{text}</p>\n" if tokens[index].type == "math_block" else text

    return render


def _write_task_marks(state: Any) -> None:
    """Write the boxes of task lists as signs: a text has no form.

    Not by the plugin for them, which looks for the list of each item from there to the beginning of the text.
    """
    for item, paragraph, token in zip(state.tokens, state.tokens[1:], state.tokens[2:], strict=False):
        if token.type == "inline" and paragraph.type == "paragraph_open" and item.type == "list_item_open":
            first = token.children[0] if token.children else None
            if first is not None and first.type == "text" and (box := _TASK.match(first.content)):
                first.content = f"{'☐' if box[1] == ' ' else '☑'} {first.content[box.end() :]}"
