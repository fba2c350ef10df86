"""Lookup: one statement that answers whose the domains of a host are, and as of which version of the directory.

Entry and version come from the same statement, and so from the same state of the database. Were they read one after
the other, a change between the two would leave an old entry under the new version, to be served as if it were fresh.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from multisite import domains
from multisite.directory.places import Closed, Match, Places
from multisite.domains import Domain
from multisite.errors import DirectoryUnavailable
from multisite.models import DirectoryVersion, DomainRow, SiteRow
from multisite.site import Site

__all__ = ["Answer", "look_up"]

MAX_ID = 2**63 - 1
"""The largest id that the tables can hold; drivers fail on larger ones."""


class Answer(NamedTuple):
    """What the database said: the version of the directory, and the places in that version (None: no site).

    `template_generation` is the one of the templates that all sites share.
    """

    version: int
    template_generation: int
    places: Places | None


_version = DirectoryVersion.__table__
_site = SiteRow.__table__
_asked = DomainRow.__table__.alias("asked")
_canonical = DomainRow.__table__.alias("canonical")


def _statement(condition: sa.ColumnElement[bool]) -> sa.Select[*tuple[Any, ...]]:
    """Return a statement for the version, and beside it each domain of an active site that `condition` finds, or NULLs.

    It gives one row at least.
    """
    active = sa.join(_site, _asked, (_asked.c.site_id == _site.c.id) & (_site.c.status == "active")).join(
        _canonical, (_canonical.c.site_id == _site.c.id) & (_canonical.c.kind == "canonical")
    )
    columns = (_site.c.id, _canonical.c.host, _site.c.name, _site.c.folder, _site.c.locale, _site.c.timezone)
    # Either may be raised, and none ever goes back, so that their sum is another number after each.
    generation = _site.c.template_generation + _version.c.template_generation
    return (
        sa.select(
            _version.c.version,
            _version.c.template_generation,
            _asked.c.host.label("asked"),
            _asked.c.port,
            _asked.c.path,
            _asked.c.kind,
            *columns,
            _site.c.theme,
            generation,
            sa.func.nullif(_canonical.c.port, 0),
            _canonical.c.path,
            _site.c.secret_generation,
            _site.c.availability,
            _site.c.maintenance_message,
            _site.c.maintenance_until,
            _site.c.maintenance_pass,
        )
        .select_from(sa.outerjoin(_version, active, condition))
        .where(_version.c.id == 1)
    )


_BY_HOST = _statement(_asked.c.host.in_(sa.bindparam("key", expanding=True)))
_BY_ID = _statement((_site.c.id == sa.bindparam("key", type_=sa.BigInteger)) & (_asked.c.kind == "canonical"))


def look_up(engine: Engine, key: str | int) -> Answer:
    """Return whose `key` is, the name of a host in canonical form or the id of a site, on a connection of its own.

    Raises `DirectoryUnavailable` if there are no tables or no version in them, and whatever SQLAlchemy raises.
    """
    if isinstance(key, int) and not 0 < key <= MAX_ID:
        key = 0
    try:
        rows = _fetch(engine, key)
    except DBAPIError as error:
        if not error.connection_invalidated:
            _refuse_missing_tables(engine)
            raise
        # The pool had a connection from before the database was restarted; it has thrown all of those away now.
        rows = _fetch(engine, key)
    if not rows:
        raise DirectoryUnavailable("the table multisite_version is empty; run: multisite migrate")
    version, generation = rows[0][:2]
    found = [_match(row) for row in rows if row.asked is not None]
    if isinstance(key, int):
        # Asked for by its id, a site is there for every port and path.
        found = [(Domain(domain.name), match) for domain, match in found]
    return Answer(version, generation, Places(found) if found else None)


def _match(row: sa.Row[*tuple[Any, ...]]) -> tuple[Domain, Match]:
    _version, _generation, host, port, path, kind, *columns, availability, message, until, pass_digest = row
    if availability == "open":
        closed = None
    else:
        # SQLite gives back what was stored, in UTC, without saying so.
        closed = Closed(availability, message, until and until.replace(tzinfo=until.tzinfo or UTC), pass_digest)
    return Domain(host, port or None, path), Match(Site(*columns), kind, path, closed)


def _refuse_missing_tables(engine: Engine) -> None:
    if not sa.inspect(engine).has_table(DirectoryVersion.__tablename__):
        raise DirectoryUnavailable("the tables of multisite are missing; run: multisite migrate")


def _fetch(engine: Engine, key: str | int) -> Sequence[sa.Row[*tuple[Any, ...]]]:
    with engine.connect() as connection:
        if isinstance(key, int):
            return connection.execute(_BY_ID, {"key": key}).all()
        return connection.execute(_BY_HOST, {"key": domains.names_of(key)}).all()
