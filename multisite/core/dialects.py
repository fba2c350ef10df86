"""The supported databases.

The scoping layer scans compiled SQL by the lexical rules of its dialect. By the rules of another dialect it could
mistake text that the server executes for a comment, such as MariaDB's `/*! … */`. A dialect is therefore supported only
if its rules are in `multisite.scoping.lexical` and the attack catalogue passes on it.
"""

from __future__ import annotations

__all__ = ["SUPPORTED", "dialect_error"]

SUPPORTED = ("sqlite", "postgresql")
"""The names of the dialects in SQLAlchemy."""


def dialect_error(name: str) -> str | None:
    """Return why a database of the dialect `name` cannot hold scoped tables, as a sentence; None if it can."""
    if name in SUPPORTED:
        return None
    return (
        f"multisite supports SQLite and PostgreSQL, but this database is {name}: statements on scoped tables cannot be "
        "limited to a site there"
    )
