"""Run a plan on a database."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import OperationalError

from multisite.core.finding import Finding
from multisite.errors import MultisiteError
from multisite.sharding.catalog import Catalog, read_catalog
from multisite.sharding.plan import Batch, DistributionPlan, Step

__all__ = ["catalog_of", "find_shared_keys", "run", "unlimited"]


_ATTEMPTS = 3
_DEADLOCK = "40P01"


def catalog_of(engine: Engine) -> Catalog:
    """Return the catalogue of a database.

    Raises:
        MultisiteError: It is not PostgreSQL.
    """
    if engine.dialect.name != "postgresql":
        raise MultisiteError(f"distributing needs PostgreSQL, and this database is {engine.dialect.name}")
    with unlimited(engine) as connection:
        return read_catalog(connection)


def find_shared_keys(engine: Engine, catalog: Catalog) -> list[Finding]:
    """Return the tables in which two sites share a key, which the key of before does not allow."""
    found = []
    with unlimited(engine) as connection:
        for saved in catalog.saved:
            columns = re.search(r"PRIMARY KEY \((.*)\)", saved.sql) if saved.kind == "key" else None
            if columns is None:
                continue
            query = f"SELECT {columns[1]} FROM {saved.table} GROUP BY {columns[1]} HAVING count(*) > 1 LIMIT 1"
            row = connection.exec_driver_sql(query, execution_options={"no_parameters": True}).first()
            if row is not None:
                key = ", ".join(map(str, row))
                found.append(
                    Finding(
                        "shared-key",
                        f"{saved.table} {columns[1]}",
                        f"two sites have rows with the key {key}",
                        "give one of them another key, or stay distributed",
                    )
                )
    return found


def run(engine: Engine, plan: DistributionPlan, show: Callable[[str], object]) -> None:
    """Run a plan: a transaction for each batch, and `show` for each line of progress.

    Raises:
        MultisiteError: A table would have another number of rows afterwards; the transaction is rolled back.
        DBAPIError: The database refuses a statement; the transaction is rolled back.
    """
    for batch in plan.batches:
        if batch.autocommit:
            with unlimited(engine, isolation_level="AUTOCOMMIT") as connection:
                _run_steps(connection, batch.steps, show)
        else:
            _run_repeatedly(engine, batch, show)


def _run_repeatedly(engine: Engine, batch: Batch, show: Callable[[str], object]) -> None:
    """Run a transaction, again after a deadlock: Citus deletes old shards in the background, and locks their tables."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with unlimited(engine) as connection, connection.begin():
                _run_transaction(connection, batch, show)
            return
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != _DEADLOCK or attempt == _ATTEMPTS:
                raise
            show("a deadlock with another transaction: everything was rolled back, and is tried again")


@contextmanager
def unlimited(engine: Engine, **options: str) -> Iterator[Connection]:
    """Yield a connection that is taken for a migration, so that the scoping layer does not limit its statements."""
    with (
        engine.connect().execution_options(**options) as connection,
        Operations.context(MigrationContext.configure(connection)),
    ):
        yield connection


def _run_transaction(connection: Connection, batch: Batch, show: Callable[[str], object]) -> None:
    _run_steps(connection, batch.first, show)
    before = _counts(connection, batch.counted)
    _run_steps(connection, batch.steps, show)
    after = _counts(connection, batch.counted)
    for table, rows in before.items():
        if after[table] != rows:
            raise MultisiteError(
                f"{table} had {rows} rows and would have {after[table]}: everything was rolled back. Look at its "
                "triggers, and run the command again"
            )


def _run_steps(connection: Connection, steps: tuple[Step, ...], show: Callable[[str], object]) -> None:
    for step in steps:
        if step.progress:
            show(step.progress)
        connection.exec_driver_sql(step.sql, execution_options={"no_parameters": True})


def _counts(connection: Connection, tables: tuple[str, ...]) -> dict[str, int]:
    return {table: _count(connection, table) for table in tables}


def _count(connection: Connection, table: str) -> int:
    query = f"SELECT count(*) FROM {table}"
    rows: int = connection.exec_driver_sql(query, execution_options={"no_parameters": True}).scalar_one()
    return rows
