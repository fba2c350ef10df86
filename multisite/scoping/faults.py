"""What is wrong with row-level security in a database: for `multisite check`, and for the command that switches it on.

All of it is read from PostgreSQL's catalogue, for the role that logs in. Nothing here looks at a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from multisite import program
from multisite.finding import Finding
from multisite.models import metadata
from multisite.scoping.security import ALL_SITES_POLICY, SETTING, all_sites_roles

__all__ = ["SecuredTable", "row_security_faults", "secured_tables"]

_TABLES = sa.text(
    """
    SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner), pg_has_role(session_user, c.relowner, 'USAGE'),
           c.relrowsecurity, c.relforcerowsecurity,
           EXISTS (SELECT FROM pg_policy p
                   WHERE p.polrelid = c.oid AND pg_get_expr(p.polqual, p.polrelid) LIKE '%' || :setting || '%'),
           ARRAY(SELECT unnest(p.roles)::text FROM pg_policies p
                 WHERE p.schemaname = n.nspname AND p.tablename = c.relname AND p.policyname = :all_sites),
           has_table_privilege(session_user, c.oid, 'TRUNCATE')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relname <> ALL (:own) AND EXISTS (
        SELECT FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
        WHERE k.conrelid = c.oid AND k.contype = 'f' AND a.attname = 'site_id'
          AND k.confrelid IN (SELECT s.oid FROM pg_class s WHERE s.relname = 'sites'))
    ORDER BY n.nspname, c.relname
    """
)

_ROLE = sa.text("SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = session_user")

_MEMBERSHIP = sa.text(
    """
    SELECT pg_has_role(session_user, oid, 'MEMBER'), pg_has_role(session_user, oid, 'USAGE')
    FROM pg_roles WHERE rolname = :role
    """
)

# What WITH names begins with pg_, so that the wall need not ask what tables those are.
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


class SecuredTable(NamedTuple):
    """A table of the database that belongs to sites: its `site_id` refers to `sites`.

    `is_ours` is whether the role that logged in owns it, or has the rights of who does. `has_policy` is whether a
    policy compares with the site of the transaction; `all_sites_roles` are those that see all of it.
    """

    schema: str
    table: str
    owner: str
    is_ours: bool
    is_enabled: bool
    is_forced: bool
    has_policy: bool
    all_sites_roles: list[str]
    may_be_truncated: bool

    def __str__(self) -> str:
        return _spell(self.schema, self.table)

    @property
    def is_secured(self) -> bool:
        """Whether row-level security is on, for others than the owner at least."""
        return self.is_enabled and self.has_policy


def secured_tables(connection: Connection) -> list[SecuredTable]:
    """Return the tables of a PostgreSQL database that belong to sites, whether or not row-level security is on."""
    parameters = {"setting": SETTING, "all_sites": ALL_SITES_POLICY, "own": sorted(metadata.tables)}
    return [SecuredTable(*row) for row in connection.execute(_TABLES, parameters)]


def row_security_faults(connection: Connection) -> Iterator[Finding]:
    """Yield what lets rows of other sites past row-level security, for the role that `connection` logged in as.

    Nothing where no table has it, and on other databases than PostgreSQL.
    """
    if connection.dialect.name != "postgresql":
        return
    tables = secured_tables(connection)
    if not any(table.is_secured for table in tables):
        return
    role, is_superuser, bypasses = connection.execute(_ROLE).one()
    if is_superuser or bypasses:
        what = "a superuser" if is_superuser else "a role with BYPASSRLS"
        yield _bypassed(
            role, f"is {what}, for which row-level security does not hold", "let the application use another"
        )
        return
    for table in tables:
        yield from _table_faults(table, role)
    yield from _role_faults(connection, tables, role)
    yield from _object_faults(connection)


def _table_faults(table: SecuredTable, role: str) -> Iterator[Finding]:
    command = program.command("row-security enable")
    enable = f"op.enable_row_security('{table.table}') in a migration, or '{command}'"
    if not table.is_secured:
        yield Finding(
            "row-security-missing", str(table), "has no row-level security, which other tables of sites have", enable
        )
    elif table.is_ours and not table.is_forced:
        yield _bypassed(str(table), f"belongs to {role} and is without FORCE: it does not hold for its owner", enable)
    elif table.is_ours:
        yield Finding(
            "row-security-owner", str(table),
            f"belongs to {role}, who can switch row-level security off and empty the table",
            "let the application use a role that owns nothing, and migrations multisite.owner_url", "notice",
        )  # fmt: skip
    elif table.may_be_truncated:
        remedy = f"REVOKE TRUNCATE ON {table} FROM {role}, or from whom it has the right"
        yield _bypassed(str(table), f"{role} may TRUNCATE it, which empties it for all sites", remedy)


def _role_faults(connection: Connection, tables: list[SecuredTable], role: str) -> Iterator[Finding]:
    secured = [table for table in tables if table.is_secured]
    in_policies = {name for table in secured for name in table.all_sites_roles}
    for name in sorted(in_policies | all_sites_roles):
        found = connection.execute(_MEMBERSHIP, {"role": name}).one_or_none()
        is_member, inherits = found or (False, False)
        if inherits:
            yield _bypassed(
                role, f"inherits the rights of {name}, so it sees the rows of all sites without all_sites",
                f"ALTER ROLE {role} NOINHERIT, then REVOKE {name} FROM {role} and GRANT it again",
            )  # fmt: skip
        elif name in all_sites_roles and not is_member:
            remedy = f"GRANT {name} TO {role}" if found else f"CREATE ROLE {name} NOLOGIN, and GRANT it to {role}"
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
        name = _spell(schema, view)
        if is_materialized:
            yield _bypassed(name, "is a materialized view: it keeps rows of all sites", f"REVOKE SELECT ON {name}")
        else:
            yield _bypassed(
                name, "is a view without security_invoker: it reads with the rights of its owner",
                f"ALTER VIEW {name} SET (security_invoker = true)",
            )  # fmt: skip
    for schema, function, owner in connection.execute(_FUNCTIONS):
        yield Finding(
            "row-security-function", _spell(schema, function),
            f"is SECURITY DEFINER: row-level security holds inside as far as it does for {owner}",
            "see that it keeps to one site, or make it SECURITY INVOKER", "notice",
        )  # fmt: skip


def _bypassed(subject: str, message: str, remedy: str) -> Finding:
    return Finding("row-security-bypassed", subject, message, remedy)


def _spell(schema: str, name: Any) -> str:
    return str(name) if schema == "public" else f"{schema}.{name}"
