"""The second wall: row-level security of PostgreSQL, which has to be told what site a transaction is for.

The policies (`multisite.alembic` makes them) show and take only rows of the site in the setting `multisite.site_id`,
and are an error where a transaction has not been told. It is told here, once, before its first statement; again where
the scope of a plain Connection has changed or a savepoint has taken back what it was told. Under `all_sites` it gets
another role instead, for which there is a policy without a limit.

That is the form `role` of the policies. Those of the form `setting` take the word "all" in the setting for all sites
from members of that role: a distributed PostgreSQL passes settings on to its other servers, and no roles.

Whatever is said holds for the transaction (SET LOCAL), so nothing of it can reach the next user of the connection,
behind pgbouncer neither. It is said by literal SET, and not by `set_config()`, because a Citus coordinator passes only
that on to its workers.
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
"""The attribute of a dialect that remembers what the database behind it says about row-level security: False where it
is not in force for us, else a `RowSecurity`. It is missing as long as nobody has asked."""

MUST_BIND = "_multisite_must_bind"
"""The attribute of a dialect whose statements fail where row-level security is in force, but not for its role."""

all_sites_roles: set[str] = set()
"""What the applications of this process have in `multisite.all_sites_role`: one for each database, as a rule."""

_TRANSACTION_SITE = "_multisite_transaction_site"
"""The attribute of a connection that remembers what its transaction was told."""

_ROLE_TOUCHED = "_multisite_role_touched"
"""The attribute of a connection on which somebody else has set the role or the site, which may outlast a commit."""

_UNKNOWN = "unknown"
_Target = int | str | None
"""What a transaction is told: the id of a site, `ALL_SITES`, or None for no site. `_UNKNOWN` after somebody else has
said something."""

_DETECT = f"""
    SELECT count(*) > 0, coalesce(bool_or(row_security_active(polrelid)), false),
           CASE current_setting('role') WHEN 'none' THEN 'NONE' ELSE quote_ident(current_user) END,
           ARRAY(SELECT DISTINCT unnest(roles)::text FROM pg_policies WHERE policyname = '{ALL_SITES_POLICY}'),
           coalesce(bool_and(pg_get_expr(polqual, polrelid) NOT LIKE '%SELECT%')
                    FILTER (WHERE polname = '{SITE_POLICY}'), false),
           coalesce(current_setting('{SETTING}', true), '') <> ''
    FROM pg_policy WHERE pg_get_expr(polqual, polrelid) LIKE '%{SETTING}%'
