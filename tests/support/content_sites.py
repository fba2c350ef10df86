"""Two sites of the reference application on a real database, for its tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import two_workers
from databases import fill_database, share_statements
from paths import ROOT
from sqlalchemy import event
from sqlalchemy.orm import Session
from webtest import TestApp

from multisite import Site
from multisite.alembic.migrate import upgrade_own
from multisite.content import main
from multisite.content.markup.markdown import render
from multisite.content.models import Entry, Tag
from multisite.content.slugs import slugify
from multisite.content.tables import Base
from multisite.core.keys import DIRECTORY
from multisite.core.settings import Settings
from multisite.directory import engine_from_url
from multisite.sites.creation import add_site

GARDEN = "garden.example"
STERNWARTE = "sternwarte.example"


@dataclass
class ContentSites:
    """A database with two sites, and the application that serves them."""

    engine: sa.Engine
    settings: dict[str, str]
    garden: Site
    sternwarte: Site
    statements: list[str] = field(default_factory=list)
    has_two_workers: bool = False

    @cached_property
    def app(self) -> Any:
        if self.has_two_workers:
            app: Any = two_workers.TwoWorkers(main, self.settings, self.statements.append)
        else:
            app = main({}, **self.settings)
        # This listener gets the statements after scoping has limited them.
        event.listen(app.registry[DIRECTORY].engine, "before_cursor_execute", self._record)
        return app

    def _record(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self.statements.append(statement)

    def browser(self, host: str) -> TestApp:
        return TestApp(self.app, extra_environ={"HTTP_HOST": host})

    def queries(self) -> list[str]:
        """Return the statements since the last call, without those of the directory."""
        noted, self.statements[:] = list(self.statements), []
        return [statement for statement in noted if "entries" in statement or "tags" in statement]

    def add(self, site: Site, slug: str, **values: Any) -> None:
        """Add an entry, published on 2024-05-05 at noon UTC unless told otherwise. `tags` are names."""
        body = values.pop("body", f"Text of {slug} on {site.host}.")
        rendered = render(body)
        values = {
            "title": f"{slug} of {site.name}",
            "body": body,
            "body_html": rendered.html,
            "summary": rendered.summary,
            "published": datetime(2024, 5, 5, 12, tzinfo=UTC),
            "updated": datetime(2024, 5, 6, 12, tzinfo=UTC),
            "draft": False,
        } | values
        names = values.pop("tags", [])
        with Session(self.engine, info={"site": site}) as session:
            known = {tag.name: tag for tag in session.scalars(sa.select(Tag))}
            tags = [known.get(name) or Tag(slug=slugify(name), name=name) for name in names]
            session.add(Entry(slug=slug, tags=tags, **values))
            session.commit()

    def add_many(self, site: Site, count: int) -> None:
        """Add entries `entry-000`, `entry-001`, … each an hour older than the one before."""
        newest = datetime(2024, 5, 5, 12, tzinfo=UTC)
        with Session(self.engine, info={"site": site}) as session:
            session.add_all(
                Entry(
                    slug=f"entry-{number:03}",
                    title=f"Entry {number:03}",
                    published=newest - timedelta(hours=number),
                    updated=newest,
                )
                for number in range(count)
            )
            session.commit()


@contextmanager
def content_sites(database_url: str, folder: Path, *, has_two_workers: bool = False) -> Iterator[ContentSites]:
    """Yield two sites without entries: a garden in English and UTC, an observatory in German and in Berlin's time."""
    has_two_workers = has_two_workers or two_workers.ASKED_FOR.always
    engine = share_statements(engine_from_url(database_url))
    shutil.copytree(ROOT / "templates", folder / "templates")
    settings = {
        "sqlalchemy.url": database_url,
        "multisite.sites_dir": str(folder / "sites"),
        "multisite.templates_dir": str(folder / "templates"),
        "multisite.media_url": str(folder / "media"),
    }
    garden, sternwarte = copy_sites(engine, folder / "sites")
    if has_two_workers:
        settings |= two_workers.settings_of_both(folder)
        two_workers.Operator(settings)(tell=False)
    sites = ContentSites(engine, settings, garden, sternwarte, has_two_workers=has_two_workers)
    yield sites
    if "app" in vars(sites):
        sites.app.registry[DIRECTORY].engine.dispose()
        if isinstance(sites.app, two_workers.TwoWorkers):
            sites.app.dispose()
    engine.dispose()


_made: dict[str, tuple[dict[Path, bytes | None], tuple[Site, Site]]] = {}
"""By dialect, the folders of the sites (None: a folder) as first created, and the sites."""


def make_sites(engine: sa.Engine) -> None:
    """Create the tables and add the two sites."""
    upgrade_own(engine)
    Base.metadata.create_all(engine)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(sites_dir=Path(folder), templates_dir=ROOT / "templates")
        sites = (
            add_site(engine, GARDEN, settings=settings, name="Garden", aliases=["alias.example"]),
            add_site(engine, STERNWARTE, settings=settings, name="Sternwarte", locale="de", timezone="Europe/Berlin"),
        )
        found = {
            path.relative_to(folder): None if path.is_dir() else path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
        }
    _made[engine.dialect.name] = found, sites


def copy_sites(engine: sa.Engine, sites_dir: Path) -> tuple[Site, Site]:
    """Put the tables and the two sites into an empty database, and their folders into `sites_dir`."""
    fill_database(engine, make_sites)
    found, sites = _made[engine.dialect.name]
    sites_dir.mkdir()
    for path, content in found.items():
        sites_dir.joinpath(path).mkdir() if content is None else sites_dir.joinpath(path).write_bytes(content)
    return sites
