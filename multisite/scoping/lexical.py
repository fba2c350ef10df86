"""A tokenizer for SQL with the lexical rules of SQLite and PostgreSQL: all rules that depend on the dialect.

Sources: the SQLite tokenizer (src/tokenize.c) and PostgreSQL's manual, "Lexical Structure", with its scanner
(src/backend/parser/scan.l). Both treat every non-ASCII character as part of a name, ignore case for ASCII letters only,
and do not treat a Unicode space as white space.
"""

from __future__ import annotations

import re
from functools import lru_cache

from multisite.core.lazy import lazy_pattern

__all__ = ["NUL", "keyword", "tokens"]

NUL = "\0"
"""The character at which a driver may cut SQL off, in quotes too. No database allows it anywhere."""

# The ASCII characters that are no letters. Each class is the negation of such characters: a class with a range up to
# U+10FFFF takes milliseconds to compile, which every process would spend at its start.
_NO_LETTERS = r"\x3a-\x40\x5b-\x5e\x60\x7b-\x7f"
_LETTER = rf"[^\x00-\x2f0-9{_NO_LETTERS}]"
_LETTER_OR_DIGIT = rf"[^\x00-\x2f{_NO_LETTERS}]"
_IN_WORD = rf"[^\x00-\x23\x25-\x2f{_NO_LETTERS}]"  # letters, digits and "$"
_COMMON = rf"""
    (?P<comment>--[^{{newline}}]*|/\*.*?\*/|/\*)
  | (?P<string>'(?:[^']|'')*')
  | (?P<quoted>"(?:[^"]|"")*"{{quoted}})
  | (?P<space>[ \t\n\r\f\v]+{{space}})
  | (?P<word>{_LETTER}{_IN_WORD}*)
  | (?P<mark>\d[\d.]*(?:[eE][+-]?\d+)?|.)
"""
_ESCAPED = r"[eE]'(?:[^'\\]|\\.|'')*'"
_POSTGRESQL = lazy_pattern(
    # A string with escapes continues, with escapes, in a string on a later line.
    rf"(?P<odd>{_ESCAPED}(?:[ \t\f\v]|--[^\n\r]*)*[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*[\n\r])*')"
    rf"|(?P<escaped>{_ESCAPED}|\$(?P<tag>{_LETTER}{_LETTER_OR_DIGIT}*|)\$.*?\$(?P=tag)\$)|"
    + _COMMON.format(quoted="", space="", newline=r"\n\r"),
    re.VERBOSE | re.DOTALL,
)
_OTHERS = re.compile(
    # A Tcl parameter, `$name(…)`, may contain quotes. A byte order mark is white space.
    rf"(?P<odd>[$@#:](?:{_IN_WORD}|::)+\()|"
    + _COMMON.format(quoted=r"|`(?:[^`]|``)*`|\[[^\]]*\]", space=r"|\ufeff", newline=r"\n"),
    re.VERBOSE | re.DOTALL,
)

_PLACEHOLDERS = re.compile(r"__\[SCHEMA_(?:\w|[ .-](?=\w))*\]\.|__\[POSTCOMPILE_\w*\]")
"""Matches the placeholders that SQLAlchemy replaces when it executes a compiled statement. Text may look like one, such
as an array's element, so nothing that could contain a query, a quote or a comment matches."""


@lru_cache(maxsize=32)
def tokens(sql: str, dialect: str) -> tuple[tuple[str, str], ...]:
    """Return the tokens of `sql` without white space, each as its kind and its text.

    The kinds are "comment", "string", "quoted" (a name in quotes), "word", "mark", and "odd" for constructs whose end
    cannot be found reliably. Recent results are cached, because a statement is scanned when it is limited and again
    when it is finished.
    """
    pattern = _POSTGRESQL if dialect == "postgresql" else _OTHERS
    found = []
    for match in pattern.finditer(_PLACEHOLDERS.sub("", sql)):
        kind = match.lastgroup or "mark"
        if kind in ("tag", "escaped"):
            kind = "string"
        if kind != "space":
            found.append((kind, match.group()))
    return tuple(found)


def keyword(text: str) -> str:
    """Return `text` as a keyword, in capitals; "" if it has other letters: LIMIT with a Turkish dotless i is a name."""
    return text.upper() if text.isascii() else ""
