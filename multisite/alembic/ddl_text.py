"""Edit the DDL text of constraints and indexes: add or remove `site_id`, change a name or an ON DELETE action.

The text is edited, and not generated from reflection, so that everything else in it (a predicate, an expression,
ON CONFLICT, INCLUDE, DEFERRABLE) stays unchanged. No I/O; for SQLite and PostgreSQL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from multisite.scoping.column import SITE_COLUMN

__all__ = [
    "Token",
    "clears_listed",
    "elements",
    "group_end",
    "mentions_site",
    "tokens_of",
    "unquoted",
    "with_name",
    "with_on_delete",
    "with_site",
    "without_match_full",
    "without_site",
]

_TOKENS = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*|/\*.*?(?:\*/|$))
    |(?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|'(?:[^']|'')*')
    |(?P<word>[^\W\d][\w$]*)
    |(?P<number>\d[\w.]*)
    |(?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A token of SQL, neither white space nor a comment; `start` and `end` are its offsets."""

    kind: str
    text: str
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        """Return whether this is one of the upper-case keywords `words`."""
        return self.kind == "word" and self.text.upper() in words


def tokens_of(sql: str) -> list[Token]:
    """Return the tokens of `sql`."""
    found = []
    for match in _TOKENS.finditer(sql):
        kind = match.lastgroup or "mark"
        if kind != "space":
            found.append(Token(kind, match.group(), match.start(), match.end()))
    return found


def unquoted(name: str) -> str:
    """Return an identifier without its quotes."""
    quote = name[0]
    if quote == "[":
        return name[1:-1]
    return name[1:-1].replace(quote * 2, quote) if quote in "\"'`" else name


def group_end(tokens: list[Token], opening: int) -> int:
    """Return the index of the parenthesis that closes the one at index `opening`."""
    depth = 0
    for index in range(opening, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[index].text, 0)
        if depth == 0:
            return index
    raise ValueError("a parenthesis is not closed")


def elements(tokens: list[Token], opening: int) -> list[list[Token]]:
    """Return the tokens of each item in the parenthesized list that begins at index `opening`."""
    found: list[list[Token]] = [[]]
    depth = 0
    for token in tokens[opening + 1 : group_end(tokens, opening)]:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if token.text == "," and depth == 0:
            found.append([])
        else:
            found[-1].append(token)
    return found


def with_site(definition: str) -> str:
    """Return a UNIQUE, FOREIGN KEY or CREATE INDEX with `site_id` as the first column of each column list."""
    for position in reversed([tokens[opening].end for tokens, opening in _lists(definition)]):
        definition = f"{definition[:position]}{SITE_COLUMN}, {definition[position:]}"
    return definition


def without_site(definition: str) -> str | None:
    """Return a UNIQUE, FOREIGN KEY or CREATE INDEX without `site_id`; None if it has no other column."""
    for tokens, opening in reversed(list(_lists(definition))):
        parts = elements(tokens, opening)
        kept = [definition[part[0].start : part[-1].end] for part in parts if not _is_site(part[0])]
        if not kept:
            return None
        closing = tokens[group_end(tokens, opening)]
        definition = f"{definition[: tokens[opening].end]}{', '.join(kept)}{definition[closing.start :]}"
    return definition


def _lists(definition: str) -> Iterator[tuple[list[Token], int]]:
    """Yield the tokens and the index of the opening parenthesis of each column list; a foreign key has two."""
    tokens = tokens_of(definition)
    first = next(index for index, token in enumerate(tokens) if token.text == "(")
    yield tokens, first
    if tokens[0].is_word("FOREIGN"):
        closing = group_end(tokens, first)
        yield tokens, next(index for index in range(closing, len(tokens)) if tokens[index].text == "(")


def with_name(definition: str, name: str) -> str:
    """Return a CREATE INDEX with the index renamed to `name`, which is quoted already."""
    tokens = tokens_of(definition)
    # The name is the token before ON, as in CREATE UNIQUE INDEX the_name ON the_table.
    old = tokens[next(index for index, token in enumerate(tokens) if token.is_word("ON")) - 1]
    return f"{definition[: old.start]}{name}{definition[old.end :]}"


def with_on_delete(definition: str, action: str | None) -> str:
    """Return a FOREIGN KEY with the ON DELETE `action`; None removes the clause."""
    tokens = tokens_of(definition)
    for index, token in enumerate(tokens[:-2]):
        if token.is_word("ON") and tokens[index + 1].is_word("DELETE"):
            last = index + (3 if tokens[index + 2].is_word("SET", "NO") else 2)
            if tokens[last + 1 : last + 2] and tokens[last + 1].text == "(":
                last = group_end(tokens, last + 1)
            end = tokens[last].end
            definition = definition[: token.start].rstrip() + definition[end:]
            break
    if action is None:
        return definition
    # Both databases accept the clause right after the column list, whatever follows.
    *_, (tokens, opening) = _lists(definition)
    position = tokens[group_end(tokens, opening)].end
    return f"{definition[:position]} ON DELETE {action}{definition[position:]}"


def clears_listed(definition: str) -> bool:
    """Return whether a FOREIGN KEY lists the columns that ON DELETE SET NULL or SET DEFAULT clears."""
    tokens = tokens_of(definition)
    return any(
        first.is_word("DELETE") and second.is_word("SET") and bracket.text == "("
        for first, second, _, bracket in zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False)
    )


def without_match_full(definition: str) -> str:
    """Return a FOREIGN KEY without MATCH FULL."""
    tokens = tokens_of(definition)
    for first, second in pairwise(tokens):
        if first.is_word("MATCH") and second.is_word("FULL"):
            return definition[: first.start].rstrip() + definition[second.end :]
    return definition


def mentions_site(sql: str) -> bool:
    """Return whether `sql` mentions the column `site_id`."""
    return any(_is_site(token) for token in tokens_of(sql))


def _is_site(token: Token) -> bool:
    # 'site_id' in single quotes is a string; that SQLite sometimes accepts it as a name is ignored.
    return token.text[0] != "'" and unquoted(token.text).lower() == SITE_COLUMN
