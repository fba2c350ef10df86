"""Row-level security of PostgreSQL for a scoped table, switched on and off in a revision.

    import multisite.alembic  # noqa: F401  # Adds the operations to `op`.

    def upgrade() -> None:
        op.enable_row_security("entries")

    def downgrade() -> None:
        op.disable_row_security("entries")

The policies are two. One is for everybody: rows of the site that the transaction says it is for, and an error where it
says none. It is not for the application's role alone, since a role without a policy would silently see nothing. The
other is for the role that `all_sites` works under. What a transaction says is `multisite.scoping.security`'s affair.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import plaster
import sqlalchemy as sa
from alembic.operations import MigrateOperation, Operations
from alembic.runtime.migration import MigrationContext

from multisite.scoping.security import ALL_SITES_POLICY, SETTING, SITE_POLICY
from multisite.settings import ALL_SITES_ROLE

__all__ = ["DisableRowSecurity", "EnableRowSecurity"]

log = logging.getLogger(__name__)


@Operations.register_operation("enable_row_security")
class EnableRowSecurity(MigrateOperation):
    """Switch row-level security on for one table."""

    def __init__(self, table_name: str, *, schema: str | None = None, all_sites_role: str | None = None) -> None:
        self.table_name = table_name
        self.schema = schema
        self.all_sites_role = all_sites_role

    @classmethod
    def enable_row_security(
        cls, operations: Operations, table_name: str, *, schema: str | None = None, all_sites_role: str | None = None
    ) -> None:
        """Let the database show and take rows of `table_name` for one site at a time, also to the table's owner.

        Safe to repeat: it brings the policies up to date. `schema` is the table's, None for the search path's.
        `all_sites_role` is the role that sees every site's rows; None takes `multisite.all_sites_role` from the ini
        file that alembic reads, and if that is not set, nobody does. On other databases than PostgreSQL nothing is
        done, and logged: the same revision runs everywhere.
        """
        operations.invoke(cls(table_name, schema=schema, all_sites_role=all_sites_role))

    def reverse(self) -> DisableRowSecurity:
        return DisableRowSecurity(self.table_name, schema=self.schema)


@Operations.register_operation("disable_row_security")
class DisableRowSecurity(MigrateOperation):
    """Switch row-level security off for one table."""

    def __init__(self, table_name: str, *, schema: str | None = None) -> None:
        self.table_name = table_name
        self.schema = schema

    @classmethod
    def disable_row_security(cls, operations: Operations, table_name: str, *, schema: str | None = None) -> None:
        """Undo `enable_row_security`; policies of other names stay. Safe to repeat. `schema` as there."""
        operations.invoke(cls(table_name, schema=schema))

    def reverse(self) -> EnableRowSecurity:
        return EnableRowSecurity(self.table_name, schema=self.schema)


@Operations.implementation_for(EnableRowSecurity)
def _enable(operations: Operations, operation: EnableRowSecurity) -> None:
    context = operations.get_context()
    if not _is_postgresql(context, operation.table_name):
        return
    role = operation.all_sites_role or _configured_role(context)
    if role is None:
        log.info("%s: no %s, so nobody sees the rows of all sites", operation.table_name, ALL_SITES_ROLE)
    for statement in _enabling(_Names(context, operation), role):
        operations.execute(statement)


@Operations.implementation_for(DisableRowSecurity)
def _disable(operations: Operations, operation: DisableRowSecurity) -> None:
    context = operations.get_context()
    if not _is_postgresql(context, operation.table_name):
        return
    for statement in _disabling(_Names(context, operation)):
        operations.execute(statement)


class _Names:
    """The names of one operation, quoted where they need it. `table` has its schema in front."""

    def __init__(self, context: MigrationContext, operation: EnableRowSecurity | DisableRowSecurity) -> None:
        preparer = context.dialect.identifier_preparer
        self.quote = preparer.quote
        self.table = preparer.format_table(sa.table(operation.table_name, schema=operation.schema))


def _enabling(names: _Names, role: str | None) -> Iterator[str]:
    table = names.table
    yield f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
    yield f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY"
    yield from _dropping_policies(table)
    # In a subselect, so that it is evaluated once for a statement and not for each row. Without its second argument
    # current_setting() is an error where nothing was set; with it, it would be no rows.
    own = f"site_id = (SELECT CAST(current_setting('{SETTING}') AS bigint))"
    yield f"CREATE POLICY {SITE_POLICY} ON {table} USING ({own}) WITH CHECK ({own})"
    if role is not None:
        yield f"CREATE POLICY {ALL_SITES_POLICY} ON {table} TO {names.quote(role)} USING (true) WITH CHECK (true)"


def _disabling(names: _Names) -> Iterator[str]:
    yield from _dropping_policies(names.table)
    yield f"ALTER TABLE {names.table} NO FORCE ROW LEVEL SECURITY"
    yield f"ALTER TABLE {names.table} DISABLE ROW LEVEL SECURITY"


def _dropping_policies(table: str) -> Iterator[str]:
    for policy in (SITE_POLICY, ALL_SITES_POLICY):
        yield f"DROP POLICY IF EXISTS {policy} ON {table}"


def _is_postgresql(context: MigrationContext, table_name: str) -> bool:
    if context.dialect.name == "postgresql":
        return True
    log.info(
        "%s: row-level security is a matter of PostgreSQL, nothing is done on %s", table_name, context.dialect.name
    )
    return False


def _configured_role(context: MigrationContext) -> str | None:
    """Return `multisite.all_sites_role` as the ini file has it that alembic was started with; None if it has none."""
    config = context.config
    if config is None:
        return None
    if ALL_SITES_ROLE in config.attributes:
        handed_on: str | None = config.attributes[ALL_SITES_ROLE]
        return handed_on
    if config.config_file_name is None:
        return None
    try:
        settings: Mapping[str, str] = plaster.get_settings(str(config.config_file_name), "app:main")
    except (plaster.PlasterError, LookupError):
        return None
    return settings.get(ALL_SITES_ROLE)
