"""What the database itself says: whether it has sites, and what a table is that text names and nobody declares."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import count
from time import monotonic

from sqlalchemy.engine import Connection

from multisite.directory.models import DirectoryVersion
from multisite.scoping.relations import relations
from multisite.scoping.tables import tables

__all__ = ["HAS_SITES", "first_unplain_name", "has_sites", "is_own_schema", "tables_changed", "text_executed"]

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
    try:
        info = connection.info
    except NotImplementedError:
        # While the engine connects for the first time there is no connection of the pool yet: nothing is remembered.
        info = {}
    asked_after, asked_at = info.get(_NO_SITES, (None, now))
    if asked_after == changes and now - asked_at < NO_SITES_SECONDS:
        return False
    known[HAS_SITES] = _has_scoped_tables(connection)
    info[_NO_SITES] = changes, now
    return bool(known[HAS_SITES])


def tables_changed() -> None:
    """Take note that this process may have made tables."""
    global _changes  # noqa: PLW0603  # One number for the process: an engine does not know which others share its database.
    _changes = next(_change_numbers)


def text_executed(sql: str) -> None:
    """Take note of a statement written as text, which may make tables."""
    if _MAKES_TABLES.search(sql):
        tables_changed()


def first_unplain_name(connection: Connection, names: Collection[str]) -> str | None:
    """Return the first of `names` (lower-cased) that may show rows of scoped tables; None if there is none.

    That is a view, a virtual or foreign table, what belongs to a virtual table, a table that has a `site_id` and no
    model, and the parent of such a table. A table that does not exist is the database's to complain about. Nothing is
    remembered: what is a plain table now may be replaced by a view of the same name.
    """
    wanted = set(names)
    found = (each for each in relations(connection, wanted) if not each.is_plain) if wanted else ()
    return next((each.name for each in found), None)


def is_own_schema(connection: Connection, schemas: Collection[str | None]) -> bool:
    """Return whether the tables of multisite are in one of `schemas`, None being the database's default one.

    Nothing is remembered: another search path or an attached file may be there at the next statement.
    """
    version = DirectoryVersion.__tablename__
    return any(connection.dialect.has_table(connection, version, schema=schema) for schema in schemas)


def _has_scoped_tables(connection: Connection) -> bool:
    """Return whether the database has the tables of multisite, or without them one that a model declares as scoped."""
    version = DirectoryVersion.__tablename__
    return any(
        each.name.lower() == version or each.has_site for each in relations(connection, {version, *tables.scoped})
    )
