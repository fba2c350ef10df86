"""Enable or disable row-level security for every scoped table of a database at once.

`multisite row-security` calls `enable` and `disable`; `multisite.alembic` has operations for one table in a revision.
The command is for the reference application, and for applications whose history should not depend on it: a revision
that reads a setting would count as applied whether or not it did anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Engine

from multisite.alembic.row_security import DisableRowSecurity, EnableRowSecurity
from multisite.errors import MultisiteError
from multisite.scoping.secured_tables import SecuredTable, secured_tables

__all__ = ["disable", "enable"]


def enable(engine: Engine, *, all_sites_role: str | None, form: str | None = None) -> list[str]:
    """Enable row-level security for every scoped table. Safe to repeat.

    Args:
        engine: An engine that connects as the owner of the tables.
        all_sites_role: The role that sees the rows of all sites; None for no role.
        form: The form of the policies, "role" or "setting", to which existing ones are converted; None takes the
            default of the database.

    Returns:
        The names of the tables.

    Raises:
        MultisiteError: The database is not PostgreSQL, the role does not exist, or the engine does not connect as the
            owner.
    """
    with _operations(engine) as (operations, tables):
        if all_sites_role is not None and not _role_exists(operations, all_sites_role):
            raise MultisiteError(
                f"there is no role '{all_sites_role}', which multisite.all_sites_role names: create it, and grant it "
                "to the roles of the application and of the owner"
            )
        secured = [table for table in tables if not table.is_foreign]
        for table in secured:
            operations.invoke(
                EnableRowSecurity(table.table, schema=table.schema, all_sites_role=all_sites_role, form=form)
            )
        return [str(table) for table in secured]


def disable(engine: Engine) -> list[str]:
    """Disable row-level security for the tables that have it.

    Returns:
        The names of the tables.

    Raises:
        MultisiteError: The database is not PostgreSQL, or the engine does not connect as the owner.
    """
    with _operations(engine) as (operations, tables):
        found = [table for table in tables if not table.is_foreign and (table.is_enabled or table.has_policy)]
        for table in found:
            operations.invoke(DisableRowSecurity(table.table, schema=table.schema))
        return [str(table) for table in found]


@contextmanager
def _operations(engine: Engine) -> Iterator[tuple[Operations, list[SecuredTable]]]:
    """Yield alembic's operations, in one transaction, and the scoped tables."""
    if engine.dialect.name != "postgresql":
        raise MultisiteError(
            f"row-level security needs PostgreSQL, and this database is {engine.dialect.name}: nothing was changed"
        )
    # As a migration, so that the scoping layer does not limit its statements.
    with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)) as operations:
        tables = secured_tables(connection)
        for table in tables:
            if not table.is_ours:
                raise MultisiteError(
                    f"the table {table} belongs to {table.owner}, and only its owner can do this: set "
                    "multisite.owner_url to a URL with that role"
                )
        yield operations, tables


def _role_exists(operations: Operations, role: str) -> bool:
    found = sa.text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role)")
    return bool(operations.get_bind().scalar(found, {"role": role}))
