"""An operation that distributes a new table, for the revisions of an application whose database is distributed.

import multisite.alembic  # noqa: F401  # Adds the operation to `op`.

def upgrade() -> None:
    op.create_table("comments", …)
    op.distribute_table("comments")
"""

from __future__ import annotations

import logging

from alembic.operations import MigrateOperation, Operations

from multisite.alembic.schema import sql_name
from multisite.sharding.catalog import has_citus, read_catalog
from multisite.sharding.session import distribute_new_table

__all__ = ["DistributeTable"]

log = logging.getLogger(__name__)


@Operations.register_operation("distribute_table")
class DistributeTable(MigrateOperation):
    """Distribute one table by `site_id`, if the database is distributed."""

    def __init__(self, table_name: str, *, schema: str | None = None) -> None:
        self.table_name = table_name
        self.schema = schema

    @classmethod
    def distribute_table(cls, operations: Operations, table_name: str, *, schema: str | None = None) -> None:
        """Distribute a table by `site_id`, or copy it to each node if it has no such column.

        Its key and its references are changed as by `multisite distribute`. Does nothing on a database that is not
        distributed, so that the same revision runs everywhere; safe to repeat.

        Args:
            operations: Passed by alembic.
            table_name: The table.
            schema: The schema of the table; None for the search path.

        Raises:
            MultisiteError: There is no such table, or it has an obstacle.
        """
        operations.invoke(cls(table_name, schema=schema))


@Operations.implementation_for(DistributeTable)
def _distribute(operations: Operations, operation: DistributeTable) -> None:
    context = operations.get_context()
    connection = context.connection
    if connection is None or context.as_sql or not has_citus(connection):
        log.info("%s: nothing to distribute, since this database is not distributed", operation.table_name)
        return
    catalog = read_catalog(connection)
    if all(table.placement == "local" for table in catalog.tables.values()):
        log.info("%s: nothing to distribute, since no other table is", operation.table_name)
        return
    distribute_new_table(connection, sql_name(context.dialect, operation.table_name, operation.schema))
