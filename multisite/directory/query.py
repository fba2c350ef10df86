"""Query the domains of a host, the site of each, and the version of the directory, in one statement.

Matches and version therefore come from one state of the database. If they were read one after the other, a change in
between could cache old matches under the new version, and they would be served as if they were fresh.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from multisite.core import domains, program
from multisite.core.domains import Domain
from multisite.core.site import SettingsProvider, Site
from multisite.directory.deadline import cancellable
from multisite.directory.matching import UNUSABLE, HostMatches, Match, SiteClosure
from multisite.directory.row_validation import domain_row_error, log_once, site_row_error
from multisite.directory.settings_json import canonical_json, settings_json_subquery
from multisite.directory.tables import AS_MULTISITE, domains_table, sites_table, version_table
from multisite.errors import DirectoryUnavailable

__all__ = ["QueryResult", "UnreadableRows", "query_host"]

MAX_ID = 2**63 - 1
"""The largest id that the tables can hold; drivers raise an error for larger ones."""


class QueryResult(NamedTuple):
    """The version of the directory, the generation of the shared templates, and the matches (None: no site)."""

    version: int
    template_generation: int
    matches: HostMatches | None


class UnreadableRows(DirectoryUnavailable):
    """The driver cannot read the rows of one host or id; the database is available for all others."""


_version = version_table
_site = sites_table
_asked = domains_table.alias("asked")
_canonical = domains_table.alias("canonical")


def _statement(condition: sa.ColumnElement[bool]) -> sa.Select[*tuple[Any, ...]]:
    """Return a statement that selects the version, and each domain that fulfils `condition` with its site.

    It selects at least one row, with NULLs if there is no such domain. The joins are outer joins, so that a domain
    without a site, or a site without a canonical domain, is found and logged.
    """
    # Both only ever increase, so their sum changes whenever one of them does.
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
            _site.c.copy_of,
            _site.c.status,
            _site.c.availability,
            _site.c.maintenance_message,
            # Unconverted: an invalid date makes this site invalid instead of failing the whole statement.
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


def query_host(engine: Engine, key: str | int, settings_provider: SettingsProvider | None = None) -> QueryResult:
    """Query the matches of `key`, a host in canonical form or a site id, on a connection of its own.

    Args:
        engine: The database.
        key: The host or id.
        settings_provider: Passed on to the sites; None if the application declares no settings of sites.

    Returns:
        The matches, and the versions that they belong to.

    Raises:
        DirectoryUnavailable: If the tables, or the version in them, are missing.
        UnreadableRows: If only the rows of `key` cannot be read.
        SQLAlchemyError: As the statement raises it.
    """
    if isinstance(key, int) and not 0 < key <= MAX_ID:
        key = 0
    try:
        rows = _fetch(engine, key)
    except DBAPIError as error:
        if not error.connection_invalidated:
            _check_tables(engine)
            # The rows of this key have, for instance, bytes that are not valid UTF-8, which SQLite accepts.
            _fetch(engine, 0)
            reason = str(error).partition("\n")[0]
            log_once(f"the entry of {key}", reason)
            raise UnreadableRows(reason) from error
        # The database was restarted; the pool has now discarded all connections from before.
        rows = _fetch(engine, key)
    if not rows:
        raise DirectoryUnavailable(f"the table multisite_version is empty; run: {program.command('migrate')}")
    version, generation = rows[0][:2]
    found = [(row, _is_valid(row)) for row in rows if row.domain_id is not None]
    # A pending site does not exist yet, and does not take its domains from a wildcard.
    valid = [
        (_domain(row), _match(row, settings_provider))
        for row, is_valid in found
        if is_valid and row.status != "pending"
    ]
    if not valid:
        return QueryResult(version, generation, None)
    if isinstance(key, int):
        # Looked up by id, a site matches every port and path.
        return QueryResult(version, generation, HostMatches((Domain(domain.name), match) for domain, match in valid))
    unusable = [(_intended_domain(row), UNUSABLE) for row, is_valid in found if not is_valid]
    return QueryResult(version, generation, HostMatches(valid + unusable))


def _is_valid(row: sa.Row[*tuple[Any, ...]]) -> bool:
    """Return whether the rows of a domain and its site are valid; log the error if not."""
    asked = f"row {row.domain_id} of domains"
    if row.id is None:
        log_once(asked, f"its site {row.site_id} does not exist")
        return False
    site = f"row {row.id} of sites"
    texts = (row.name, row.folder, row.locale, row.timezone)
    error = site_row_error(row.status, row.availability, row.theme, row.maintenance_until, row.copy_of, texts)
    if error is not None:
        log_once(site, error)
        return False
    if row.canonical_id is None:
        log_once(site, "it has no canonical domain")
        return False
    for domain, error in (
        (asked, domain_row_error(row.asked_host, row.asked_port, row.asked_path, row.kind)),
        (f"row {row.canonical_id} of domains", domain_row_error(row.host, row.port, row.path, "canonical")),
    ):
        if error is not None:
            log_once(domain, error)
            return False
    return True


def _domain(row: sa.Row[*tuple[Any, ...]]) -> Domain:
    return Domain(row.asked_host, row.asked_port or None, row.asked_path)


def _intended_domain(row: sa.Row[*tuple[Any, ...]]) -> Domain:
    """Return the domain that an invalid row stands for; the whole host if that is unclear."""
    if domain_row_error(row.asked_host, row.asked_port, row.asked_path, "alias") is not None:
        return Domain(row.asked_host)
    return _domain(row)


def _match(row: sa.Row[*tuple[Any, ...]], settings_provider: SettingsProvider | None) -> Match:
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
        row.copy_of,
        settings_provider,
    )
    return Match(site, row.kind, row.asked_path, _closure(row))


def _closure(row: sa.Row[*tuple[Any, ...]]) -> SiteClosure | None:
    if row.availability == "open":
        return None
    until = row.maintenance_until
    if isinstance(until, str):
        until = datetime.fromisoformat(until)
    # SQLite returns a naive datetime, which is in UTC.
    in_utc = until and until.replace(tzinfo=until.tzinfo or UTC)
    return SiteClosure(row.availability, row.maintenance_message, in_utc, row.maintenance_pass)


def _check_tables(engine: Engine) -> None:
    if not sa.inspect(engine).has_table(version_table.name):
        raise DirectoryUnavailable(f"the tables of multisite are missing; run: {program.command('migrate')}")


def _fetch(engine: Engine, key: str | int) -> Sequence[sa.Row[*tuple[Any, ...]]]:
    with engine.connect().execution_options(**AS_MULTISITE) as connection, cancellable(connection):
        if isinstance(key, int):
            return connection.execute(_BY_ID, {"key": key}).all()
        return connection.execute(_BY_HOST, {"key": domains.candidate_names(key)}).all()
