"""List the scoped tables of a PostgreSQL database, with the state of row-level security of each.

It is read from PostgreSQL's catalogue, for the role that logs in. `multisite check` and `multisite row-security enable`
use it.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from multisite.directory.schema import metadata
from multisite.directory.tables import version_table
from multisite.scoping.policies import ALL_SITES_POLICY, LIMIT_POLICY, SETTING, SITE_POLICY

__all__ = ["SecuredTable", "display_name", "secured_tables"]

# The names in WITH begin with pg_, so that the scoping layer does not look them up.
_TABLES = sa.text(
    """
    WITH RECURSIVE pg_sites (oid, namespace) AS (
        SELECT s.oid, s.relnamespace FROM pg_class s JOIN pg_class v ON v.relnamespace = s.relnamespace
        WHERE s.relname = 'sites' AND v.relname = :version
    ), pg_scoped (oid) AS (
        SELECT k.conrelid FROM pg_constraint k
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
        WHERE k.contype = 'f' AND a.attname = 'site_id' AND k.confrelid IN (SELECT oid FROM pg_sites)
        -- Children do not inherit a reference, and partitions may not either.
        UNION SELECT i.inhrelid FROM pg_inherits i JOIN pg_scoped ON pg_scoped.oid = i.inhparent
    ), pg_distributed (oid) AS (
        -- Citus gives each of its tables this trigger. A table pg_dist_partition is only where the extension is.
        SELECT t.tgrelid FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid WHERE f.proname = 'citus_truncate_trigger'
    )
    SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner), pg_has_role(session_user, c.relowner, 'USAGE'),
           c.relkind = 'f', has_table_privilege(session_user, c.oid, 'SELECT, INSERT, UPDATE, DELETE'),
           c.relrowsecurity, c.relforcerowsecurity,
           EXISTS (SELECT FROM pg_policy p
                   WHERE p.polrelid = c.oid AND p.polpermissive
                     AND pg_get_expr(p.polqual, p.polrelid) LIKE '%' || :setting || '%'),
           EXISTS (SELECT FROM pg_policy p
                   WHERE p.polrelid = c.oid AND NOT p.polpermissive AND p.polname = :limit AND p.polcmd = '*'
                     AND p.polroles = '{0}' AND pg_get_expr(p.polqual, p.polrelid) LIKE '%' || :setting || '%'),
           ARRAY(SELECT p.polname::text FROM pg_policy p
                 WHERE p.polrelid = c.oid AND p.polname NOT IN (:site, :all_sites)
                   AND (p.polpermissive OR (p.polname <> :limit AND c.oid IN (SELECT oid FROM pg_distributed)))
                 ORDER BY 1),
           ARRAY(SELECT unnest(p.roles)::text FROM pg_policies p
                 WHERE p.schemaname = n.nspname AND p.tablename = c.relname AND p.policyname = :all_sites),
           has_table_privilege(session_user, c.oid, 'TRUNCATE'), c.oid IN (SELECT oid FROM pg_distributed)
    FROM pg_scoped JOIN pg_class c ON c.oid = pg_scoped.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f')
      AND NOT (c.relname = ANY (:own) AND c.relnamespace IN (SELECT namespace FROM pg_sites))
    ORDER BY n.nspname, c.relname
    """
)


class SecuredTable(NamedTuple):
    """A scoped table of the database: its `site_id`, or that of its parent, refers to `sites`.

    `is_ours` is whether the connected role owns it, or has the rights of its owner; `is_reachable` whether the role may
    read or change it. `is_foreign` is whether it is a foreign table, which has no policies. `has_policy` is whether a
    policy compares rows with the site of the transaction; `has_limit` whether the restrictive policy exists for all
    roles; `widening` names permissive policies of the application. `all_sites_roles` are the roles that see all rows.
    `is_distributed` is whether Citus keeps the rows on its workers. Restrictive policies are permissive there, so
    `has_limit` means nothing then, and `widening` names every policy of the application.
    """

    schema: str
    table: str
    owner: str
    is_ours: bool
    is_foreign: bool
    is_reachable: bool
    is_enabled: bool
    is_forced: bool
    has_policy: bool
    has_limit: bool
    widening: list[str]
    all_sites_roles: list[str]
    may_be_truncated: bool
    is_distributed: bool

    def __str__(self) -> str:
        return display_name(self.schema, self.table)

    @property
    def is_secured(self) -> bool:
        """Whether row-level security is in force, at least for roles other than the owner."""
        return self.is_enabled and self.has_policy


def secured_tables(connection: Connection) -> list[SecuredTable]:
    """Return the scoped tables of a PostgreSQL database, with or without row-level security.

    This includes their partitions and children, some of which may be foreign tables.
    """
    parameters = {
        "setting": SETTING,
        "site": SITE_POLICY,
        "limit": LIMIT_POLICY,
        "all_sites": ALL_SITES_POLICY,
        "version": version_table.name,
        "own": sorted(metadata.tables),
    }
    return [SecuredTable(*row) for row in connection.execute(_TABLES, parameters)]


def display_name(schema: str, name: str) -> str:
    """Return the name of a table, without the schema "public"."""
    return name if schema == "public" else f"{schema}.{name}"
