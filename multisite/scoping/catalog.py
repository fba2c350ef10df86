"""What the database itself says: whether it has sites, and what a table is that text names and nobody declares."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sqlalchemy.engine import Connection
from sqlalchemy.exc import NoSuchTableError

from multisite.models import DirectoryVersion
from multisite.scoping.column import SITE_COLUMN

__all__ = ["HAS_SITES", "has_sites", "not_plain"]

HAS_SITES = "_multisite_has_sites"
"""The attribute of a dialect that remembers that the database behind it has scoped tables."""


def has_sites(connection: Connection) -> bool:
    """Return whether the database behind `connection` is one that has scoped tables.

    What is only called like a scoped table is left alone elsewhere: another application of this process, with a
    database of its own. A yes is remembered; a no is asked again, since a migration may run at any time.
    """
    known = connection.dialect.__dict__
    if not known.get(HAS_SITES):
        known[HAS_SITES] = any(
            connection.dialect.has_table(connection, DirectoryVersion.__tablename__, schema=schema)
            for schema in _schemas(connection)
        )
    return bool(known[HAS_SITES])


def not_plain(connection: Connection, names: Collection[str]) -> str | None:
    """Return the first of `names` (lower-cased) that is a view, or has a `site_id` that no model speaks for; or None.

    A view may show rows of scoped tables. What is found to be a plain table is remembered; a table that does not exist
    is the database's to complain about.
    """
    plain: set[str] = connection.dialect.__dict__.setdefault("_multisite_plain_tables", set())
    wanted = {name for name in names if name not in plain}
    if not wanted:
        return None
    for schema in _schemas(connection):
        for name in _views(connection, schema):
            if name.lower() in wanted:
                return name
        for name in connection.dialect.get_table_names(connection, schema):
            if name.lower() in wanted and _has_site_column(connection, name, schema):
                return name
    plain |= wanted
    return None


def _schemas(connection: Connection) -> tuple[str | None, ...]:
    # All of them, since a table can be reached past the search path, or in an attached file.
    return (None, *connection.dialect.get_schema_names(connection))


def _views(connection: Connection, schema: str | None) -> Iterator[str]:
    dialect = connection.dialect
    yield from dialect.get_view_names(connection, schema)
    if schema is None:
        yield from _optional(dialect, "get_temp_view_names", connection, None)
    yield from _optional(dialect, "get_materialized_view_names", connection, schema)
    # A foreign table is as good as a view: what it shows is decided elsewhere.
    yield from _optional(dialect, "_get_foreign_table_names", connection, schema)


def _optional(dialect: object, method: str, connection: Connection, schema: str | None) -> Iterator[str]:
    """Yield the names that a method of the dialect gives, which not every dialect has."""
    try:
        yield from getattr(dialect, method, lambda *_: ())(connection, schema)
    except NotImplementedError:
        return


def _has_site_column(connection: Connection, name: str, schema: str | None) -> bool:
    try:
        columns = connection.dialect.get_columns(connection, name, schema)
    except NoSuchTableError:
        return False
    return any(column["name"].lower() == SITE_COLUMN for column in columns)
