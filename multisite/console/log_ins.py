"""Log-ins of operators: rows of a table, whose token a cookie carries.

The cookie has a name of its own and is for the host of the console alone, so that no site receives it. The token is
random, and the database holds only its hash, in which the scheme is included: a cookie that was sent in clear text does
not log in over https.
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

from multisite.console.operators import Operator, hash_token
from multisite.directory.console_tables import attempts_table, log_ins_table, operators_table
from multisite.directory.tables import AS_MULTISITE
from multisite.people.attempts import count_attempt, login_key
from multisite.private_pages import csrf_token, printable
from multisite.sites.jobs import count_jobs

__all__ = [
    "CONFIRMED_SECONDS",
    "IDLE_SECONDS",
    "MAX_SECONDS",
    "CurrentOperator",
    "confirm_log_in",
    "count_login_attempt",
    "end_log_in",
    "find_log_in",
    "forget_cookie",
    "list_log_ins",
    "reset_login_attempts",
    "start_log_in",
]

IDLE_SECONDS = 3600
"""After how many seconds without a request a log-in ends."""

MAX_SECONDS = 12 * 3600
"""After how many seconds a log-in ends in any case."""

CONFIRMED_SECONDS = 300
"""For how many seconds after a log-in, or after entering password and code again, dangerous actions are possible."""

ADDRESS_LIMIT = 50
"""Attempts to log in from one network address before the pause: several operators may share one."""

LOGIN_LIMIT = 10
"""Attempts to log in with one login before the pause."""

_SEEN_SECONDS = 60
"""How often, at most, the time of the last request is written."""

_table = log_ins_table.c


@dataclass(frozen=True)
class CurrentOperator:
    """The operator of a request, the id of the log-in, whether it was confirmed just now, and the token of forms.

    And what the menu shows: how many jobs have not ended, and how many have failed within the last day.
    """

    operator: Operator
    id: int
    is_confirmed: bool
    csrf_token: str
    open_jobs: int
    failed_jobs: int


@dataclass(frozen=True)
class ListedLogIn:
    """A log-in, for its operator to recognize. `seen` is Unix time, in seconds."""

    id: int
    seen: int
    agent: str


def find_log_in(request: Request) -> CurrentOperator | None:
    """Return who is logged in; None if nobody is. A request without the cookie costs no query."""
    token = request.cookies.get(_cookie(request)["name"])
    if not token or len(token) > 100:
        return None
    now, operator = int(time.time()), operators_table.c
    statement = (
        sa.select(
            _table.id, _table.seen, _table.confirmed, operator.id, operator.login, operator.role,
            operator.password_hash, operator.code_secret, *count_jobs(),
        )
        .join_from(log_ins_table, operators_table)
        .where(_table.token_hash == _hash(request, token), *_is_valid(now))
    )  # fmt: skip
    engine = request.console.engine
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    log_in_id, seen, confirmed, *columns, open_jobs, failed_jobs = row
    if seen < now - _SEEN_SECONDS:
        with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
            connection.execute(sa.update(log_ins_table).where(_table.id == log_in_id).values(seen=now))
    is_confirmed = confirmed > now - CONFIRMED_SECONDS
    return CurrentOperator(Operator(*columns), log_in_id, is_confirmed, csrf_token(token), open_jobs, failed_jobs)


def _is_valid(now: int) -> tuple[sa.ColumnElement[bool], ...]:
    return _table.seen > now - IDLE_SECONDS, _table.created > now - MAX_SECONDS


def start_log_in(request: Request, response: Response, operator: Operator) -> None:
    """Log `operator` in, by a cookie of `response`. Log-ins that have ended are removed."""
    now, token = int(time.time()), secrets.token_urlsafe(32)
    values = {
        "operator_id": operator.id,
        "token_hash": _hash(request, token),
        "created": now,
        "seen": now,
        "confirmed": now,
        "agent": printable(request.user_agent or "", 300),
    }
    with request.console.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.delete(log_ins_table).where(sa.not_(sa.and_(*_is_valid(now)))))
        connection.execute(sa.insert(log_ins_table).values(**values))
    response.set_cookie(value=token, max_age=MAX_SECONDS, httponly=True, samesite="Lax", **_cookie(request))


def confirm_log_in(request: Request) -> None:
    """Record that the operator of the request has just entered the password and a code again."""
    confirmed = sa.update(log_ins_table).where(_table.id == request.log_in.id).values(confirmed=int(time.time()))
    with request.console.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(confirmed)


def list_log_ins(request: Request, operator: Operator) -> Sequence[ListedLogIn]:
    """Return the valid log-ins of `operator`, the last used one first."""
    statement = sa.select(_table.id, _table.seen, _table.agent).where(
        _table.operator_id == operator.id, *_is_valid(int(time.time()))
    )
    with request.console.engine.connect().execution_options(**AS_MULTISITE) as connection:
        return [
            ListedLogIn(*row) for row in connection.execute(statement.order_by(_table.seen.desc(), _table.id.desc()))
        ]


def end_log_in(request: Request, operator: Operator, log_in_id: int) -> bool:
    """End a log-in of `operator`. Return whether there was one with this id."""
    statement = sa.delete(log_ins_table).where(_table.operator_id == operator.id, _table.id == log_in_id)
    with request.console.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        return bool(connection.execute(statement).rowcount)


def count_login_attempt(request: Request, login: str | None) -> None:
    """Count an attempt of the address, and one to log in as `login` unless it is None. Raises `TooManyAttempts`."""
    keys = [(f"address {request.remote_addr}", ADDRESS_LIMIT)]
    if login is not None:
        keys.append((login_key("log-in", login), LOGIN_LIMIT))
    engine = request.console.engine.execution_options(isolation_level="AUTOCOMMIT", **AS_MULTISITE)
    with engine.connect() as connection:
        for key, limit in keys:
            hashed = hash_token("attempt", key)
            count_attempt(connection.execute, connection.dialect.name, attempts_table, ["key_hash"], hashed, limit)


def reset_login_attempts(request: Request, login: str) -> None:
    """Forget the attempts to log in as `login`."""
    own = attempts_table.c.key_hash == hash_token("attempt", login_key("log-in", login))
    with request.console.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.delete(attempts_table).where(own))


def forget_cookie(request: Request, response: Response) -> None:
    """Remove the cookie of the log-in."""
    response.set_cookie(value=None, max_age=0, httponly=True, samesite="Lax", **_cookie(request))


def _cookie(request: Request) -> dict[str, Any]:
    is_secure = request.scheme == "https"
    # With the prefix, browsers accept the cookie from this host alone (RFC 6265bis section 4.1.3.2).
    return {"name": "__Host-multisite_console" if is_secure else "multisite_console", "path": "/", "secure": is_secure}


def _hash(request: Request, token: str) -> str:
    return hash_token(f"log-in {request.scheme}", token)
