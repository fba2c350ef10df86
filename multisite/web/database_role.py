"""Check at startup that row-level security applies to the application's database role.

PostgreSQL silently ignores the policies for a superuser, a role with BYPASSRLS, the owner of a table without FORCE, and
a role that inherits from the all-sites role. If the database has multisite's policies and the application connects with
such a role, the application does not start. `multisite check` reports this and more.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import sqlalchemy as sa
from pyramid.settings import asbool
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.orm import scoped_session

from multisite.core.keys import DIRECTORY, SETTINGS
from multisite.core.settings import PREFIX
from multisite.errors import MultisiteError
from multisite.scoping.policies import ALL_SITES_POLICY, SETTING
from multisite.scoping.row_security import MUST_BIND

__all__ = ["bypass_reason", "check_database_role", "skip_database_role_check"]

log = logging.getLogger(__name__)

_is_skipped: ContextVar[bool] = ContextVar("multisite_database_role_check_skipped", default=False)

# Queries the current role, which may differ from the one that logged in.
_BINDING = sa.text(
    """
    SELECT r.rolname, r.rolsuper, r.rolbypassrls,
           ARRAY(SELECT DISTINCT p.polrelid::regclass::text FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
                 WHERE pg_get_expr(p.polqual, p.polrelid) LIKE '%' || :setting || '%'
                   AND c.relrowsecurity AND NOT row_security_active(p.polrelid) ORDER BY 1),
           ARRAY(SELECT DISTINCT a.rolname::text FROM pg_policy p JOIN pg_roles a ON a.oid = ANY (p.polroles)
                 WHERE p.polname = :all_sites AND pg_has_role(r.oid, a.oid, 'USAGE') ORDER BY 1)
    FROM pg_roles r WHERE r.rolname = current_user
    """
)


@contextmanager
def skip_database_role_check() -> Iterator[None]:
    """Let applications start within the block without this check, so that `multisite check` can report the problem."""
    token = _is_skipped.set(True)
    try:
        yield
    finally:
        _is_skipped.reset(token)


def bypass_reason(connection: Connection) -> str | None:
    """Return why multisite's policies do not apply to the role of `connection`; None if they do or there are none."""
    if connection.dialect.name != "postgresql":
        return None
    parameters = {"setting": SETTING, "all_sites": ALL_SITES_POLICY}
    role, is_superuser, bypasses, passing, inherited = connection.execute(_BINDING, parameters).one()
    if passing and (is_superuser or bypasses):
        return f"{role} is {'a superuser' if is_superuser else 'a role with BYPASSRLS'}"
    if passing:
        return f"{role} has the rights of the owner of {', '.join(passing)}, without FORCE ROW LEVEL SECURITY"
    if inherited:
        return f"{role} inherits the rights of {', '.join(inherited)}, which sees the rows of all sites"
    return None


def check_database_role(registry: Any, engine: Engine | None) -> None:
    """Check the role of each PostgreSQL engine of a completely configured application.

    These are `engine`, the directory's, and those in the registry. If a database does not respond, the check is made by
    the first statement that reaches it.

    Raises:
        MultisiteError: The policies do not apply to the role of an engine.
    """
    if _is_skipped.get() or asbool(registry.settings.get("pyramid.reload_templates")):
        return
    if registry[SETTINGS].allow_row_security_bypass:
        return
    for each in _engines(registry, engine):
        if each.dialect.name != "postgresql":
            continue
        if each.dialect.is_async:
            each.dialect.__dict__[MUST_BIND] = True
            continue
        try:
            reason = _bypass_reason_of(each)
        except sa.exc.DBAPIError as error:
            each.dialect.__dict__[MUST_BIND] = True
            log.warning("cannot check yet whether row-level security applies: %s", error.orig)
            continue
        if reason is not None:
            raise MultisiteError(
                f"row-level security is enabled in {each.url.render_as_string()} but does not apply to this "
                f"application: {reason}. Use a role as in docs/row-level-security.md, or set "
                f"{PREFIX}allow_row_security_bypass = true"
            )


def _bypass_reason_of(engine: Engine) -> str | None:
    with engine.connect() as connection:
        # Detached from the pool, because processes forked after startup would share a pooled connection.
        connection.detach()
        return bypass_reason(connection)


def _engines(registry: Any, engine: Engine | None) -> Iterator[Engine]:
    """Yield `engine`, the directory's engine, and those in the application's registry, each once."""
    seen: list[Engine] = []
    factories, asynchronous = _imported_classes("sessionmaker", "async_sessionmaker"), _imported_classes("AsyncEngine")
    found: Any
    for value in (engine, registry[DIRECTORY].engine, *registry.values()):
        found = value.session_factory if isinstance(value, scoped_session) else value
        if isinstance(found, factories):
            found = found.kw.get("bind")
        if isinstance(found, asynchronous):
            found = found.sync_engine
        if isinstance(found, Engine) and found not in seen:
            seen.append(found)
            yield found


def _imported_classes(*names: str) -> tuple[Any, ...]:
    """Return the SQLAlchemy classes of these names, without those not imported yet, which have no instances."""
    modules = [sys.modules.get(name) for name in ("sqlalchemy.orm", "sqlalchemy.ext.asyncio")]
    return tuple(vars(module)[name] for module in modules if module for name in names if name in vars(module))
