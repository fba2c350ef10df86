"""Lookup: one statement that answers whose the domains of a host are, and as of which version of the directory.

Entry and version come from the same statement, and so from the same state of the database. Were they read one after
the other, a change between the two would leave an old entry under the new version, to be served as if it were fresh.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from multisite import domains, program
from multisite.directory.errand import cancellable
from multisite.directory.faults import domain_row_error, log_once, site_row_error
from multisite.directory.own_settings import canonical_json, settings_json_subquery
from multisite.directory.places import UNUSABLE, HostMatches, Match, SiteClosure
from multisite.domains import Domain
from multisite.errors import DirectoryUnavailable
from multisite.models import AS_MULTISITE, DirectoryVersion, DomainRow, SiteRow
from multisite.site import SettingsProvider, Site

__all__ = ["QueryResult", "UnreadableRows", "query_host"]

MAX_ID = 2**63 - 1
"""The largest id that the tables can hold; drivers fail on larger ones."""


class QueryResult(NamedTuple):
    """What the database said: the version of the directory, and the places in that version (None: no site).

    `template_generation` is the one of the templates that all sites share.
    """

    version: int
    template_generation: int
    places: HostMatches | None


class UnreadableRows(DirectoryUnavailable):
    """The database answers, but what it has for one host or id the driver cannot read: no other has to suffer."""


_version = DirectoryVersion.__table__
_site = SiteRow.__table__
_asked = DomainRow.__table__.alias("asked")
_canonical = DomainRow.__table__.alias("canonical")


def _statement(condition: sa.ColumnElement[bool]) -> sa.Select[*tuple[Any, ...]]:
    """Return a statement for the version, and beside it each domain that `condition` finds with its site, or NULLs.

    It gives one row at least. Outer joins, so that a domain without a site, and a site without a canonical domain, are
    found and can be reported.
    """
    # Either may be raised, and none ever goes back, so that their sum is another number after each.
    generation = _site.c.template_generation + _version.c.template_generation
    return (
        sa.select(
            _version.c.version,
            _version.c.template_generation,
            _asked.c.id.label("domain_id"),
            _asked.c.host.label("asked_host"),
            _asked.c.port.label("asked_port"),
            _asked.c.path.label("asked_path"),
            _asked.c.kind,
            _asked.c.site_id,
            _site.c.id,
            _canonical.c.id.label("canonical_id"),
            _canonical.c.host,
            _canonical.c.port,
            _canonical.c.path,
            _site.c.name,
            _site.c.folder,
            _site.c.locale,
            _site.c.timezone,
            _site.c.theme,
            generation.label("generation"),
            _site.c.secret_generation,
            settings_json_subquery(_site.c.id).label("own_settings"),
            _site.c.status,
            _site.c.availability,
            _site.c.maintenance_message,
            # As the driver gives it: a value that is no time is a fault of this site, not of the whole statement.
            sa.type_coerce(_site.c.maintenance_until, sa.types.NullType()).label("maintenance_until"),
            _site.c.maintenance_pass,
        )
        .select_from(
            sa.outerjoin(_version, _asked, condition)
            .outerjoin(_site, _site.c.id == _asked.c.site_id)
            .outerjoin(_canonical, (_canonical.c.site_id == _asked.c.site_id) & (_canonical.c.kind == "canonical"))
        )
        .where(_version.c.id == 1)
    )


_BY_HOST = _statement(_asked.c.host.in_(sa.bindparam("key", expanding=True)))
_BY_ID = _statement((_asked.c.site_id == sa.bindparam("key", type_=sa.BigInteger)) & (_asked.c.kind == "canonical"))


def query_host(engine: Engine, key: str | int, declared: SettingsProvider | None = None) -> QueryResult:
    """Return whose `key` is, the name of a host in canonical form or the id of a site, on a connection of its own.

    `declared` is given to the sites that are found, None for an application without settings of sites.
    Raises `DirectoryUnavailable` if there are no tables or no version in them, `UnreadableRows` if it is only about
    `key`, and whatever SQLAlchemy raises.
    """
    if isinstance(key, int) and not 0 < key <= MAX_ID:
        key = 0
    try:
        rows = _fetch(engine, key)
    except DBAPIError as error:
        if not error.connection_invalidated:
            _refuse_missing_tables(engine)
            # Bytes that are no text, for instance, which SQLite takes from anybody.
            _fetch(engine, 0)
            reason = str(error).partition("\n")[0]
            log_once(f"what there is for {key}", reason)
            raise UnreadableRows(reason) from error
        # The pool had a connection from before the database was restarted; it has thrown all of those away now.
        rows = _fetch(engine, key)
    if not rows:
        raise DirectoryUnavailable(f"the table multisite_version is empty; run: {program.command('migrate')}")
    version, generation = rows[0][:2]
    found = [(row, _is_sound(row)) for row in rows if row.domain_id is not None]
    # A site that is pending is not there yet, and leaves its domains to whoever has them.
    sound = [(_domain(row), _match(row, declared)) for row, is_sound in found if is_sound and row.status != "pending"]
    if not sound:
        return QueryResult(version, generation, None)
    if isinstance(key, int):
        # Asked for by its id, a site is there for every port and path.
        return QueryResult(version, generation, HostMatches((Domain(domain.name), match) for domain, match in sound))
    faulty = [(_meant(row), UNUSABLE) for row, is_sound in found if not is_sound]
    return QueryResult(version, generation, HostMatches(sound + faulty))


def _is_sound(row: sa.Row[*tuple[Any, ...]]) -> bool:
    """Return whether a domain leads to a site that is complete. What should not be in the tables is reported."""
    asked = f"row {row.domain_id} of domains"
    if row.id is None:
        log_once(asked, f"it leads to the site {row.site_id}, which is not there")
        return False
    site = f"row {row.id} of sites"
    texts = (row.name, row.folder, row.locale, row.timezone)
    fault = site_row_error(row.status, row.availability, row.theme, row.maintenance_until, texts)
    if fault is not None:
        log_once(site, fault)
        return False
    if row.canonical_id is None:
        log_once(site, "it has no canonical domain")
        return False
    for domain, fault in (
        (asked, domain_row_error(row.asked_host, row.asked_port, row.asked_path, row.kind)),
        (f"row {row.canonical_id} of domains", domain_row_error(row.host, row.port, row.path, "canonical")),
    ):
        if fault is not None:
            log_once(domain, fault)
            return False
    return True


def _domain(row: sa.Row[*tuple[Any, ...]]) -> Domain:
    return Domain(row.asked_host, row.asked_port or None, row.asked_path)


def _meant(row: sa.Row[*tuple[Any, ...]]) -> Domain:
    """Return the domain that a faulty row is about, all of its host if that cannot be told."""
    if domain_row_error(row.asked_host, row.asked_port, row.asked_path, "alias") is not None:
        return Domain(row.asked_host)
    return _domain(row)


def _match(row: sa.Row[*tuple[Any, ...]], declared: SettingsProvider | None) -> Match:
    site = Site(
        row.id,
        row.host,
        row.name,
        row.folder,
        row.locale,
        row.timezone,
        row.theme,
        row.generation,
        row.port or None,
        row.path,
        row.secret_generation,
        canonical_json(row.own_settings),
        declared,
    )
    return Match(site, row.kind, row.asked_path, _closed(row))


def _closed(row: sa.Row[*tuple[Any, ...]]) -> SiteClosure | None:
    if row.availability == "open":
        return None
    until = row.maintenance_until
    if isinstance(until, str):
        until = datetime.fromisoformat(until)
    # SQLite gives back what was stored, in UTC, without saying so.
    in_utc = until and until.replace(tzinfo=until.tzinfo or UTC)
    return SiteClosure(row.availability, row.maintenance_message, in_utc, row.maintenance_pass)


def _refuse_missing_tables(engine: Engine) -> None:
    if not sa.inspect(engine).has_table(DirectoryVersion.__tablename__):
        raise DirectoryUnavailable(f"the tables of multisite are missing; run: {program.command('migrate')}")


def _fetch(engine: Engine, key: str | int) -> Sequence[sa.Row[*tuple[Any, ...]]]:
    with engine.connect().execution_options(**AS_MULTISITE) as connection, cancellable(connection):
        if isinstance(key, int):
            return connection.execute(_BY_ID, {"key": key}).all()
        return connection.execute(_BY_HOST, {"key": domains.candidate_names(key)}).all()
