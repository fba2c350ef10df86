"""Delete the rows of a site, so that those of an archive can take their place."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from multisite.core.current_site import using_site
from multisite.core.site import Site
from multisite.scoping.column import has_site_id
from multisite.sites.archive.cyclic_groups import cyclic_groups
from multisite.sites.archive.plan import ArchivePlan, SiteTable, column_of, defer_foreign_keys

__all__ = ["delete_rows"]


def delete_rows(connection: Connection, site: Site, plan: ArchivePlan) -> None:
    """Delete the rows of `site` from all tables of `plan`, in the transaction of `connection`."""
    defer_foreign_keys(connection)
    with using_site(site):
        for excluded in plan.excluded:
            if has_site_id(excluded):
                connection.execute(sa.delete(excluded))
        if connection.dialect.name != "sqlite":
            _clear_cycles(connection, plan)
        for group in reversed(list(cyclic_groups(list(plan.tables.values())))):
            if len(group) > 1 and connection.dialect.name != "sqlite":
                _delete_together(connection, plan, group)
                continue
            for table in _owned_first(plan, group):
                connection.execute(sa.delete(table.table).where(_is_of_site(plan, table)))


def _owned_first(plan: ArchivePlan, group: list[SiteTable]) -> list[SiteTable]:
    """Return the tables in an order in which the rows that lead to the site are deleted last."""

    def distance(table: SiteTable) -> int:
        return 0 if table.owner is None else 1 + distance(plan.tables[table.owner.target])

    return sorted(group, key=distance, reverse=True)


def _delete_together(connection: Connection, plan: ArchivePlan, group: list[SiteTable]) -> None:
    """Delete rows that need each other: in one statement, at whose end PostgreSQL checks the references."""
    last, *others = (sa.delete(table.table).where(_is_of_site(plan, table)) for table in group)
    parts = [other.cte(f"multisite_part_{number}") for number, other in enumerate(others)]
    connection.execute(last.add_cte(*parts))


def _clear_cycles(connection: Connection, plan: ArchivePlan) -> None:
    """Set references to NULL that no order of deletion could satisfy."""
    before: set[str] = set()
    for table in plan.tables.values():
        late = [each for each in table.references if each.target not in before and each.is_optional]
        columns = {name for each in late for name in each.columns}
        values = {column: None for column in table.table.columns if column.name in columns and column.nullable}
        if values:
            connection.execute(sa.update(table.table).where(_is_of_site(plan, table)).values(values))
        before.add(table.name)


def _is_of_site(plan: ArchivePlan, table: SiteTable) -> sa.ColumnElement[bool]:
    """Return the condition that a row belongs to the current site, for tables that have no `site_id` themselves."""
    if table.owner is None or has_site_id(table.table):
        return sa.true()
    parent = plan.tables[table.owner.target]
    on = (column_of(table.table, a) == column_of(parent.table, b) for a, b in table.owner.pairs)
    return sa.exists(sa.select(sa.literal(1)).select_from(plan.source(parent)).where(*on))
