"""Records of sites for operators, each with its status and all its domains; read from the database, never cached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from multisite.core import domains, program
from multisite.core.domains import Domain
from multisite.core.site import Site
from multisite.directory.listing import EVERY_SITE, HAS_CANONICAL, SiteSelection, page_of_sites, status
from multisite.directory.listing import canonical as _canonical
from multisite.directory.listing import site as _site
from multisite.directory.settings_json import canonical_json, settings_json_subquery
from multisite.directory.tables import AS_MULTISITE, domains_table, version_table
from multisite.directory.unreadable_rows import name_unreadable_rows
from multisite.errors import UnknownSite

__all__ = [
    "DomainRecord",
    "SiteRecord",
    "canonical_domain_of_owner",
    "get_site",
    "list_sites",
    "read_site",
    "read_site_by_id",
    "read_sites",
]

PAGE_SITES = 500
"""How many sites `list_sites` reads at a time; it releases its connection before it yields them."""

_domain = domains_table


@dataclass(frozen=True, slots=True)
class DomainRecord:
    """A domain of a site.

    `host` is the whole domain, such as `*.example.com:8080/shop`; `kind` is `canonical`, `alias` or `redirect`.
    """

    host: str
    kind: str


@dataclass(frozen=True, slots=True)
class SiteRecord:
    """A site with its status, its time of creation and its domains.

    `status` is `active`, `maintenance` or `disabled`; `removing` if `remove_site` was interrupted, or `pending` if
    `add_site` was. `created` is in UTC. `domains` starts with the canonical one, followed by the aliases and then the
    redirects, each sorted by name.
    """

    site: Site
    status: str
    created: datetime
    domains: tuple[DomainRecord, ...]

    @property
    def aliases(self) -> tuple[str, ...]:
        """The domains that serve the site besides the canonical one."""
        return tuple(domain.host for domain in self.domains if domain.kind == "alias")

    @property
    def redirects(self) -> tuple[str, ...]:
        """The domains that redirect to the canonical one."""
        return tuple(domain.host for domain in self.domains if domain.kind == "redirect")


_generation = _site.c.template_generation + sa.select(version_table.c.template_generation).scalar_subquery()

_SITES = sa.select(
    _site.c.id,
    _canonical.c.host,
    _site.c.name,
    _site.c.folder,
    _site.c.locale,
    _site.c.timezone,
    _site.c.theme,
    _generation,
    sa.func.nullif(_canonical.c.port, 0),
    _canonical.c.path,
    _site.c.secret_generation,
    settings_json_subquery(_site.c.id),
    _site.c.copy_of,
    status,
    _site.c.created,
).join_from(_site, _canonical, HAS_CANONICAL)

_DOMAINS = sa.select(_domain.c.site_id, _domain.c.host, _domain.c.port, _domain.c.path, _domain.c.kind).order_by(
    _domain.c.site_id,
    sa.case({"canonical": 0, "alias": 1}, value=_domain.c.kind, else_=2),
    _domain.c.host,
    _domain.c.port,
    _domain.c.path,
)


def list_sites(
    engine: Engine, chosen: SiteSelection = EVERY_SITE, *, after: Domain | None = None, limit: int | None = None
) -> Iterator[SiteRecord]:
    """Yield sites, sorted by canonical domain, in constant memory.

    Args:
        engine: The database of the directory.
        chosen: Which sites; all by default.
        after: Begin with the first site whose canonical domain follows this one; None for the first of all.
        limit: The greatest number of sites; None for no limit.
    """
    while limit is None or limit > 0:
        size = PAGE_SITES if limit is None else min(limit, PAGE_SITES)
        with engine.connect().execution_options(**AS_MULTISITE) as connection:
            records = _records(connection, page_of_sites(_SITES, chosen, after, size))
        yield from records
        if len(records) < size:
            return
        site = records[-1].site
        after = Domain(site.host, site.port, site.path)
        limit = None if limit is None else limit - size


def get_site(engine: Engine, host: str) -> SiteRecord:
    """Return the site that has the domain `host`, in any spelling.

    Raises:
        InvalidHost: If `host` is not a domain.
        UnknownSite: If no site has that domain.
    """
    domain = domains.existing(host)
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        return read_site(connection, domain)


def is_domain(columns: Any, domain: Domain) -> sa.ColumnElement[bool]:
    """Return the condition that `columns`, of the table domains, are those of `domain`."""
    return sa.and_(columns.host == domain.name, columns.port == (domain.port or 0), columns.path == domain.path)


def read_site(connection: Connection, domain: Domain) -> SiteRecord:
    """Return the site that has `domain`.

    Raises:
        UnknownSite: If no site has it.
    """
    owner = sa.select(_domain.c.site_id).where(is_domain(_domain.c, domain)).scalar_subquery()
    records = _records(connection, _SITES.where(_site.c.id == owner))
    if records:
        return records[0]
    command = program.command("list-sites")
    raise UnknownSite(str(domain), f"no site is known as '{domain}'; list all sites: {command}")


def read_site_by_id(connection: Connection, site_id: int) -> SiteRecord | None:
    """Return the site with this id, or None if there is none or it was removed."""
    records = _records(connection, _SITES.where(_site.c.id == site_id))
    return records[0] if records else None


def read_sites(connection: Connection, site_ids: Sequence[int]) -> Iterator[SiteRecord]:
    """Yield the sites with these ids, except those that were removed."""
    for start in range(0, len(site_ids), PAGE_SITES):
        yield from _records(connection, _SITES.where(_site.c.id.in_(site_ids[start : start + PAGE_SITES])))


def canonical_domain_of_owner(connection: Connection, domain: Domain) -> str | None:
    """Return the canonical domain of the site that has `domain`, or None if no site has it."""
    statement = (
        sa.select(_canonical.c.host, _canonical.c.port, _canonical.c.path)
        .join_from(
            _domain, _canonical, (_canonical.c.site_id == _domain.c.site_id) & (_canonical.c.kind == "canonical")
        )
        .where(is_domain(_domain.c, domain))
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else _domain_text(*row)


def _domain_text(name: str, port: int, path: str) -> str:
    return str(Domain(name, port or None, path))


def _records(connection: Connection, statement: sa.Select[*tuple[Any, ...]]) -> list[SiteRecord]:
    """Return the sites that `statement`, derived from `_SITES`, selects."""
    with name_unreadable_rows(connection):
        rows = connection.execute(statement).all()
        found = connection.execute(_DOMAINS.where(_domain.c.site_id.in_([row.id for row in rows]))).all()
    domains = {
        site_id: tuple(DomainRecord(_domain_text(row.host, row.port, row.path), row.kind) for row in group)
        for site_id, group in groupby(found, lambda row: row.site_id)
    }
    return [
        SiteRecord(
            site := replace(Site(*columns), own_settings=canonical_json(own_settings), copy_of=copy_of),
            status,
            _in_utc(created),
            domains.get(site.id, ()),
        )
        for *columns, own_settings, copy_of, status, created in rows
    ]


def _in_utc(created: datetime) -> datetime:
    # SQLite returns a naive datetime, which is in UTC; PostgreSQL one in the time zone of the session.
    return created.replace(tzinfo=UTC) if created.tzinfo is None else created.astimezone(UTC)
