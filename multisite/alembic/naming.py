"""Name constraints after their columns have changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alembic.operations.schemaobj import SchemaObjects
from alembic.runtime.migration import MigrationContext
from alembic.util.sqla_compat import _get_constraint_final_name
from sqlalchemy.sql.elements import conv

from multisite.alembic.schema import Key, Reference, TableName

__all__ = ["Naming"]

_MAX_BYTES = 63
"""The longest name that PostgreSQL generates without shortening it."""


class Naming:
    """Derives new names: a name that follows the naming convention is updated, any other is kept.

    The convention is that of the application's MetaData (`target_metadata` in its env.py), else PostgreSQL's own. An
    index keeps its name, since models name it explicitly. `names` maps old names to new ones and takes precedence.
    """

    def __init__(self, context: MigrationContext, names: Mapping[str, str]) -> None:
        self._objects = SchemaObjects(context)
        self._dialect = context.dialect
        self._names = names

    def renamed(
        self, old: Key | Reference, table: TableName, columns: Sequence[str], targets: Sequence[str]
    ) -> str | None:
        """Return the name of `old` once it is on `columns` and, if it is a reference, refers to `targets`."""
        if old.name is None:
            return None
        if old.name in self._names:
            return self._names[old.name]
        if isinstance(old, Key):
            if old.is_index:
                return old.name
            before, after = self.of_key(table, old.columns), self.of_key(table, columns)
        else:
            before = self.of_reference(table, old.columns, old.target, old.target_columns)
            after = self.of_reference(table, columns, old.target, targets)
        return after if before == old.name and after is not None else old.name

    def of_key(self, table: TableName, columns: Sequence[str]) -> str | None:
        """Return the default name of a unique constraint; None if the database gives none."""
        constraint = self._objects.unique_constraint(None, table.name, columns, schema=table.schema)
        return self._final(constraint) or self._default(table, columns, "key")

    def of_site_key(self, table: TableName, columns: Sequence[str]) -> str | None:
        """Return the name that `SiteScoped` gives to the unique constraint of `site_id` and the primary key."""
        name = conv("_".join(["uq", table.name, *columns]))
        return self._final(self._objects.unique_constraint(name, table.name, columns, schema=table.schema))

    def of_reference(
        self, table: TableName, columns: Sequence[str], target: TableName, target_columns: Sequence[str]
    ) -> str | None:
        """Return the default name of a foreign key; None if the database gives none."""
        constraint = self._objects.foreign_key_constraint(
            None,
            table.name,
            target.name,
            list(columns),
            list(target_columns),
            source_schema=table.schema,
            referent_schema=target.schema,
        )
        return self._final(constraint) or self._default(table, columns, "fkey")

    def _final(self, constraint: Any) -> str | None:
        name: str | None = _get_constraint_final_name(constraint, self._dialect)
        return name

    def _default(self, table: TableName, columns: Sequence[str], suffix: str) -> str | None:
        name = "_".join([table.name, *columns, suffix])
        # PostgreSQL shortens a longer name in its own way, so such a name is kept.
        return name if self._dialect.name == "postgresql" and len(name.encode()) <= _MAX_BYTES else None
