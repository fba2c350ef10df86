"""Alembic plugin that adapts `alembic revision --autogenerate` to multisite.

Multisite's own tables are in the database but not in the application's MetaData, so alembic would drop them: they are
ignored. The column `site_id` has a type of multisite, which a revision must not depend on: it is rendered as BIGINT. If
the model of an existing table gains or loses `SiteScoped`, the revision gets `op.add_site_scope` or
`op.drop_site_scope` (see `multisite.alembic.autogenerate_ops`).

Alembic 1.18 and later finds the plugin through an entry point, so no env.py has to change. Alembic imports it whenever
alembic itself is imported, in every project of the environment, so it must stay small and must not fail. It does not
import alembic: that would set up the plugin before this module is complete.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import UpgradeOps
    from alembic.runtime.plugins import Plugin
    from alembic.util import PriorityDispatchResult

__all__ = ["own_tables", "setup"]


def setup(plugin: Plugin) -> None:
    """Register the comparators with alembic, to run after its own comparison of tables."""
    from alembic.util import DispatchPriority

    for comparator, name in (
        (_ignore_own_tables, "multisite"),
        (_ignore_truncated_names, "multisite_names"),
        (_propose_scopes, "multisite_scopes"),
    ):
        plugin.add_autogenerate_comparator(_continuing(comparator), "schema", name, priority=DispatchPriority.LAST)
    plugin.add_autogenerate_comparator(_continuing(_render_site_id), "autogenerate", "multisite")


def _continuing(adapt: Callable[..., None]) -> Callable[..., PriorityDispatchResult]:
    """Return a comparator that calls `adapt` and lets alembic continue with the next comparator."""
    from alembic.util import PriorityDispatchResult

    def compare(*args: Any) -> PriorityDispatchResult:
        adapt(*args)
        return PriorityDispatchResult.CONTINUE

    return compare


def own_tables() -> frozenset[str]:
    """Return the names of the tables that only `multisite migrate` creates and changes."""
    # Not at the top: alembic imports this module in every project of the environment.
    from multisite.directory.schema import metadata
    from multisite.directory.schema_version import VERSION_TABLE

    return frozenset({*metadata.tables, VERSION_TABLE})


def _ignore_own_tables(_context: AutogenContext, upgrade_ops: UpgradeOps, _schemas: set[str | None]) -> None:
    own = own_tables()
    upgrade_ops.ops[:] = [
        op
        for op in upgrade_ops.ops
        # A table of the same name in a named schema is not multisite's.
        if getattr(op, "schema", None) is not None or getattr(op, "table_name", None) not in own
    ]


def _ignore_truncated_names(context: AutogenContext, upgrade_ops: UpgradeOps, _schemas: set[str | None]) -> None:
    """Ignore unique constraints that differ only in how a long name was shortened.

    A conversion by an earlier release gave them names that PostgreSQL truncated; SQLAlchemy shortens names differently.
    """
    if context.migration_context.dialect.name == "postgresql":
        for table in upgrade_ops.ops:
            operations = getattr(table, "ops", [])
            names = {getattr(each, "constraint_name", None): each for each in operations}
            for name, added in list(names.items()):
                dropped = names.get(_truncated(name))
                if dropped is not None and dropped is not added and _adds_unique(added):
                    operations[:] = [each for each in operations if each is not added and each is not dropped]
        upgrade_ops.ops[:] = [each for each in upgrade_ops.ops if getattr(each, "ops", True)]


def _truncated(name: str | None) -> str:
    """Return the name as PostgreSQL truncates it, to its first 63 bytes."""
    return (name or "").encode()[:63].decode(errors="ignore")


def _adds_unique(operation: Any) -> bool:
    return type(operation).__name__ == "CreateUniqueConstraintOp"


def _propose_scopes(context: AutogenContext, upgrade_ops: UpgradeOps, _schemas: set[str | None]) -> None:
    """Propose multisite's operations for the tables whose models have gained or lost a `site_id`."""
    newly_scoped = list(_tables_with(upgrade_ops, _adds_site_id))
    newly_unscoped = list(_tables_with(upgrade_ops, _drops_site_id))
    # In a database without multisite, a site_id is not multisite's.
    if newly_unscoped and not context.inspector.has_table("multisite_alembic_version"):
        newly_unscoped = []
    if newly_scoped or newly_unscoped:
        # Not at the top: importing the scoping layer would slow down projects that only share the environment.
        from multisite.alembic.autogenerate_ops import propose

        propose(context, upgrade_ops, newly_scoped, newly_unscoped)


def _tables_with(upgrade_ops: UpgradeOps, matches: Callable[[Any], bool]) -> Iterator[tuple[str | None, str]]:
    """Yield schema and name of each existing table with an operation for which `matches` is true."""
    for table in upgrade_ops.ops:
        if any(matches(operation) for operation in getattr(table, "ops", ())):
            yield getattr(table, "schema", None), getattr(table, "table_name", "")


def _adds_site_id(operation: Any) -> bool:
    return _is_site_id(getattr(getattr(operation, "column", None), "type", None))


def _drops_site_id(operation: Any) -> bool:
    return getattr(operation, "column_name", None) == "site_id" and type(operation).__name__ == "DropColumnOp"


def _render_site_id(context: AutogenContext, _upgrade_ops: UpgradeOps) -> None:
    """Render the type of a `site_id` as `sa.BigInteger()`, unless the application's env.py renders it itself."""
    render_item = context.opts.get("render_item")

    def render(kind: str, item: Any, context: AutogenContext) -> Any:
        rendered = render_item(kind, item, context) if render_item else False
        if rendered is False and kind == "type" and _is_site_id(item):
            return f"{context.opts.get('sqlalchemy_module_prefix') or ''}BigInteger()"
        return rendered

    context.opts["render_item"] = render


def _is_site_id(column_type: Any) -> bool:
    # Not imported: that would install the scoping layer in projects that only share the environment. If a model has
    # such a column, the module is loaded.
    column = sys.modules.get("multisite.scoping.column")
    return column is not None and isinstance(column_type, column.SiteId)


class _PluginModule(ModuleType):
    """A plugin module in a form that every release of alembic loads.

    1.18.0 to 1.20.0 iterate over the object that the entry point names, and set up each module that it yields. Later
    releases expect the module itself and warn about anything else. So the module yields itself.
    """

    def __iter__(self) -> Iterator[ModuleType]:
        yield self


sys.modules[__name__].__class__ = _PluginModule
