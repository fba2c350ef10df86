"""Rows that belong to no site, because a reference that would lead to one is NULL. No archive contains them."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from multisite.sites.archive.plan import ArchivePlan, column_of

__all__ = ["ownerless_rows"]


def ownerless_rows(connection: Connection, plan: ArchivePlan) -> Iterator[tuple[str, str, int]]:
    """Yield each table without `site_id` that has such rows, the column that is NULL, and the number of the rows.

    The column is one of the table, or of a table to which its rows lead. A row of which another reference leads to a
    site is among them: a table belongs to sites by one reference, so that each row has one site at most.
    """
    for table in plan.tables.values():
        source: sa.FromClause = table.table
        referring = table
        while (owner := referring.owner) is not None:
            nullable = [column for column in owner.columns if column_of(referring.table, column).nullable]
            if nullable:
                is_null = sa.or_(*(column_of(referring.table, column).is_(None) for column in nullable))
                count = connection.execute(sa.select(sa.func.count()).select_from(source).where(is_null)).scalar_one()
                if count:
                    yield table.name, f"{referring.name}.{nullable[0]}", count
            target = plan.tables[owner.target]
            on = (column_of(referring.table, a) == column_of(target.table, b) for a, b in owner.pairs)
            source = source.join(target.table, sa.and_(*on))
            referring = target
