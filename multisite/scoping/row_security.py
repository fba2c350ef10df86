"""Row-level security of PostgreSQL: set the site of each transaction.

The policies, which `multisite.alembic` creates, show and accept only rows of the site in the setting
`multisite.site_id`, and raise an error if it is not set. This module sets it once per transaction, before the first
statement, and again if the scope of a plain Connection changes or a savepoint reverts the setting. Under `all_sites` it
sets another role instead, which has a policy without a limit.

That is the form `role` of the policies. Policies of the form `setting` accept the value "all" from members of that
role: a distributed PostgreSQL forwards settings to its other servers, but not roles.

Everything is set for the transaction only (SET LOCAL), so nothing reaches the next user of the connection, also with
pgbouncer. It is set by a literal SET and not by `set_config()`, because a Citus coordinator forwards only the former to
its workers.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from weakref import ref

from sqlalchemy.engine import Connection
from sqlalchemy.engine.base import NestedTransaction

from multisite.core.current_site import Scope
from multisite.core.lazy import lazy_pattern
from multisite.core.settings import ALL_SITES_ROLE
from multisite.scoping.errors import MultisiteError, SettingError, UnscopedStatement
from multisite.scoping.policies import ALL_SITES, ALL_SITES_POLICY, SETTING, SITE_POLICY

__all__ = [
    "MUST_BIND",
    "ROW_SECURITY",
    "all_sites_roles",
    "forget_transaction_site",
    "recheck_after",
    "set_transaction_site",
    "set_transaction_site_for_text",
]

log = logging.getLogger(__name__)

ROW_SECURITY = "_multisite_row_security"
"""The attribute of a dialect that caches the state of row-level security: False if it is not in force for the
connected role, else a `RowSecurity`. It is missing until the database has been asked."""

MUST_BIND = "_multisite_must_bind"
"""The attribute of a dialect whose statements fail if there are policies, but they do not apply to its role."""

all_sites_roles: set[str] = set()
"""The values of `multisite.all_sites_role` of the applications in this process, usually one per database."""

_TRANSACTION_SITE = "_multisite_transaction_site"
"""The attribute of a connection that stores what was set for its transaction."""

_ROLE_TOUCHED = "_multisite_role_touched"
"""The attribute of a connection on which other code has set the role or the site, perhaps past a commit."""

_UNKNOWN = "unknown"
_Target = int | str | None
"""What is set for a transaction: the id of a site, `ALL_SITES`, or None for no site. `_UNKNOWN` after other code may
have set something."""

_DETECT = f"""
    SELECT count(*) > 0, coalesce(bool_or(row_security_active(polrelid)), false),
           CASE current_setting('role') WHEN 'none' THEN 'NONE' ELSE quote_ident(current_user) END,
           ARRAY(SELECT DISTINCT unnest(roles)::text FROM pg_policies WHERE policyname = '{ALL_SITES_POLICY}'),
           coalesce(bool_and(pg_get_expr(polqual, polrelid) NOT LIKE '%SELECT%')
                    FILTER (WHERE polname = '{SITE_POLICY}'), false),
           coalesce(current_setting('{SETTING}', true), '') <> ''
    FROM pg_policy WHERE pg_get_expr(polqual, polrelid) LIKE '%{SETTING}%'
