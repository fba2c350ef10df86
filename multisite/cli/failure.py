"""Say in one line what went wrong, where it is something that a person can put right.

Imported only once something has gone wrong.
"""

from __future__ import annotations

import re

from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError, StatementError

from multisite.autogenerate import OWN_TABLES
from multisite.errors import MultisiteError

__all__ = ["explain"]

_MISSING = ("no such table", "no such column", "has no column named", "does not exist")
"""How SQLite and PostgreSQL say that the tables are not, or not yet, what the models say."""

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
            return f"the tables of multisite are missing or out of date ({reason}): run 'multisite migrate'"
        return (
            f"a table of the application is missing or out of date ({reason}): [alembic] in the ini has to name the "
            "application's migrations, and then 'multisite migrate' runs them"
        )
    hint = "is there a folder for it" if "unable to open" in reason else "is it there, and is the URL in the ini right"
    return f"the database cannot be used ({reason}): {hint}?"


def _is_about_own_tables(reason: str, statement: str) -> bool:
    """Tell whether multisite's tables are what is missing: by the table's name, or by the statement for a column."""
    match = _MISSING_TABLE.search(reason)
    named = {match[1] or match[2]} if match else set(re.findall(r"\w+", statement))
    return not named.isdisjoint(OWN_TABLES)


def _one_line(error: BaseException | None) -> str:
    """Return the message with its lines joined; databases write several, to which the later ones add little."""
    return " ".join(str(error).split()) or type(error).__name__
