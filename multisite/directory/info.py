"""What the tables say about sites, for people: every domain and the status, read from the database each time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from multisite import domains, program
from multisite.directory.own_settings import canonical_json, settings_json_subquery
from multisite.directory.unreadable import name_unreadable_rows
from multisite.domains import Domain
from multisite.errors import UnknownSite
from multisite.models import AS_MULTISITE, DirectoryVersion, DomainRow, SiteRow
from multisite.site import Site

__all__ = [
    "DomainRecord",
    "SiteRecord",
    "canonical_domain_of_owner",
    "get_site",
    "list_sites",
    "read_site",
    "read_site_by_id",
]

PAGE_SITES = 500
"""How many sites `list_sites` reads at once, on a connection that it gives back before it yields them."""

_site = SiteRow.__table__
_domain = DomainRow.__table__
_canonical = DomainRow.__table__.alias("canonical")


@dataclass(frozen=True, slots=True)
class DomainRecord:
    """A domain that leads to a site.

    `host` is its whole text, such as `*.example.com:8080/shop`; `kind` is `canonical`, `alias` or `redirect`.
    """

    host: str
    kind: str


@dataclass(frozen=True, slots=True)
class SiteRecord:
    """A site with what surrounds it.

    `status` is `active`, `maintenance`, `disabled`, `removing` if `remove_site` was interrupted, or `pending` if
    `add_site` was; `created` when the row was made, in UTC; `domains` all its domains, the canonical one first, then
    the aliases, then the redirects, each by name.
    """

    site: Site
    status: str
    created: datetime
    domains: tuple[DomainRecord, ...]

    @property
    def aliases(self) -> tuple[str, ...]:
        """The domains that serve the same site."""
        return tuple(domain.host for domain in self.domains if domain.kind == "alias")

    @property
    def redirects(self) -> tuple[str, ...]:
        """The domains that send the browser to the canonical one."""
        return tuple(domain.host for domain in self.domains if domain.kind == "redirect")


_generation = _site.c.template_generation + sa.select(DirectoryVersion.template_generation).scalar_subquery()

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
    sa.case(
        (_site.c.status == "pending", "pending"),
        (_site.c.availability == "open", "active"),
        else_=_site.c.availability,
    ).label("status"),
    _site.c.created,
).join_from(_site, _canonical, (_canonical.c.site_id == _site.c.id) & (_canonical.c.kind == "canonical"))

_DOMAINS = sa.select(_domain.c.site_id, _domain.c.host, _domain.c.port, _domain.c.path, _domain.c.kind).order_by(
    _domain.c.site_id,
    sa.case({"canonical": 0, "alias": 1}, value=_domain.c.kind, else_=2),
    _domain.c.host,
    _domain.c.port,
    _domain.c.path,
)

_ORDER = sa.tuple_(_canonical.c.host, _canonical.c.port, _canonical.c.path)


def list_sites(engine: Engine) -> Iterator[SiteRecord]:
    """Yield every site, by canonical domain. Memory stays the same for any number of sites."""
    last = Domain("")
    while True:
        after = sa.tuple_(last.name, last.port or 0, last.path)
        page = _SITES.where(after < _ORDER).order_by(*_ORDER.clauses).limit(PAGE_SITES)
        with engine.connect().execution_options(**AS_MULTISITE) as connection:
            infos = _infos(connection, page)
        yield from infos
        if len(infos) < PAGE_SITES:
            return
        site = infos[-1].site
        last = Domain(site.host, site.port, site.path)


def get_site(engine: Engine, host: str) -> SiteRecord:
    """Return the site that has the domain `host`, in any spelling.

    Raises `InvalidHost`, or `UnknownSite` if no site has that domain.
    """
    domain = domains.existing(host)
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        return read_site(connection, domain)


def is_domain(columns: Any, domain: Domain) -> sa.ColumnElement[bool]:
    """Return the condition that `columns`, those of the table domains, hold `domain`."""
    return sa.and_(columns.host == domain.name, columns.port == (domain.port or 0), columns.path == domain.path)


def read_site(connection: Connection, domain: Domain) -> SiteRecord:
    """Return the site that has `domain`. Raises `UnknownSite` if none has."""
    owner = sa.select(_domain.c.site_id).where(is_domain(_domain.c, domain)).scalar_subquery()
    infos = _infos(connection, _SITES.where(_site.c.id == owner))
    if infos:
        return infos[0]
    sites = program.command("list-sites")
    raise UnknownSite(str(domain), f"no site is known as '{domain}'; see those that are: {sites}")


def read_site_by_id(connection: Connection, site_id: int) -> SiteRecord | None:
    """Return the site with this id, None if there is none or if it was removed."""
    infos = _infos(connection, _SITES.where(_site.c.id == site_id))
    return infos[0] if infos else None


def canonical_domain_of_owner(connection: Connection, domain: Domain) -> str | None:
    """Return the canonical domain of the site that has `domain`, or None if none has."""
    statement = (
        sa.select(_canonical.c.host, _canonical.c.port, _canonical.c.path)
        .join_from(
            _domain, _canonical, (_canonical.c.site_id == _domain.c.site_id) & (_canonical.c.kind == "canonical")
        )
        .where(is_domain(_domain.c, domain))
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else _text(*row)


def _text(name: str, port: int, path: str) -> str:
    return str(Domain(name, port or None, path))


def _infos(connection: Connection, statement: sa.Select[*tuple[Any, ...]]) -> list[SiteRecord]:
    """Return the sites that `statement`, made of `_SITES`, finds. Raises `MultisiteError` for a row it cannot read."""
    with name_unreadable_rows(connection):
        rows = connection.execute(statement).all()
        found = connection.execute(_DOMAINS.where(_domain.c.site_id.in_([row.id for row in rows]))).all()
    domains = {
        site_id: tuple(DomainRecord(_text(row.host, row.port, row.path), row.kind) for row in group)
        for site_id, group in groupby(found, lambda row: row.site_id)
    }
    return [
        SiteRecord(
            site := replace(Site(*columns), own_settings=canonical_json(own_settings)),
            status,
            _in_utc(created),
            domains.get(site.id, ()),
        )
        for *columns, own_settings, status, created in rows
    ]


def _in_utc(created: datetime) -> datetime:
    # SQLite gives back what was stored, in UTC, without saying so; PostgreSQL gives it in the session's zone.
    return created.replace(tzinfo=UTC) if created.tzinfo is None else created.astimezone(UTC)