"""  # noqa: S608  # Constants.

_CHANGES_TRANSACTION = re.compile(
    r"(?:^|;|\*/|\n)\s*(?:abort|begin|commit|deallocate|discard|end|prepare|release|reset|rollback|savepoint|set|start)\b"
    r"|\bset_config\s*\(",
    re.IGNORECASE,
)
"""What a statement may take back with it that the transaction was told, or may say itself."""

_MISSING = frozenset({"42704", "22P02"})
"""The SQLSTATEs of a policy that finds the setting unknown, or empty as an earlier transaction has left it."""


class RowSecurity(NamedTuple):
    """What an engine has to know where row-level security is in force.

    `own_role` is the role of its transactions, as SET ROLE takes it. `roles` are those that see all sites.
    `takes_setting` is whether all policies are of the form `setting`, which lets the role pass too. `may_be_preset` is
    whether a site was set when the database was asked: connections may begin with one, as ALTER ROLE … SET does it, so
    that saying nothing would not be an error. `options` go to the driver's `execute`.
    """

    own_role: str
    roles: frozenset[str]
    takes_setting: bool
    may_be_preset: bool
    options: Mapping[str, Any]


class _TransactionSite(NamedTuple):
    """What a transaction was told, and where: `savepoint` is None outside of any. `widened` is whether it has ever been
    told all sites."""

    target: _Target
    transaction: ref[Any]
    savepoint: ref[NestedTransaction] | None
    widened: bool


def set_transaction_site(connection: Connection, dbapi: Any, scope: Scope | None, *, required: bool = True) -> None:
    """Tell the transaction of `connection` that it is for `scope`; None is no site.

    `dbapi` is the driver's connection. Does nothing where row-level security is not in force, or where the transaction
    has been told already. Raises `SettingError` for all sites without a role for that, and `UnscopedStatement` outside
    of a transaction; unless `required`, nothing is told then, which is enough for statements without scoped tables.
    """
    security: RowSecurity | bool | None = connection.dialect.__dict__.get(ROW_SECURITY)
    target: _Target = None if scope is None else ALL_SITES if scope.site is None else scope.site.id
    current = _transaction_site(connection)
    if current is None:
        if target is None and not _may_have_site(connection, security):
            return
    elif current.target == target and _is_open(current.savepoint):
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
    """Do the same for a statement written as `text`, which may change what the transaction was told."""
    changes = _CHANGES_TRANSACTION.search(text)
    # One that begins with such a word is left alone: SET TRANSACTION may have to come first in its transaction, and in
    # one that has failed nothing but ROLLBACK TO SAVEPOINT is allowed.
    if changes is None or text[: changes.start()].strip():
        set_transaction_site(connection, dbapi, scope, required=required)
    if changes is not None and (current := _transaction_site(connection)) is not None:
        connection.__dict__[_TRANSACTION_SITE] = current._replace(target=_UNKNOWN)


def forget_transaction_site(connection: Connection, dbapi: Any) -> None:
    """Take note that the statement about to be executed may set the role or the site, also past its transaction."""
    dialect = connection.dialect
    if dialect.name != "postgresql":
        return
    if dialect.__dict__.get(ROW_SECURITY) is None and _is_usable(connection):
        # Which role is ours, nobody can tell afterwards.
        _detect(connection, dbapi)
    connection.__dict__[_ROLE_TOUCHED] = True
    if (current := _transaction_site(connection)) is not None:
        connection.__dict__[_TRANSACTION_SITE] = current._replace(target=_UNKNOWN, widened=True)


def recheck_after(connection: Connection, error: BaseException) -> None:
    """Forget what the database has said of row-level security if `error` says that it has changed: the next statement
    asks. It was switched on since, or its policies are of the other form now."""
    known = connection.dialect.__dict__
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if state in _MISSING and ROW_SECURITY in known and connection.dialect.name == "postgresql":
        del known[ROW_SECURITY]


def _may_have_site(connection: Connection, security: RowSecurity | bool | None) -> bool:
    """Return whether a transaction that was told nothing may be for a site, or for all of them, all the same."""
    if security is None:
        # Nobody has asked yet; only where it is in force does it matter.
        return connection.dialect.name == "postgresql"
    return isinstance(security, RowSecurity) and (security.may_be_preset or _ROLE_TOUCHED in connection.__dict__)


def _transaction_site(connection: Connection) -> _TransactionSite | None:
    """Return what the transaction that `connection` is in was told; None if it was told nothing yet."""
    current: _TransactionSite | None = connection.__dict__.get(_TRANSACTION_SITE)
    if current is None or connection._transaction is None or current.transaction() is not connection._transaction:
        return None
    return current


def _is_open(savepoint: ref[NestedTransaction] | None) -> bool:
    """Return whether what was told inside `savepoint` still holds: that was neither released nor rolled back."""
    if savepoint is None:
        return True
    nested = savepoint()
    if nested is None:
        return False
    # One that encloses it takes it along when it is rolled back, without telling it.
    while nested is not None:
        if not nested.is_active:
            return False
        nested = nested._previous_nested
    return True


def _is_usable(connection: Connection) -> bool:
    """Return whether SQLAlchemy will let the next statement pass: if not, it is about to say why itself."""
    transaction, nested = connection._transaction, connection._nested_transaction
    if transaction is None:
        # It begins none by itself while the engine connects for the first time, nor once `with begin()` has ended its.
        return connection._allow_autobegin and not connection._trans_context_manager
    return transaction.is_active and (nested is None or nested.is_active)


def _detect(connection: Connection, dbapi: Any) -> RowSecurity | bool:
    """Ask the database whether row-level security is in force for us, and remember what it says."""
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
            # psycopg would otherwise come to keep a prepared statement for each site.
            options = {"prepare": False} if dialect.driver == "psycopg" and not dialect.is_async else {}
            own_role = "NONE" if _ROLE_TOUCHED in connection.__dict__ else role
            found = RowSecurity(own_role, frozenset(roles), takes_setting, is_set, options)
    dialect.__dict__[ROW_SECURITY] = found
    return found


def _error_for(connection: Connection, dbapi: Any, target: _Target) -> Exception | None:
    """Return why the transaction cannot be told `target`, or None."""
    # Every driver of PostgreSQL has this; `Dialect.detect_autocommit_setting()` came with SQLAlchemy 2.0.43.
    if dbapi.dbapi_connection.autocommit:
        return UnscopedStatement(
            "row-level security needs a transaction, which a connection in AUTOCOMMIT has not: use another connection "
            "for scoped tables"
        )
    if target != ALL_SITES or _all_sites_role(connection) is not None:
        return None
    # It may have been made since.
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
    """Return the role to work under for all sites: the one of the settings that this database has a policy for."""
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
        # As the statement itself would, in a moment: what is remembered is remembered of a transaction.
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
