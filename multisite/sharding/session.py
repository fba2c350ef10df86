"""Make the revisions of an application possible on a distributed database, without a change to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.schema import AddConstraint

from multisite.errors import MultisiteError
from multisite.sharding.catalog import has_citus, read_catalog
from multisite.sharding.obstacles import find_obstacles
from multisite.sharding.plan import plan_distribution

__all__ = ["distribute_new_table", "distributed_migrations"]

_IS_DISTRIBUTED = "SELECT EXISTS (SELECT FROM pg_dist_partition WHERE partmethod = 'h')"
_HAS_TRIGGERS = """
    SELECT EXISTS (SELECT FROM pg_dist_partition p JOIN pg_trigger t ON t.tgrelid = p.logicalrelid
                   JOIN pg_proc f ON f.oid = t.tgfoid
                   WHERE p.partmethod = 'h' AND NOT t.tgisinternal AND f.proname <> 'citus_truncate_trigger')
"""


@contextmanager
def distributed_migrations(engine: Engine) -> Iterator[None]:
    """Let the revisions of this process run on the database of `engine`, if it is distributed.

    A revision that creates a table would fail, since a local table cannot refer to a distributed one: the table is
    created without its references, distributed, and gets them then. And a transaction may change several distributed
    tables: Citus changes the shards of a table over parallel connections, and then refuses to change another table, to
    which it has a reference. Elsewhere nothing is sent.
    """
    with engine.connect() as connection:
        is_needed = has_citus(connection) and connection.scalar(sa.text(_IS_DISTRIBUTED))
        settings = ["SET citus.multi_shard_modify_mode TO 'sequential'"]
        if is_needed and connection.scalar(sa.text(_HAS_TRIGGERS)):
            settings.append("SET citus.enable_unsafe_triggers TO on")
    if not is_needed:
        yield
        return

    def set_up(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            raw: Any = connection.connection.dbapi_connection
            # With the driver, so that SQLAlchemy does not count it as the beginning of a transaction.
            with raw.cursor() as cursor:
                for setting in settings:
                    cursor.execute(setting)
            raw.commit()

    listeners: list[tuple[Any, str, Any]] = [
        (Engine, "engine_connect", set_up),
        (sa.Table, "before_create", _defer_references),
        (sa.Table, "after_create", _distribute),
    ]
    for listener in listeners:
        event.listen(*listener)
    try:
        yield
    finally:
        for listener in listeners:
            event.remove(*listener)


def _defer_references(table: sa.Table, connection: Connection, **_options: Any) -> None:
    if connection.dialect.name == "postgresql":
        for constraint in table.foreign_key_constraints:
            constraint.use_alter = True


def _distribute(table: sa.Table, connection: Connection, **_options: Any) -> None:
    if connection.dialect.name != "postgresql":
        return
    name = connection.dialect.identifier_preparer.format_table(table)
    distribute_new_table(connection, name)
    for constraint in sorted(table.foreign_key_constraints, key=lambda each: str(each.name)):
        connection.execute(AddConstraint(constraint))


def distribute_new_table(connection: Connection, name: str) -> None:
    """Distribute a table, or copy it to each node if it has no `site_id`. Safe to repeat.

    Args:
        connection: The connection of a migration.
        name: The table, as in SQL.

    Raises:
        MultisiteError: There is no such table, or it has an obstacle.
    """
    qualified = (
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.oid = to_regclass(:name)"
    )
    found = connection.scalar(sa.text(qualified), {"name": name})
    if found is None:
        raise MultisiteError(f"there is no table '{name}': an earlier operation has to create it")
    catalog = read_catalog(connection)
    for finding in find_obstacles(catalog):
        if finding.severity == "fault" and finding.subject.split(" ")[0] in (found, f"{found}.site_id"):
            raise MultisiteError(f"{finding.subject} {finding.message}: {finding.remedy}")
    # The table is new: a batch that deletes its local rows afterwards would be a transaction of its own.
    for batch in plan_distribution(catalog, only=found).batches:
        if not batch.autocommit:
            for step in (*batch.first, *batch.steps):
                connection.exec_driver_sql(step.sql, execution_options={"no_parameters": True})
