"""The schema of a database as it will be after plans have been carried out, for plans that build on each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from multisite.alembic.plan import Change, Item, Plan
from multisite.alembic.schema import Key, Reference, Schema, Table, TableName
from multisite.scoping.column import SITE_COLUMN

__all__ = ["Projection"]


class Projection(Schema):
    """The tables of `real` with plans applied to them in memory. Nothing is written."""

    def __init__(self, real: Schema) -> None:
        super().__init__(real.connection)
        self._real = real
        self.has_match_full = real.has_match_full
        self.before: dict[TableName, Table] = {}
        """The tables that plans change, in their present state."""
        self.after: dict[TableName, Table] = {}
        """The same tables after the plans."""

    def table(self, name: TableName) -> Table:
        """Return a table as it will be after the plans."""
        return self.after.get(name) or self._real.table(name)

    def references_to(self, name: TableName) -> list[Reference]:
        """Return the references that other tables will have to this one after the plans."""
        tables = dict.fromkeys(reference.table for reference in self._real.references_to(name))
        return [each for table in tables for each in self.table(table).references if each.target == name]

    def apply(self, plan: Plan, *, scoped: bool) -> None:
        """Apply `plan`, which makes the table scoped or unscoped."""
        table = plan.table
        columns = {name: nullable for name, nullable in table.columns.items() if name != SITE_COLUMN}
        self._store(
            replace(
                table,
                columns={**columns, SITE_COLUMN: False} if scoped else columns,
                keys=(*_changed(table.keys, plan.keys), *(each for each in plan.added if isinstance(each, Key))),
                references=(
                    *_changed(table.references, plan.references),
                    *(each for each in plan.added if isinstance(each, Reference)),
                ),
            )
        )
        for name in dict.fromkeys(change.old.table for change in plan.incoming):
            other = self.table(name)
            self._store(replace(other, references=_changed(other.references, plan.incoming)))

    def _store(self, table: Table) -> None:
        self.before.setdefault(table.name, self._real.table(table.name))
        self.after[table.name] = table


def _changed(items: Sequence[Item], changes: Sequence[Change[Item]]) -> tuple[Item, ...]:
    new = {change.old: change.new for change in changes}
    return tuple(after for item in items if (after := new.get(item, item)) is not None)
