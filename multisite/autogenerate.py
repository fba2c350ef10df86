"""Let an application's `alembic revision --autogenerate` write what it should where multisite is in use.

The tables of multisite are in the database but not in the application's MetaData, so alembic would drop them. And the
`site_id` of a scoped table has a type of multisite, which a revision must not depend on: it is a plain BIGINT there.

This is a plugin of alembic (1.18 and later), found through an entry point: no env.py has to change. alembic imports it
whenever it is imported itself, in every project of the environment, so it must stay small and must not fail.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from alembic.util import DispatchPriority, PriorityDispatchResult

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import UpgradeOps
    from alembic.runtime.plugins import Plugin

__all__ = ["OWN_TABLES", "setup"]

OWN_TABLES = frozenset({"sites", "domains", "multisite_version", "multisite_alembic_version"})
"""The tables that only `multisite migrate` makes and changes."""


def setup(plugin: Plugin) -> None:
    """Register with alembic, after the comparison of tables has said what it would do."""
    plugin.add_autogenerate_comparator(_leave_out_own_tables, "schema", "multisite", priority=DispatchPriority.LAST)
    plugin.add_autogenerate_comparator(_render_site_id, "autogenerate", "multisite")


def _leave_out_own_tables(
    _context: AutogenContext, upgrade_ops: UpgradeOps, _schemas: set[str | None]
) -> PriorityDispatchResult:
    upgrade_ops.ops[:] = [
        op
        for op in upgrade_ops.ops
        # A table of that name in a named schema is somebody else's.
        if getattr(op, "schema", None) is not None or getattr(op, "table_name", None) not in OWN_TABLES
    ]
    return PriorityDispatchResult.CONTINUE


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
