"""What the tables say about sites, for people: every domain and the status, read from the database each time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from multisite import hosts
from multisite.errors import UnknownSite
from multisite.models import DirectoryVersion, DomainRow, SiteRow
from multisite.site import Site

__all__ = ["Domain", "SiteInfo", "list_sites", "owner_of", "read_site", "show_site"]

PAGE_SITES = 500
"""How many sites `list_sites` reads at once, on a connection that it gives back before it yields them."""

_site = SiteRow.__table__
_domain = DomainRow.__table__
_canonical = DomainRow.__table__.alias("canonical")


@dataclass(frozen=True, slots=True)
class Domain:
    """A host that leads to a site; `kind` is `canonical`, `alias` or `redirect`."""

    host: str
    kind: str


@dataclass(frozen=True, slots=True)
class SiteInfo:
    """A site with what surrounds it.

    `status` is `active`, or `pending` if `add_site` was interrupted; `created` when the row was made, in UTC;
    `domains` all its hosts, the canonical one first, then the aliases, then the redirects, each by name.
    """

    site: Site
    status: str
    created: datetime
    domains: tuple[Domain, ...]

    @property
    def aliases(self) -> tuple[str, ...]:
        """The hosts that serve the same site."""
        return tuple(domain.host for domain in self.domains if domain.kind == "alias")

    @property
    def redirects(self) -> tuple[str, ...]:
        """The hosts that send the browser to the canonical one."""
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
    _site.c.status,
    _site.c.created,
).join_from(_site, _canonical, (_canonical.c.site_id == _site.c.id) & (_canonical.c.kind == "canonical"))

_DOMAINS = sa.select(_domain.c.site_id, _domain.c.host, _domain.c.kind).order_by(
    _domain.c.site_id,
    sa.case({"canonical": 0, "alias": 1}, value=_domain.c.kind, else_=2),
    _domain.c.host,
)


def list_sites(engine: Engine) -> Iterator[SiteInfo]:
    """Yield every site, by canonical host. Memory stays the same for any number of sites."""
    last = ""
    while True:
        page = _SITES.where(_canonical.c.host > last).order_by(_canonical.c.host).limit(PAGE_SITES)
        with engine.connect() as connection:
            infos = list(_infos(connection, connection.execute(page).all()))
        yield from infos
        if len(infos) < PAGE_SITES:
            return
        last = infos[-1].site.host


def show_site(engine: Engine, host: str) -> SiteInfo:
    """Return the site that `host` leads to, in any spelling and by any of its domains.

    Raises `InvalidHost`, or `UnknownSite` if no site has that domain.
    """
    name = hosts.to_ascii(host, allow_mixed=True)
    with engine.connect() as connection:
        return read_site(connection, name)


def read_site(connection: Connection, host: str) -> SiteInfo:
    """Return the site that `host`, in canonical form, leads to. Raises `UnknownSite` if there is none."""
    owner = sa.select(_domain.c.site_id).where(_domain.c.host == host).scalar_subquery()
    rows = connection.execute(_SITES.where(_site.c.id == owner)).all()
    for info in _infos(connection, rows):
        return info
    raise UnknownSite(host, f"no site is known as '{host}'; see those that are: multisite list-sites")


def owner_of(connection: Connection, host: str) -> str | None:
    """Return the canonical host of the site that `host`, in canonical form, leads to, or None if it leads nowhere."""
    statement = (
        sa.select(_canonical.c.host)
        .join_from(
            _domain, _canonical, (_canonical.c.site_id == _domain.c.site_id) & (_canonical.c.kind == "canonical")
        )
        .where(_domain.c.host == host)
    )
    owner: str | None = connection.scalar(statement)
    return owner


def _infos(connection: Connection, rows: Iterable[sa.Row[*tuple[Any, ...]]]) -> Iterator[SiteInfo]:
    rows = list(rows)
    found = connection.execute(_DOMAINS.where(_domain.c.site_id.in_([row.id for row in rows])))
    domains = {
        site_id: tuple(Domain(row.host, row.kind) for row in group)
        for site_id, group in groupby(found, lambda row: row.site_id)
    }
    for *columns, status, created in rows:
        site = Site(*columns)
        yield SiteInfo(site, status, _in_utc(created), domains.get(site.id, ()))


def _in_utc(created: datetime) -> datetime:
    # SQLite gives back what was stored, in UTC, without saying so; PostgreSQL gives it in the session's zone.
    return created.replace(tzinfo=UTC) if created.tzinfo is None else created.astimezone(UTC)
