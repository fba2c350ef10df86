"""The state of the whole, for `multisite health` and the page of the console: all of it is read from tables.

Nothing here takes long, whatever the number of sites: `multisite check` is run elsewhere, and its findings were kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite.alembic.migrate import pending_revisions
from multisite.core.domains import Domain
from multisite.directory.models import DirectoryVersion, DomainRow
from multisite.directory.tables import AS_MULTISITE
from multisite.sites.last_check import LastCheck, read_last_check
from multisite.sites.processes import Process, list_processes, versions
from multisite.sites.traffic import ErrorSeen, last_errors, slowest_sites, slowest_views

__all__ = ["Health", "SiteError", "Slow", "read_health"]

MAX_ERRORS = 50


class Slow(NamedTuple):
    """A site or a view, with its requests and their average duration. `site_id` is None for a view."""

    name: str
    site_id: int | None
    requests: int
    seconds_each: float


class SiteError(NamedTuple):
    """An error with the canonical domain of its site; None if the site was removed, or the request had none."""

    site: str | None
    seen: ErrorSeen


@dataclass(frozen=True)
class Health:
    """The state of the whole.

    Attributes:
        versions: Those of this process and of the database, by name.
        pending: The revisions of multisite's own tables that the database does not have yet. If there are any, the rest
            is empty, since the tables may be missing.
        directory_version: The version of the directory in the database.
        processes: Those that serve requests, and those that do jobs.
        last_check: The last check that was kept.
        slow_sites: The slowest sites of today and yesterday.
        slow_views: The slowest views of the last day.
        errors: The last errors of all sites.
    """

    versions: Mapping[str, str]
    pending: Sequence[str] = ()
    directory_version: int | None = None
    processes: Sequence[Process] = ()
    last_check: LastCheck | None = None
    slow_sites: Sequence[Slow] = ()
    slow_views: Sequence[Slow] = ()
    errors: Sequence[SiteError] = ()


def read_health(engine: Engine) -> Health:
    """Return the state of the whole, by a fixed number of queries.

    Args:
        engine: The database of the directory.
    """
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        pending = pending_revisions(connection)
        found = ".".join(map(str, connection.dialect.server_version_info or ()))
    names = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
    all_versions = {**versions(), names.get(engine.dialect.name, engine.dialect.name): found}
    if pending:
        return Health(all_versions, pending)
    slow, errors = slowest_sites(engine), last_errors(engine, limit=MAX_ERRORS)
    domains = _domains(engine, {*(int(each.name) for each in slow), *(each.site_id for each in errors)})
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        version = connection.scalar(sa.select(DirectoryVersion.version))
    return Health(
        all_versions,
        directory_version=version,
        processes=list_processes(engine),
        last_check=read_last_check(engine),
        slow_sites=[
            Slow(domains[int(each.name)], int(each.name), each.requests, each.seconds / each.requests)
            for each in slow
            if int(each.name) in domains and each.requests
        ],
        slow_views=[
            Slow(each.name, None, each.requests, each.seconds / each.requests)
            for each in slowest_views(engine)
            if each.requests
        ],
        errors=[SiteError(domains.get(each.site_id), each) for each in errors],
    )


def _domains(engine: Engine, site_ids: Collection[int]) -> dict[int, str]:
    """Return the canonical domains of these sites by their ids."""
    statement = sa.select(DomainRow.site_id, DomainRow.host, DomainRow.port, DomainRow.path).where(
        DomainRow.site_id.in_(site_ids), DomainRow.kind == "canonical"
    )
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        return {id_: str(Domain(host, port or None, path)) for id_, host, port, path in connection.execute(statement)}
