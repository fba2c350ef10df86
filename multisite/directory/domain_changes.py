"""Changes of domains: which ones lead to a site, and by which it is known."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from multisite import domains, program
from multisite.directory.changing import check_domain_free, check_site_ready, directory_transaction, insert_domain
from multisite.directory.info import SiteRecord, is_domain, read_site
from multisite.domains import Domain
from multisite.errors import InvalidHost, MultisiteError
from multisite.models import DomainRow

__all__ = ["add_domain", "canonical", "move_domain", "remove_domain", "set_canonical"]

_rows = DomainRow.__table__


def add_domain(
    engine: Engine,
    site_host: str,
    host: str,
    *,
    redirect: bool = False,
    allow_mixed: bool = False,
    allow_underscores: bool = False,
) -> SiteRecord:
    """Let `host` lead to the site that has the domain `site_host` too, in any spelling; return the site after that.

    `redirect` sends browsers to the canonical domain instead of serving them. `allow_underscores` is that of the
    settings by which the site is served, which decide about its requests. Raises `InvalidHost`, `UnknownSite` for
    `site_host`, `DomainTaken` if `host` leads to this or another site already, `MultisiteError` for a site that is not
    complete or is being removed.
    """
    owner = domains.existing(site_host)
    name = domains.to_ascii(host, allow_mixed=allow_mixed, underscores=allow_underscores)
    with directory_transaction(engine, name) as connection:
        info = _finished_site(connection, owner)
        check_domain_free(connection, name)
        insert_domain(connection, info.site.id, name, "redirect" if redirect else "alias")
        return read_site(connection, owner)


def remove_domain(engine: Engine, host: str) -> SiteRecord:
    """Let `host`, in any spelling, lead nowhere; return the site that it led to, after that.

    Raises `InvalidHost`, `UnknownSite`, and `MultisiteError` for a canonical domain.
    """
    name = domains.existing(host)
    with directory_transaction(engine) as connection:
        info = read_site(connection, name)
        if str(name) == info.site.domain:
            raise MultisiteError(
                f"'{name}' is the canonical domain of its site, without which the site could not be found; "
                f"see its other domains: {program.command(f'show-site {name}')}"
            )
        connection.execute(sa.delete(DomainRow).where(is_domain(_rows.c, name)))
        return read_site(connection, domains.parse(info.site.domain, underscores=True))


def set_canonical(engine: Engine, host: str, *, redirect: bool = False) -> SiteRecord:
    """Let the site that has the domain `host`, in any spelling, be known by it; return the site after that.

    What was canonical becomes an alias, or with `redirect` a redirect to `host`. The folder keeps its name. Raises
    `InvalidHost` also for a wildcard, and `UnknownSite`.
    """
    domain = canonical(domains.existing(host))
    with directory_transaction(engine) as connection:
        info = _finished_site(connection, domain)
        if info.site.domain != str(domain):
            own = sa.update(DomainRow).where(_rows.c.site_id == info.site.id)
            former = own.where(_rows.c.kind == "canonical").values(kind="redirect" if redirect else "alias")
            # In this order: a site has one canonical domain at most, which an index sees to.
            connection.execute(former)
            connection.execute(own.where(is_domain(_rows.c, domain)).values(kind="canonical"))
        return read_site(connection, domain)


def move_domain(engine: Engine, host: str, site_host: str, *, redirect: bool = False) -> SiteRecord:
    """Let the domain `host` lead to the site that has the domain `site_host`; return that site.

    It is an alias there, or with `redirect` a redirect. One statement does it: at every moment the domain leads to the
    one site or to the other. Raises `InvalidHost`, `UnknownSite` for either, and `MultisiteError` for a canonical
    domain of another site.
    """
    domain = domains.existing(host)
    owner = domains.existing(site_host)
    with directory_transaction(engine) as connection:
        target = _finished_site(connection, owner)
        before = read_site(connection, domain)
        if before.site.domain == str(domain):
            raise MultisiteError(
                f"'{domain}' is the canonical domain of its site, without which the site could not be found; let it be "
                f"known by another one first: {program.command('set-canonical HOST')}"
            )
        values = {"site_id": target.site.id, "kind": "redirect" if redirect else "alias"}
        connection.execute(sa.update(DomainRow).where(is_domain(_rows.c, domain)).values(**values))
        return read_site(connection, owner)


def _finished_site(connection: Connection, domain: Domain) -> SiteRecord:
    """Return the site that has `domain`. Raises as `check_site_ready` does, and `UnknownSite` if none has it."""
    info = read_site(connection, domain)
    check_site_ready(info)
    return info


def canonical(domain: Domain) -> Domain:
    """Return `domain` if it can be the canonical one of a site; raise `InvalidHost` if not."""
    if domain.is_wildcard:
        raise InvalidHost(str(domain), "a site is known by one name: add this as another domain of it (add-domain)")
    return domain
