"""Tables with rows of a site that no model declares, so that an archive cannot contain them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from multisite.directory.schema import metadata as own
from multisite.scoping.column import SITE_COLUMN, site_id_column
from multisite.sites.archive.contents import REFLECTED, SiteContents

__all__ = ["undeclared_rows"]

_PARTS = sa.text(
    "SELECT part.relname FROM pg_catalog.pg_inherits JOIN pg_catalog.pg_class AS part ON part.oid = inhrelid "
    "JOIN pg_catalog.pg_namespace AS space ON space.oid = part.relnamespace "
    "WHERE space.nspname = coalesce(:schema, current_schema())"
)
"""The partitions and inheriting tables of a schema, whose rows their parents have too."""


def undeclared_rows(
    connection: Connection, contents: SiteContents, global_tables: Iterable[str]
) -> Iterator[tuple[str, int]]:
    """Yield the tables with rows of the current site that no model declares, with the number of these rows.

    Args:
        connection: A connection to the database.
        contents: What the application declares.
        global_tables: The setting `multisite.global_tables`, whose tables belong to no site.
    """
    declared = {(table.schema, table.name) for table in contents.tables()} | {(None, name) for name in own.tables}
    shared = {name.lower() for name in global_tables}
    inspector = sa.inspect(connection)
    schemas = {None, *inspector.get_schema_names()}
    for schema in sorted({schema for schema, _ in declared} & schemas, key=str):
        parts: set[str] = set()
        if connection.dialect.name == "postgresql":
            parts.update(connection.scalars(_PARTS, {"schema": schema}))
        for name in inspector.get_table_names(schema=schema):
            if (schema, name) in declared or name in parts or name.lower() in shared:
                continue
            if any(column["name"] == SITE_COLUMN for column in inspector.get_columns(name, schema=schema)):
                # With site_id_column(), the scoping layer limits the statement to the current site.
                table = sa.Table(name, sa.MetaData(info={REFLECTED: True}), site_id_column(), schema=schema)
                count = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                if count:
                    yield table.fullname, count
