"""Operations that enable and disable PostgreSQL's row-level security for a scoped table in a revision.

    import multisite.alembic  # noqa: F401  # Adds the operations to `op`.

    def upgrade() -> None:
        op.enable_row_security("entries")

    def downgrade() -> None:
        op.disable_row_security("entries")

There are three policies. The first is for every role: it limits rows to the site that the transaction has set, and
raises an error if none is set. It is not for the application's role alone, since a role without a policy would silently
see nothing. The second is for the role that `all_sites` works under, and for the owner, who is a member of it. The
third is like the first but RESTRICTIVE: PostgreSQL combines permissive policies with OR, so a policy of the
application's own would otherwise widen ours. `multisite.scoping.row_security` sets the site of a transaction.

A query on a partition, or on a table that INHERITS, is not limited by its parent's policies: each gets its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import plaster
import sqlalchemy as sa
from alembic.operations import MigrateOperation, Operations
from alembic.runtime.migration import MigrationContext

from multisite.alembic.schema import sql_name
from multisite.core.setting_parsers import ROW_SECURITY_FORMS
from multisite.core.settings import ALL_SITES_ROLE, ROW_SECURITY_FORM
from multisite.errors import SettingError
from multisite.scoping.policies import (
    ALL_SITES,
    ALL_SITES_POLICY,
    LIMIT_POLICY,
    OUR_POLICIES,
    SETTING,
    SITE_POLICY,
)

__all__ = ["DisableRowSecurity", "EnableRowSecurity"]

log = logging.getLogger(__name__)

_DESCENDANTS = sa.text(
    """
    WITH RECURSIVE pg_below (oid) AS (
        SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass(:name)
        UNION SELECT i.inhrelid FROM pg_inherits i JOIN pg_below b ON i.inhparent = b.oid
    )
    SELECT n.nspname::text, c.relname::text FROM pg_below b JOIN pg_class c ON c.oid = b.oid
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') ORDER BY 1, 2
    """
)
"""All partitions and children of a table, recursively, except foreign tables, which cannot have policies."""

_HAS_CITUS = sa.text("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')")


@Operations.register_operation("enable_row_security")
class EnableRowSecurity(MigrateOperation):
    """Enable row-level security for one table."""

    def __init__(
        self,
        table_name: str,
        *,
        schema: str | None = None,
        all_sites_role: str | None = None,
        form: str | None = None,
    ) -> None:
        if form is not None and form not in ROW_SECURITY_FORMS:
            raise ValueError(f"form of row-level security: expected 'role' or 'setting', not {form!r}")
        self.table_name = table_name
        self.schema = schema
        self.all_sites_role = all_sites_role
        self.form = form

    @classmethod
    def enable_row_security(
        cls,
        operations: Operations,
        table_name: str,
        *,
        schema: str | None = None,
        all_sites_role: str | None = None,
        form: str | None = None,
    ) -> None:
        """Make the database limit access to a table to one site at a time, even for the table's owner.

        Safe to repeat: it updates the policies and converts one form to the other. The table's partitions and children
        (INHERITS) get the policies too, except under `--sql`, where they cannot be queried. On databases other than
        PostgreSQL it only logs that there is nothing to do, so the same revision runs everywhere.

        Args:
            operations: Passed by alembic.
            table_name: The table.
            schema: The schema of the table; None for the search path.
            all_sites_role: The role that sees the rows of all sites. None takes `multisite.all_sites_role` from the ini
                file that alembic reads; if that is not set, no role sees all of them.
            form: How a transaction states that it is for all sites, "role" or "setting". None takes
                `multisite.row_security_form` from the ini file; if that is not set, it is "setting" if the extension
                citus is installed, else "role".

        Raises:
            ValueError: `form` is neither "role" nor "setting".
        """
        operations.invoke(cls(table_name, schema=schema, all_sites_role=all_sites_role, form=form))

    def reverse(self) -> DisableRowSecurity:
        """Return the reverse operation."""
        return DisableRowSecurity(self.table_name, schema=self.schema)


@Operations.register_operation("disable_row_security")
class DisableRowSecurity(MigrateOperation):
    """Disable row-level security for one table."""

    def __init__(self, table_name: str, *, schema: str | None = None) -> None:
        self.table_name = table_name
        self.schema = schema

    @classmethod
    def disable_row_security(cls, operations: Operations, table_name: str, *, schema: str | None = None) -> None:
        """Undo `enable_row_security`, for partitions and children too; other policies stay. Safe to repeat.

        Args:
            operations: Passed by alembic.
            table_name: The table.
            schema: The schema of the table; None for the search path.
        """
        operations.invoke(cls(table_name, schema=schema))

    def reverse(self) -> EnableRowSecurity:
        """Return the reverse operation."""
        return EnableRowSecurity(self.table_name, schema=self.schema)


@Operations.implementation_for(EnableRowSecurity)
def _enable(operations: Operations, operation: EnableRowSecurity) -> None:
    context = operations.get_context()
    if not _is_postgresql(context, operation.table_name):
        return
    role = operation.all_sites_role or _setting_from_ini(context, ALL_SITES_ROLE)
    if role is None:
        log.info("%s: %s is not set, so no role sees the rows of all sites", operation.table_name, ALL_SITES_ROLE)
    form = operation.form or _setting_from_ini(context, ROW_SECURITY_FORM) or _default_form(context)
    if form not in ROW_SECURITY_FORMS:
        raise SettingError(ROW_SECURITY_FORM, form, "role or setting")
    for table in _with_descendants(context, operation):
        for statement in _enable_statements(table, role, form, context.dialect):
            _execute(operations, statement)


@Operations.implementation_for(DisableRowSecurity)
def _disable(operations: Operations, operation: DisableRowSecurity) -> None:
    context = operations.get_context()
    if not _is_postgresql(context, operation.table_name):
        return
    for table in _with_descendants(context, operation):
        for statement in _disable_statements(table):
            _execute(operations, statement)


def _with_descendants(context: MigrationContext, operation: EnableRowSecurity | DisableRowSecurity) -> Iterator[str]:
    """Yield the quoted names of the table and its descendants."""
    name = sql_name(context.dialect, operation.table_name, operation.schema)
    yield name
    if context.connection is not None and not context.as_sql:
        for schema, table in context.connection.execute(_DESCENDANTS, {"name": name}).fetchall():
            yield sql_name(context.dialect, table, schema)


def _execute(operations: Operations, statement: str) -> None:
    # A colon in the name of a table or role does not begin a parameter.
    operations.execute(sa.text(statement.replace(":", "\\:")))


def _enable_statements(table: str, role: str | None, form: str, dialect: sa.Dialect) -> Iterator[str]:
    yield f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
    yield f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY"
    yield from _drop_policy_statements(table)
    literal = None if role is None else _literal(role)
    own, limit = (_role_conditions if form == "role" else _setting_conditions)(literal)
    yield f"CREATE POLICY {SITE_POLICY} ON {table} USING ({own}) WITH CHECK ({own})"
    if role is not None:
        to = sql_name(dialect, role)
        yield f"CREATE POLICY {ALL_SITES_POLICY} ON {table} TO {to} USING (true) WITH CHECK (true)"
    yield f"CREATE POLICY {LIMIT_POLICY} ON {table} AS RESTRICTIVE USING ({limit}) WITH CHECK ({limit})"


# Without its second argument, current_setting() raises an error if nothing is set; with it, there would be no rows.
_SITE = f"current_setting('{SETTING}')"


def _role_conditions(role: str | None) -> tuple[str, str]:
    """Return the conditions of the permissive and the restrictive policy; `role` is a SQL literal.

    Subselects are evaluated once per statement and not for each row. The CASE keeps a role that sees all sites from the
    error of an unset setting: a parallel plan evaluates every subselect beforehand.
    """
    own = f"site_id = (SELECT CAST({_SITE} AS bigint))"
    if role is None:
        return own, own
    sees_all = f"pg_has_role(current_user, {role}, 'USAGE')"
    limit = f"site_id = (SELECT CASE WHEN NOT {sees_all} THEN CAST({_SITE} AS bigint) END)"
    return own, f"(SELECT {sees_all}) OR {limit}"


def _setting_conditions(role: str | None) -> tuple[str, str]:
    """Return the same conditions for Citus, which propagates settings but not roles, and allows no subselects."""
    if role is None:
        own = f"site_id = CAST({_SITE} AS bigint)"
        return own, own
    own = (
        f"site_id = CAST(nullif({_SITE}, '{ALL_SITES}') AS bigint) "
        f"OR ({_SITE} = '{ALL_SITES}' AND pg_has_role(current_user, {role}, 'MEMBER'))"
    )
    return own, f"CASE WHEN pg_has_role(current_user, {role}, 'USAGE') THEN true ELSE {own} END"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _disable_statements(table: str) -> Iterator[str]:
    yield from _drop_policy_statements(table)
    yield f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"
    yield f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"


def _drop_policy_statements(table: str) -> Iterator[str]:
    for policy in OUR_POLICIES:
        yield f"DROP POLICY IF EXISTS {policy} ON {table}"


def _default_form(context: MigrationContext) -> str:
    """Return the default form for a database."""
    if context.connection is None or context.as_sql:
        return "role"
    return "setting" if context.connection.scalar(_HAS_CITUS) else "role"


def _is_postgresql(context: MigrationContext, table_name: str) -> bool:
    if context.dialect.name == "postgresql":
        return True
    log.info("%s: nothing to do, since %s has no row-level security", table_name, context.dialect.name)
    return False


def _setting_from_ini(context: MigrationContext, key: str) -> str | None:
    """Return the setting `key` of the ini file that alembic was started with; None if it is not set."""
    config = context.config
    if config is None:
        return None
    if key in config.attributes:
        value_of_command: str | None = config.attributes[key]
        return value_of_command
    if config.config_file_name is None:
        return None
    try:
        settings: Mapping[str, Any] = plaster.get_settings(str(config.config_file_name), "app:main")
    except (plaster.PlasterError, LookupError):
        return None
    value: str | None = settings.get(key)
    return value
