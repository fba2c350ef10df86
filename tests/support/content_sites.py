"""Two sites of the reference application on a real database, for its tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from databases import migrate_own
from paths import ROOT
from sqlalchemy import event
from sqlalchemy.orm import Session
from webtest import TestApp

from multisite import Site
from multisite.content import main
from multisite.content.markdown import render
from multisite.content.models import Entry, Tag
from multisite.content.slugs import slugify
from multisite.content.tables import Base
from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.directory import engine_from_url
from multisite.sites.updates import add_site

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

    @cached_property
    def app(self) -> Any:
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
def content_sites(database_url: str, folder: Path) -> Iterator[ContentSites]:
    """Yield two sites without entries: a garden in English and UTC, an observatory in German and in Berlin's time."""
    engine = engine_from_url(database_url)
    shutil.copytree(ROOT / "templates", folder / "templates")
    settings = {
        "sqlalchemy.url": database_url,
        "multisite.sites_dir": str(folder / "sites"),
        "multisite.templates_dir": str(folder / "templates"),
        "multisite.media_url": str(folder / "media"),
    }
    if engine.dialect.name == "sqlite":
        garden, sternwarte = copy_sites(engine, settings)
    else:
        garden, sternwarte = make_sites(engine, settings)
    sites = ContentSites(engine, settings, garden, sternwarte)
    yield sites
    if "app" in vars(sites):
        sites.app.registry[DIRECTORY].engine.dispose()
    engine.dispose()


def make_sites(engine: sa.Engine, settings: dict[str, str]) -> tuple[Site, Site]:
    """Create the tables and add the two sites."""
    migrate_own(engine)
    Base.metadata.create_all(engine)
    parsed = parse_settings(settings)
    return (
        add_site(engine, GARDEN, settings=parsed, name="Garden", aliases=["alias.example"]),
        add_site(engine, STERNWARTE, settings=parsed, name="Sternwarte", locale="de", timezone="Europe/Berlin"),
    )


_made: list[tuple[bytes, dict[Path, bytes | None], tuple[Site, Site]]] = []
"""The SQLite file and the folders of the sites (None: a folder) as first created, and the sites."""


def copy_sites(engine: sa.Engine, settings: dict[str, str]) -> tuple[Site, Site]:
    """Do the same on SQLite by copying the file that the first test created."""
    database, folders = Path(engine.url.database or ""), Path(settings["multisite.sites_dir"])
    if not _made:
        sites = make_sites(engine, settings)
        engine.dispose()
        found = {
            path.relative_to(folders): None if path.is_dir() else path.read_bytes()
            for path in sorted(folders.rglob("*"))
        }
        _made.append((database.read_bytes(), found, sites))
        return sites
    content, found, sites = _made[0]
    database.write_bytes(content)
    folders.mkdir()
    for path, text in found.items():
        folders.joinpath(path).mkdir() if text is None else folders.joinpath(path).write_bytes(text)
    return sites
