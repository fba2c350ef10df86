"""Let an application's `alembic revision --autogenerate` write what it should where multisite is in use.

The tables of multisite are in the database but not in the application's MetaData, so alembic would drop them. The
`site_id` of a scoped table has a type of multisite, which a revision must not depend on: it is a plain BIGINT there.
And where the model of a table that exists gains `SiteScoped` or loses it, the revision gets `op.add_site_scope` or
`op.drop_site_scope` (see `multisite.alembic.proposals`), since its rows need a site.

This is a plugin of alembic (1.18 and later), found through an entry point: no env.py has to change. alembic imports it
whenever it is imported itself, in every project of the environment, so it must stay small and must not fail.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from alembic.util import DispatchPriority, PriorityDispatchResult

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import UpgradeOps
    from alembic.runtime.plugins import Plugin

__all__ = ["OWN_TABLES", "setup"]

OWN_TABLES = frozenset(
    {
        "sites",
        "domains",
        "multisite_settings",
        "multisite_changes",
        "multisite_version",
        "multisite_alembic_version",
    }
)
"""The tables that only `multisite migrate` makes and changes."""


def setup(plugin: Plugin) -> None:
    """Register with alembic, after the comparison of tables has said what it would do."""
    for comparator, name in (
        (_ignore_own_tables, "multisite"),
        (_ignore_truncated_names, "multisite_names"),
        (_propose_scopes, "multisite_scopes"),
    ):
        plugin.add_autogenerate_comparator(comparator, "schema", name, priority=DispatchPriority.LAST)
    plugin.add_autogenerate_comparator(_render_site_id, "autogenerate", "multisite")


def _ignore_own_tables(
    _context: AutogenContext, upgrade_ops: UpgradeOps, _schemas: set[str | None]
) -> PriorityDispatchResult:
    upgrade_ops.ops[:] = [
        op
        for op in upgrade_ops.ops
        # A table of that name in a named schema is somebody else's.
        if getattr(op, "schema", None) is not None or getattr(op, "table_name", None) not in OWN_TABLES
    ]
    return PriorityDispatchResult.CONTINUE


def _ignore_truncated_names(
    context: AutogenContext, upgrade_ops: UpgradeOps, _schemas: set[str | None]
) -> PriorityDispatchResult:
    """Leave a key its name that PostgreSQL has cut off: a conversion of an earlier release gave it one that was too
    long, and SQLAlchemy shortens it otherwise."""
    if context.migration_context.dialect.name == "postgresql":
        for table in upgrade_ops.ops:
            operations = getattr(table, "ops", [])
            names = {getattr(each, "constraint_name", None): each for each in operations}
            for name, added in list(names.items()):
                dropped = names.get(_truncated(name))
                if dropped is not None and dropped is not added and _adds_unique(added):
                    operations[:] = [each for each in operations if each is not added and each is not dropped]
        upgrade_ops.ops[:] = [each for each in upgrade_ops.ops if getattr(each, "ops", True)]
    return PriorityDispatchResult.CONTINUE


def _truncated(name: str | None) -> str:
    """Return what PostgreSQL makes of the name of a constraint: its first 63 bytes."""
    return (name or "").encode()[:63].decode(errors="ignore")


def _adds_unique(operation: Any) -> bool:
    return type(operation).__name__ == "CreateUniqueConstraintOp"


def _propose_scopes(
    context: AutogenContext, upgrade_ops: UpgradeOps, _schemas: set[str | None]
) -> PriorityDispatchResult:
    """Propose the operations of multisite for the tables whose models have gained a `site_id`, or lost it."""
    newly_scoped = list(_tables_with(upgrade_ops, _adds_site_id))
    newly_unscoped = list(_tables_with(upgrade_ops, _drops_site_id))
    # A site_id in a database without multisite is somebody else's.
    if newly_unscoped and not context.inspector.has_table("multisite_alembic_version"):
        newly_unscoped = []
    if newly_scoped or newly_unscoped:
        # Not at the top: it costs the import of the wall, in projects that only share the environment as well.
        from multisite.alembic.proposals import propose

        propose(context, upgrade_ops, newly_scoped, newly_unscoped)
    return PriorityDispatchResult.CONTINUE


def _tables_with(upgrade_ops: UpgradeOps, matches: Callable[[Any], bool]) -> Iterator[tuple[str | None, str]]:
    """Yield schema and name of each table that exists and has an operation that `matches` is true of."""
    for table in upgrade_ops.ops:
        if any(matches(operation) for operation in getattr(table, "ops", ())):
            yield getattr(table, "schema", None), getattr(table, "table_name", "")


def _adds_site_id(operation: Any) -> bool:
    return _is_site_id(getattr(getattr(operation, "column", None), "type", None))


def _drops_site_id(operation: Any) -> bool:
    return getattr(operation, "column_name", None) == "site_id" and type(operation).__name__ == "DropColumnOp"


def _render_site_id(context: AutogenContext, _upgrade_ops: UpgradeOps) -> PriorityDispatchResult:
    """Write `sa.BigInteger()` for the type of a `site_id`, unless the application's env.py renders it itself."""
    render_item = context.opts.get("render_item")

    def render(kind: str, item: Any, context: AutogenContext) -> Any:
        rendered = render_item(kind, item, context) if render_item else False
        if rendered is False and kind == "type" and _is_site_id(item):
            return f"{context.opts.get('sqlalchemy_module_prefix') or ''}BigInteger()"
        return rendered

    context.opts["render_item"] = render
    return PriorityDispatchResult.CONTINUE


def _is_site_id(column_type: Any) -> bool:
    # Not imported: that would put up the wall in projects which only share the environment. Where a model has such a
    # column, it is there.
    column = sys.modules.get("multisite.scoping.column")
    return column is not None and isinstance(column_type, column.SiteId)


class _PluginModule(ModuleType):
    """A plugin for alembic in the form that each of its releases loads.

    1.18.0 to 1.20.0 iterate over what the entry point names, and set up each module that they get. Later releases take
    the module itself, and warn of anything else. So the module iterates over itself.
    """

    def __iter__(self) -> Iterator[ModuleType]:
        yield self


sys.modules[__name__].__class__ = _PluginModule
