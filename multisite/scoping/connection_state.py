"""What a statement leaves in its connection past the transaction, where the next user of the pool would find it.

Temporary tables, cursors WITH HOLD, prepared statements, a role and a setting outlast the commit, and with them what
one site has read. A connection on which a statement has made or set one is not given to anybody else: the pool replaces
it when it is next asked for it. That costs a new connection; closing each of these by its own command would cost a
round trip at least, cannot be done by every driver, and would miss what was forgotten here.

It is looked for in the text of statements. What a function in the database leaves, and a cursor of the driver, nobody
sees here. Within one use of a connection all of it stays, since its owner has put it there.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from sqlalchemy.engine import Connection
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from multisite.scoping.row_security import forget_transaction_site

__all__ = ["State", "discard_after_use", "handle_connection_state", "leaves_state", "sets_role", "state_left_by"]

_START = r"(?:^|[;'\n$]|\*/|\b(?:begin|then|else|loop))\s*"
"""Where a statement may begin, also one within a DO or within EXECUTE."""

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
    """What a statement does to its connection: see `leaves_state` and `sets_role`."""

    outlasts: bool
    sets_role: bool


def state_left_by(sql: str) -> State | None:
    """Return what the statement `sql` does to its connection; None if it leaves nothing there and sets no role."""
    state = State(leaves_state(sql), sets_role(sql))
    return state if any(state) else None


def handle_connection_state(state: State | None, connection: Connection, dbapi: Any) -> None:
    """Act on the `state` of the statement about to be executed; `dbapi` is the driver's connection."""
    if state is None:
        return
    if state.outlasts:
        discard_after_use(connection)
    if state.sets_role:
        forget_transaction_site(connection, dbapi)


def leaves_state(sql: str) -> bool:
    """Return whether a statement leaves something in its connection that outlasts its transaction."""
    if len(_TEMPORARY.findall(sql)) > len(_DROPPED.findall(sql)) or _HELD.search(sql) or _SETS_ROLE.search(sql):
        return True
    return len(_SET_CONFIG.findall(sql)) > len(_SET_CONFIG_LOCALLY.findall(sql))


def sets_role(sql: str) -> bool:
    """Return whether a statement may set the role or the site that its transaction is for, for now or for longer."""
    return _SETS_ROLE.search(sql) is not None or _SET_CONFIG.search(sql) is not None


def discard_after_use(connection: Connection) -> None:
    """Let the pool replace the connection to the database before it gives it to anybody else."""
    if connection.dialect.name == "sqlite" and isinstance(connection.engine.pool, (SingletonThreadPool, StaticPool)):
        # The database itself may be in memory, and would go with it.
        return
    connection.connection.invalidate(soft=True)
