"""Switch row-level security on or off for every table of a database that belongs to sites, at once.

For the reference application, and for who does not want it in the history of an application: a revision that looks at a
setting would count as run whether or not it did anything, so there is a command instead. `multisite row-security` calls
`enable` and `disable`; `multisite.alembic` has the same for one table, in a revision.
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
    """Switch it on for every table that belongs to sites, and return their names. Safe to repeat.

    `engine` is the owner's. `all_sites_role` is the role that sees the rows of all sites; None gives nobody that
    right. `form` is that of the policies, "role" or "setting", which tables of the other form are turned into; None
    takes what suits the database. Raises `MultisiteError` on another database than PostgreSQL, where there is no such
    role, and where `engine` is not the owner's.
    """
    with _operations(engine) as (operations, tables):
        if all_sites_role is not None and not _role_exists(operations, all_sites_role):
            raise MultisiteError(
                f"there is no role '{all_sites_role}', which multisite.all_sites_role names: CREATE ROLE it, and GRANT "
                "it to the roles of the application and of the owner"
            )
        secured = [table for table in tables if not table.is_foreign]
        for table in secured:
            operations.invoke(
                EnableRowSecurity(table.table, schema=table.schema, all_sites_role=all_sites_role, form=form)
            )
        return [str(table) for table in secured]


def disable(engine: Engine) -> list[str]:
    """Switch it off for the tables that have it, and return their names. Raises as `enable` does."""
    with _operations(engine) as (operations, tables):
        found = [table for table in tables if not table.is_foreign and (table.is_enabled or table.has_policy)]
        for table in found:
            operations.invoke(DisableRowSecurity(table.table, schema=table.schema))
        return [str(table) for table in found]


@contextmanager
def _operations(engine: Engine) -> Iterator[tuple[Operations, list[SecuredTable]]]:
    """Yield alembic's operations, in one transaction, and the tables that belong to sites."""
    if engine.dialect.name != "postgresql":
        raise MultisiteError(
            f"row-level security is a matter of PostgreSQL, and this database is {engine.dialect.name}: nothing is done"
        )
    # As a migration, so that the wall leaves its statements alone.
    with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)) as operations:
        tables = secured_tables(connection)
        for table in tables:
            if not table.is_ours:
                raise MultisiteError(
                    f"the table {table} belongs to {table.owner}, who alone can do this: set multisite.owner_url to a "
                    "URL with that role"
                )
        yield operations, tables


def _role_exists(operations: Operations, role: str) -> bool:
    found = sa.text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role)")
    return bool(operations.get_bind().scalar(found, {"role": role}))
