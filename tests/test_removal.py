"""What the removal of a site leaves alone, where a database holds more than ours."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from conftest import closing_engine, make_own_tables

from multisite.directory.changes import add_site
from multisite.removal import remove_site
from multisite.settings import parse_settings
from multisite.site import all_sites


def test_rows_of_sites_in_another_schema_stay(postgresql_database_url: str, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    folders = {"multisite.sites_dir": str(tmp_path / "sites"), "multisite.templates_dir": str(tmp_path / "templates")}
    settings = parse_settings(folders)
    with closing_engine(postgresql_database_url) as engine:
        make_own_tables(engine)
        site = add_site(engine, "one.example", settings=settings)
        with all_sites("set up a test"), engine.begin() as connection:
            for statement in (
                "CREATE SCHEMA geography",
                "CREATE TABLE geography.sites (id INTEGER PRIMARY KEY)",
                "CREATE TABLE digs (id INTEGER PRIMARY KEY, site_id INTEGER REFERENCES geography.sites)",
                "CREATE TABLE notes (id INTEGER PRIMARY KEY, site_id BIGINT NOT NULL REFERENCES public.sites)",
                f"INSERT INTO geography.sites VALUES ({site.id})",
                f"INSERT INTO digs VALUES (1, {site.id})",
                f"INSERT INTO notes VALUES (1, {site.id})",
            ):
                connection.execute(sa.text(statement))
        assert remove_site(engine, "one.example", settings=settings).rows == {"notes": 1}
        with all_sites("look at what is left"), engine.connect() as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM digs")).scalar_one() == 1
