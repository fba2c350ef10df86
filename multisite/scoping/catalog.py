"""What the database itself says: whether it has sites, and what a table is that text names and nobody declares."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import count
from time import monotonic

from sqlalchemy.engine import Connection
from sqlalchemy.exc import NoSuchTableError

from multisite.dialects import SUPPORTED
from multisite.models import DirectoryVersion
from multisite.scoping.column import SITE_COLUMN

__all__ = ["HAS_SITES", "has_sites", "not_plain", "tables_changed", "text_executed"]

HAS_SITES = "_multisite_has_sites"
"""The attribute of a dialect that remembers that the database behind it has scoped tables."""

_NO_SITES = "_multisite_no_sites"
"""The key in the `info` of a driver's connection that remembers that it found no scoped tables: after how many changes
of tables by this process, and when (`time.monotonic`)."""

NO_SITES_SECONDS = 1.0
"""How long that is believed. A migration of another process may make the tables at any time, and nothing tells."""

_MAKES_TABLES = re.compile(r"\b(?:create|alter|attach|rename)\b", re.IGNORECASE)

_change_numbers = count(1)
_changes = 0
"""How often this process has executed something that may have made tables, whatever the database."""


def has_sites(connection: Connection) -> bool:
    """Return whether the database behind `connection` is one that has scoped tables.

    What is only called like a scoped table is left alone elsewhere: another application of this process, with a
    database of its own. A yes is remembered for the engine. A no is remembered for the driver's connection, since each
    may have attached files and a search path of its own: until this process changes any table, for a second at most.
    Rows of a second site need two more commands after the migration that makes the tables.
    """
    known = connection.dialect.__dict__
    if known.get(HAS_SITES):
        return True
    changes, now = _changes, monotonic()
    asked_after, asked_at = connection.info.get(_NO_SITES, (None, now))
    if asked_after == changes and now - asked_at < NO_SITES_SECONDS:
        return False
    known[HAS_SITES] = any(
        connection.dialect.has_table(connection, DirectoryVersion.__tablename__, schema=schema)
        for schema in _schemas(connection)
    )
    connection.info[_NO_SITES] = changes, now
    return bool(known[HAS_SITES])


def tables_changed() -> None:
    """Take note that this process may have made tables."""
    global _changes  # noqa: PLW0603  # One number for the process: an engine does not know which others share its database.
    _changes = next(_change_numbers)


def text_executed(sql: str) -> None:
    """Take note of a statement written as text, which may make tables."""
    if _MAKES_TABLES.search(sql):
        tables_changed()


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
    if connection.dialect.name not in SUPPORTED:
        # The catalogue of a database that nobody has tried may be asked for no more than each dialect has to answer.
        return (None,)
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
