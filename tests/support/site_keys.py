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

__all__ = ["CLOSED", "CRASHING", "install", "mark_expected", "statements_without_site", "swap_keys"]

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
    with Operations.context(MigrationContext.configure(connection)):
        _drop_obstacles(connection)
        catalog = read_catalog(connection)
        for batch in plan_distribution(catalog, allow_triggers=True, shards=4).batches:
            for step in () if batch.autocommit else (*batch.first, *batch.steps):
                connection.exec_driver_sql(step.sql, execution_options={"no_parameters": True})


def _drop_obstacles(connection: sa.Connection) -> None:
    """Drop the constraints that `multisite distribute --check` would name, as somebody who distributes has to."""
    catalog = read_catalog(connection)
    scoped = {name for name, placement in wanted_placements(catalog).items() if placement == "distributed"}
    for each in catalog.references:
        if each.table in scoped and each.target in scoped and not each.holds_site:
            connection.exec_driver_sql(f"ALTER TABLE {each.table} DROP CONSTRAINT {each.name}")
    for name in scoped:
        for key in catalog.tables[name].keys:
            if key.kind != "p" and "site_id" not in key.columns:
                what = f"DROP INDEX {key.name}" if key.kind == "i" else f"ALTER TABLE {name} DROP CONSTRAINT {key.name}"
                connection.exec_driver_sql(f"{what} CASCADE")


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


_FREE = "an id is unique within its site, so that of another row is free"
_CONFLICT = "ON CONFLICT (id) has to be (site_id, id)"
_GROUP = "GROUP BY id has to name all selected columns"
_REFERENCE = "a reference to an id alone is an obstacle, and dropped"

WAYS = {
    "links: new object with another site's primary key": _FREE,
    "links: new child with another site's primary key": _FREE,
    "links: own object given another site's primary key": _FREE,
    "links: merge of another site's key without its site": _FREE,
    "links: merge of another site's key in a cascade": _FREE,
    "links: another site's objects in a collection, by their key": _FREE,
    "execution: existence of a key of another site": _FREE,
    "writes: insert with another site's key": _FREE,
    "writes: upsert of an own row": _CONFLICT,
    "writes: upsert of all excluded columns": _CONFLICT,
    "writes: upsert of many rows": _CONFLICT,
    "writes: upsert onto another site's row": _CONFLICT,
    "writes: upsert onto another site's row, with a criterion": _CONFLICT,
    "writes: upsert onto another site's row, all excluded columns": _CONFLICT,
    "writes: upsert onto another site's row, of Core": _CONFLICT,
    "writes: upsert onto another site's row, from select": _CONFLICT,
    "writes: upsert that returns": _CONFLICT,
    "writes: rows counted by an upsert onto another site's row": _CONFLICT,
    "writes: upsert to a reference to another site's row": _CONFLICT,
    "reads: group by the key": _GROUP,
    "postgresql: text: group by the key, with text": _GROUP,
    "execution: cascade along a reference without site id": _REFERENCE,
}
"""Attempts of the catalogue that have another outcome with such keys, and why. None reaches a row of another site."""

_JOIN = "Citus plans no join of two tables on their ids alone"
_COPIED = "Citus changes no table that is copied to each node by rows of a distributed one"
_SAMPLE = "Citus passes no parameter to TABLESAMPLE"

CITUS_WAYS = {
    "cache: compiled for all sites: full join": _JOIN,
    "cache: compiled for all sites: joined": _JOIN,
    "cache: compiled for all sites: selectin": _JOIN,
    "postgresql: reads: sample": _SAMPLE,
    "postgresql: reads: sample of an entity": _SAMPLE,
    "postgresql: reads: sample with a method": _SAMPLE,
    "postgresql: execution: parent declared and inherited from by SQL": "Citus refuses INHERIT",
    "writes: insert from a select along cross-site references": _JOIN,
    "writes: insert with a subquery as value": "Citus plans no subquery in INSERT ... VALUES",
    "writes: rows counted by an update from another site's row": _COPIED,
    "postgresql: writes: rows counted by a delete using another site's row": _COPIED,
    "writes: update of an unscoped table from scoped rows": _COPIED,
    "writes: update of an unscoped table to a subquery": _COPIED,
}
"""Attempts that Citus 13.2.2 refuses by itself, and why."""

