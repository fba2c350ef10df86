"""Keep an application's `alembic revision --autogenerate` away from the tables of multisite.

They are in the database but not in the application's MetaData, so alembic would drop them. This is a plugin of
alembic (1.18 and later), found through an entry point: no env.py has to change. alembic imports it whenever it is
imported itself, in every project of the environment, so it must stay small and must not fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def _leave_out_own_tables(
    autogen_context: AutogenContext,  # noqa: ARG001 (alembic passes it by position)
    upgrade_ops: UpgradeOps,
    schemas: set[str | None],  # noqa: ARG001
) -> PriorityDispatchResult:
    upgrade_ops.ops[:] = [
        op
        for op in upgrade_ops.ops
        # A table of that name in a named schema is somebody else's.
        if getattr(op, "schema", None) is not None or getattr(op, "table_name", None) not in OWN_TABLES
    ]
    return PriorityDispatchResult.CONTINUE
