"""Detect connection state that outlives its transaction, and keep such connections from being reused.

Temporary tables, cursors WITH HOLD, prepared statements, roles and settings survive a commit, and may hold what one
site has read. If a statement creates or sets one, the pool replaces the connection before its next use. That costs a
new connection. Undoing each kind with a command of its own would cost at least a round trip, is not possible with every
driver, and would miss any kind that is not listed here.

State is detected in the text of statements. State that a database function or a driver's cursor creates is not
detected. During one checkout of a connection its state is kept, because its owner created it.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from sqlalchemy.engine import Connection
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from multisite.scoping.row_security import forget_transaction_site

__all__ = ["State", "discard_after_use", "handle_connection_state", "leaves_state", "sets_role", "state_left_by"]

_COMMENT = re.compile(r"/\*.*?\*/|--[^\n\r]*", re.DOTALL)
"""Matches a comment. Nested comments are refused elsewhere."""

_START = r"(?:^|[;'\n\r$]|\*/|\b(?:begin|then|else|loop))\s*"
"""Matches where a statement may begin, including inside a DO block or an EXECUTE."""

_TEMPORARY = re.compile(
    r"(?:\bcreate|(?<!insert )\binto)\s+(?:or\s+replace\s+)?(?:(?:global|local)\s+)?temp(?:orary)?\b"
    r"|\bpg_temp\b|[^\w.]temp\"?\s*\.\s*\"?\w+\"?\s*(?:\(|as\b)",
    re.IGNORECASE,
)
_DROPPED = re.compile(r"\bon\s+commit\s+drop\b", re.IGNORECASE)
_HELD = re.compile(rf"\bwith\s+hold\b|{_START}prepare\b", re.IGNORECASE)

_SETS_ROLE = re.compile(
    rf"{_START}(?:set\s+(?:(?:session|local)\s+)?[\"']?(?:role|authorization|multisite)\b"
    rf"|reset\s+[\"']?(?:role|session|all|multisite)\b|discard\s+all\b)",
    re.IGNORECASE,
)
_SET_CONFIG = re.compile(r"\bset_config\"?\s*\(", re.IGNORECASE)
_SET_CONFIG_LOCALLY = re.compile(r"\bset_config\"?\s*\((?:[^()]|\([^()]*\))*,\s*true\s*\)", re.IGNORECASE)


class State(NamedTuple):
    """The effects of a statement on its connection: the results of `leaves_state` and `sets_role`."""

    outlasts: bool
    sets_role: bool


def state_left_by(sql: str) -> State | None:
    """Return the effects of the statement `sql` on its connection; None if it has none."""
    readings = [sql]
    if "/*" in sql or "--" in sql:
        # The text is also read as written, because what looks like a comment may be in a string.
        readings.append(_COMMENT.sub(" ", sql))
    state = State(any(map(leaves_state, readings)), any(map(sets_role, readings)))
    return state if any(state) else None


def handle_connection_state(state: State | None, connection: Connection, dbapi: Any) -> None:
    """Handle the effects of the statement about to be executed.

    Args:
        state: the effects, None for none.
        connection: the connection that executes the statement.
        dbapi: the driver's connection.
    """
    if state is None:
        return
    if state.outlasts:
        discard_after_use(connection)
    if state.sets_role:
        forget_transaction_site(connection, dbapi)


def leaves_state(sql: str) -> bool:
    """Return whether a statement leaves state in its connection that outlives the transaction."""
    if len(_TEMPORARY.findall(sql)) > len(_DROPPED.findall(sql)) or _HELD.search(sql) or _SETS_ROLE.search(sql):
        return True
    return len(_SET_CONFIG.findall(sql)) > len(_SET_CONFIG_LOCALLY.findall(sql))


def sets_role(sql: str) -> bool:
    """Return whether a statement may set the role or the site of its transaction, or of its session."""
    return _SETS_ROLE.search(sql) is not None or _SET_CONFIG.search(sql) is not None


def discard_after_use(connection: Connection) -> None:
    """Have the pool replace the driver's connection before anybody else uses it."""
    if connection.dialect.name == "sqlite" and isinstance(connection.engine.pool, (SingletonThreadPool, StaticPool)):
        # The database may be in memory, and would be lost with its only connection.
        return
    connection.connection.invalidate(soft=True)
