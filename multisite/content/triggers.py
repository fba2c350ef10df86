"""Triggers that keep sorted columns and counts for lists and archives, so that no page counts or sorts entries.

- `entry_tags.listed` is the `published` of the entry, or NULL for a draft: an index on it lists the entries with a tag.
- `entry_counts` has the number of entries by period, which the archive and the sitemap show.

The database does this and not the session, so that it is correct after every kind of statement: an import, a bulk
update, a cascade, `psql`. Each trigger writes rows of the same site as the row that it fires for. Two transactions that
publish entries of one site in the same month wait for each other, as for any row that both change.

Revisions content_0006 and content_0014 have their own copies of the statements, since a revision is never changed. A
test compares them with what the revisions create. On SQLite a revision that rebuilds `entries` or `entry_tags` must
create the triggers again.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection

from multisite.core.current_site import all_sites

__all__ = ["STATEMENTS", "install"]

_COUNT = "INSERT INTO entry_counts (site_id, period, entries)"
_AND_ONE = "ON CONFLICT (site_id, period) DO UPDATE SET entries = entry_counts.entries + 1"
_IS_DATED = " AND NEW.published IS NOT NULL"
"""Pages have no date, and are not counted. Where one is removed, no period is equal to NULL."""


def _sqlite_period(row: str) -> str:
    published = f"{row}.published"
    return f"substr({published}, 1, CASE WHEN substr({published}, 6, 5) IN ('12-31', '01-01') THEN 19 ELSE 7 END)"


def _sqlite_listed(row: str) -> str:
    return f"CASE WHEN {row}.draft THEN NULL ELSE {row}.published END"


def _sqlite_set_listed(name: str, occasion: str) -> str:
    return f"""CREATE TRIGGER IF NOT EXISTS {name} AFTER {occasion} ON entry_tags BEGIN
UPDATE entry_tags SET listed = (
SELECT {_sqlite_listed("e")} FROM entries AS e WHERE e.site_id = NEW.site_id AND e.id = NEW.entry_id
) WHERE site_id = NEW.site_id AND entry_id = NEW.entry_id AND tag_id = NEW.tag_id;
END"""


_SQLITE = (
    f"""CREATE TRIGGER IF NOT EXISTS entries_after_insert AFTER INSERT ON entries WHEN NOT NEW.draft{_IS_DATED} BEGIN
{_COUNT} VALUES (NEW.site_id, {_sqlite_period("NEW")}, 1) {_AND_ONE};
END""",
    f"""CREATE TRIGGER IF NOT EXISTS entries_after_delete AFTER DELETE ON entries WHEN NOT OLD.draft BEGIN
UPDATE entry_counts SET entries = entries - 1 WHERE site_id = OLD.site_id AND period = {_sqlite_period("OLD")};
END""",
    f"""CREATE TRIGGER IF NOT EXISTS entries_after_update AFTER UPDATE OF draft, published ON entries
WHEN OLD.draft IS NOT NEW.draft OR OLD.published IS NOT NEW.published BEGIN
UPDATE entry_counts SET entries = entries - 1
WHERE site_id = OLD.site_id AND period = {_sqlite_period("OLD")} AND NOT OLD.draft;
{_COUNT} SELECT NEW.site_id, {_sqlite_period("NEW")}, 1 WHERE NOT NEW.draft{_IS_DATED} {_AND_ONE};
UPDATE entry_tags SET listed = {_sqlite_listed("NEW")} WHERE site_id = NEW.site_id AND entry_id = NEW.id;
END""",
    _sqlite_set_listed("entry_tags_after_insert", "INSERT"),
    _sqlite_set_listed("entry_tags_after_update", "UPDATE OF entry_id"),
)

_POSTGRESQL = (
    """CREATE OR REPLACE FUNCTION entry_period(published timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS $$
SELECT to_char(published AT TIME ZONE 'UTC', CASE WHEN to_char(published AT TIME ZONE 'UTC', 'MM-DD')
IN ('12-31', '01-01') THEN 'YYYY-MM-DD HH24:MI:SS' ELSE 'YYYY-MM' END) $$""",
    f"""CREATE OR REPLACE FUNCTION entries_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
IF TG_OP <> 'INSERT' AND NOT OLD.draft THEN
UPDATE entry_counts SET entries = entries - 1
WHERE site_id = OLD.site_id AND period = entry_period(OLD.published);
END IF;
IF TG_OP <> 'DELETE' AND NOT NEW.draft{_IS_DATED} THEN
{_COUNT} VALUES (NEW.site_id, entry_period(NEW.published), 1) {_AND_ONE};
END IF;
IF TG_OP = 'UPDATE' THEN
UPDATE entry_tags SET listed = CASE WHEN NEW.draft THEN NULL ELSE NEW.published END
WHERE site_id = NEW.site_id AND entry_id = NEW.id;
END IF;
RETURN NULL;
END $$""",
    """CREATE OR REPLACE FUNCTION entry_tags_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
NEW.listed := (SELECT CASE WHEN e.draft THEN NULL ELSE e.published END
FROM entries AS e WHERE e.site_id = NEW.site_id AND e.id = NEW.entry_id);
RETURN NEW;
END $$""",
    "DROP TRIGGER IF EXISTS entries_counted ON entries",
    """CREATE TRIGGER entries_counted AFTER INSERT OR DELETE ON entries
FOR EACH ROW EXECUTE FUNCTION entries_changed()""",
    "DROP TRIGGER IF EXISTS entries_moved ON entries",
    """CREATE TRIGGER entries_moved AFTER UPDATE OF draft, published ON entries
FOR EACH ROW WHEN (OLD.draft <> NEW.draft OR OLD.published IS DISTINCT FROM NEW.published)
EXECUTE FUNCTION entries_changed()""",
    "DROP TRIGGER IF EXISTS entry_tags_listed ON entry_tags",
    """CREATE TRIGGER entry_tags_listed BEFORE INSERT OR UPDATE OF entry_id ON entry_tags
FOR EACH ROW EXECUTE FUNCTION entry_tags_changed()""",
)

STATEMENTS = {"sqlite": _SQLITE, "postgresql": _POSTGRESQL}
"""The statements that create the triggers, by dialect. They can be executed again."""


def install(metadata: sa.MetaData) -> None:
    """Create the triggers whenever `metadata.create_all()` creates the tables."""
    event.listen(metadata, "after_create", _create)


def _create(_metadata: sa.MetaData, connection: Connection, *, tables: Collection[sa.Table], **_options: Any) -> None:
    if not {"entries", "entry_counts", "entry_tags"} <= {table.name for table in tables}:
        return
    with all_sites("creating the triggers of entries"):
        for statement in STATEMENTS.get(connection.dialect.name, ()):
            connection.exec_driver_sql(statement)
