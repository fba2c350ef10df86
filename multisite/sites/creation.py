"""Add a site: check its options, reserve its domains, then create its folder and activate it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypedDict, Unpack

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from multisite.core import domains
from multisite.core.domains import Domain, folder_name
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory.models import DomainRow, SiteRow
from multisite.directory.records import canonical_domain_of_owner, is_domain, read_site
from multisite.directory.tables import domains_table, sites_table
from multisite.errors import DomainTaken, MultisiteError
from multisite.sites.domains import check_canonical
from multisite.sites.folders import create_site_folder
from multisite.sites.operator_log import record_site_change
from multisite.sites.template_store.changes import forget_folder, publish_folder
from multisite.sites.themes import check_theme
from multisite.sites.transaction import check_domain_free, directory_transaction, insert_domain
from multisite.sites.validation import MAX_NAME_CHARACTERS, check_locale, check_name, check_timezone

__all__ = [
    "CreatedSite",
    "SiteDetails",
    "SitePlan",
    "add_site",
    "complete_site",
    "create_site",
    "delete_pending",
    "plan_site",
    "reserve_site",
]

_sites = sites_table
_rows = domains_table


class SiteDetails(TypedDict, total=False):
    """The options of a new site.

    `name` is the display name, by default the domain. `locale` is a BCP 47 tag, `timezone` a name of the IANA database.
    `theme` is the name of an existing theme, None for none. `allow_mixed` accepts hosts that mix scripts.
    """

    name: str | None
    aliases: Iterable[str]
    locale: str
    timezone: str
    theme: str | None
    allow_mixed: bool


@dataclass(frozen=True, slots=True)
class CreatedSite:
    """A new site and its folder. `folder_existed` is True if the folder had files already, which are kept."""

    site: Site
    folder: Path
    folder_existed: bool


@dataclass(frozen=True, slots=True)
class SitePlan:
    """The validated options of a new site."""

    domain: Domain
    aliases: tuple[Domain, ...]
    name: str
    locale: str
    timezone: str
    theme: str | None

    @property
    def details(self) -> dict[str, str | None]:
        """The values of the columns of the site."""
        return {"name": self.name, "locale": self.locale, "timezone": self.timezone, "theme": self.theme}


def add_site(engine: Engine, host: str, *, settings: Settings, **details: Unpack[SiteDetails]) -> Site:
    """Add a site and return it. `create_site` also returns its folder."""
    return create_site(engine, host, settings=settings, **details).site


def create_site(engine: Engine, host: str, *, settings: Settings, **details: Unpack[SiteDetails]) -> CreatedSite:
    """Add a site, with its rows and its folder. Running servers find it at their next check.

    If the process is killed, the site is incomplete and is not served; the same call again completes it. If the call
    fails, nothing is left of the site.

    Args:
        engine: The database of the directory.
        host: The canonical domain of the site.
        settings: Where the folder of the site is created.
        details: The options of the site, see `SiteDetails`.

    Returns:
        The new site and its folder.

    Raises:
        InvalidHost: A host is not valid.
        DomainTaken: A domain already belongs to a site. Of several calls at once, one succeeds.
        MultisiteError: The name, locale, time zone or theme is not valid, or the folder cannot be created.
    """
    plan = plan_site(host, settings, **details)
    wanted = (plan.domain, *plan.aliases)
    with directory_transaction(engine, *wanted) as connection:
        site_id, is_new = reserve_site(connection, plan)
    try:
        with directory_transaction(engine, *wanted) as connection:
            return complete_site(connection, plan, site_id, settings)
    except Exception as error:
        if is_new and not isinstance(error, DomainTaken):
            # If the database fails here too, the site stays pending: it is not served, and the same call completes it.
            with suppress(SQLAlchemyError):
                delete_pending(engine, [site_id])
        raise


def plan_site(
    host: str,
    settings: Settings,
    name: str | None = None,
    aliases: Iterable[str] = (),
    locale: str = "en",
    timezone: str = "UTC",
    theme: str | None = None,
    allow_mixed: bool = False,
) -> SitePlan:
    """Return the options of a new site, checked as by `create_site` but not compared with the database."""
    parse = partial(domains.to_ascii, allow_mixed=allow_mixed, underscores=settings.allow_underscores)
    domain = check_canonical(parse(host))
    others = dict.fromkeys(map(parse, aliases))
    others.pop(domain, None)
    return SitePlan(
        domain,
        tuple(others),
        check_name(str(domain)[:MAX_NAME_CHARACTERS] if name is None else name),
        check_locale(locale),
        check_timezone(timezone),
        None if theme is None else check_theme(settings, theme),
    )


def reserve_site(connection: Connection, plan: SitePlan) -> tuple[int, bool]:
    """Insert a pending site with its domains, which is not served yet, in a `directory_transaction`.

    If the site is pending already, another call is creating it now or was interrupted. Both calls go on, and only one
    of them passes `complete_site`.

    Returns:
        The id of the site, and whether this call inserted it.
    """
    pending = sa.select(_sites.c.id).join_from(_sites, _rows, _rows.c.site_id == _sites.c.id)
    found: int | None = connection.scalar(
        pending.where(is_domain(_rows.c, plan.domain), _rows.c.kind == "canonical", _sites.c.status == "pending")
    )
    if found is not None:
        return found, False
    check_domain_free(connection, plan.domain, *plan.aliases)
    insert = sa.insert(SiteRow).values(folder=folder_name(str(plan.domain)), status="pending", **plan.details)
    site_id: int = connection.execute(insert.returning(_sites.c.id)).scalar_one()
    insert_domain(connection, site_id, plan.domain, "canonical")
    for alias in plan.aliases:
        insert_domain(connection, site_id, alias, "alias")
    return site_id, True


def complete_site(connection: Connection, plan: SitePlan, site_id: int, settings: Settings) -> CreatedSite:
    """Activate a pending site and create its folder, in a `directory_transaction`; the first of several calls wins.

    The folder is created inside the transaction, so that the site stays pending if the process dies here.

    Returns:
        The new site and its folder.

    Raises:
        DomainTaken: Another call has completed the site.
        MultisiteError: The folder cannot be created, or the store of templates cannot be reached.
    """
    claim = sa.update(SiteRow).where(_sites.c.id == site_id, _sites.c.status == "pending")
    if connection.execute(claim.values(status="active", **plan.details)).rowcount != 1:
        raise DomainTaken(str(plan.domain), canonical_domain_of_owner(connection, plan.domain))
    _sync_aliases(connection, site_id, plan.aliases)
    added = read_site(connection, plan.domain)
    record_site_change(connection, "add-site", None, added)
    site = added.site
    folder = settings.sites_dir / site.folder
    try:
        # This machine may have the folder of a site that another one has removed.
        forget_folder(settings, site.folder)
        is_new = create_site_folder(settings, site.folder, str(plan.domain), theme=plan.theme)
        publish_folder(settings, site.folder)
    except OSError as error:
        raise MultisiteError(
            f"cannot create the folder {folder}: {error.strerror or error}; fix this, and run the same command again"
        ) from error
    return CreatedSite(site, folder, folder_existed=not is_new)


def _sync_aliases(connection: Connection, site_id: int, aliases: tuple[Domain, ...]) -> None:
    """Make `aliases` the aliases of the site: the interrupted call may have inserted others."""
    columns = (_rows.c.host, _rows.c.port, _rows.c.path)
    own = sa.select(*columns).where(_rows.c.site_id == site_id, _rows.c.kind != "canonical")
    present = {Domain(name, port or None, path) for name, port, path in connection.execute(own)}
    for domain in present.difference(aliases):
        connection.execute(sa.delete(DomainRow).where(is_domain(_rows.c, domain)))
    for alias in aliases:
        if alias not in present:
            check_domain_free(connection, alias)
            insert_domain(connection, site_id, alias, "alias")


def delete_pending(engine: Engine, site_ids: Collection[int]) -> None:
    """Delete the rows of sites, as far as these are still pending."""
    with directory_transaction(engine) as connection:
        pending = sa.select(_sites.c.id).where(_sites.c.id.in_(site_ids), _sites.c.status == "pending")
        connection.execute(sa.delete(DomainRow).where(_rows.c.site_id.in_(pending)))
        connection.execute(sa.delete(SiteRow).where(_sites.c.id.in_(pending)))
