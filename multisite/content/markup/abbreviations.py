"""Abbreviations, `*[HTML]: Hypertext Markup Language`, as kramdown and Python-Markdown have them.

Each line with a definition is removed, and the abbreviation in the text gets its meaning as a title.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import copy
from html import escape
from typing import Any

from markdown_it.token import Token

__all__ = ["mark_abbreviations", "read_definitions", "render_abbreviation"]

_DEFINITION = re.compile(r"^[ ]{0,3}\*\[([^\]\n]{1,100})\]:[ \t]*(.*)$", re.MULTILINE)
_MAX_DEFINITIONS = 50
"""How many abbreviations of a text get their meaning: each word is compared with all of them."""

_KEY = "abbreviations"


def read_definitions(state: Any) -> None:
    """Remove the definitions from the paragraphs of a text, before these are parsed."""
    found: dict[str, str] = {}
    tokens: list[Token] = state.tokens
    kept: list[Token] = []
    for token in tokens:
        kept.append(token)
        if token.type != "inline" or len(kept) < 2 or kept[-2].type != "paragraph_open" or "*[" not in token.content:
            continue
        definitions = _DEFINITION.findall(token.content)
        if definitions:
            found.update((name, meaning.strip()) for name, meaning in definitions)
            token.content = "\n".join(line for line in token.content.split("\n") if not _DEFINITION.match(line))
    state.env[_KEY] = dict(list(found.items())[:_MAX_DEFINITIONS])
    state.tokens = list(_without_empty_paragraphs(kept)) if found else tokens


def _without_empty_paragraphs(tokens: list[Token]) -> Iterator[Token]:
    skipped = 0
    for index, token in enumerate(tokens):
        following = tokens[index + 1] if index + 1 < len(tokens) else None
        if token.type == "paragraph_open" and following is not None and not following.content.strip():
            skipped = 3
        if skipped:
            skipped -= 1
        else:
            yield token


def mark_abbreviations(state: Any) -> None:
    """Write the meanings into the texts of all tokens."""
    meanings: dict[str, str] = state.env.get(_KEY) or {}
    if not meanings:
        return
    names = "|".join(re.escape(name) for name in sorted(meanings, key=len, reverse=True))
    pattern = re.compile(rf"(?<!\w)({names})(?!\w)")
    for token in state.tokens:
        if token.type == "inline" and pattern.search(token.content):
            token.children = [part for child in token.children or () for part in _parts(child, pattern, meanings)]


def _parts(token: Token, pattern: re.Pattern[str], meanings: dict[str, str]) -> Iterator[Token]:
    if token.type != "text" or not pattern.search(token.content):
        yield token
        return
    for index, text in enumerate(pattern.split(token.content)):
        part = copy(token)
        part.content = text
        if index % 2:
            part.type = "abbreviation"
            part.meta = {"title": meanings[text]}
        yield part


def render_abbreviation(_renderer: Any, tokens: Any, index: int, _options: Any, _env: Any) -> str:
    """Return the HTML of an abbreviation."""
    token = tokens[index]
    return f'<abbr title="{escape(token.meta["title"])}">{escape(token.content)}</abbr>'
