"""Remove the files of all sites that no row names, and those of removed sites."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from multisite.directory.models import SiteRow
from multisite.directory.records import list_sites
from multisite.directory.tables import AS_MULTISITE
from multisite.media.library import MediaLibrary

__all__ = ["prune"]


def prune(library: MediaLibrary, directory: Engine, engine: Engine) -> int:
    """Remove the files that no row names and that are a day old, and all files of sites that were removed.

    Files below the id of a site that this directory does not know are kept, since they may belong to another one.

    Args:
        library: The library with the store.
        directory: The database of the sites.
        engine: The database of the media.

    Returns:
        The number of removed uploads.
    """
    if library.store is None:
        return 0
    sites = {record.site.id: record.site for record in list_sites(directory)}
    with directory.connect().execution_options(**AS_MULTISITE) as connection:
        gone = set(connection.scalars(sa.select(SiteRow.id).where(SiteRow.availability == "removed")))
    removed = 0
    for site_id in library.store.site_ids():
        if site_id in gone:
            removed += sum(map(len, library.store.folders(site_id)))
            library.store.remove_site(site_id)
        elif site_id in sites:
            with Session(engine, info={"site": sites[site_id]}) as session:
                removed += library.prune(session, sites[site_id])
    return removed
