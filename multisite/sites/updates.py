"""Rename sites, set their themes, and tell running servers to reload.

Each change is one `directory_transaction`.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite.core import domains
from multisite.core.domains import Domain
from multisite.core.settings import Settings
from multisite.directory.models import DirectoryVersion, SiteRow
from multisite.directory.records import SiteRecord, read_site
from multisite.directory.tables import domains_table, sites_table
from multisite.sites.operator_log import record, record_site_change
from multisite.sites.themes import check_theme
from multisite.sites.transaction import directory_transaction
from multisite.sites.validation import check_name

__all__ = ["refresh", "reload_templates", "rename_site", "set_theme"]

_sites = sites_table
_rows = domains_table


def rename_site(engine: Engine, host: str, name: str) -> SiteRecord:
    """Change the display name of the site with the domain `host`.

    Returns:
        The new record of the site.

    Raises:
        InvalidHost: `host` is not valid.
        UnknownSite: No site has this domain.
        MultisiteError: The name is not valid.
    """
    return _change_site(engine, "rename-site", domains.existing(host), name=check_name(name))


def set_theme(engine: Engine, host: str, theme: str | None, *, settings: Settings) -> SiteRecord:
    """Set the theme of the site with the domain `host`; None clears it.

    Returns:
        The new record of the site.

    Raises:
        InvalidHost: `host` is not valid.
        UnknownSite: No site has this domain.
        MultisiteError: There is no such theme.
    """
    domain = domains.existing(host)
    if theme is not None:
        check_theme(settings, theme)
    return _change_site(engine, "set-theme", domain, theme=theme)


def _change_site(engine: Engine, action: str, domain: Domain, **values: str | None) -> SiteRecord:
    """Change columns of the site with this domain, write `action` to the operator log, and return the new record."""
    with directory_transaction(engine) as connection:
        before = read_site(connection, domain)
        connection.execute(sa.update(SiteRow).where(_sites.c.id == before.site.id).values(**values))
        changed = read_site(connection, domain)
        record_site_change(connection, action, before, changed)
        return changed


def refresh(engine: Engine) -> None:
    """Tell running servers to reload the directory; needed only after its tables were changed by other means."""
    with directory_transaction(engine) as connection:
        record(connection, "refresh")


def reload_templates(engine: Engine, host: str | None = None, *, logged_as: str = "reload-templates") -> None:
    """Tell running servers to reload the templates of the site with the domain `host`; None stands for all sites.

    Args:
        engine: The database of the directory.
        host: Any domain of the site.
        logged_as: The action in the operator log.

    Raises:
        InvalidHost: `host` is not valid.
        UnknownSite: No site has this domain.
    """
    name = None if host is None else domains.existing(host)
    with directory_transaction(engine) as connection:
        site = None if name is None else read_site(connection, name).site
        if site is None:
            change = sa.update(DirectoryVersion)
        else:
            change = sa.update(SiteRow).where(_sites.c.id == site.id)
        column = change.table.c.template_generation
        connection.execute(change.values(template_generation=column + 1))
        record(connection, logged_as, site)