CRASHING = (
    frozenset(
        {
            "objects: joinedload of an unscoped table",
            "reads: anti-join",
            "reads: cross join",
            "reads: full join within an outer join",
            "reads: join of an outer join",
            "reads: outer join of a join",
            "reads: outer join of an outer join",
            "text: statement hint OR, outer join from an unscoped table",
            "text: suffix OR, outer join from an unscoped table",
        }
    )
    if KEYS == "citus"
    else frozenset()
)
"""Attempts at which the coordinator of Citus 13.2.2 ends, with row-level security in force and without scoping."""

CLOSED = (
    frozenset({"execution: cascade along a reference without site id", "execution: existence of a key of another site"})
    if KEYS
    else frozenset()
)
"""Attempts that row-level security alone does not prevent, but such keys do: see `_REFERENCE` and `_FREE`."""

_ERRORS = {"primary key": _FREE, "reference without site_id": _REFERENCE, "cascade into a CHECK": _REFERENCE}

_FORM = "policies on Citus have the form 'setting', and these tests are about roles"
_DROPPED = "a unique key or exclusion without site_id is an obstacle, and dropped"
_NO_TABLE = "a worker reports no table, so the values are left out: the table may be one of sites"
_DRIVER = "only errors of psycopg are brought into the form of one server"
_BY_SQL = (
    "a table that a test makes by SQL is not distributed, and Citus fills such a cycle one statement after another"
)
_FOR_UPDATE = "Citus locks no rows of several shards"
_RESTRICTIVE = "Citus makes restrictive policies permissive, so check reports any policy of the application"
_SEVERAL = "Citus passes a string of several commands on as a whole, and fails"
_PARTITIONS = "Citus refuses partitions of partitions"
_PRESET = "Citus passes on what a transaction sets, not what a connection begins with"
_NO_SITE = "Citus refuses some statements that name no site"
_WORDS = "Citus refuses another site_id in words of its own"
_COPY = "a worker gets no site for COPY, and refuses it"
_SUBSELECT = "Citus refuses policies with a subselect, and some reads of all sites"

_CITUS = {
    "test_differential.py::test_the_reference_on_the_shared_database_would_see_all_sites[postgresql]": _NO_SITE,
    "test_differential.py::test_poison_points_across_sites[postgresql]": _JOIN,
    "test_scoping_corners.py::test_a_query_as_a_default_is_one_value[postgresql]": "Citus plans no such subquery",
    "test_row_security.py::test_a_plain_connection_follows_the_scope_from_statement_to_statement": _FORM,
    "test_row_security.py::test_all_sites_is_taken_back_with_its_savepoint": _FORM,
    "test_row_security.py::test_all_sites_sees_and_writes_every_site": _FORM,
    "test_row_security.py::test_row_security_alone_limits_raw_sql[copy]": _COPY,
    "test_row_security.py::test_row_security_alone_limits_raw_sql[for update]": _FOR_UPDATE,
    "test_row_security.py::test_negative_control_as_the_superuser_raw_sql_leaks[for update]": _FOR_UPDATE,
    "test_row_security.py::test_a_reference_reaches_a_row_of_another_site_unless_it_holds_site_id": _REFERENCE,
    "test_row_security.py::test_a_unique_key_without_site_id_tells_that_another_site_has_it": _DROPPED,
    "test_row_security.py::test_views_and_functions_with_rights_of_their_own_read_what_their_owner_may": (
        "a worker reads the table of a view with the rights of who asks, not of the view's owner"
    ),
    "test_row_security_policies.py::test_a_policy_of_the_application_does_not_widen_ours[": _RESTRICTIVE,
    "test_row_security_policies.py::test_negative_control_without_the_restrictive_policy_it_widens": _RESTRICTIVE,
    "test_row_security_policies.py::test_a_changed_restrictive_policy_does_not_count[": _RESTRICTIVE,
    "test_row_security_policies.py::…[role": _SUBSELECT,
    "test_row_security_policies.py::test_policies_of_an_earlier_release_are_a_notice…[setting]": _RESTRICTIVE,
    "test_row_security_policies.py::test_a_restrictive_policy_of_the_application_is…[setting]": _RESTRICTIVE,
    "test_row_security_policies.py::test_any_other_policy_of_a_distributed_table_is…[setting": _SEVERAL,
    "test_row_security_policies.py::test_a_distributed_table_needs_no_restrictive_policy[setting]": _SEVERAL,
    "test_row_security_policies.py::test_partitions_and_children_without_policies…[setting]": _PARTITIONS,
    "test_row_security_policies.py::test_an_operation_covers_partitions_and_children_too[setting]": _PARTITIONS,
    "test_row_security_policies.py::test_a_foreign_table_among_the_children_is_reported[setting]": _PARTITIONS,
    "test_row_security_policies.py::test_negative_control_a_cursor_before_any_statement…[setting]": _PRESET,
    "test_row_security_policies.py::test_either_form_reads_and_writes_correctly[setting]": _WORDS,
    "test_row_security_policies.py::test_a_running_process_continues_with_the_other_form[setting]": _SUBSELECT,
    "test_row_security_policies.py::test_a_database_with_both_forms[setting]": _SUBSELECT,
    "test_row_security_alone.py::test_row_security_alone_prevents_every_attempt_in_sql[role]": _SUBSELECT,
    "test_row_security_alone.py::test_negative_control_without_row_security_they_succeed[": _SUBSELECT,
    "test_removal.py::test_rows_of_tables_that_reference_each_other_are_deleted[postgresql": _BY_SQL,
    "test_integrity_errors.py::test_an_error_shows_nothing_of_another_site[postgresql-unique": _DROPPED,
    "test_integrity_errors.py::test_an_error_shows_nothing_of_another_site[postgresql-postgresql: exclusion": _DROPPED,
    "test_integrity_errors.py::test_an_error_shows_nothing_of_another_site[postgresql-postgresql: deferred": _DROPPED,
    "test_integrity_errors.py::test_an_error_of_a_plain_connection_shows_nothing_either[postgresql-unique, u": _DROPPED,
    "test_integrity_errors.py::test_negative_control_without_it_values_are_shown[unique, update-": _DROPPED,
    "test_integrity_errors.py::test_what_a_program_goes_by_stays[postgresql]": _DROPPED,
    "test_integrity_errors.py::test_values_are_shown_where_no_other_site_has_them[postgresql]": _NO_TABLE,
    "test_integrity_errors.py::test_another_driver_s_error_shows_nothing_either[": _DRIVER,
}
"""Tests that fail on Citus 13.2.2, by a part of their ids, and why.

None shows or changes a row of another site, except where the application has a policy of its own: see `_RESTRICTIVE`.
"""

