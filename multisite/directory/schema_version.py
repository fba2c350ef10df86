"""The schema version: whether the tables of multisite in a database fit this version of multisite.

Commands check it first. Older tables may lack a column that is needed halfway through a change, and rows of newer ones
may have a meaning that this version does not know. This module does not import alembic, which is slow to load and which
only `multisite migrate` needs.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite.core import program
from multisite.errors import MultisiteError

__all__ = ["VERSION_TABLE", "check_schema_version"]

VERSION_TABLE = "multisite_alembic_version"
"""The table in which alembic records the revision of multisite's tables."""

_VERSIONS = Path(__file__).parent / "migrations" / "versions"

_recorded = sa.Table(VERSION_TABLE, sa.MetaData(), sa.Column("version_num", sa.String(32)))


def check_schema_version(engine: Engine) -> None:
    """Check that the tables of multisite in the database are neither older nor newer than this version.

    Tables without a recorded revision pass: tests create them without migrations. Missing tables pass as well: the
    code that needs them reports that.

    Raises:
        MultisiteError: If they are older or newer.
    """
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table(VERSION_TABLE):
            return
        recorded = set(connection.scalars(sa.select(_recorded.c.version_num)))
    # The revisions form one line and are named by their numbers.
    known = sorted(path.name.partition("_")[0] for path in _VERSIONS.glob("[0-9]*_*.py"))
    if not recorded <= set(known):
        raise MultisiteError(
            "the tables of multisite in this database are of another version (revision "
            f"{', '.join(sorted(recorded))}): "
            "install the version of multisite that created them, or a newer one"
        )
    if recorded != {known[-1]}:
        raise MultisiteError(
            "the tables of multisite in this database are out of date (revision "
            f"{', '.join(recorded) or 'none'} instead of {known[-1]}): run '{program.command('migrate')}'"
        )
