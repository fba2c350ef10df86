"""Run the tests with keys as a distributed database has them: each PRIMARY KEY (id) of a scoped table is (site_id, id).

    MULTISITE_TEST_KEYS=site python3 dev.py test tests/scoping -k postgresql

swaps the keys of each table that a test creates on PostgreSQL. With `MULTISITE_TEST_KEYS=citus`, the server is the
Citus that `MULTISITE_TEST_CITUS_URL` names, and the tables are distributed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

from multisite.sharding.catalog import read_catalog
from multisite.sharding.placement import wanted_placements
from multisite.sharding.plan import plan_distribution

__all__ = ["install", "mark_expected", "statements_without_site", "swap_keys"]

KEYS = os.environ.get("MULTISITE_TEST_KEYS", "")


def swap_keys(connection: sa.Connection) -> None:
    """Give each table that would be distributed a primary key with `site_id`, as `multisite distribute` does."""
    # The scoping layer does not limit the statements of a migration.
    with Operations.context(MigrationContext.configure(connection)):
        for table, name, columns in list(_keys_to_swap(connection)):
            # CASCADE drops the references that Citus refuses: those to an id alone.
            add = f"ADD CONSTRAINT {name} PRIMARY KEY ({columns})"
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE, {add}")


def _keys_to_swap(connection: sa.Connection) -> Iterator[tuple[str, str, str]]:
    catalog = read_catalog(connection)
    for name, placement in wanted_placements(catalog).items():
        for key in catalog.tables[name].keys if placement == "distributed" else ():
            if key.kind == "p" and "site_id" not in key.columns and not key.dependents:
                yield name, key.name, ", ".join(("site_id", *key.columns))


def distribute(connection: sa.Connection) -> None:
    """Distribute all tables by `site_id`, in the transaction of `connection`."""
    catalog = read_catalog(connection)
    with Operations.context(MigrationContext.configure(connection)):
        for batch in plan_distribution(catalog, allow_triggers=True, shards=4).batches:
            for step in () if batch.autocommit else (*batch.first, *batch.steps):
                connection.exec_driver_sql(step.sql, execution_options={"no_parameters": True})


def _after_create(target: sa.MetaData, connection: sa.Connection, **_: Any) -> None:
    # Scoped tables refer to `sites`: they are created after multisite's own tables, or with them.
    if connection.dialect.name != "postgresql" or not any("site_id" in each.c for each in target.tables.values()):
        return
    if KEYS == "citus":
        distribute(connection)
    else:
        swap_keys(connection)


def install() -> None:
    """Swap the keys of all tables that are created from now on."""
    sa.event.listen(sa.MetaData, "after_create", _after_create)


EXPECTED: dict[str, str] = {}
"""Tests that fail with such keys, as parts of their ids, and why."""


def mark_expected(items: list[pytest.Item]) -> None:
    """Expect the failures that are listed, and no others."""
    for item in items:
        for part, reason in EXPECTED.items():
            if part in item.nodeid and "postgresql" in item.nodeid:
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


_TABLE = re.compile(r"(\b(?:FROM|JOIN|UPDATE|INTO)|,)\s+(?:ONLY\s+)?(\w+)(?![\w.(])(?:\s+AS\s+(\w+))?")


def statements_without_site(statements: list[str], tables: set[str]) -> list[str]:
    """Return the statements that use one of `tables` without a comparison with its `site_id`, or a value for it."""
    return [each for each in statements if not all(_names_site(each, *found) for found in _uses(each, tables))]


def _uses(statement: str, tables: set[str]) -> Iterator[tuple[str, str]]:
    # Names in the list of columns are no tables.
    for word, table, alias in _TABLE.findall(re.sub(r"(INTO \w+) \([^)]*\)", r"\1", statement)):
        if table in tables:
            yield word, alias or table


def _names_site(statement: str, word: str, alias: str) -> bool:
    if word == "INTO":
        return re.search(rf"INTO {alias} \([^)]*\bsite_id\b", statement) is not None
    return re.search(rf"\b{alias}\.site_id = ", statement) is not None
