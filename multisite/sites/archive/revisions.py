"""The alembic revisions of the application's tables in a database."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from multisite.errors import MultisiteError

__all__ = ["application_revisions", "check_revisions", "named_revisions"]

_VERSION = sa.table("alembic_version", sa.column("version_num", sa.String))


def application_revisions(connection: Connection) -> list[str]:
    """Return the revisions that the database is at, sorted; none if its tables were made without alembic."""
    if not sa.inspect(connection).has_table(_VERSION.name):
        return []
    return sorted(connection.scalars(sa.select(_VERSION.c.version_num)))


def check_revisions(archived: list[str], connection: Connection) -> None:
    """Check that an archive has the revisions of the database.

    Raises:
        MultisiteError: It has others.
    """
    here = application_revisions(connection)
    if sorted(archived) != here:
        raise MultisiteError(
            f"the archive is of the application's revision {named_revisions(archived)}, and this database is at "
            f"{named_revisions(here)}: "
            "migrate it with --upgrade, or export the site again after both are migrated to the same revision"
        )


def named_revisions(revisions: list[str]) -> str:
    """Return revisions as they are named in messages."""
    return ascii(", ".join(revisions))[:100] if revisions else "none"
