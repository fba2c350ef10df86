"""Decide where the rows of each table belong."""

from __future__ import annotations

from multisite.directory.schema import metadata
from multisite.directory.tables import changes_table, sites_table
from multisite.sharding.catalog import Catalog, Placement, TableInfo

__all__ = ["parents_first", "wanted_placements"]

_SITES = sites_table.name
_OWN: dict[str, Placement] = {_SITES: "reference", changes_table.name: "distributed"}


def wanted_placements(catalog: Catalog) -> dict[str, Placement]:
    """Return where each table belongs. Partitions are not in it: they follow their parent.

    A table of the application with a column `site_id` is distributed, every other one of the application is copied to
    each node, because a local table cannot be joined with a distributed one everywhere. Multisite's own tables are
    read on the coordinator by each process, and stay there, with three exceptions: `sites`, to which all refer;
    `multisite_changes`, which each transaction of a site writes; and one that a distributed table refers to.
    """
    placements = {name: _wanted(table) for name, table in catalog.tables.items() if not table.is_partition}
    targets: dict[str, list[str]] = {reference.table: [] for reference in catalog.references}
    for reference in catalog.references:
        targets[reference.table].append(reference.target)
    waiting = [name for name, placement in placements.items() if placement != "local"]
    while waiting:
        for target in targets.get(waiting.pop(), ()):
            if placements.get(target) == "local":
                placements[target] = "reference"
                waiting.append(target)
    return placements


def _wanted(table: TableInfo) -> Placement:
    if table.is_own_schema and table.bare_name in metadata.tables:
        return _OWN.get(table.bare_name, "local")
    if table.columns == ("version_num",):  # Alembic's, under whatever name.
        return "local"
    return "reference" if table.site_type is None else "distributed"


def parents_first(catalog: Catalog, names: list[str]) -> list[str]:
    """Return the tables in an order in which each follows those that it refers to, as far as there is one."""
    done: list[str] = []
    waiting = sorted(names, key=lambda name: (catalog.tables[name].bare_name != _SITES, name))
    while waiting:
        ready = [name for name in waiting if not _refers_to(catalog, name, set(waiting))] or waiting[:1]
        done += ready
        waiting = [name for name in waiting if name not in ready]
    return done


def _refers_to(catalog: Catalog, name: str, others: set[str]) -> bool:
    return any(each.table == name and each.target in others - {name} for each in catalog.references)
