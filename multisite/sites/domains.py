"""Add, remove and move domains, and choose the canonical domain of a site."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite.core import domains, program
from multisite.core.domains import Domain
from multisite.directory.models import DomainRow
from multisite.directory.records import SiteRecord, is_domain, read_site, read_site_by_id
from multisite.directory.tables import domains_table
from multisite.errors import InvalidHost, MultisiteError
from multisite.sites.operator_log import record_site_change
from multisite.sites.transaction import check_domain_free, directory_transaction, insert_domain, read_ready_site

__all__ = ["add_domain", "check_canonical", "move_domain", "remove_domain", "set_canonical"]

_rows = domains_table


def add_domain(
    engine: Engine,
    site_host: str,
    host: str,
    *,
    redirect: bool = False,
    allow_mixed: bool = False,
    allow_underscores: bool = False,
) -> SiteRecord:
    """Add the domain `host` to the site with the domain `site_host`.

    Args:
        engine: The database of the directory.
        site_host: Any domain of the site.
        host: The domain to add.
        redirect: Redirect browsers to the canonical domain instead of serving them.
        allow_mixed: Accept hosts that mix scripts.
        allow_underscores: Accept underscores: the value of the setting of the application that serves the site.

    Returns:
        The new record of the site.

    Raises:
        InvalidHost: A host is not valid.
        UnknownSite: No site has the domain `site_host`.
        DomainTaken: `host` already belongs to a site, this one or another.
        MultisiteError: The site is not complete or is being removed.
    """
    owner = domains.existing(site_host)
    name = domains.to_ascii(host, allow_mixed=allow_mixed, underscores=allow_underscores)
    with directory_transaction(engine, name) as connection:
        record = read_ready_site(connection, owner)
        check_domain_free(connection, name)
        insert_domain(connection, record.site.id, name, "redirect" if redirect else "alias")
        changed = read_site(connection, owner)
        record_site_change(connection, "add-domain", record, changed)
        return changed


def remove_domain(engine: Engine, host: str) -> SiteRecord:
    """Remove the domain `host` from its site.

    Returns:
        The new record of the site.

    Raises:
        InvalidHost: `host` is not valid.
        UnknownSite: No site has this domain.
        MultisiteError: It is the canonical domain of its site.
    """
    name = domains.existing(host)
    with directory_transaction(engine) as connection:
        record = read_site(connection, name)
        if str(name) == record.site.domain:
            raise MultisiteError(
                f"'{name}' is the canonical domain of its site, which a site must keep; "
                f"see its other domains: {program.command(f'show-site {name}')}"
            )
        connection.execute(sa.delete(DomainRow).where(is_domain(_rows.c, name)))
        changed = read_site(connection, domains.parse(record.site.domain, underscores=True))
        record_site_change(connection, "remove-domain", record, changed)
        return changed


def set_canonical(engine: Engine, host: str, *, redirect: bool = False) -> SiteRecord:
    """Make `host` the canonical domain of its site.

    The former canonical domain becomes an alias, or with `redirect` a redirect to `host`. The folder keeps its name.

    Returns:
        The new record of the site.

    Raises:
        InvalidHost: `host` is not valid, or has a wildcard.
        UnknownSite: No site has this domain.
        MultisiteError: The site is not complete or is being removed.
    """
    domain = check_canonical(domains.existing(host))
    with directory_transaction(engine) as connection:
        record = read_ready_site(connection, domain)
        if record.site.domain != str(domain):
            own = sa.update(DomainRow).where(_rows.c.site_id == record.site.id)
            former = own.where(_rows.c.kind == "canonical").values(kind="redirect" if redirect else "alias")
            # In this order, because a unique index allows one canonical domain for each site.
            connection.execute(former)
            connection.execute(own.where(is_domain(_rows.c, domain)).values(kind="canonical"))
        changed = read_site(connection, domain)
        record_site_change(connection, "set-canonical", record, changed)
        return changed


def move_domain(engine: Engine, host: str, site_host: str, *, redirect: bool = False) -> SiteRecord:
    """Move the domain `host` to the site with the domain `site_host`.

    It becomes an alias there, or with `redirect` a redirect. The move is one statement, so that the domain always
    belongs to one of the two sites.

    Returns:
        The new record of the site with the domain `site_host`.

    Raises:
        InvalidHost: A host is not valid.
        UnknownSite: No site has one of the domains.
        MultisiteError: `host` is a canonical domain, or the target site is not complete or is being removed.
    """
    domain = domains.existing(host)
    owner = domains.existing(site_host)
    with directory_transaction(engine) as connection:
        target = read_ready_site(connection, owner)
        before = read_site(connection, domain)
        if before.site.domain == str(domain):
            raise MultisiteError(
                f"'{domain}' is the canonical domain of its site, which a site must keep; make "
                f"another one canonical first: {program.command('set-canonical HOST')}"
            )
        values = {"site_id": target.site.id, "kind": "redirect" if redirect else "alias"}
        connection.execute(sa.update(DomainRow).where(is_domain(_rows.c, domain)).values(**values))
        changed = read_site(connection, owner)
        if before.site.id != target.site.id:
            left = read_site_by_id(connection, before.site.id)
            record_site_change(connection, "move-domain", before, left)
        record_site_change(connection, "move-domain", target, changed)
        return changed


def check_canonical(domain: Domain) -> Domain:
    """Return `domain` if it can be canonical. Raises `InvalidHost` for a wildcard."""
    if domain.is_wildcard:
        raise InvalidHost(str(domain), "a canonical domain has no wildcard: add this one with add-domain")
    return domain
