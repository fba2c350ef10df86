"""Limit attempts to log in at a site, in the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from pyramid.request import Request
from sqlalchemy.orm import Session

from multisite.content.users import LoginAttempts, User
from multisite.people import attempts as people_attempts
from multisite.people import hash_token
from multisite.people.attempts import LIMIT, login_key
from multisite.users import TooManyAttempts

__all__ = ["count_attempt", "login_key", "own_transaction", "reset_attempts"]


@contextmanager
def own_transaction(request: Request) -> Iterator[Session]:
    """Yield a session for the request's site, and commit it at the end, even if the request fails.

    It is for rows that no page shows, and leaves the page cache alone. On SQLite, use it before the request's own
    session has changed anything, since there is one writer at a time.
    """
    engine = request.dbsession.get_bind(User).engine.execution_options(multisite_page_cache=False)
    with Session(engine, info={"site": request.site}) as session, session.begin():
        yield session


def count_attempt(request: Request, key: str, limit: int = LIMIT) -> None:
    """Count an attempt at the request's site. Raises `TooManyAttempts` if there were `limit` within the pause."""
    dialect = request.dbsession.get_bind(User).dialect.name
    too_many = None
    with own_transaction(request) as session:
        try:
            people_attempts.count_attempt(
                session.execute, dialect, LoginAttempts, ("site_id", "key_hash"), _hash(request, key), limit
            )
        except TooManyAttempts as error:  # Not from the block, whose transaction would be rolled back.
            too_many = error
    if too_many is not None:
        raise too_many


def reset_attempts(request: Request, key: str) -> None:
    """Forget the attempts with `key` at the request's site."""
    with own_transaction(request) as session:
        session.execute(sa.delete(LoginAttempts).where(LoginAttempts.key_hash == _hash(request, key)))


def _hash(request: Request, key: str) -> str:
    return hash_token(request.site, "attempt", key)
