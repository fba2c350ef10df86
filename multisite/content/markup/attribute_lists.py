"""Attribute lists, `{: .note #first}` and `{#id}`: remove them from the text, and keep their ids.

See https://kramdown.gettalong.org/syntax.html#attribute-list-definitions and Python-Markdown's extension attr_list.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from markdown_it.token import Token

__all__ = ["drop_inline_lists", "read_block_lists"]

_PAIR = r"""(?:[#.][\w:-]+)+|[\w-]+=(?:"[^"{}\n]*"|'[^'{}\n]*'|[^\s"'{}]+)"""
_ITEM = rf"{_PAIR}|[\w-]+"
# Items are separated by spaces, so there is only one way to match a list, and no backtracking over its splits.
_HEADING_END = re.compile(rf"[ \t]\{{:?[ \t]*((?:{_PAIR})(?:[ \t]+(?:{_PAIR}))*)[ \t]*\}}[ \t]*$")
_LIST = rf"\{{:[ \t]*(?P<list>(?:{_ITEM})(?:[ \t]+(?:{_ITEM}))*)[ \t]*\}}"
_FIRST_LINE = re.compile(rf"[ \t]*{_LIST}[ \t]*\n")
_LAST_LINE = re.compile(rf"(?:^|\n)[ \t]*{_LIST}[ \t]*$")
_INLINE = re.compile(_LIST)
_ID = re.compile(r"#([\w:.-]+)")
_LANGUAGE = re.compile(r"\.language-([\w+#-]+)")
_INLINE_ENDS = frozenset({"code_inline", "em_close", "image", "link_close", "s_close", "strong_close"})
_MAX_LIST = 1000
"""A list is searched in this many characters at the end of a paragraph."""


def read_block_lists(state: Any) -> None:
    """Remove the lists at the ends of headings and paragraphs before their text is parsed, and keep their ids."""
    tokens: list[Token] = state.tokens
    lines = state.src.split("\n")
    outermost = tokens[0] if tokens else None
    removed: set[int] = set()
    has_toc = False
    for index in range(1, len(tokens)):
        token, before = tokens[index], tokens[index - 1]
        if before.level == 0 and before.nesting == 1:
            outermost = before
        if token.type != "inline":
            continue
        if before.type == "paragraph_open" and token.content.startswith("{:"):
            _read_first_line(before, token)
        if not token.content.endswith(("}", "} ", "]")):
            continue
        if before.type == "heading_open":
            _read_heading(before, token)
        elif before.type == "paragraph_open":
            # At the beginning of a line, it belongs to the list or quotation around the paragraph.
            is_outside = before.map is not None and lines[before.map[1] - 1].startswith("{:")
            owner = outermost if is_outside and outermost is not None else before
            nothing, is_toc = _read_paragraph(tokens, index, owner, lines)
            # Only once: the search for the list starts here, and a page has one table of contents.
            removed |= _enclosing_list(tokens, index) if is_toc and not has_toc else nothing
            has_toc = has_toc or is_toc
    if removed:
        state.tokens = [token for number, token in enumerate(tokens) if number not in removed]


def drop_inline_lists(state: Any) -> None:
    """Remove the lists after links, images, code and emphasis."""
    for token in state.tokens:
        children = token.children or []
        for before, child in pairwise(children):
            while child.type == "text" and before.type in _INLINE_ENDS and (found := _INLINE.match(child.content)):
                child.content = child.content[found.end() :]


def _read_heading(heading: Token, inline: Token) -> None:
    found = _HEADING_END.search(inline.content[-_MAX_LIST:])
    if found is not None:
        inline.content = inline.content[: -len(found[0])]
        _set_id(heading, found[1])


def _read_first_line(paragraph: Token, inline: Token) -> None:
    """Remove the lists before the text of a paragraph."""
    while (found := _FIRST_LINE.match(inline.content[:_MAX_LIST])) is not None:
        inline.content = inline.content[found.end() :]
        _set_id(paragraph, found["list"])


def _read_paragraph(tokens: list[Token], index: int, owner: Token, lines: list[str]) -> tuple[set[int], bool]:
    """Remove the list from the paragraph whose text is at `index`; the id after a text is that of `owner`.

    Returns:
        The indexes of the tokens to delete, and whether the list marks the position of a table of contents.
    """
    inline, whole = tokens[index], {index - 1, index, index + 1}
    if inline.content == "[TOC]":
        return whole, False
    found = _LAST_LINE.search(inline.content[-_MAX_LIST:])
    if found is None:
        return set(), False
    inline.content = inline.content[: -len(found[0])]
    if "toc" in found["list"].split():
        return whole, True
    if inline.content.strip():
        _set_id(owner, found["list"])
        return set(), False
    if language := _LANGUAGE.search(found["list"]):
        _set_language(tokens[index - 2] if index > 1 else inline, language[1])
    block = _block_of(tokens, index, lines)
    if block is not None:
        _set_id(block, found["list"])
    return whole, False


def _set_language(code: Token, language: str) -> None:
    """Give a block of code without a language the one of the list below it."""
    if code.type in ("code_block", "fence") and not code.info.strip():
        code.type, code.info, code.markup = "fence", language, "```"


def _block_of(tokens: list[Token], index: int, lines: list[str]) -> Token | None:
    """Return the block to which a list on a line of its own belongs: the one directly above, else the one below."""
    line = (tokens[index - 1].map or [0, 0])[0]
    above = tokens[_start_of(tokens, index - 2)] if index > 1 else None
    below = tokens[index + 2] if index + 2 < len(tokens) and tokens[index + 2].nesting >= 0 else None
    return above if above is not None and (below is None or (line and lines[line - 1].strip())) else below


def _start_of(tokens: list[Token], index: int) -> int:
    """Return the index of the token that opens the block which ends at `index`."""
    level = tokens[index].level
    while tokens[index].nesting < 0 or tokens[index].level > level:
        index -= 1
    return index


def _set_id(token: Token, attributes: str) -> None:
    if name := _ID.search(attributes):
        token.attrSet("id", name[1])


def _enclosing_list(tokens: list[Token], index: int) -> set[int]:
    start, end = index, index
    while start > 0 and not tokens[start].type.endswith("_list_open"):
        start -= 1
    while end < len(tokens) - 1 and not (
        tokens[end].type.endswith("_list_close") and tokens[end].level == tokens[start].level
    ):
        end += 1
    return set(range(start, end + 1)) if tokens[start].type.endswith("_list_open") else {index - 1, index, index + 1}
