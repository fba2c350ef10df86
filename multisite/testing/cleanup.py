"""Remove the rows of a test's site from the database, table by table."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite.core.current_site import using_site
from multisite.core.site import Site
from multisite.directory.models import SiteRow
from multisite.directory.schema import metadata
from multisite.directory.tables import AS_MULTISITE, raise_version
from multisite.scoping.column import has_site_id
from multisite.scoping.tables import tables

__all__ = ["remove_rows", "scoped_tables"]


def scoped_tables(engine: Engine) -> list[sa.Table]:
    """Return the scoped tables in the database of `engine`, referenced tables first."""
    there = sa.inspect(engine)
    found: dict[str, sa.Table] = {}
    for declared in tables.metadata:
        for table in declared.sorted_tables:
            if has_site_id(table) and there.has_table(table.name, table.schema):
                found.setdefault(table.fullname, table)
    return list(found.values())


def remove_rows(engine: Engine, site: Site) -> None:
    """Delete `site` and every row that belongs to it, without a trace."""
    with using_site(site), engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        for table in reversed(scoped_tables(engine)):
            connection.execute(table.delete())
        for table in reversed(metadata.sorted_tables):
            if "site_id" in table.columns and connection.dialect.has_table(connection, table.name):
                connection.execute(table.delete().where(table.c.site_id == site.id))
        connection.execute(sa.delete(SiteRow).where(SiteRow.id == site.id))
        raise_version(connection)
