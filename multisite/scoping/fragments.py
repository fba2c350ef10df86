"""Check SQL text: whether a fragment is self-contained, and whether a limit after WHERE holds. No I/O.

How text got into a statement does not matter: the finished SQL is read as the database will read it, so that hints,
suffixes, names of types and the application's own constructs are all covered.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from multisite.scoping.lexical import NUL, keyword, tokens

__all__ = ["has_single_do", "is_limited", "is_limited_on", "is_self_contained", "is_single_value"]

_PLAIN = re.compile(r"[\w\s.,=<>?:%+*|!&@]*").fullmatch
_BREAKS_OUT = frozenset("'\"`;")
_NO_VALUE = frozenset(
    {"SELECT", "VALUES", "TABLE", "CONFLICT", "RETURNING", "UNION", "EXCEPT", "INTERSECT"}
)  # fmt: skip
_BEHIND_WHERE = frozenset(
    {
        "GROUP", "HAVING", "WINDOW", "ORDER", "LIMIT", "OFFSET", "FETCH", "FOR", "UNION", "EXCEPT", "INTERSECT",
        "RETURNING",
    }
)  # fmt: skip
"""The keywords that end WHERE: nothing after them can change which rows it selects."""

_BEHIND_ON = _BEHIND_WHERE | {"WHERE", ",", "JOIN", "LEFT", "RIGHT", "FULL", "INNER", "CROSS", "NATURAL"}
"""What ends the criteria of a join."""


def is_self_contained(text: str, dialect: str, *, with_comments: bool = False) -> bool:
    """Return whether `text` cannot end parentheses that are put around it.

    Its own parentheses are balanced, it leaves no string, quoted name or comment open, and it ends no statement.

    Args:
        text: the fragment.
        dialect: the name of its dialect.
        with_comments: allow comments that end with their line, and would hide a closing parenthesis on it.
    """
    if _PLAIN(text):
        return True
    if NUL in text:
        return False
    depth = 0
    for kind, part in tokens(text, dialect):
        if kind == "odd" or (kind == "comment" and (part == "/*" or has_nested_comment(part, dialect))):
            return False
        if kind == "comment" and part[:2] == "--" and not with_comments:
            return False
        if kind == "mark":
            depth += (part == "(") - (part == ")")
            # In PostgreSQL a single dollar may begin a string that another fragment ends.
            if depth < 0 or part in _BREAKS_OUT or (part == "$" and dialect == "postgresql"):
                return False
    return depth == 0


def is_single_value(text: str, dialect: str) -> bool:
    """Return whether `text` is self-contained and a single value: no comma, and no query, outside parentheses."""
    if not is_self_contained(text, dialect):
        return False
    depth = 0
    for kind, part in tokens(text, dialect):
        depth += (part in "([") - (part in ")]") if kind == "mark" else 0
        if depth == 0 and (part == "," or (kind == "word" and keyword(part) in _NO_VALUE)):
            return False
    return True


def has_nested_comment(comment: str, dialect: str) -> bool:
    """Return whether a comment contains the start of another: PostgreSQL nests comments, and `tokens` does not."""
    return dialect == "postgresql" and comment.startswith("/*") and "/*" in comment[2:]


def is_limited(sql: str, limit: str, dialect: str, *, behind: str | None = None) -> bool:
    """Return whether the criterion `limit` holds for every row of a statement.

    It holds if it is the first criterion after the only WHERE outside parentheses, and is followed by nothing, by a
    clause that ends WHERE, or by AND with criteria that can only narrow it: in parentheses, or without an OR.

    Args:
        sql: one SELECT, UPDATE or DELETE.
        limit: the criterion.
        dialect: the name of the dialect of both.
        behind: a keyword; only the text after it is checked, such as the UPDATE after the DO of an ON CONFLICT.
    """
    outside = _outside_parentheses(sql, dialect)
    if outside is not None and behind is not None:
        outside = outside[outside.index(behind) + 1 :] if behind in outside else None
    if outside is None or outside.count("WHERE") != 1:
        return False
    wanted = _outside_parentheses(limit, dialect)
    criteria = outside[outside.index("WHERE") + 1 :]
    if wanted is None or criteria[: len(wanted)] != wanted:
        return False
    return _only_narrows(criteria[len(wanted) :], _BEHIND_WHERE)


def is_limited_on(sql: str, limits: Iterable[str], dialect: str) -> bool:
    """Return whether each of `limits` that comes first after an ON of `sql`, one SELECT, holds there.

    It holds if it is followed by anything that `is_limited` allows, or by another table of FROM.
    """
    outside = _outside_parentheses(sql, dialect)
    wanted = [_outside_parentheses(limit, dialect) for limit in limits]
    if outside is None or None in wanted:
        return False
    behind = [outside[position + 1 :] for position, part in enumerate(outside) if part == "ON"]
    return all(
        _only_narrows(criteria[len(limit) :], _BEHIND_ON)
        for criteria in behind
        for limit in wanted
        if limit and criteria[: len(limit)] == limit
    )


def _only_narrows(rest: list[str], ends: Collection[str]) -> bool:
    """Return whether `rest`, after a limit, cannot widen it; one of the words `ends` may end the criteria."""
    if rest[:2] == ["AND", "()"]:
        rest = rest[2:]
    if rest[:1] == ["AND"]:
        return "OR" not in rest[: rest.index("RETURNING") if "RETURNING" in rest else None]
    return not rest or rest[0] in ends


def has_single_do(sql: str, dialect: str) -> bool:
    """Return whether `sql`, an ON CONFLICT, is self-contained and has one DO outside parentheses."""
    return is_self_contained(sql, dialect) and (_outside_parentheses(sql, dialect) or []).count("DO") == 1


def _outside_parentheses(sql: str, dialect: str) -> list[str] | None:
    """Return the tokens of `sql` outside parentheses, with "()" for each pair and keywords in capitals.

    None if `sql` has unbalanced parentheses, or cannot be read.
    """
    found: list[str] = []
    depth, point = 0, False
    for kind, part in tokens(sql, dialect):
        if kind == "odd" or (kind == "comment" and (part == "/*" or has_nested_comment(part, dialect))) or part == ";":
            return None
        if kind == "mark" and part == ")":
            depth -= 1
            if depth < 0:
                return None
        elif kind == "mark" and part == "(":
            depth += 1
            if depth == 1:
                found.append("()")
        elif depth == 0 and kind != "comment":
            # After a point comes a column, whatever its name is.
            found.append((keyword(part) or part) if kind == "word" and not point else part)
        point = part == "."
    return None if depth else found
