"""Restore what PostgreSQL stores outside the definition of a key or reference and loses when that is recreated.

These are comments, storage options of a constraint, the tablespace, statistics targets of expressions, and whether an
index is the table's REPLICA IDENTITY or the one it is ordered by (CLUSTER).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from multisite.alembic.plan import Change, Plan
from multisite.alembic.postgresql_schema import PostgresqlSchema
from multisite.alembic.schema import Key, Reference, TableName
from multisite.scoping.column import SITE_COLUMN

__all__ = ["statements_after"]

_INDEX = """
    SELECT i.oid, n.nspname::text AS schema, array_to_string(i.reloptions, ', ') AS options,
           (SELECT spcname::text FROM pg_tablespace WHERE oid = i.reltablespace) AS tablespace,
           x.indisreplident AS identifies, x.indisclustered AS clusters, obj_description(i.oid, 'pg_class') AS comment
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace
    WHERE x.indrelid = :table AND i.relname = :name
"""

_STATISTICS = """
    SELECT attnum, attstattarget FROM pg_attribute WHERE attrelid = :index AND attstattarget >= 0 ORDER BY attnum
"""

_CONSTRAINT_COMMENT = """
    SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conrelid = :table AND conname = :name
"""


def statements_after(schema: PostgresqlSchema, plan: Plan) -> list[str]:
    """Return the statements to run after `plan`, which restore what it loses; call this before the plan runs."""
    found: list[str] = []
    for key in plan.keys:
        if key.new is not None:
            found += _index_statements(schema, plan.table.name, key)
            if not key.old.is_index:
                found += _constraint_statements(schema, plan.table.name, key)
    for reference in (*plan.references, *plan.incoming):
        if reference.new is not None:
            found += _constraint_statements(schema, reference.old.table, reference)
    return found


def _index_statements(schema: PostgresqlSchema, table: TableName, change: Change[Key]) -> Iterator[str]:
    (index,) = schema.query(_INDEX, table=schema.oid(table), name=change.old.name)
    new = _new(change)
    name = schema.sql_name(TableName(index.schema, new.name or ""))
    if index.options and not change.old.is_index:  # The definition of an index includes its options.
        yield f"ALTER INDEX {name} SET ({index.options})"
    if index.tablespace:
        yield f"ALTER INDEX {name} SET TABLESPACE {schema.quote(index.tablespace)}"
    numbers = dict(zip(_column_numbers(change.old), _column_numbers(new), strict=True))
    for number, target in schema.query(_STATISTICS, index=index.oid):
        if number in numbers:
            yield f"ALTER INDEX {name} ALTER COLUMN {numbers[number]} SET STATISTICS {target}"
    if index.identifies:
        yield f"ALTER TABLE {schema.sql_name(table)} REPLICA IDENTITY USING INDEX {schema.quote(new.name or '')}"
    if index.clusters:
        yield f"ALTER TABLE {schema.sql_name(table)} CLUSTER ON {schema.quote(new.name or '')}"
    if index.comment is not None:
        yield f"COMMENT ON INDEX {name} IS {_literal(index.comment)}"


def _constraint_statements(
    schema: PostgresqlSchema, table: TableName, change: Change[Key] | Change[Reference]
) -> Iterator[str]:
    name = _new(change).name or ""
    for (comment,) in schema.query(_CONSTRAINT_COMMENT, table=schema.oid(table), name=change.old.name):
        if comment is not None:
            constraint = f"CONSTRAINT {schema.quote(name)} ON {schema.sql_name(table)}"
            yield f"COMMENT ON {constraint} IS {_literal(comment)}"


def _new(change: Any) -> Any:
    return change.new


def _column_numbers(key: Key) -> list[int]:
    """Return the positions, from 1, of the columns other than `site_id`."""
    return [number for number, column in enumerate(key.columns, 1) if column != SITE_COLUMN]


def _literal(text: str) -> str:
    escaped = text.replace("'", "''").replace("\\", "\\\\")
    return f"E'{escaped}'"
