"""Tables in one form, whether a model declares them or the database has them, so that both can be asked the same."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.engine.reflection import Inspector, ObjectKind

from multisite.scoping.column import SITE_COLUMN

__all__ = [
    "Key",
    "Link",
    "Reference",
    "TableName",
    "TableSchema",
    "declared_table",
    "tables_in_database",
    "views_in_database",
]

_SYSTEM_SCHEMAS = ("pg_", "information_schema")


class TableName(NamedTuple):
    """What tells one table from another: lower-cased, `schema` is None for the database's default schema."""

    schema: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


class Key(NamedTuple):
    """A primary key, a unique constraint or a unique index. A column of an index that is an expression is None."""

    kind: str
    name: str | None
    columns: tuple[str | None, ...]

    def __str__(self) -> str:
        columns = ", ".join(column or "…" for column in self.columns)
        return f"{self.kind} {self.name} ({columns})" if self.name else f"{self.kind} ({columns})"


Link = tuple[TableName, TableName, tuple[tuple[str, str], ...]]
"""Two tables, and the pairs of columns by which rows of the first name rows of the second, the site left out."""


@dataclass(frozen=True)
class Reference:
    """A foreign key, or a relationship that has none: `columns` of `table` name rows of `target` by its `keys`.

    `clears` is the action that would set columns to NULL or to their default ("ON DELETE SET NULL"), None for none.
    """

    table: TableName
    columns: tuple[str, ...]
    target: TableName
    keys: tuple[str, ...]
    clears: str | None = None

    @property
    def holds_site(self) -> bool:
        """Whether the site of both rows is part of it."""
        return (SITE_COLUMN, SITE_COLUMN) in zip(self.columns, self.keys, strict=False)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Column and key without those of the site, in a fixed order."""
        pairs = zip(self.columns, self.keys, strict=False)
        return tuple(sorted(pair for pair in pairs if pair != (SITE_COLUMN, SITE_COLUMN)))

    @property
    def own_columns(self) -> tuple[str, ...]:
        """The columns without that of the site."""
        return tuple(column for column, _ in self.pairs)

    @property
    def link(self) -> Link:
        """What is the same for two references that link the same rows, with the site or without it."""
        return (self.table, self.target, self.pairs)

    def __str__(self) -> str:
        return f"{self.table}.{'+'.join(self.own_columns)}"


@dataclass(frozen=True)
class TableSchema:
    """A table. `sql_name` is its schema and name as they are written in SQL; `nullable` has a value for each column.

    `generated` are the columns whose values are made for each row, and so tell nothing of another site's.
    `indexes` are the columns of everything that has an index, keys included, in order.
    """

    name: TableName
    sql_name: tuple[str | None, str]
    nullable: Mapping[str, bool]
    generated: frozenset[str] = frozenset()
    primary_key: tuple[str, ...] = ()
    unique: tuple[Key, ...] = ()
    indexes: tuple[tuple[str | None, ...], ...] = ()
    references: tuple[Reference, ...] = field(default=())

    def clause(self, *more: str) -> sa.TableClause:
        """Return a lightweight table with the columns that are known, for statements of a check's own."""
        schema, name = self.sql_name
        return sa.table(name, *(sa.column(column) for column in {*self.nullable, *more}), schema=schema)


def _table_name(schema: str | None, name: str, default_schema: str | None) -> TableName:
    schema = schema.lower() if schema else None
    return TableName(None if schema == (default_schema or "").lower() else schema, name.lower())


# As a model declares it


def declared_table(table: sa.Table, default_schema: str | None) -> TableSchema:
    """Return the table of a table that a model declares."""
    indexes = []
    keys = [
        Key("unique constraint", _text(constraint.name), tuple(column.name for column in constraint.columns))
        for constraint in table.constraints
        if isinstance(constraint, sa.UniqueConstraint)
    ]
    for index in table.indexes:
        columns = tuple(getattr(expression, "name", None) for expression in index.expressions)
        if index.unique:
            keys.append(Key("unique index", _text(index.name), columns))
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


def _text(name: Any) -> str | None:
    """Return the name of a constraint; None where a naming convention has yet to give it one."""
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
            _clears(constraint.ondelete, constraint.onupdate),
        )


def _target(element: sa.ForeignKey) -> tuple[str | None, str, str]:
    """Return schema, table and column that a foreign key names, also where no model declares them."""
    try:
        column = element.column
    except sa.exc.InvalidRequestError:
        table, _, key = element.target_fullname.rpartition(".")
        schema, _, name = table.rpartition(".")
        return schema or None, name, key
    return column.table.schema, column.table.name, column.name


def _clears(ondelete: str | None, onupdate: str | None) -> str | None:
    for event, action in (("DELETE", ondelete), ("UPDATE", onupdate)):
        # PostgreSQL 15 can name the columns to be cleared: SET NULL (author_id) leaves site_id as it is.
        if (action or "").strip().upper() in {"SET NULL", "SET DEFAULT"}:
            return f"ON {event} {action}"
    return None


# As the database has it


def tables_in_database(connection: Connection) -> dict[TableName, TableSchema]:
    """Return all tables of the database behind `connection`, those of the database itself left out."""
    found: dict[TableName, TableSchema] = {}
    inspector = sa.inspect(connection)
    default_schema = inspector.default_schema_name
    with warnings.catch_warnings():
        # What reflection does not know (a type, an index of expressions) it says by warnings.
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
    indexes: dict[str, list[tuple[str | None, ...]]] = defaultdict(list)
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
            columns = tuple(index["column_names"])
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
        # SQLite names no columns where a reference is to the primary key; SQLAlchemy then gives those of the table.
        yield Reference(
            name,
            tuple(each["constrained_columns"]),
            _table_name(each["referred_schema"], each["referred_table"], default_schema),
            tuple(each["referred_columns"] or each["constrained_columns"]),
            _clears(options.get("ondelete"), options.get("onupdate")),
        )


def views_in_database(connection: Connection) -> dict[TableName, str]:
    """Return the definitions of all views, plain and materialized; an empty text for one that is not told."""
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
