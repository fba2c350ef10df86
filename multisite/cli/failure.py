"""Say in one line what went wrong, where it is something that a person can put right.

Imported only once something has gone wrong.
"""

from __future__ import annotations

import re

from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError, StatementError

from multisite import program
from multisite.autogenerate import OWN_TABLES
from multisite.errors import MultisiteError

__all__ = ["explain"]

_MISSING = ("no such table", "no such column", "has no column named", "does not exist")
"""How SQLite and PostgreSQL say that the tables are not, or not yet, what the models say."""

_ADVICE = {
    ("unable to open",): "is there a folder for it?",
    ("disk is full", "No space left", "disk I/O error"): "make room on its disk, and run the same command again",
    ("readonly database", "read-only transaction"): "let who runs this write to it, and run the same command again",
    ("permission denied",): "give the role of the URL in the ini that right, and run the same command again",
    ("database is locked",): "something else writes to it: run the same command again in a moment",
}
"""What to do, by how SQLite and PostgreSQL say what is the matter."""

_IS_IT_THERE = "is it there, and is the URL in the ini right?"

_MISSING_TABLE = re.compile(r'no such table: (?:\w+\.)?(\w+)|relation "(?:\w+\.)?(\w+)" does not exist')


def explain(error: BaseException) -> str | None:
    """Return the one line that a person needs, or None for an error that is a programmer's: it keeps its traceback."""
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
            f"a table of the application is missing or out of date ({reason}): [alembic] in the ini has to name the "
            f"application's migrations, and then '{program.command('migrate')}' runs them"
        )
    advice = next((advice for signs, advice in _ADVICE.items() if any(sign in reason for sign in signs)), _IS_IT_THERE)
    return f"the database cannot be used ({reason}): {advice}"


def _is_about_own_tables(reason: str, statement: str) -> bool:
    """Tell whether multisite's tables are what is missing: by the table's name, or by the statement for a column."""
    match = _MISSING_TABLE.search(reason)
    named = {match[1] or match[2]} if match else set(re.findall(r"\w+", statement))
    return not named.isdisjoint(OWN_TABLES)


def _one_line(error: BaseException | None) -> str:
    """Return the message with its lines joined; databases write several, to which the later ones add little."""
    return " ".join(str(error).split()) or type(error).__name__
