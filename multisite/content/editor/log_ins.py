"""Log-ins: rows of a table, whose token a cookie carries.

A request without the cookie costs no query. The token is random, and the database holds only its hash, in which the
site and the scheme are included: a cookie of another site, or one that was sent in clear text, does not log in.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pyramid.request import Request
from pyramid.response import Response

from multisite.content.editor.attempts import own_transaction
from multisite.content.users import AGENT_CHARACTERS, LogIn, User
from multisite.people import hash_token
from multisite.private_pages import csrf_token, printable
from multisite.sessions import cookie_name, read_cookies
from multisite.web.request import escape_path

__all__ = ["IDLE_DAYS", "LoggedIn", "end_log_in", "find_log_in", "forget_cookie", "list_log_ins", "start_log_in"]

IDLE_DAYS = 14
"""After how many days without a request a log-in ends."""

MAX_DAYS = 90
"""After how many days a log-in ends in any case."""

OPERATOR_SECONDS = 3600
"""After how many seconds the log-in of an operator as a user ends."""

_SEEN_SECONDS = 3600
"""How often, at most, the time of the last request is written."""

_DAY = 86_400


@dataclass(frozen=True)
class LoggedIn:
    """The user of a request, the log-in, and the token that forms must contain."""

    user: User
    log_in: LogIn
    csrf_token: str


def find_log_in(request: Request) -> LoggedIn | None:
    """Return who is logged in at the request's site; None if nobody is."""
    read_cookies(request)
    token = request.cookies.get(_cookie(request)["name"])
    if not token or len(token) > 100:
        return None
    now = int(time.time())
    statement = (
        sa.select(LogIn, User)
        .join(User, User.id == LogIn.user_id)
        .where(
            LogIn.token_hash == _hash(request, token),
            LogIn.generation == User.login_generation,
            LogIn.seen > now - IDLE_DAYS * _DAY,
            LogIn.created > now - sa.case((LogIn.operator.is_(None), MAX_DAYS * _DAY), else_=OPERATOR_SECONDS),
        )
    )
    found = request.dbsession.execute(statement).one_or_none()
    if found is None:
        return None
    log_in, user = found
    if log_in.seen < now - _SEEN_SECONDS:
        with own_transaction(request) as session:
            session.execute(sa.update(LogIn).where(LogIn.id == log_in.id).values(seen=now))
    return LoggedIn(user, log_in, csrf_token(token))


def start_log_in(request: Request, response: Response, user: User, *, operator: str | None = None) -> str:
    """Log `user` in, by a cookie of `response`. Log-ins of the user that are no longer valid are removed.

    Args:
        request: The current request.
        response: The response that sets the cookie.
        user: The user.
        operator: The operator who signs in as the user, if it is not the user.

    Returns:
        The token that forms must contain.
    """
    now, token = int(time.time()), secrets.token_urlsafe(32)
    session = request.dbsession
    session.flush()
    over = sa.or_(
        LogIn.generation != user.login_generation,
        LogIn.seen <= now - IDLE_DAYS * _DAY,
        LogIn.created <= now - MAX_DAYS * _DAY,
    )
    session.execute(sa.delete(LogIn).where(LogIn.user_id == user.id, over))
    agent = printable(request.user_agent or "", AGENT_CHARACTERS)
    session.add(
        LogIn(
            user_id=user.id,
            token_hash=_hash(request, token),
            generation=user.login_generation,
            created=now,
            seen=now,
            agent=agent,
            operator=operator,
        )
    )
    response.set_cookie(value=token, max_age=MAX_DAYS * _DAY, httponly=True, samesite="Lax", **_cookie(request))
    return csrf_token(token)


def list_log_ins(request: Request, user: User) -> Sequence[LogIn]:
    """Return the valid log-ins of `user`, the last used one first."""
    now = int(time.time())
    is_valid = (
        LogIn.generation == user.login_generation,
        LogIn.seen > now - IDLE_DAYS * _DAY,
        LogIn.created > now - MAX_DAYS * _DAY,
    )
    statement = sa.select(LogIn).where(LogIn.user_id == user.id, *is_valid).order_by(LogIn.seen.desc(), LogIn.id.desc())
    found: Sequence[LogIn] = request.dbsession.scalars(statement).all()
    return found


def end_log_in(request: Request, user: User, log_in_id: int) -> bool:
    """End a log-in of `user`. Return whether there was one with this id."""
    statement = sa.delete(LogIn).where(LogIn.user_id == user.id, LogIn.id == log_in_id).returning(LogIn.id)
    return request.dbsession.scalar(statement) is not None


def forget_cookie(request: Request, response: Response) -> None:
    """Remove the cookie of the log-in."""
    response.set_cookie(value=None, max_age=0, httponly=True, samesite="Lax", **_cookie(request))


def _cookie(request: Request) -> dict[str, Any]:
    """Return the name, the path and whether the cookie is for https, as multisite.sessions chooses them."""
    is_secure = request.scheme == "https"
    path = escape_path(request.environ.get("SCRIPT_NAME", "")) or "/"
    name = cookie_name("login", request.site, is_secure=is_secure, path=path)
    return {"name": name, "path": path, "secure": is_secure}


def _hash(request: Request, token: str) -> str:
    return hash_token(request.site, f"log-in {request.scheme}", token)
