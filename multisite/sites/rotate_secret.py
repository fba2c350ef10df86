"""Rotate the secret of a site: raise its generation, from which all its secrets are derived."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite.core import domains
from multisite.directory.models import SiteRow
from multisite.directory.records import SiteRecord, read_site
from multisite.directory.tables import sites_table
from multisite.sites.operator_log import record_site_change
from multisite.sites.transaction import directory_transaction

__all__ = ["rotate_secret"]

_sites = sites_table


def rotate_secret(engine: Engine, host: str) -> SiteRecord:
    """Rotate the secret of the site with the domain `host`.

    Once running servers have reloaded the directory, they reject everything that was signed before.

    Returns:
        The new record of the site.

    Raises:
        InvalidHost: `host` is not valid.
        UnknownSite: No site has this domain.
    """
    domain = domains.existing(host)
    with directory_transaction(engine) as connection:
        record = read_site(connection, domain)
        generation = _sites.c.secret_generation + 1
        connection.execute(sa.update(SiteRow).where(_sites.c.id == record.site.id).values(secret_generation=generation))
        record_site_change(connection, "rotate-secret", record, record)
        return read_site(connection, domain)
