"""Two tables of an application, with rows of sites, for commands that are killed."""

from __future__ import annotations

import sqlalchemy as sa

from multisite.core.current_site import all_sites
from multisite.scoping import site_id_column

__all__ = ["COMMENTS", "NOTES", "TABLES", "numbers", "write_notes"]

TABLES = sa.MetaData()


NOTES = sa.Table("kill_notes", TABLES, sa.Column("id", sa.Integer, primary_key=True), site_id_column())
COMMENTS = sa.Table(
    "kill_comments",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    site_id_column(),
    sa.Column("note_id", sa.Integer, sa.ForeignKey(NOTES.c.id), nullable=False),
)


def write_notes(engine: sa.Engine, site_id: int) -> None:
    """Insert two notes of a site, each with a comment."""
    rows = [{"id": number, "site_id": site_id, "note_id": number} for number in (2 * site_id, 2 * site_id + 1)]
    with all_sites("a test"), engine.begin() as connection:
        connection.execute(sa.insert(NOTES), [{"id": row["id"], "site_id": site_id} for row in rows])
        connection.execute(sa.insert(COMMENTS), rows)


def numbers(engine: sa.Engine, site_id: int) -> tuple[int, int]:
    """Return the numbers of notes and of comments of the site."""
    with all_sites("a test"), engine.connect() as connection:
        notes, comments = (
            connection.scalar(sa.select(sa.func.count()).select_from(table).where(table.c.site_id == site_id))
            for table in (NOTES, COMMENTS)
        )
    return notes or 0, comments or 0
