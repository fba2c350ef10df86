"""Ask the database whether it has scoped tables, and what an undeclared table named in text is."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import count
from time import monotonic

from sqlalchemy.engine import Connection

from multisite.core.lazy import lazy_pattern
from multisite.directory.tables import version_table
from multisite.scoping.relations import relations
from multisite.scoping.tables import tables

__all__ = ["HAS_SITES", "first_unplain_name", "has_sites", "is_own_schema", "tables_changed", "text_executed"]

HAS_SITES = "_multisite_has_sites"
"""The attribute of a dialect that is True once its database is known to have scoped tables."""

_NO_SITES = "_multisite_no_sites"
"""The key in the `info` of a driver's connection that stores when it found no scoped tables: the number of schema
changes that this process had made by then, and the time (`time.monotonic`)."""

NO_SITES_SECONDS = 1.0
"""How long that result is trusted: another process may create the tables at any time, without notice."""

_MAKES_TABLES = lazy_pattern(r"\b(?:create|alter|attach|rename)\b", re.IGNORECASE)

_change_numbers = count(1)
_changes = 0
"""The number of statements this process has executed, on any database, that may have created tables."""


def has_sites(connection: Connection) -> bool:
    """Return whether the database behind `connection` has scoped tables.

    Tables of any other database are not limited, even if one has the name of a scoped table: they belong to another
    application of this process. True is cached for the engine. False is cached for the driver's connection, because
    each connection may have its own attached files and search path, until this process changes any table, and for one
    second at most. After the migration that creates the tables, two more commands are needed before there are rows of
    a second site.
    """
    known = connection.dialect.__dict__
    if known.get(HAS_SITES):
        return True
    changes, now = _changes, monotonic()
    try:
        info = connection.info
    except NotImplementedError:
        # On an engine's first connect there is no pooled connection yet, so nothing is cached.
        info = {}
    asked_after, asked_at = info.get(_NO_SITES, (None, now))
    if asked_after == changes and now - asked_at < NO_SITES_SECONDS:
        return False
    known[HAS_SITES] = _has_scoped_tables(connection)
    info[_NO_SITES] = changes, now
    return bool(known[HAS_SITES])


def tables_changed() -> None:
    """Record that this process may have created tables."""
    global _changes  # noqa: PLW0603  # One number for the process: an engine does not know which others share its database.
    _changes = next(_change_numbers)


def text_executed(sql: str) -> None:
    """Record a textual statement that may create tables."""
    if _MAKES_TABLES.search(sql):
        tables_changed()


def first_unplain_name(connection: Connection, names: Collection[str]) -> str | None:
    """Return the first of the lower-cased `names` that may show rows of scoped tables; None if there is none.

    These are views, virtual and foreign tables, the tables behind a virtual table, tables with a `site_id` but no
    model, and the parents of such tables. For a table that does not exist, the database raises the error. Nothing is
    cached, because a view may replace a plain table of the same name.
    """
    wanted = set(names)
    found = (each for each in relations(connection, wanted) if not each.is_plain) if wanted else ()
    return next((each.name for each in found), None)


def is_own_schema(connection: Connection, schemas: Collection[str | None]) -> bool:
    """Return whether multisite's tables are in one of `schemas`; None is the database's default schema.

    Nothing is cached: the search path or an attached file may change before the next statement.
    """
    version = version_table.name
    return any(connection.dialect.has_table(connection, version, schema=schema) for schema in schemas)


def _has_scoped_tables(connection: Connection) -> bool:
    """Return whether the database has multisite's tables, or else a table that a model declares as scoped."""
    version = version_table.name
    return any(
        each.name.lower() == version or each.has_site for each in relations(connection, {version, *tables.scoped})
    )
