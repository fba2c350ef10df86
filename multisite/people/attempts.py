"""Count attempts to log in, in a table: all processes count together.

Count an attempt in a transaction of its own, before its outcome is known. So each concurrent attempt counts, and the
count stays if the request fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from multisite.users import TooManyAttempts, fold_login

__all__ = ["LIMIT", "PAUSE_SECONDS", "count_attempt", "login_key"]

LIMIT = 10
"""Attempts for one login before the pause."""

PAUSE_SECONDS = 900
"""After how many seconds the first of the attempts no longer counts."""


def login_key(purpose: str, login: str) -> str:
    """Return the key under which attempts with `login` are counted; all invalid logins share one."""
    try:
        return f"{purpose} {fold_login(login)}"
    except ValueError:
        return purpose


def count_attempt(
    execute: Callable[..., sa.Result[Any]], dialect: str, model: Any, key: Sequence[str], key_hash: str, limit: int
) -> None:
    """Count an attempt, and forget those that no longer count.

    Args:
        execute: Executes a statement in a transaction that is committed whatever happens next.
        dialect: The name of the database's dialect.
        model: A table, or a model, with the columns `key_hash`, `count` and `until` (Unix time).
        key: The columns of its unique constraint.
        key_hash: The hash of what is counted, such as a login, which may be somebody's address.
        limit: How many attempts there may be within the pause.

    Raises:
        TooManyAttempts: There were more.
    """
    now = int(time.time())
    columns = getattr(model, "__table__", model).c
    is_over = columns.until <= now
    insert = (postgresql if dialect == "postgresql" else sqlite).insert
    statement = (
        insert(model)
        .values(key_hash=key_hash, count=1, until=now + PAUSE_SECONDS)
        .on_conflict_do_update(
            index_elements=list(key),
            set_={
                "count": sa.case((is_over, 1), else_=columns["count"] + 1),
                "until": sa.case((is_over, now + PAUSE_SECONDS), else_=columns.until),
            },
        )
        .returning(columns["count"], columns.until)
    )
    row: Any = execute(statement).one()
    count, until = row
    if count == 1:
        execute(sa.delete(model).where(columns.until <= now))
    if count > limit:
        raise TooManyAttempts(max(1, until - now))
