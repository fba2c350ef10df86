"""The schema of a table, as a model declares it or as the database has it, in one form for comparison."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.engine.reflection import Inspector, ObjectKind

from multisite.alembic.schema import Key, Reference, TableName

__all__ = [
    "TableSchema",
    "declared_table",
    "tables_in_database",
    "views_in_database",
]

_SYSTEM_SCHEMAS = ("pg_", "information_schema")


@dataclass(frozen=True)
class TableSchema:
    """The schema of a table.

    Attributes:
        name: Its lower-cased name; the schema is None for the database's default schema.
        sql_name: Its schema and name as SQL spells them.
        nullable: Whether each column may be NULL.
        generated: The columns whose values are generated, and so reveal nothing about another site's rows.
        primary_key: Its columns.
        unique: The unique constraints and unique indexes.
        indexes: The columns of each index, including those of keys.
        references: The foreign keys.
    """

    name: TableName
    sql_name: tuple[str | None, str]
    nullable: Mapping[str, bool]
    generated: frozenset[str] = frozenset()
    primary_key: tuple[str, ...] = ()
    unique: tuple[Key, ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()
    references: tuple[Reference, ...] = ()

    def clause(self, *more: str) -> sa.TableClause:
        """Return a lightweight table with the known columns and `more`, for the statements of checks."""
        schema, name = self.sql_name
        return sa.table(name, *(sa.column(column) for column in {*self.nullable, *more}), schema=schema)


def _table_name(schema: str | None, name: str, default_schema: str | None) -> TableName:
    schema = schema.lower() if schema else None
    return TableName(None if schema == (default_schema or "").lower() else schema, name.lower())


# Declared by a model


def declared_table(table: sa.Table, default_schema: str | None) -> TableSchema:
    """Return the schema of a table that a model declares."""
    indexes = []
    keys = [
        Key("unique constraint", _constraint_name(constraint.name), tuple(column.name for column in constraint.columns))
        for constraint in table.constraints
        if isinstance(constraint, sa.UniqueConstraint)
    ]
    for index in table.indexes:
        columns = tuple(getattr(expression, "name", None) or "" for expression in index.expressions)
        if index.unique:
            keys.append(Key("unique index", _constraint_name(index.name), columns))
        if not _is_partial(index.dialect_kwargs):
            indexes.append(columns)
    primary_key = tuple(column.name for column in table.primary_key.columns)
    name = _table_name(table.schema, table.name, default_schema)
    return TableSchema(
        name,
        (table.schema, table.name),
        {column.name: bool(column.nullable) for column in table.columns},
        frozenset(column.name for column in table.columns if _is_generated(column)),
        primary_key,
        tuple(sorted(keys, key=str)),
        (primary_key, *(key.columns for key in keys if key.kind == "unique constraint"), *indexes),
        tuple(_declared_references(name, table, default_schema)),
    )


def _constraint_name(name: Any) -> str | None:
    """Return the name of a constraint; None if a naming convention is still to give it one."""
    return str(name) if isinstance(name, str) else None


def _is_generated(column: sa.Column[Any]) -> bool:
    given = column.default is not None or column.server_default is not None
    return given or isinstance(column.type, (sa.Integer, sa.Uuid))


def _is_partial(options: Mapping[str, Any]) -> bool:
    return any(name.endswith("_where") and value is not None for name, value in options.items())


def _declared_references(name: TableName, table: sa.Table, default_schema: str | None) -> Iterator[Reference]:
    for constraint in sorted(table.foreign_key_constraints, key=lambda each: list(each.column_keys)):
        targets = [_target(element) for element in constraint.elements]
        schema, target = targets[0][:2]
        yield Reference(
            name,
            tuple(column.name for column in constraint.columns),
            _table_name(schema, target, default_schema),
            tuple(key for *_, key in targets),
            on_delete=constraint.ondelete,
            on_update=constraint.onupdate,
        )


def _target(element: sa.ForeignKey) -> tuple[str | None, str, str]:
    """Return schema, table and column of a foreign key's target, even if no model declares them."""
    try:
        column = element.column
    except sa.exc.InvalidRequestError:
        table, _, key = element.target_fullname.rpartition(".")
        schema, _, name = table.rpartition(".")
        return schema or None, name, key
    return column.table.schema, column.table.name, column.name


