"""The site of a job: what a queue stores is an id, and what a worker needs is the site as it is when the job runs."""

from __future__ import annotations

from typing import Any

from multisite.directory.info import read_site_by_id
from multisite.errors import MultisiteError, UnknownSite
from multisite.keys import DIRECTORY
from multisite.models import AS_MULTISITE
from multisite.site import Site

__all__ = ["site_of_job"]

WORKS = frozenset({"active", "maintenance"})
"""The statuses of sites that jobs are done for: one in maintenance has told its visitors to come back, not its jobs."""


def site_of_job(app: Any, site_id: int) -> Site:
    """Return the site with the id that a job was stored with, read from the database now.

    `app` is a Pyramid application that includes multisite, or a registry. Raises `UnknownSite` if the site was removed,
    and `MultisiteError` if it is disabled, is being removed or is not complete: nothing is to be done for it then.
    """
    engine = getattr(app, "registry", app)[DIRECTORY].engine
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        info = read_site_by_id(connection, site_id)
    if info is None:
        raise UnknownSite(site_id, f"there is no site with the id {site_id}, which this job is for: it was removed")
    if info.status not in WORKS:
        raise MultisiteError(f"{info.site}, the site with the id {site_id} that this job is for, is {info.status}")
    return info.site
