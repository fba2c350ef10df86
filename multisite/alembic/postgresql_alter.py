"""Carry out a plan on PostgreSQL with ALTER TABLE, in the transaction of the migration."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from multisite.alembic.backfill import SiteSource
from multisite.alembic.plan import Change, Plan
from multisite.alembic.postgresql_index_details import statements_after
from multisite.alembic.postgresql_schema import PostgresqlSchema
from multisite.alembic.schema import Key, Reference, TableName
from multisite.errors import MultisiteError
from multisite.scoping.column import SITE_COLUMN
from multisite.scoping.policies import OUR_POLICIES

__all__ = ["add_site", "drop_site", "exclusive_unenforced"]

ProgressCallback = Callable[[int], None]
"""Called with the number of rows done so far; a number greater than that of the rows means all of them."""

_ENABLING = {"O": "ENABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}

_TRIGGERS = (
    "SELECT tgname::text, tgenabled::text FROM pg_trigger WHERE tgrelid = :oid AND NOT tgisinternal "
    "AND tgparentid = 0 AND tgenabled <> 'D'"
)
_RULES = "SELECT rulename::text, ev_enabled::text FROM pg_rewrite WHERE ev_class = :oid AND ev_enabled <> 'D'"


def add_site(
    schema: PostgresqlSchema, plan: Plan, site: SiteSource, batch_size: int, progress: ProgressCallback
) -> None:
    """Add `site_id` to the table of `plan`, backfill it, and change keys and references.

    Args:
        schema: The database.
        plan: The changes to make.
        site: Determines the site of each row.
        batch_size: How many rows are updated by one statement.
        progress: Called after each batch.
    """
    table = schema.sql_name(plan.table.name)
    details = statements_after(schema, plan)
    _drop(schema, plan)
    if site.is_constant:
        # PostgreSQL stores a constant default in the catalog and does not rewrite the table.
        default = "" if site.site_id is None else f" DEFAULT {site.site_id}"
        schema.execute(f"ALTER TABLE {table} ADD COLUMN {SITE_COLUMN} bigint NOT NULL{default}")
        schema.execute(f"ALTER TABLE {table} ALTER COLUMN {SITE_COLUMN} DROP DEFAULT")
        progress(sys.maxsize)
    else:
        if SITE_COLUMN not in plan.table.columns:
            schema.execute(f"ALTER TABLE {table} ADD COLUMN {SITE_COLUMN} bigint")
        with _without_triggers(schema, plan.table.name):
            _fill(schema, plan, site, batch_size, progress)
        schema.execute(f"ALTER TABLE {table} ALTER COLUMN {SITE_COLUMN} SET NOT NULL")
    _add(schema, plan, details)


def drop_site(schema: PostgresqlSchema, plan: Plan) -> None:
    """Remove `site_id` from the table of `plan`, its keys and the references from and to it.

    Raises:
        MultisiteError: A CHECK, an EXCLUDE constraint or a policy depends on `site_id`.
    """
    _check_dependents(schema, plan)
    details = statements_after(schema, plan)
    _drop(schema, plan)
    schema.execute(f"ALTER TABLE {schema.sql_name(plan.table.name)} DROP COLUMN {SITE_COLUMN}")
    _add(schema, plan, details)


def _fill(schema: PostgresqlSchema, plan: Plan, site: SiteSource, batch_size: int, progress: ProgressCallback) -> None:
    """Backfill `site_id` in batches by primary key, or in one statement if there is no primary key."""
    table = schema.sql_name(plan.table.name)
    # A row that has a site already keeps it, so it need not be written.
    update = f"UPDATE {table} AS r SET {SITE_COLUMN} = {site.sql(schema, 'r')} WHERE r.{SITE_COLUMN} IS NULL"
    key = ", ".join(f"r.{schema.quote(column)}" for column in plan.table.primary_key)
    if not key:
        schema.execute(update)
        progress(sys.maxsize)
        return
    # Keys are passed as text: a driver may return a value, such as jsonb, in a form that it does not accept.
    as_text = ", ".join(f"CAST(r.{schema.quote(column)} AS text)" for column in plan.table.primary_key)
    types = schema.types(plan.table, plan.table.primary_key)
    names = [f"key_{number}" for number in range(len(types))]
    after, done = "", 0
    values: dict[str, Any] = {}
    while True:
        found = schema.query(
            f"SELECT {as_text} FROM {table} AS r {f'WHERE ({key}) > ({_bound(names, types)})' if after else ''} "
            f"ORDER BY {key} LIMIT 1 OFFSET {int(batch_size) - 1}",
            **values,
        )
        upto = {f"upto_{number}": value for number, value in enumerate(found[0])} if found else {}
        before = f" AND ({key}) <= ({_bound(list(upto), types)})" if upto else ""
        schema.change(f"{update}{after}{before}", **values, **upto)
        if not upto:
            progress(sys.maxsize)
            return
        done += batch_size
        progress(done)
        after = f" AND ({key}) > ({_bound(names, types)})"
        values = dict(zip(names, found[0], strict=True))


def _bound(names: Sequence[str], types: Sequence[str]) -> str:
    """Return SQL that casts text parameters to these types."""
    return ", ".join(f"CAST(CAST(:{name} AS text) AS {type_})" for name, type_ in zip(names, types, strict=True))


def _drop(schema: PostgresqlSchema, plan: Plan) -> None:
    changes: list[Change[Key] | Change[Reference]] = [*plan.references, *plan.incoming, *plan.keys]
    for change in changes:
        old, table = change.old, _table_of(change, plan)
        if isinstance(old, Key) and old.is_index:
            schema.execute(f"DROP INDEX {schema.sql_name(TableName(_schema_of(schema, table), old.name or ''))}")
        else:
            schema.execute(f"ALTER TABLE {schema.sql_name(table)} DROP CONSTRAINT {schema.quote(old.name or '')}")


def _add(schema: PostgresqlSchema, plan: Plan, details: Sequence[str]) -> None:
    for change in plan.keys:
        _add_changed(schema, plan, change)
    for added in plan.added:
        _add_constraint(schema, plan.table.name, added)
    for reference in (*plan.references, *plan.incoming):
        _add_changed(schema, plan, reference)
    for statement in details:
        schema.execute(statement)


def _add_changed(schema: PostgresqlSchema, plan: Plan, change: Change[Key] | Change[Reference]) -> None:
    if isinstance(change.new, Key) and change.new.is_index:
        schema.execute(change.new.definition)
    elif change.new is not None:
        _add_constraint(schema, _table_of(change, plan), change.new)


def _add_constraint(schema: PostgresqlSchema, table: TableName, added: Key | Reference) -> None:
    schema.execute(f"ALTER TABLE {schema.sql_name(table)} ADD {schema.constraint_sql(added)}")


def _table_of(change: Change[Key] | Change[Reference], plan: Plan) -> TableName:
    return change.old.table if isinstance(change.old, Reference) else plan.table.name


def _schema_of(schema: PostgresqlSchema, table: TableName) -> str | None:
    """Return the schema of the table, which is that of its indexes; the search path may hide their names."""
    rows = schema.query("SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = :oid", oid=schema.oid(table))
    name: str = rows[0][0]
    return name.strip('"')


def _check_dependents(schema: PostgresqlSchema, plan: Plan) -> None:
    """Raise if PostgreSQL would silently drop a constraint or policy that is not in the plan along with `site_id`."""
    planned = [key.old.name for key in plan.keys]
    rows = schema.query(
        "SELECT c.conname::text, pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN pg_attribute a "
        "ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey) "
        "WHERE c.conrelid = :oid AND a.attname = :column AND c.contype IN ('c', 'x')",
        oid=plan.table.handle,
        column=SITE_COLUMN,
    )
    found = [(name, definition) for name, definition in rows if name not in planned]
    for name, definition in (*found, *_policies(schema, plan)):
        raise MultisiteError(
            f"site_id cannot be dropped from '{plan.table.name}', because more than its keys and references depends on "
            f"it; change this first: {name} ({definition})"
        )


def _policies(schema: PostgresqlSchema, plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the name of each policy, of any table, that depends on `site_id`, and the statement that drops it."""
    rows = schema.query(
        "SELECT p.polname::text, p.polrelid::regclass::text, format('DROP POLICY %I ON %s', p.polname, "
        "p.polrelid::regclass) FROM pg_policy p WHERE EXISTS (SELECT FROM pg_depend d JOIN pg_attribute a "
        "ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid WHERE d.classid = 'pg_policy'::regclass "
        "AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = :oid AND a.attname = :column) "
        "ORDER BY 1",
        oid=plan.table.handle,
        column=SITE_COLUMN,
    )
    for name, table, statement in rows:
        yield name, f"op.disable_row_security('{table}')" if name in OUR_POLICIES else statement


