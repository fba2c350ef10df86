"""Whether a piece of SQL stays where it was put, and whether a limit behind WHERE holds: pure, by reading the SQL.

None of this asks how text came into a statement. What the compiler made is read once more, as the database will read
it, so that a hint, a suffix, a type's name or a construct of the application's own are all the same.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from multisite.scoping.lexical import keyword, tokens

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
"""The keywords that end WHERE: whatever follows them cannot change which rows it takes."""

_BEHIND_ON = _BEHIND_WHERE | {"WHERE", ",", "JOIN", "LEFT", "RIGHT", "FULL", "INNER", "CROSS", "NATURAL"}
"""What ends the criteria of a join."""


def is_self_contained(text: str, dialect: str, *, with_comments: bool = False) -> bool:
    """Return whether `text` stays inside brackets that are put around it: its own are balanced, and it leaves no
    string, quoted name or comment open and no statement ended. `with_comments` does not count comments that end with
    their line, and with it the brackets."""
    if _PLAIN(text):
        return True
    depth = 0
    for kind, part in tokens(text, dialect):
        if kind == "odd" or (kind == "comment" and (part == "/*" or has_nested_comment(part, dialect))):
            return False
        if kind == "comment" and part[:2] == "--" and not with_comments:
            return False
        if kind == "mark":
            depth += (part == "(") - (part == ")")
            # A lone dollar would begin a string of PostgreSQL, which another piece of text ends.
            if depth < 0 or part in _BREAKS_OUT or (part == "$" and dialect == "postgresql"):
                return False
    return depth == 0


def is_single_value(text: str, dialect: str) -> bool:
    """Return whether `text` is whole and can be one value only: not two with a comma, and no query but in brackets."""
    if not is_self_contained(text, dialect):
        return False
    depth = 0
    for kind, part in tokens(text, dialect):
        depth += (part in "([") - (part in ")]") if kind == "mark" else 0
        if depth == 0 and (part == "," or (kind == "word" and keyword(part) in _NO_VALUE)):
            return False
    return True


def has_nested_comment(comment: str, dialect: str) -> bool:
    """Return whether a comment holds the start of another: in PostgreSQL it then ends later than it was read here."""
    return dialect == "postgresql" and comment.startswith("/*") and "/*" in comment[2:]


def is_limited(sql: str, limit: str, dialect: str, *, behind: str | None = None) -> bool:
    """Return whether the criterion `limit` holds for every row of `sql`, which is one SELECT, UPDATE or DELETE.

    It does if it is the first one behind the only WHERE outside of brackets, and is followed by nothing, by a clause
    that ends WHERE, or by AND and what can only narrow it: criteria in brackets, or others without an OR. With
    `behind`, a keyword, only what comes after that counts, as the UPDATE behind the DO of an ON CONFLICT.
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
    """Return whether each of `limits` that comes first behind an ON of `sql`, one SELECT, holds there.

    It does if it is followed by what `is_limited` allows, or by another table of FROM.
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
    """Return whether `rest`, behind a limit, leaves that as it is; one of the words `ends` may end the criteria."""
    if rest[:2] == ["AND", "()"]:
        rest = rest[2:]
    if rest[:1] == ["AND"]:
        return "OR" not in rest[: rest.index("RETURNING") if "RETURNING" in rest else None]
    return not rest or rest[0] in ends


def has_single_do(sql: str, dialect: str) -> bool:
    """Return whether `sql`, an ON CONFLICT, is whole and has one DO outside of brackets."""
    return is_self_contained(sql, dialect) and (_outside_parentheses(sql, dialect) or []).count("DO") == 1


def _outside_parentheses(sql: str, dialect: str) -> list[str] | None:
    """Return what stands outside of brackets, each pair of which is "()"; keywords are in capitals, quoted names and
    strings as they are. None if `sql` ends brackets that it did not begin, or cannot be read."""
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
            # Behind a point comes a column, whatever it is called.
            found.append((keyword(part) or part) if kind == "word" and not point else part)
        point = part == "."
    return None if depth else found
