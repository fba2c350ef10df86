"""Autogenerate operations for tables whose models have become scoped, or are no longer scoped.

Alembic by itself would propose to add a NOT NULL column to a table that has rows. Those of its proposals that our
operations replace are removed; of the rest, drops come before our operations and additions after them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import renderers
from alembic.operations import MigrateOperation, ops
from alembic.util import CommandError

from multisite.alembic.autogenerate_split import dropped_items, split_around
from multisite.alembic.declared import DeclaredTables, is_same
from multisite.alembic.naming import Naming
from multisite.alembic.plan import Plan, ScopeOptions, label
from multisite.alembic.planner import plan_drop, plan_scope
from multisite.alembic.postgresql_schema import PostgresqlSchema
from multisite.alembic.projection import Projection
from multisite.alembic.schema import Key, Reference, Schema, Table, TableName
from multisite.alembic.site_scope import TODO, AddSiteScope, DropSiteScope
from multisite.alembic.sqlite_schema import SqliteSchema
from multisite.errors import MultisiteError
from multisite.scoping.column import SITE_COLUMN

__all__ = ["propose"]

_SCHEMAS: dict[str, type[Schema]] = {"sqlite": SqliteSchema, "postgresql": PostgresqlSchema}


def propose(
    context: AutogenContext,
    upgrade_ops: ops.UpgradeOps,
    newly_scoped: Iterable[tuple[str | None, str]],
    newly_unscoped: Iterable[tuple[str | None, str]],
) -> None:
    """Add operations to `upgrade_ops` for the tables whose models have become scoped or are no longer scoped.

    Args:
        context: The context of the autogenerate run.
        upgrade_ops: Alembic's proposals, changed in place.
        newly_scoped: Schema and name of each table; the schema is None for the default one.
        newly_unscoped: The same for tables that lose their scope.

    Raises:
        CommandError: A table cannot be converted.
    """
    kind = _SCHEMAS.get(context.migration_context.dialect.name)
    if kind is None or context.connection is None:
        return
    proposals = _Proposals(context, Projection(kind(context.connection)), list(dropped_items(upgrade_ops)))
    try:
        for table in _in_order_of_references(proposals.projection, newly_unscoped, reverse=True):
            if proposals.projection.table(table).is_scoped:
                proposals.drop(table)
        for table in _in_order_of_references(proposals.projection, newly_scoped):
            proposals.add(table)
    except MultisiteError as error:
        raise CommandError(str(error)) from error
    before, after = split_around(proposals.projection, upgrade_ops.ops)
    upgrade_ops.ops[:] = [*before, *proposals.operations, *after]


def _in_order_of_references(
    schema: Schema, tables: Iterable[tuple[str | None, str]], *, reverse: bool = False
) -> list[TableName]:
    """Return the tables in the order in which they can become scoped: those referenced by primary key come first.

    A table that is referenced by another key comes last: that key cannot change before the tables that refer to it.
    """
    left = sorted((TableName(*table) for table in tables), key=str)
    after: dict[TableName, set[TableName]] = {name: set() for name in left}
    for name in left:
        for reference in schema.table(name).references:
            if reference.target in after and reference.target != name:
                by_key = set(reference.target_columns) - {SITE_COLUMN} == set(
                    schema.table(reference.target).primary_key
                )
                first, then = (reference.target, name) if by_key else (name, reference.target)
                after[then].add(first)
    ordered: list[TableName] = []
    while left:
        # If tables refer to each other in a cycle, any of them may come first.
        ready = next((name for name in left if not after[name] & set(left)), left[0])
        left.remove(ready)
        ordered.append(ready)
    return ordered[::-1] if reverse else ordered


class _Proposals:
    """Collects the proposed operations and tracks the schema that they will produce."""

    def __init__(
        self, context: AutogenContext, projection: Projection, dropped: Sequence[tuple[TableName, object]]
    ) -> None:
        self.context = context.migration_context
        self.projection = projection
        self.declared = DeclaredTables(context)
        self.dropped = dropped
        self.operations: list[MigrateOperation] = []

    def add(self, name: TableName) -> None:
        """Propose to make a table scoped."""
        table = self.projection.table(name)
        items = self._keys_and_references(table)
        gone = [item for item in items if not self.declared.has_scoped(item, name) and self._is_dropped(item, name)]
        kept = [item for item in items if self.declared.has(item, name) and self._would_change(item, name)]
        on_delete = self._on_delete(items, name, scoped=True)
        options = ScopeOptions(_labels([*gone, *kept], name), on_delete)
        names, plan = self._plan_with_names(
            lambda naming: plan_scope(self.projection, table, naming, options), scoped=True
        )
        operation = AddSiteScope(
            name.name,
            schema=name.schema,
            keep=sorted(_labels(kept, name)),
            ondelete=_planned_actions(plan, on_delete),
            names=names,
            **_site_arguments(plan),
        )
        operation.undone = DropSiteScope(
            name.name, schema=name.schema, ondelete=_current_actions(plan, on_delete), names=_inverted(names)
        )
        self.operations.append(operation)
        self.projection.apply(plan, scoped=True)

    def drop(self, name: TableName) -> None:
        """Propose to remove the scope of a table."""
        table = self.projection.table(name)
        items = self._keys_and_references(table)
        # Alembic drops and recreates an index that is not unique; the downgrade would not know about it.
        gone = [
            item
            for item in items
            if (not self.declared.has_plain(item, name) or (isinstance(item, Key) and not item.is_unique))
            and not _exists_for_site_only(item, table)
            and self._is_dropped(item, name)
        ]
        on_delete = self._on_delete(items, name, scoped=False)
        options = ScopeOptions(_labels(gone, name), on_delete)
        names, plan = self._plan_with_names(
            lambda naming: plan_drop(self.projection, table, naming, options), scoped=False
        )
        operation = DropSiteScope(
            name.name, schema=name.schema, ondelete=_planned_actions(plan, on_delete), names=names
        )
        operation.undone = AddSiteScope(
            name.name,
            site=TODO,
            schema=name.schema,
            keep=sorted(_labels((item for item in items if self._would_change(item, name)), name)),
            ondelete=_current_actions(plan, on_delete),
            names=_inverted(names),
        )
        self.operations.append(operation)
        self.projection.apply(plan, scoped=False)

    def _keys_and_references(self, table: Table) -> list[Key | Reference]:
        return [*table.keys, *table.references, *self.projection.references_to(table.name)]

    def _is_dropped(self, item: Key | Reference, name: TableName) -> bool:
        """Return whether alembic drops `item`."""
        table = item.table if isinstance(item, Reference) else name
        dialect = self.context.dialect
        return any(dropped_from == table and is_same(item, dropped, dialect) for dropped_from, dropped in self.dropped)

    def _would_change(self, item: Key | Reference, name: TableName) -> bool:
        """Return whether our operation would add `site_id` to `item` unless it is listed in `keep`."""
        if SITE_COLUMN in item.columns:
            return False
        if isinstance(item, Key):
            return item.is_unique
        others = {item.table, item.target} - {name}
        return all(self.projection.table(other).is_scoped for other in others)

    def _on_delete(self, items: Iterable[Key | Reference], name: TableName, *, scoped: bool) -> dict[str, str]:
        """Return the ON DELETE actions of the model that differ from the database's, by the label of the reference."""
        found = {}
        for item in items:
            wanted = self.declared.successor(item, name, scoped=scoped)
            if isinstance(item, Reference) and isinstance(wanted, sa.ForeignKeyConstraint):
                # A list of columns after SET NULL is kept from the database's definition.
                action = (wanted.ondelete or "NO ACTION").upper().partition("(")[0].strip()
                if action != (item.on_delete or "NO ACTION"):
                    found[label(item, name)] = action
        return found

    def _plan_with_names(self, planned: Callable[[Naming], Plan], *, scoped: bool) -> tuple[dict[str, str], Plan]:
        """Return the names that only the model can tell, old to new, and the plan that uses them."""
        plan = planned(Naming(self.context, {}))
        names = {}
        for change in plan.keys:
            wanted = self.declared.name(self.declared.successor(change.old, plan.table.name, scoped=scoped))
            if change.old.name is not None and change.new is not None and wanted not in (None, change.new.name):
                names[change.old.name] = str(wanted)
        return names, planned(Naming(self.context, names)) if names else plan


