"""Rotate the secret of a site by raising its generation, which all derived secrets depend on."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite.core import domains
from multisite.directory.models import SiteRow
from multisite.directory.records import SiteRecord, read_site
from multisite.sites.transaction import directory_transaction

__all__ = ["rotate_secret"]

_sites = SiteRow.__table__


def rotate_secret(engine: Engine, host: str) -> SiteRecord:
    """Rotate the secret of the site with the domain `host`; return its new record.

    Once running servers have reloaded the directory, they reject everything that was signed before.

    Raises:
        InvalidHost: `host` is not valid.
        UnknownSite: No site has this domain.
    """
    domain = domains.existing(host)
    with directory_transaction(engine) as connection:
        site_id = read_site(connection, domain).site.id
        generation = _sites.c.secret_generation + 1
        connection.execute(sa.update(SiteRow).where(_sites.c.id == site_id).values(secret_generation=generation))
        return read_site(connection, domain)
