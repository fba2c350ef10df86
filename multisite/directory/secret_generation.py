"""The generation of a site's secrets: with another one everything that is derived from them is another."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite import domains
from multisite.directory.changing import directory_transaction
from multisite.directory.info import SiteRecord, read_site
from multisite.models import SiteRow

__all__ = ["rotate_secret"]

_sites = SiteRow.__table__


def rotate_secret(engine: Engine, host: str) -> SiteRecord:
    """Replace the secrets of the site that has the domain `host`, in any spelling; return the site after that.

    Running servers accept nothing that was signed before, once they have read the directory again. Raises
    `InvalidHost` and `UnknownSite`.
    """
    domain = domains.existing(host)
    with directory_transaction(engine) as connection:
        site_id = read_site(connection, domain).site.id
        generation = _sites.c.secret_generation + 1
        connection.execute(sa.update(SiteRow).where(_sites.c.id == site_id).values(secret_generation=generation))
        return read_site(connection, domain)