def _labels(items: Iterable[Key | Reference], name: TableName) -> frozenset[str]:
    return frozenset(label(item, name) for item in items)


def _exists_for_site_only(item: Key | Reference, table: Table) -> bool:
    """Return whether `item` exists only for `site_id` and is dropped with it."""
    columns = set(item.columns) - {SITE_COLUMN}
    return not columns or (isinstance(item, Key) and item.is_unique and columns == set(table.primary_key))


def _planned_actions(plan: Plan, on_delete: Mapping[str, str]) -> dict[str, str]:
    """Return the part of `on_delete` that concerns references which `plan` changes."""
    return {name: on_delete[name] for name in _current_actions(plan, on_delete)}


def _current_actions(plan: Plan, on_delete: Mapping[str, str]) -> dict[str, str]:
    """Return the present ON DELETE actions of the references in `on_delete` that `plan` changes, for the downgrade."""
    old = (change.old for change in (*plan.references, *plan.incoming))
    actions = ((label(reference, plan.table.name), reference.on_delete) for reference in old)
    return {name: action or "NO ACTION" for name, action in actions if name in on_delete}


def _inverted(names: dict[str, str]) -> dict[str, str]:
    return {new: old for old, new in names.items()}


def _site_arguments(plan: Plan) -> dict[str, Any]:
    """Return the arguments that determine the site of each row: a parent table if there is one, else a TODO."""
    table = plan.table
    order = list(table.columns)
    for reference in sorted((change.old for change in plan.references), key=lambda each: order.index(each.columns[0])):
        if reference.target == table.name or any(table.columns[column] for column in reference.columns):
            continue
        references = [each for each in table.references if each.target.name == reference.target.name]
        through = {} if len(references) == 1 else {"through": reference.columns[0]}
        if len(reference.columns) > 1 and through:
            through = {"through": list(reference.columns)}  # type: ignore[dict-item]
        return {"parent": reference.target.name, **through}
    return {"site": TODO}


@renderers.dispatch_for(AddSiteScope)
def _render_add(context: AutogenContext, operation: AddSiteScope) -> str:
    return _render_call(
        context, "add_site_scope", operation, ("site", "parent", "through", "keep", "ondelete", "names")
    )


@renderers.dispatch_for(DropSiteScope)
def _render_drop(context: AutogenContext, operation: DropSiteScope) -> str:
    return _render_call(context, "drop_site_scope", operation, ("ondelete", "names"))


def _render_call(context: AutogenContext, function: str, operation: MigrateOperation, names: Sequence[str]) -> str:
    context.imports.add("import multisite.alembic  # noqa: F401  # Adds the operations to op.")
    given = vars(operation)
    arguments = [repr(str(given["table_name"]))]
    arguments += [f"{name}={given[name]!r}" for name in ("schema", *names) if given[name]]
    return f"{context.opts['alembic_module_prefix'] or ''}{function}({', '.join(arguments)})"
