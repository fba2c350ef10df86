"""Links by which an operator signs in on a site as one of its users: good once, for a minute, at that site alone."""

from __future__ import annotations

import secrets
import time
from hashlib import sha256
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite.core.site import Site
from multisite.directory.console_tables import sign_ins_table
from multisite.directory.tables import AS_MULTISITE
from multisite.sites.operator_log import record

__all__ = ["LINK_SECONDS", "SignIn", "make_sign_in", "use_sign_in"]

LINK_SECONDS = 60
"""How long a link is good."""

_table = sign_ins_table.c


class SignIn(NamedTuple):
    """Who signs in: the name of the operator, and the id of the user of the site."""

    operator: str
    user_id: int


def make_sign_in(engine: Engine, site: Site, user_id: int, login: str, *, operator: str) -> str:
    """Return the token of a new link, and record it in the operator log.

    Args:
        engine: The database of the directory.
        site: The site.
        user_id: The id of the user, which is one of that site.
        login: The login of the user, for the log.
        operator: The name of the operator.
    """
    token, now = secrets.token_urlsafe(32), int(time.time())
    row = {"site_id": site.id, "user_id": user_id, "operator": operator, "expires": now + LINK_SECONDS}
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.delete(sign_ins_table).where(_table.expires <= now))
        connection.execute(sa.insert(sign_ins_table).values(token_hash=_hash(site, token), **row))
        record(connection, "sign-in", site, after={"user": login})
    return token


def use_sign_in(engine: Engine, site: Site, token: str) -> SignIn | None:
    """Return who signs in by the link with `token`, which then no longer works; None if it does not work at `site`."""
    own = _table.token_hash == _hash(site, token), _table.site_id == site.id, _table.expires > int(time.time())
    statement = sa.delete(sign_ins_table).where(*own).returning(_table.operator, _table.user_id)
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        row = connection.execute(statement).one_or_none()
    return None if row is None else SignIn(*row)


def _hash(site: Site, token: str) -> str:
    return sha256(f"sign-in\0{site.id}\0{token}".encode("utf-8", "replace")).hexdigest()