"""  # noqa: S608  # Constants.

_CHANGES_TRANSACTION = lazy_pattern(
    r"(?:^|;|\*/|[\n\r])\s*(?:abort|begin|commit|deallocate|discard|end|prepare|release|reset|rollback|savepoint|set|start)\b"
    r"|\bset_config\s*\(",
    re.IGNORECASE,
)
"""Matches statements that may revert or change what was set for the transaction."""

_MISSING = frozenset({"42704", "22P02"})
"""The SQLSTATEs of a policy if the setting is unknown, or empty after an earlier transaction."""


class RowSecurity(NamedTuple):
    """The state of row-level security in a database where it is in force.

    `own_role` is the role of transactions, quoted for SET ROLE. `roles` are those that see all sites. `takes_setting`
    is whether all policies are of the form `setting`. `may_be_preset` is whether a site was already set when the
    database was asked: connections may begin with one, for example by ALTER ROLE … SET, so that a missing SET would not
    be an error. `options` are for the driver's `execute`.
    """

    own_role: str
    roles: frozenset[str]
    takes_setting: bool
    may_be_preset: bool
    options: Mapping[str, Any]


class _TransactionSite(NamedTuple):
    """What was set for a transaction.

    `savepoint` is the one in which it was set, None outside any. `widened` is whether all sites were ever set.
    """

    target: _Target
    transaction: ref[Any]
    savepoint: ref[NestedTransaction] | None
    widened: bool


def set_transaction_site(connection: Connection, dbapi: Any, scope: Scope | None, *, required: bool = True) -> None:
    """Set the site of the transaction of `connection`, unless it is set already or row-level security is not in force.

    Args:
        connection: the connection that is about to execute a statement.
        dbapi: the driver's connection.
        scope: the site or all sites; None for no site.
        required: whether to raise if the scope cannot be set. If not, nothing is set then, which is sufficient for
            statements without scoped tables.

    Raises:
        SettingError: `scope` is all sites, and there is no role for them.
        UnscopedStatement: there is no transaction.
    """
    security: RowSecurity | bool | None = connection.dialect.__dict__.get(ROW_SECURITY)
    target: _Target = None if scope is None else ALL_SITES if scope.site is None else scope.site.id
    current = _transaction_site(connection)
    if current is None:
        if target is None and not _may_have_site(connection, security):
            return
    elif current.target == target and _is_open(current.savepoint) and _ROLE_TOUCHED not in connection.__dict__:
        # On a connection that was touched the site is set again each time: EXECUTE, FETCH and a stream of rows may run
        # a set_config() that was sent long before.
        return
    if security is False or not _is_usable(connection) or (security is None and not _detect(connection, dbapi)):
        return
    if error := _error_for(connection, dbapi, target):
        if required:
            raise error
        return
    _set_local(connection, dbapi, target, current)


def set_transaction_site_for_text(
    connection: Connection, dbapi: Any, scope: Scope | None, text: str, *, required: bool = False
) -> None:
    """Set the site as `set_transaction_site` does, for a textual statement, which may change it itself."""
    changes = _CHANGES_TRANSACTION.search(text)
    # Set nothing before text that begins with such a word: SET TRANSACTION must come first in its transaction, and a
    # failed transaction allows only ROLLBACK TO SAVEPOINT.
    if changes is None or text[: changes.start()].strip():
        set_transaction_site(connection, dbapi, scope, required=required)
    if changes is not None and (current := _transaction_site(connection)) is not None:
        connection.__dict__[_TRANSACTION_SITE] = current._replace(target=_UNKNOWN)


def forget_transaction_site(connection: Connection, dbapi: Any) -> None:
    """Record that the next statement may set the role or the site, perhaps for longer than its transaction."""
    dialect = connection.dialect
    if dialect.name != "postgresql":
        return
    if dialect.__dict__.get(ROW_SECURITY) is None and _is_usable(connection):
        # Afterwards the own role can no longer be determined.
        _detect(connection, dbapi)
    connection.__dict__[_ROLE_TOUCHED] = True
    if (current := _transaction_site(connection)) is not None:
        connection.__dict__[_TRANSACTION_SITE] = current._replace(target=_UNKNOWN, widened=True)


def recheck_after(connection: Connection, error: BaseException) -> None:
    """Drop the cached state of row-level security if `error` shows that it is outdated.

    It was enabled in the meantime, or its policies have the other form now. The next statement asks again.
    """
    known = connection.dialect.__dict__
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if state in _MISSING and ROW_SECURITY in known and connection.dialect.name == "postgresql":
        del known[ROW_SECURITY]


def _may_have_site(connection: Connection, security: RowSecurity | bool | None) -> bool:
    """Return whether a transaction may have a site or all sites although nothing was set for it here."""
    if security is None:
        # The state is not known yet; it matters only where row-level security is in force.
        return connection.dialect.name == "postgresql"
    return isinstance(security, RowSecurity) and (security.may_be_preset or _ROLE_TOUCHED in connection.__dict__)


def _transaction_site(connection: Connection) -> _TransactionSite | None:
    """Return what was set for the current transaction of `connection`; None if nothing was."""
    current: _TransactionSite | None = connection.__dict__.get(_TRANSACTION_SITE)
    if current is None or connection._transaction is None or current.transaction() is not connection._transaction:
        return None
    return current


def _is_open(savepoint: ref[NestedTransaction] | None) -> bool:
    """Return whether a setting made inside `savepoint` still holds: it was neither released nor rolled back."""
    if savepoint is None:
        return True
    nested = savepoint()
    if nested is None:
        return False
    # Rolling back an enclosing savepoint ends this one without changing its state.
    while nested is not None:
        if not nested.is_active:
            return False
        nested = nested._previous_nested
    return True


def _is_usable(connection: Connection) -> bool:
    """Return whether SQLAlchemy will accept the next statement; if not, it is about to raise its own error."""
    transaction, nested = connection._transaction, connection._nested_transaction
    if transaction is None:
        # SQLAlchemy begins none on an engine's first connect, nor after `with begin()` has ended its transaction.
        return connection._allow_autobegin and not connection._trans_context_manager
    return transaction.is_active and (nested is None or nested.is_active)


def _detect(connection: Connection, dbapi: Any) -> RowSecurity | bool:
    """Ask the database whether row-level security is in force for the connected role, and cache the answer."""
    dialect = connection.dialect
    found: RowSecurity | bool = False
    if dialect.name == "postgresql":
        cursor = dbapi.cursor()
        try:
            cursor.execute(_DETECT)
            has_policies, is_active, role, roles, takes_setting, is_set = cursor.fetchone()
        finally:
            cursor.close()
        if has_policies and not is_active and dialect.__dict__.get(MUST_BIND):
            raise MultisiteError(
                "row-level security is on in this database, and does not hold for the role of this application: let it "
                "use a role as in docs/row-level-security.md, or set multisite.allow_row_security_bypass = true"
            )
        if is_active:
            # Otherwise psycopg would keep a prepared statement for each site.
            options = {"prepare": False} if dialect.driver == "psycopg" and not dialect.is_async else {}
            own_role = "NONE" if _ROLE_TOUCHED in connection.__dict__ else role
            found = RowSecurity(own_role, frozenset(roles), takes_setting, is_set, options)
    dialect.__dict__[ROW_SECURITY] = found
    return found


def _error_for(connection: Connection, dbapi: Any, target: _Target) -> Exception | None:
    """Return why `target` cannot be set for the transaction; None if it can."""
    # Every driver of PostgreSQL has this; `Dialect.detect_autocommit_setting()` came with SQLAlchemy 2.0.43.
    if dbapi.dbapi_connection.autocommit:
        return UnscopedStatement(
            "row-level security needs a transaction, which a connection in AUTOCOMMIT has not: use another connection "
            "for scoped tables"
        )
    if target != ALL_SITES or _all_sites_role(connection) is not None:
        return None
    # The role may have been created in the meantime.
    security = _detect(connection, dbapi)
    if not isinstance(security, RowSecurity) or _all_sites_role(connection) is not None:
        return None
    return SettingError(
        ALL_SITES_ROLE,
        " ".join(sorted(all_sites_roles)),
        "the role that sees the rows of all sites, which all_sites needs because this database has row-level security; "
        f"its policies know {' and '.join(sorted(security.roles)) or 'none'}",
    )


def _all_sites_role(connection: Connection) -> str | None:
    """Return the role for all sites: the configured one that this database has a policy for."""
    return min(all_sites_roles & connection.dialect.__dict__[ROW_SECURITY].roles, default=None)


def _set_local(connection: Connection, dbapi: Any, target: _Target, current: _TransactionSite | None) -> None:
    security: RowSecurity = connection.dialect.__dict__[ROW_SECURITY]
    widened = _ROLE_TOUCHED in connection.__dict__ or (current is not None and current.widened)
    role = _all_sites_role(connection) if target == ALL_SITES else None
    if role is not None and not security.takes_setting:
        widened = True
        statements = [f"SET LOCAL ROLE {connection.dialect.identifier_preparer.quote(role)}"]
    else:
        statements = [f"SET LOCAL ROLE {security.own_role}"] if widened else []
        statements.append(f"SET LOCAL {SETTING} = '{'' if target is None else target}'")
    if connection._transaction is None:
        # The statement would begin it anyway; what was set is stored for a transaction.
        connection._autobegin()
    cursor = dbapi.cursor()
    try:
        for statement in statements:
            log.debug(statement)
            cursor.execute(statement, **security.options)
    finally:
        cursor.close()
    if connection._transaction is not None:
        nested = connection._nested_transaction
        savepoint = None if nested is None else ref(nested)
        connection.__dict__[_TRANSACTION_SITE] = _TransactionSite(
            target, ref(connection._transaction), savepoint, widened
        )
