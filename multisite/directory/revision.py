"""Revision: whether the tables of multisite in a database are those that this multisite was made for.

Asked before a command does anything. Older tables may lack a column in the middle of a change, and what newer ones mean
by a row nobody here can know. Light: alembic is not imported, which only `multisite migrate` needs.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite import program
from multisite.errors import MultisiteError

__all__ = ["VERSION_TABLE", "check_schema_version"]

VERSION_TABLE = "multisite_alembic_version"
"""Where alembic notes which of multisite's revisions a database has."""

_VERSIONS = Path(__file__).parents[1] / "migrations" / "versions"

_noted = sa.Table(VERSION_TABLE, sa.MetaData(), sa.Column("version_num", sa.String(32)))


def check_schema_version(engine: Engine) -> None:
    """Raise `MultisiteError` if the tables of multisite are older or newer than this multisite.

    Tables of which nothing is noted pass: tests make them without migrations, and that there are none at all is said by
    whoever needs them.
    """
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table(VERSION_TABLE):
            return
        noted = set(connection.scalars(sa.select(_noted.c.version_num)))
    # One follows the other, and is named by its number.
    known = sorted(path.name.partition("_")[0] for path in _VERSIONS.glob("[0-9]*_*.py"))
    if not noted <= set(known):
        raise MultisiteError(
            f"the tables of multisite in this database are of another version (revision {', '.join(sorted(noted))}): "
            "install the multisite that made them, or a newer one"
        )
    if noted != {known[-1]}:
        raise MultisiteError(
            f"the tables of multisite in this database are out of date (revision {', '.join(noted) or 'none'}, and not "
            f"{known[-1]}): run '{program.command('migrate')}'"
        )
