"""Delete the rows of a site, so that those of an archive can take their place."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from multisite.core.current_site import using_site
from multisite.core.site import Site
from multisite.scoping.column import SITE_COLUMN, has_site_id
from multisite.scoping.text import scoped_text
from multisite.sites.archive.knots import knots, one_statement, quoted_table_for_text
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
        for knot in reversed(list(knots(list(plan.tables.values())))):
            if len(knot) > 1 and all(has_site_id(table.table) for table in knot):
                _delete_together(connection, knot)
                continue
            for table in reversed(knot):
                connection.execute(sa.delete(table.table).where(_is_of_site(plan, table)))


def _delete_together(connection: Connection, knot: list[SiteTable]) -> None:
    tables = (quoted_table_for_text(table, connection.dialect) for table in knot)
    delete = [f"DELETE FROM {name} WHERE {SITE_COLUMN} = :site_id" for name in tables]  # noqa: S608  # Quoted.
    if connection.dialect.name == "sqlite":
        for statement in delete:
            connection.execute(scoped_text(statement))
    else:
        connection.execute(scoped_text(one_statement(delete)))


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
