"""Which databases multisite supports; pure.

The scoping layer reads finished SQL by the lexical rules of its dialect. By another's rules it would take a part that
the server executes for a comment, as MariaDB does with `/*! … */`. So a dialect is supported if its rules are in
`multisite.scoping.lexical`, and the catalogue of bypass attempts passes on it.
"""

from __future__ import annotations

__all__ = ["SUPPORTED", "dialect_error"]

SUPPORTED = ("sqlite", "postgresql")
"""The names of the dialects, as SQLAlchemy spells them."""


def dialect_error(name: str) -> str | None:
    """Return why scoped tables cannot be in a database of the dialect `name`, as a sentence; None if they can."""
    if name in SUPPORTED:
        return None
    return (
        f"multisite supports SQLite and PostgreSQL, and this database is {name}: statements on scoped tables cannot be "
        "limited to a site there"
    )
