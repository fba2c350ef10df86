"""Sites with generated schemas and rows are exported, imported, copied and restored, within and between databases."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from archive_schemas import Example, describe, examples, fill, make_tables, raw_rows
from databases import closing_engine, fresh_postgresql, make_own_tables
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Engine

from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory.records import get_site
from multisite.scoping.tables import tables
from multisite.sites import SiteContents, add_site, copy_site, export_site, import_site, remove_site, restore_site

pytestmark = pytest.mark.slow


@dataclass
class Server:
    """A database with three sites."""

    engine: Engine
    settings: Settings
    sites: list[Site] = field(default_factory=list)

    def __post_init__(self) -> None:
        make_own_tables(self.engine)
        if self.engine.dialect.name == "postgresql":
            with self.engine.begin() as connection:
                connection.exec_driver_sql('CREATE SCHEMA "Other Schema"')
        self.sites = [
            add_site(self.engine, f"{name}.example", settings=self.settings) for name in ("one", "two", "three")
        ]
        self.file = None if self.engine.dialect.name == "postgresql" else Path(str(self.engine.url.database))
        if self.file is not None:
            sa.event.listen(
                self.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF")
            )
            self.engine.dispose()  # Closing the last connection moves the write-ahead log into the file.
            self.content = self.file.read_bytes()

    @contextmanager
    def holding(self, chosen: list[Example], prefix: str, *, with_schemas: bool) -> Iterator[Place]:
        """Yield the tables of some examples, which exist inside the block."""
        made = [
            make_tables(example.schema, f"{prefix}{number}", with_schemas=with_schemas)
            for number, example in enumerate(chosen)
        ]
        metadatas = [each[0].metadata for each in made]
        for metadata in metadatas:
            metadata.create_all(self.engine, checkfirst=False)
        try:
            yield Place(self, list(zip(chosen, made, strict=True)))
        finally:
            if self.file is None:
                for metadata in metadatas:
                    metadata.drop_all(self.engine, checkfirst=False)
            else:
                self.engine.dispose()
                self.file.write_bytes(self.content)
            self.sites[0] = get_site(self.engine, "one.example").site
            for metadata in metadatas:
                tables.forget(metadata)


_numbers = count()


@dataclass
class Place:
    """The tables of some examples on one server."""

    server: Server
    examples: list[tuple[Example, list[sa.Table]]]

    def __post_init__(self) -> None:
        self.options: dict[str, Any] = {
            "settings": self.server.settings,
            "contents": SiteContents([made[0].metadata for _, made in self.examples]),
        }
        self.engine = self.server.engine

    def fill(self, sites: list[Site]) -> None:
        for example, made in self.examples:
            fill(self.engine, example, made, sites)

    def description(self, host: str) -> list[dict[int, dict[Any, Any]]]:
        """Return the rows of the site with a host, without its keys."""
        site = get_site(self.engine, host).site
        return [describe(self.engine, example, made, site) for example, made in self.examples]

    def rows(self, sites: list[Site]) -> list[list[list[Any]]]:
        return [raw_rows(self.engine, made, sites) for _, made in self.examples]


def copied(source: Place, target: Place, archive: Path, host: str) -> str:
    copy_site(source.engine, "one.example", host, **source.options)
    return host


def moved(source: Place, target: Place, archive: Path, host: str) -> str:
    export_site(source.engine, "one.example", archive, **source.options)
    import_site(target.engine, archive, host=host, **target.options)
    return host


def replaced(source: Place, target: Place, archive: Path, host: str) -> str:
    export_site(source.engine, "one.example", archive, **source.options)
    import_site(source.engine, archive, host="one.example", replace=True, **source.options)
    return "one.example"


def removed(source: Place, target: Place, archive: Path, host: str) -> str:
    remove_site(source.engine, "one.example", **source.options)
    assert not any(rows for made in source.rows(source.server.sites[:1]) for rows in made)
    restore_site(source.engine, "one.example", **source.options)
    return "one.example"


ACTIONS: dict[str, Callable[[Place, Place, Path, str], str]] = {
    "copied": copied,
    "moved": moved,
    "replaced": replaced,
    "removed": removed,
}
"""What is done with the site one.example. Each returns the host of the site that must have its rows then."""


def check(chosen: list[Example], action: str, source: Server, target: Server, archive: Path) -> None:
    """Compare the rows of a site before and after an action, and those of other sites."""
    number = next(_numbers)
    archive = archive.with_name(f"{number}.zip")
    with_schemas = source.engine.dialect.name == target.engine.dialect.name == "postgresql"
    with ExitStack() as stack:
        places = [
            stack.enter_context(server.holding(chosen, f"x{number}_", with_schemas=with_schemas))
            for server in ([source, target] if action == "moved" else [source])
        ]
        here, there = places[0], places[-1]
        others = [server.sites[1:] for server in (source, target)]
        for place, sites in zip(places, (source.sites, target.sites[1:]), strict=False):
            place.fill(sites)
        expected = here.description("one.example")
        before = [place.rows(sites) for place, sites in zip(places, others, strict=False)]
        host = ACTIONS[action](here, there, archive, f"new{number}.example")
        assert there.description(host) == expected
        assert [place.rows(sites) for place, sites in zip(places, others, strict=False)] == before
    archive.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def servers(postgresql_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[Server]]]:
    """Yield two servers with SQLite and two with PostgreSQL."""
    with ExitStack() as stack:

        def server(name: str, url: str) -> Server:
            folder = tmp_path_factory.mktemp(name)
            made = Settings(
                sites_dir=folder / "sites",
                templates_dir=folder / "templates",
                archives_dir=folder / "archives",
                refresh_seconds=0,
            )
            return Server(stack.enter_context(closing_engine(url)), made)

        files = [f"sqlite:///{tmp_path_factory.mktemp('database')}/test.db" for _ in range(2)]
        databases = [stack.enter_context(fresh_postgresql(postgresql_url)) for _ in range(2)]
        yield {
            "sqlite": [server("sqlite", url) for url in files],
            "postgresql": [server("postgresql", url) for url in databases],
        }


SOAK = os.environ.get("MULTISITE_SOAK") == "1"
TOGETHER = 5
"""How many schemas one database has, so that what every action costs is shared."""

SCHEMAS = {("sqlite", "sqlite"): 150, ("sqlite", "postgresql"): 10, ("postgresql", "sqlite"): 10}
SCHEMAS["postgresql", "postgresql"] = 30
"""How many schemas are tried, by the databases from and to which they are moved. The long run tries fifty times as
many, in parts."""


@pytest.mark.parametrize("part", range(50 if SOAK else 1))
@pytest.mark.parametrize("backends", SCHEMAS, ids=" to ".join)
def test_rows_and_references_of_generated_schemas_survive(
    servers: dict[str, list[Server]], tmp_path_factory: pytest.TempPathFactory, backends: tuple[str, str], part: int
) -> None:
    source, target = servers[backends[0]][0], servers[backends[1]][1]
    actions = sorted(ACTIONS) if backends[0] == backends[1] else ["moved"]
    archive = tmp_path_factory.getbasetemp() / "site.zip"

    @settings(
        max_examples=SCHEMAS[backends] // TOGETHER,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @given(chosen=st.lists(examples(), min_size=TOGETHER, max_size=TOGETHER), action=st.sampled_from(actions))
    def test(chosen: list[Example], action: str) -> None:
        check(chosen, action, source, target, archive)

    test()
