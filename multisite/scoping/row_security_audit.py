"""Audit row-level security in a database, for `multisite check` and `multisite row-security enable`.

The audit reads PostgreSQL's catalogue, for the role that logs in. It reads no rows of tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from multisite.core import program
from multisite.core.finding import Finding
from multisite.scoping.policies import SETTING
from multisite.scoping.row_security import all_sites_roles
from multisite.scoping.secured_tables import SecuredTable, display_name, secured_tables

__all__ = ["audit_row_security"]

_ROLE = sa.text("SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = session_user")

_PRESETS = sa.text(
    """
    SELECT CASE WHEN s.setrole = 0 THEN format('ALTER DATABASE %I', current_database())
                WHEN s.setdatabase = 0 THEN format('ALTER ROLE %I', session_user)
                ELSE format('ALTER ROLE %I IN DATABASE %I', session_user, current_database()) END
    FROM pg_db_role_setting s
    WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
      AND s.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
      AND EXISTS (SELECT FROM unnest(s.setconfig) AS c WHERE c LIKE :setting || '=_%')
    ORDER BY 1
    """
)

_MEMBERSHIP = sa.text(
    """
    SELECT pg_has_role(session_user, oid, 'MEMBER'), pg_has_role(session_user, oid, 'USAGE')
    FROM pg_roles WHERE rolname = :role
    """
)

# The names in WITH begin with pg_, so that the scoping layer does not look them up.
_VIEWS = sa.text(
    """
    WITH RECURSIVE pg_reads (reader, oid) AS (
        SELECT DISTINCT r.ev_class, d.refobjid
        FROM pg_rewrite r JOIN pg_depend d ON d.objid = r.oid AND d.classid = 'pg_rewrite'::regclass
        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
    ), pg_shown (oid) AS (
        SELECT polrelid FROM pg_policy WHERE pg_get_expr(polqual, polrelid) LIKE '%' || :setting || '%'
        UNION SELECT pg_reads.reader FROM pg_reads JOIN pg_shown ON pg_reads.oid = pg_shown.oid
    )
    SELECT n.nspname, c.relname, c.relkind = 'm' FROM pg_shown JOIN pg_class c ON c.oid = pg_shown.oid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('v', 'm') AND has_table_privilege(session_user, c.oid, 'SELECT, INSERT, UPDATE, DELETE')
      AND NOT EXISTS (SELECT FROM pg_options_to_table(c.reloptions)
                      WHERE option_name = 'security_invoker' AND option_value::boolean)
    ORDER BY n.nspname, c.relname
    """
)

_FUNCTIONS = sa.text(
    """
    SELECT DISTINCT n.nspname, p.proname, pg_get_userbyid(p.proowner)
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.prosecdef AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND has_function_privilege(session_user, p.oid, 'EXECUTE')
    ORDER BY 1, 2
    """
)


def audit_row_security(connection: Connection) -> Iterator[Finding]:
    """Yield what exposes rows of other sites despite row-level security, for the role that logged in.

    Yield nothing if no table has row-level security, or if the database is not PostgreSQL.
    """
    if connection.dialect.name != "postgresql":
        return
    tables = secured_tables(connection)
    if not any(table.is_secured for table in tables):
        return
    role, is_superuser, bypasses = connection.execute(_ROLE).one()
    if is_superuser or bypasses:
        yield _unbound(role, is_superuser=is_superuser)
        return
    for table in tables:
        yield from _table_faults(table, role)
    yield from _role_faults(connection, tables, role)
    yield from _preset_faults(connection, role)
    yield from _object_faults(connection)


def _unbound(role: str, *, is_superuser: bool) -> Finding:
    what = "a superuser" if is_superuser else "a role with BYPASSRLS"
    return _bypassed(
        role, f"is {what}, for which row-level security does not hold", "let the application use another role"
    )


def _unforced(table: SecuredTable, role: str) -> Finding:
    message = f"belongs to {role} and is without FORCE: it does not hold for its owner"
    return _bypassed(str(table), message, _enable(table))


def _inherited(role: str, name: str) -> Finding:
    return _bypassed(
        role, f"inherits the rights of {name}, so it sees the rows of all sites without all_sites",
        f"ALTER ROLE {role} NOINHERIT, then REVOKE {name} FROM {role} and GRANT it again",
    )  # fmt: skip


def _enable(table: SecuredTable) -> str:
    command = program.command("row-security enable")
    return f"op.enable_row_security('{table.table}') in a migration, or '{command}'"


def _table_faults(table: SecuredTable, role: str) -> Iterator[Finding]:
    if table.is_foreign:
        if table.is_reachable:
            yield _bypassed(
                str(table), "is a foreign table, for which PostgreSQL has no row-level security",
                f"REVOKE ALL ON {table} FROM {role}, or from whom it has the right, and use its parent",
            )  # fmt: skip
        return
    if not table.is_secured:
        yield Finding(
            "row-security-missing", str(table), "has no row-level security, which other tables of sites have",
            _enable(table),
        )  # fmt: skip
    elif table.is_ours and not table.is_forced:
        yield _unforced(table, role)
    elif table.is_ours:
        yield Finding(
            "row-security-owner", str(table),
            f"belongs to {role}, who can switch row-level security off and empty the table",
            "let the application use a role that owns nothing, and migrations multisite.owner_url", "notice",
        )  # fmt: skip
    elif table.may_be_truncated:
        remedy = f"REVOKE TRUNCATE ON {table} FROM {role}, or from whom it has the right"
        yield _bypassed(str(table), f"{role} may TRUNCATE it, which empties it for all sites", remedy)
    if table.is_secured:
        yield from _policy_faults(table)


def _policy_faults(table: SecuredTable) -> Iterator[Finding]:
    if table.is_distributed:
        if table.widening:
            message = (
                f"has policies of the application's own, and Citus lets each widen ours: {', '.join(table.widening)}"
            )
            yield _bypassed(str(table), message, "drop them")
    elif not table.has_limit:
        if table.widening:
            message = f"has policies of the application's own, which widen ours: {', '.join(table.widening)}"
            yield _bypassed(str(table), message, f"{_enable(table)}, which adds a restrictive one")
        else:
            yield Finding(
                "row-security-limit", str(table), "is without the restrictive policy that no other one can widen",
                "switch row-level security on once more, which adds it", "notice",
            )  # fmt: skip


def _preset_faults(connection: Connection, role: str) -> Iterator[Finding]:
    message = f"begins with {SETTING} already set, so that a transaction without a site sees one nevertheless"
    found = connection.scalars(_PRESETS, {"setting": SETTING}).all()
    if found:
        remedy = " and ".join(f"{statement} RESET {SETTING}" for statement in found)
        yield Finding("row-security-preset", role, message, remedy)
    elif _begins_with_site(connection):
        remedy = "take it out of the options of the URL, of PGOPTIONS, or of postgresql.conf"
        yield Finding("row-security-preset", role, message, remedy)


def _begins_with_site(connection: Connection) -> bool:
    """Return whether a new connection of the same engine begins with a site set."""
    with closing(connection.engine.raw_connection()) as other, closing(other.cursor()) as cursor:
        cursor.execute(f"SELECT coalesce(current_setting('{SETTING}', true), '') <> ''")  # A constant.
        (found,) = cursor.fetchone() or (False,)
        return bool(found)


def _membership(connection: Connection, name: str) -> tuple[bool, bool, bool]:
    """Return whether the role `name` exists, whether the connected role is a member, and whether it inherits."""
    found = connection.execute(_MEMBERSHIP, {"role": name}).one_or_none()
    return (False, False, False) if found is None else (True, bool(found[0]), bool(found[1]))


def _role_faults(connection: Connection, tables: list[SecuredTable], role: str) -> Iterator[Finding]:
    secured = [table for table in tables if table.is_secured]
    in_policies = {name for table in secured for name in table.all_sites_roles}
    for name in sorted(in_policies | all_sites_roles):
        is_there, is_member, inherits = _membership(connection, name)
        if inherits:
            yield _inherited(role, name)
        elif name in all_sites_roles and not is_member:
            remedy = f"GRANT {name} TO {role}" if is_there else f"CREATE ROLE {name} NOLOGIN, and GRANT it to {role}"
            yield Finding("row-security-role", name, f"{role} cannot enter it, so all_sites fails", remedy)
    for name in sorted(all_sites_roles):
        for table in secured:
            if name not in table.all_sites_roles:
                yield Finding(
                    "row-security-role", str(table), f"has no policy for {name}, so all_sites fails on it",
                    "switch row-level security on once more, which adds it",
                )  # fmt: skip


def _object_faults(connection: Connection) -> Iterator[Finding]:
    for schema, view, is_materialized in connection.execute(_VIEWS, {"setting": SETTING}):
        name = display_name(schema, view)
        if is_materialized:
            yield _bypassed(name, "is a materialized view: it keeps rows of all sites", f"REVOKE SELECT ON {name}")
        else:
            yield _bypassed(
                name, "is a view without security_invoker: it reads with the rights of its owner",
                f"ALTER VIEW {name} SET (security_invoker = true)",
            )  # fmt: skip
    for schema, function, owner in connection.execute(_FUNCTIONS):
        yield Finding(
            "row-security-function", display_name(schema, function),
            f"is SECURITY DEFINER: row-level security holds inside as far as it does for {owner}",
            "see that it keeps to one site, or make it SECURITY INVOKER", "notice",
        )  # fmt: skip


def _bypassed(subject: str, message: str, remedy: str) -> Finding:
    return Finding("row-security-bypassed", subject, message, remedy)
