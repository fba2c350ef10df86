"""Find the keys and foreign keys that an application's models declare, to compare them with the database's."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.util.sqla_compat import _get_constraint_final_name

from multisite.alembic.schema import Key, Reference, TableName
from multisite.scoping.column import SITE_COLUMN

__all__ = ["Constraint", "DeclaredTables", "is_same"]

Constraint = sa.UniqueConstraint | sa.ForeignKeyConstraint | sa.Index


class DeclaredTables:
    """The tables of the application's `target_metadata`."""

    def __init__(self, context: AutogenContext) -> None:
        self._tables = context.table_key_to_table
        self._dialect = context.migration_context.dialect

    def has(self, item: Key | Reference, table: TableName) -> bool:
        """Return whether the model declares `item`, which belongs or refers to `table`, as in the database."""
        return self._find(item, table, set(item.columns)) is not None

    def has_scoped(self, item: Key | Reference, table: TableName) -> bool:
        """Return whether the model declares `item` with `site_id`."""
        return self.successor(item, table, scoped=True) is not None

    def has_plain(self, item: Key | Reference, table: TableName) -> bool:
        """Return whether the model declares `item` without `site_id`."""
        return self.successor(item, table, scoped=False) is not None

    def successor(self, item: Key | Reference, table: TableName, *, scoped: bool) -> Constraint | None:
        """Return what the model declares in place of `item`, with or without `site_id`; None if nothing."""
        columns = set(item.columns) - {SITE_COLUMN}
        return self._find(item, table, columns | {SITE_COLUMN} if scoped else columns)

    def name(self, constraint: Constraint | None) -> str | None:
        """Return the name of `constraint` in the database; None if it has no name or is None."""
        if constraint is None or constraint.name is None:
            return None
        name: str | None = _get_constraint_final_name(constraint, self._dialect)
        return name

    def _find(self, item: Key | Reference, table: TableName, columns: set[str]) -> Constraint | None:
        name = item.table if isinstance(item, Reference) else table
        for constraint in self._constraints(name):
            if _is_same_kind(item, constraint) and set(_columns(constraint)) == columns:
                return constraint
        return None

    def _constraints(self, name: TableName) -> Iterator[Constraint]:
        # The keys of `MetaData.tables`.
        table = self._tables.get(f"{name.schema}.{name.name}" if name.schema else name.name)
        if table is not None:
            yield from table.indexes
            for constraint in table.constraints:
                if isinstance(constraint, (sa.UniqueConstraint, sa.ForeignKeyConstraint)):
                    yield constraint


def is_same(item: Key | Reference, constraint: object, dialect: sa.Dialect) -> bool:
    """Return whether `constraint` is `item`: its columns are equal and, if both are named, its name in the database."""
    if not isinstance(constraint, Constraint) or not _is_same_kind(item, constraint):
        return False
    is_named = isinstance(item, Key) and None not in (item.name, constraint.name)
    # Alembic may hold the name as it was given, and the database the shortened one.
    if is_named and item.name not in (constraint.name, _get_constraint_final_name(constraint, dialect)):
        return False
    return set(_columns(constraint)) == set(item.columns)


def _is_same_kind(item: Key | Reference, constraint: Constraint) -> bool:
    """Return whether `constraint` is of the same kind: an equally unique index, or a reference to the same table."""
    if isinstance(item, Reference):
        return isinstance(constraint, sa.ForeignKeyConstraint) and _target(constraint) == item.target.name
    if item.is_index:
        return isinstance(constraint, sa.Index) and bool(constraint.unique) == item.is_unique
    return isinstance(constraint, sa.UniqueConstraint)


def _columns(constraint: Constraint) -> list[str]:
    """Return the names of the columns of `constraint`, an empty string for an expression."""
    if isinstance(constraint, sa.ForeignKeyConstraint):
        return [str(element.parent.name) for element in constraint.elements]
    if isinstance(constraint, sa.Index):
        return [_column(expression) for expression in constraint.expressions]
    return [str(column.name) for column in constraint.columns]


def _column(expression: object) -> str:
    # A column may be wrapped by its sort order, as in `created.desc()`.
    while isinstance(expression, sa.UnaryExpression):
        expression = expression.element
    return str(expression.name) if isinstance(expression, sa.Column) else ""


def _target(constraint: sa.ForeignKeyConstraint) -> str:
    return str(constraint.elements[0].target_fullname).split(".")[-2]
