"""Explain an expected error in one line.

Imported only after an error, because it imports SQLAlchemy and alembic.
"""

from __future__ import annotations

import re

from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError, StatementError

from multisite.autogenerate import own_tables
from multisite.core import program
from multisite.errors import MultisiteError

__all__ = ["explain"]

_MISSING = ("no such table", "no such column", "has no column named", "does not exist")
"""How SQLite and PostgreSQL report that a table or column of a model is missing."""

_ADVICE = {
    ("unable to open",): "does its folder exist?",
    ("disk is full", "No space left", "disk I/O error"): "free space on its disk, and run the same command again",
    ("readonly database", "read-only transaction"): "give this user write access to it, and run the same command again",
    ("permission denied",): "grant that right to the role of the URL in the ini, and run the same command again",
    ("database is locked",): "another process is writing to it: run the same command again in a moment",
}
"""What to do, by the words in the error of SQLite or PostgreSQL."""

_CHECK_THE_URL = "does it exist, and is the URL in the ini right?"

_MISSING_TABLE = re.compile(r'no such table: (?:\w+\.)?(\w+)|relation "(?:\w+\.)?(\w+)" does not exist')


def explain(error: BaseException) -> str | None:
    """Return a message of one line for an expected error; None for a programming error, which keeps its traceback."""
    if isinstance(error, MultisiteError):
        return _one_line(error)
    if isinstance(error, CommandError):
        return f"alembic: {_one_line(error)}"
    if isinstance(error, DBAPIError):
        return _explain_database(error)
    if isinstance(error, StatementError) and isinstance(error.orig, MultisiteError):
        return _one_line(error.orig)
    return None


def _explain_database(error: DBAPIError) -> str:
    reason = _one_line(error.orig)
    if error.statement and any(sign in reason for sign in _MISSING):
        if _is_about_own_tables(reason, error.statement):
            return f"the tables of multisite are missing or out of date ({reason}): run '{program.command('migrate')}'"
        return (
            f"a table of the application is missing or out of date ({reason}): name the application's migrations in "
            f"[alembic] of the ini, and run '{program.command('migrate')}'"
        )
    advice = next(
        (advice for signs, advice in _ADVICE.items() if any(sign in reason for sign in signs)), _CHECK_THE_URL
    )
    return f"the database cannot be used ({reason}): {advice}"


def _is_about_own_tables(reason: str, statement: str) -> bool:
    """Return whether the missing table, or the statement with the missing column, is about multisite's own tables."""
    match = _MISSING_TABLE.search(reason)
    named = {match[1] or match[2]} if match else set(re.findall(r"\w+", statement))
    return not named.isdisjoint(own_tables())


def _one_line(error: BaseException | None) -> str:
    """Return the message of `error` in one line."""
    return " ".join(str(error).split()) or type(error).__name__