_ENDLESS = {
    "test_row_security.py::test_raw_changes_leave_the_other_site_alone[COPY": f"{_COPY}; its transaction stays open",
}
"""Tests that do not end on Citus, since the driver does not either."""

EXPECTED = {
    **{f"test_attack_catalogue.py::test_attempt[postgresql-{way}]": reason for way, reason in WAYS.items()},
    **{
        f"test_attack_catalogue.py::test_attempt[postgresql-{way}]": reason
        for way, reason in (CITUS_WAYS.items() if KEYS == "citus" else ())
    },
    **(_CITUS if KEYS == "citus" else {}),
    **{
        f"test_integrity_errors.py::{name.format(error)}": reason
        for error, reason in _ERRORS.items()
        for name in (
            "test_an_error_shows_nothing_of_another_site[postgresql-{}]",
            "test_an_error_of_a_plain_connection_shows_nothing_either[postgresql-{}]",
            "test_negative_control_without_it_values_are_shown[{}-postgresql]",
        )
    },
    "test_attack_catalogue.py::test_negative_control_without_scoping_every_attempt_has_another_outcome": _FREE,
    "test_differential.py::test_a_site_cannot_tell_the_shared_database_from_its_own[postgresql-": _FREE,
    "test_long_names.py::test_a_conversion_gives_the_same_name[postgresql]": "the key is as wide as the unique one",
}
"""The tests that fail with such keys, by a part of their ids or several divided by "…", and why."""


def _is_part(part: str, nodeid: str) -> bool:
    return all(each in nodeid for each in part.split("…"))


def mark_expected(items: list[pytest.Item]) -> None:
    """Expect the failures that are listed, and no others."""
    for item in items:
        reason = next((reason for part, reason in EXPECTED.items() if _is_part(part, item.nodeid)), None)
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
        endless = next((reason for part, reason in _ENDLESS.items() if KEYS == "citus" and part in item.nodeid), None)
        if endless is not None:
            item.add_marker(pytest.mark.xfail(reason=endless, run=False))


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
