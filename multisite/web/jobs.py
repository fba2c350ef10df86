"""The site of a job: a queue stores the id of a site, and the worker loads the site when the job runs."""

from __future__ import annotations

from typing import Any

from multisite.core.keys import DIRECTORY
from multisite.core.site import Site
from multisite.directory.records import read_site_by_id
from multisite.directory.tables import AS_MULTISITE
from multisite.errors import MultisiteError, UnknownSite

__all__ = ["site_of_job"]

RUNNING_STATUSES = frozenset({"active", "maintenance"})
"""Jobs run for sites with these statuses; maintenance stops requests, not jobs."""


def site_of_job(app: Any, site_id: int) -> Site:
    """Load the site with the id that a job was stored with.

    Args:
        app: A Pyramid application that includes multisite, or its registry.
        site_id: The id of the site.

    Returns:
        The site. Its status is `active` or `maintenance`.

    Raises:
        UnknownSite: The site was removed.
        MultisiteError: The site is disabled, incomplete or being removed, so the job must not run.
    """
    engine = getattr(app, "registry", app)[DIRECTORY].engine
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        record = read_site_by_id(connection, site_id)
    if record is None:
        raise UnknownSite(site_id, f"there is no site with the id {site_id}, which this job is for: it was removed")
    if record.status not in RUNNING_STATUSES:
        raise MultisiteError(f"{record.site}, the site with the id {site_id} that this job is for, is {record.status}")
    return record.site
