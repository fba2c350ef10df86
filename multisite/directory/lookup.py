"""Lookup: one statement that answers whose a host is, and as of which version of the directory.

Entry and version come from the same statement, and so from the same state of the database. Were they read one after
the other, a change between the two would leave an old entry under the new version, to be served as if it were fresh.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from multisite.errors import DirectoryUnavailable
from multisite.models import DirectoryVersion, DomainRow, SiteRow
from multisite.site import Site

__all__ = ["Answer", "Match", "look_up"]

MAX_ID = 2**63 - 1
"""The largest id that the tables can hold; drivers fail on larger ones."""


class Match(NamedTuple):
    """The site that a host leads to, and as what: `kind` is `canonical`, `alias` or `redirect`."""

    site: Site
    kind: str


class Answer(NamedTuple):
    """What the database said: the version of the directory, and the match in that version (None: no site).

    `template_generation` is the one of the templates that all sites share.
    """

    version: int
    template_generation: int
    match: Match | None


_version = DirectoryVersion.__table__
_site = SiteRow.__table__
_asked = DomainRow.__table__.alias("asked")
_canonical = DomainRow.__table__.alias("canonical")


def _statement(condition: sa.ColumnElement[bool]) -> sa.Select[*tuple[Any, ...]]:
    """Return a statement for one row: the version, and beside it the active site that `condition` finds, or NULLs."""
    active = sa.join(_site, _asked, (_asked.c.site_id == _site.c.id) & (_site.c.status == "active")).join(
        _canonical, (_canonical.c.site_id == _site.c.id) & (_canonical.c.kind == "canonical")
    )
    columns = (_site.c.id, _canonical.c.host, _site.c.name, _site.c.folder, _site.c.locale, _site.c.timezone)
    # Either may be raised, and none ever goes back, so that their sum is another number after each.
    generation = _site.c.template_generation + _version.c.template_generation
    return (
        sa.select(
            _version.c.version, _version.c.template_generation, _asked.c.kind, *columns, _site.c.theme, generation
        )
        .select_from(sa.outerjoin(_version, active, condition))
        .where(_version.c.id == 1)
    )


_BY_HOST = _statement(_asked.c.host == sa.bindparam("key"))
_BY_ID = _statement((_site.c.id == sa.bindparam("key", type_=sa.BigInteger)) & (_asked.c.kind == "canonical"))


def look_up(engine: Engine, key: str | int) -> Answer:
    """Return whose `key` is, a host in canonical form or the id of a site, on a connection of its own.

    Raises `DirectoryUnavailable` if there are no tables or no version in them, and whatever SQLAlchemy raises.
    """
    if isinstance(key, int) and not 0 < key <= MAX_ID:
        key = 0
    try:
        row = _fetch(engine, key)
    except DBAPIError as error:
        if not error.connection_invalidated:
            _refuse_missing_tables(engine)
            raise
        # The pool had a connection from before the database was restarted; it has thrown all of those away now.
        row = _fetch(engine, key)
    if row is None:
        raise DirectoryUnavailable("the table multisite_version is empty; run: multisite migrate")
    version, generation, kind, *columns = row
    return Answer(version, generation, None if kind is None else Match(Site(*columns), kind))


def _refuse_missing_tables(engine: Engine) -> None:
    if not sa.inspect(engine).has_table(DirectoryVersion.__tablename__):
        raise DirectoryUnavailable("the tables of multisite are missing; run: multisite migrate")


def _fetch(engine: Engine, key: str | int) -> sa.Row[*tuple[Any, ...]] | None:
    with engine.connect() as connection:
        return connection.execute(_BY_ID if isinstance(key, int) else _BY_HOST, {"key": key}).one_or_none()