# Found in the database


def tables_in_database(connection: Connection) -> dict[TableName, TableSchema]:
    """Return all tables of the database behind `connection` except system tables."""
    found: dict[TableName, TableSchema] = {}
    inspector = sa.inspect(connection)
    default_schema = inspector.default_schema_name
    with warnings.catch_warnings():
        # Reflection warns about what it does not know, such as a type or an index of expressions.
        warnings.simplefilter("ignore", sa.exc.SAWarning)
        for schema in _schemas(inspector):
            found |= {table.name: table for table in _tables_in_schema(inspector, schema, default_schema)}
    return found


def _schemas(inspector: Inspector) -> list[str | None]:
    default = inspector.default_schema_name
    others = [name for name in inspector.get_schema_names() if name != default]
    return [None, *(name for name in others if not name.lower().startswith(_SYSTEM_SCHEMAS))]


def _tables_in_schema(inspector: Inspector, schema: str | None, default_schema: str | None) -> Iterator[TableSchema]:
    keys: dict[str, list[Key]] = defaultdict(list)
    indexes: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    primary_keys = {}
    for (_, table), key in inspector.get_multi_pk_constraint(schema).items():
        primary_keys[table] = tuple(key["constrained_columns"])
        indexes[table].append(primary_keys[table])
    for (_, table), constraints in inspector.get_multi_unique_constraints(schema).items():
        for each in constraints:
            keys[table].append(Key("unique constraint", each["name"], tuple(each["column_names"])))
            indexes[table].append(tuple(each["column_names"]))
    for (_, table), found in inspector.get_multi_indexes(schema).items():
        for index in found:
            columns = tuple(column or "" for column in index["column_names"])
            if index["unique"] and not index.get("duplicates_constraint"):
                keys[table].append(Key("unique index", index["name"], columns))
            if not _is_partial(index.get("dialect_options", {})):
                indexes[table].append(columns)
    references = inspector.get_multi_foreign_keys(schema)
    for (_, table), columns_found in inspector.get_multi_columns(schema, kind=ObjectKind.TABLE).items():
        name = _table_name(schema, table, default_schema)
        yield TableSchema(
            name,
            (schema, table),
            {column["name"]: bool(column["nullable"]) for column in columns_found},
            frozenset(column["name"] for column in columns_found if isinstance(column["type"], (sa.Integer, sa.Uuid))),
            primary_keys.get(table, ()),
            tuple(keys[table]),
            tuple(indexes[table]),
            tuple(_found_references(name, references.get((schema, table), ()), default_schema)),
        )


def _found_references(name: TableName, found: Iterable[Any], default_schema: str | None) -> Iterator[Reference]:
    for each in found:
        options = each.get("options", {})
        yield Reference(
            name,
            tuple(each["constrained_columns"]),
            _table_name(each["referred_schema"], each["referred_table"], default_schema),
            tuple(each["referred_columns"] or each["constrained_columns"]),
            on_delete=options.get("ondelete"),
            on_update=options.get("onupdate"),
        )


def views_in_database(connection: Connection) -> dict[TableName, str]:
    """Return the definitions of all views, also materialized ones; an empty string for an unknown definition."""
    inspector = sa.inspect(connection)
    found = {}
    for schema in _schemas(inspector):
        names = list(inspector.get_view_names(schema))
        if connection.dialect.name == "postgresql":
            names += inspector.get_materialized_view_names(schema)
        for name in names:
            definition = inspector.get_view_definition(name, schema) or ""
            found[_table_name(schema, name, inspector.default_schema_name)] = definition
    return found
