"""The side under test: one shared database for all sites, accessed through multisite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from differential.models import declare
from differential.program import SITES
from differential.world import World, exclude_from_collection
from multisite import SiteScoped, all_sites, using_site
from multisite.core.site import Site
from multisite.directory.models import DirectoryVersion, SiteRow, metadata
from multisite.scoping import scoped_reference, site_id_column

SITE = {number: Site(number, f"site{number}.example", f"Site {number}", f"site{number}") for number in SITES}


class Scoped:
    """The options of the shared side: models that multisite limits to a site."""

    Scoped = SiteScoped

    def site_columns(self) -> list[sa.Column[Any]]:
        return [site_id_column()]

    def reference(self, column: str, target: str, **options: Any) -> sa.ForeignKeyConstraint:
        return scoped_reference(column, target, **options)

    def key(self, *columns: str) -> list[str]:
        return ["site_id", *columns]


@cache
def scoped_models() -> SimpleNamespace:
    """Return the scoped models, which are declared once per process."""
    return declare(Scoped())


class SharedWorld(World):
    """One database, with sessions that are pinned to sites."""

    with_site = True

    def __init__(self, url: str) -> None:
        super().__init__(dict.fromkeys(SITES, url))
        self.models = scoped_models()
        self.key = Scoped().key  # type: ignore[method-assign]
        engine = self.engines[1]
        metadata.create_all(engine)
        self.models.metadata.create_all(engine)
        with all_sites("a test"), Session(engine) as session:
            session.add(DirectoryVersion(id=1, version=0))
            session.add_all(SiteRow(id=site.id, name=site.name, folder=site.folder) for site in SITE.values())
            session.commit()
        exclude_from_collection()

    def open(self, site: int) -> Session:
        return Session(self.engines[site], info={"site": SITE[site]})

    def working_for(self, site: int) -> AbstractContextManager[Any]:
        return using_site(SITE[site])

    def open_unpinned(self, site: int) -> Session:
        return Session(self.engines[site])

    def for_all_sites(self, do: Callable[[Any], Any]) -> list[Any]:
        with all_sites("a step of the oracle"), self.engines[1].begin() as connection:
            return [do(connection)]


@contextmanager
def shared_world(url: str) -> Iterator[SharedWorld]:
    """Yield the shared side on the empty database at `url`."""
    world = SharedWorld(url)
    try:
        yield world
    finally:
        world.close()
