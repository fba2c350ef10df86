"""Sites with generated schemas and rows are exported, imported and copied within and between databases."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from archive_schemas import Example, describe, examples, fill, make_tables, raw_rows
from databases import closing_engine, fresh_postgresql, make_own_tables
from hypothesis import HealthCheck, Phase, given, settings
from sqlalchemy.engine import Engine

from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory.records import get_site
from multisite.scoping.tables import tables
from multisite.sites import SiteContents, add_site, copy_site, export_site, import_site


@dataclass
class Server:
    """A database with three sites."""

    engine: Engine
    settings: Settings
    sites: list[Site] = field(default_factory=list)

    def __post_init__(self) -> None:
        make_own_tables(self.engine)
        self.sites = [
            add_site(self.engine, f"{name}.example", settings=self.settings) for name in ("one", "two", "three")
        ]

    @contextmanager
    def tables(self, example: Example, prefix: str, **options: bool) -> Iterator[list[sa.Table]]:
        """Yield the tables of `example`, which exist inside the block."""
        made = make_tables(example.schema, prefix, **options)
        metadata = made[0].metadata
        if options.get("with_schemas"):
            metadata_schemas(self.engine)
        metadata.create_all(self.engine)
        try:
            yield made
        finally:
            with self.engine.connect() as connection:
                if self.engine.dialect.name == "sqlite":
                    connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
                    connection.detach()  # Its pool must not give it to anybody else.
                metadata.drop_all(connection)
                connection.commit()
            tables.forget(metadata)

    def description(self, example: Example, made: list[sa.Table], host: str) -> dict[int, dict[Any, Any]]:
        """Return the rows of the site with a host, without its keys."""
        return describe(self.engine, example, made, get_site(self.engine, host).site)


def metadata_schemas(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql('CREATE SCHEMA IF NOT EXISTS "Other Schema"')


_numbers = count()


def check(example: Example, source: Server, target: Server, archive: Path) -> None:
    """Copy a site, move it to another server and back, and compare its rows and those of other sites."""
    number = next(_numbers)
    copied, moved, back = (f"{kind}{number}.example" for kind in ("copy", "moved", "back"))
    with (
        source.tables(example, f"x{number}") as made,
        target.tables(example, f"x{number}") as there,
    ):
        fill(source.engine, example, made, source.sites)
        fill(target.engine, example, there, target.sites[1:])
        site, others = source.sites[0], source.sites[1:]
        expected = source.description(example, made, site.host)
        before, before_there = raw_rows(source.engine, made, others), raw_rows(target.engine, there, target.sites)
        here, elsewhere = SiteContents([made[0].metadata]), SiteContents([there[0].metadata])
        copy_site(source.engine, site.host, copied, settings=source.settings, contents=here)
        assert source.description(example, made, copied) == expected
        export_site(source.engine, site.host, archive, settings=source.settings, contents=here)
        import_site(target.engine, archive, settings=target.settings, contents=elsewhere, host=moved)
        assert target.description(example, there, moved) == expected
        export_site(target.engine, moved, archive, settings=target.settings, contents=elsewhere)
        import_site(source.engine, archive, settings=source.settings, contents=here, host=back)
        assert source.description(example, made, back) == expected
        import_site(source.engine, archive, settings=source.settings, contents=here, host=site.host, replace=True)
        assert source.description(example, made, site.host) == expected
        assert raw_rows(source.engine, made, others) == before
        assert raw_rows(target.engine, there, target.sites) == before_there


@pytest.fixture(scope="module")
def servers(postgresql_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Yield a server with SQLite and one with PostgreSQL."""
    folder = tmp_path_factory.mktemp("servers")
    made = [Settings(sites_dir=folder / name, templates_dir=folder / "templates") for name in ("sqlite", "postgresql")]
    with (
        fresh_postgresql(postgresql_url) as url,
        closing_engine(f"sqlite:///{folder}/test.db") as sqlite,
        closing_engine(url) as postgresql,
    ):
        yield Server(sqlite, made[0]), Server(postgresql, made[1])


EXAMPLES = 10_000 if os.environ.get("MULTISITE_SOAK") == "1" else 12


@settings(
    max_examples=EXAMPLES // 2,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
    deadline=None,
)
@given(example=examples())
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["from sqlite", "from postgresql"])
def test_rows_and_references_of_generated_schemas_survive(
    servers: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory, order: tuple[int, int], example: Example
) -> None:
    source, target = (servers[number] for number in order)
    check(example, source, target, tmp_path_factory.getbasetemp() / "site.zip")