@contextmanager
def _without_triggers(schema: PostgresqlSchema, table: TableName) -> Iterator[None]:
    """Disable the application's triggers and rules for the block, so that the backfill does not count as a change."""
    name, oid = schema.sql_name(table), schema.oid(table)
    switched = [
        (f"{kind} {schema.quote(each)}", state)
        for kind, query in (("TRIGGER", _TRIGGERS), ("RULE", _RULES))
        for each, state in schema.query(query, oid=oid)
    ]
    for what, _ in switched:
        schema.execute(f"ALTER TABLE {name} DISABLE {what}")
    yield
    for what, state in switched:
        schema.execute(f"ALTER TABLE {name} {_ENABLING[state]} {what}")


@contextmanager
def exclusive_unenforced(schema: PostgresqlSchema, table: TableName) -> Iterator[None]:
    """Lock `table` for the block, with no deferred checks pending and without forced row-level security.

    PostgreSQL alters no table that has pending deferred checks, as after an INSERT of an earlier revision in the same
    transaction; and forced row-level security hides rows from their owner too. Nothing is restored if the block raises,
    since the transaction is rolled back.
    """
    schema.table(table)
    schema.execute(f"LOCK TABLE {schema.sql_name(table)} IN ACCESS EXCLUSIVE MODE")
    if _deferred(schema):
        schema.execute("SET CONSTRAINTS ALL IMMEDIATE")
    forced = _forced(schema, table)
    for name in forced:
        schema.execute(f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY")
    yield
    for name in forced:
        schema.execute(f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY")
    if deferred := _deferred(schema):
        schema.execute(f"SET CONSTRAINTS {', '.join(deferred)} DEFERRED")


def _deferred(schema: PostgresqlSchema) -> list[str]:
    rows = schema.query(
        "SELECT format('%I.%I', n.nspname, c.conname) FROM pg_constraint c "
        "JOIN pg_namespace n ON n.oid = c.connamespace WHERE c.condeferred AND c.conparentid = 0 ORDER BY 1"
    )
    return [row[0] for row in rows]


def _forced(schema: PostgresqlSchema, table: TableName) -> list[str]:
    """Return the names of the tables with forced row-level security, of this one and those it has references with."""
    rows = schema.query(
        "SELECT format('%I.%I', n.nspname, t.relname) FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace "
        "WHERE t.relrowsecurity AND t.relforcerowsecurity AND (t.oid = :oid OR t.oid IN "
        "(SELECT confrelid FROM pg_constraint WHERE conrelid = :oid UNION "
        "SELECT conrelid FROM pg_constraint WHERE confrelid = :oid)) ORDER BY 1",
        oid=schema.oid(table),
    )
    return [row[0] for row in rows]
