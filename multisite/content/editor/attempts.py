"""Limit attempts to log in, in the database: all processes count together.

An attempt is counted in a transaction of its own, before its outcome is known. So each concurrent attempt counts, and
the count stays if the request fails.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from pyramid.request import Request
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from multisite.content.users import LoginAttempts, User
from multisite.people import hash_token
from multisite.users import TooManyAttempts, fold_login

__all__ = ["LIMIT", "PAUSE_SECONDS", "count_attempt", "login_key", "own_transaction", "reset_attempts"]

LIMIT = 10
"""Attempts for one login before the pause."""

PAUSE_SECONDS = 900
"""After how many seconds the first of the attempts no longer counts."""


@contextmanager
def own_transaction(request: Request) -> Iterator[Session]:
    """Yield a session for the request's site, and commit it at the end, even if the request fails.

    It is for rows that no page shows, and leaves the page cache alone. On SQLite, use it before the request's own
    session has changed anything, since there is one writer at a time.
    """
    engine = request.dbsession.get_bind(User).engine.execution_options(multisite_page_cache=False)
    with Session(engine, info={"site": request.site}) as session, session.begin():
        yield session


def login_key(purpose: str, login: str) -> str:
    """Return the key under which attempts with `login` are counted; all invalid logins share one."""
    try:
        return f"{purpose} {fold_login(login)}"
    except ValueError:
        return purpose


def count_attempt(request: Request, key: str, limit: int = LIMIT) -> None:
    """Count an attempt at the request's site. Raises `TooManyAttempts` if there were `limit` within the pause."""
    now = int(time.time())
    insert = (postgresql if request.dbsession.get_bind(User).dialect.name == "postgresql" else sqlite).insert
    is_over = LoginAttempts.until <= now
    statement = (
        insert(LoginAttempts)
        .values(key_hash=_hash(request, key), count=1, until=now + PAUSE_SECONDS)
        .on_conflict_do_update(
            index_elements=["site_id", "key_hash"],
            set_={
                "count": sa.case((is_over, 1), else_=LoginAttempts.count + 1),
                "until": sa.case((is_over, now + PAUSE_SECONDS), else_=LoginAttempts.until),
            },
        )
        .returning(LoginAttempts.count, LoginAttempts.until)
    )
    with own_transaction(request) as session:
        count, until = session.execute(statement).one()
        if count == 1:
            session.execute(sa.delete(LoginAttempts).where(LoginAttempts.until <= now))
    if count > limit:
        raise TooManyAttempts(max(1, until - now))


def reset_attempts(request: Request, key: str) -> None:
    """Forget the attempts with `key` at the request's site."""
    with own_transaction(request) as session:
        session.execute(sa.delete(LoginAttempts).where(LoginAttempts.key_hash == _hash(request, key)))


def _hash(request: Request, key: str) -> str:
    return hash_token(request.site, "attempt", key)
