"""The commands of docs/deployment.md that back up and restore everything, on PostgreSQL and SQLite."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from content_sites import GARDEN, STERNWARTE, ContentSites, content_sites
from databases import sql_runner, wait_for_directory_threads
from paths import ROOT
from sqlalchemy.orm import Session

from multisite.content.models import Entry
from multisite.core.current_site import all_sites
from multisite.core.keys import DIRECTORY
from multisite.directory import engine_from_url
from multisite.sites.updates import rename_site

PAGE = (ROOT / "docs" / "deployment.md").read_text("utf-8")
SECTION = PAGE.partition("\n## Back up and restore everything\n")[2].partition("\n## ")[0]
POSTGRESQL_BACKUP, POSTGRESQL_RESTORE, SQLITE_BACKUP, SQLITE_RESTORE = (
    [line.removeprefix("$ ") for line in block.splitlines()]
    for block in re.findall(r"```console\n(.*?)```", SECTION, re.DOTALL)
)


def run(commands: list[str], folder: Path, url: str) -> None:
    """Run the commands of the page, but `multisite refresh`, in a folder."""
    environ = dict(os.environ, DATABASE_URL=url.replace("+psycopg", "", 1))
    if url.startswith("postgresql"):
        environ["PATH"] = f"{programs_of(url)}{os.pathsep}{environ['PATH']}"
    for command in commands:
        if command != "multisite refresh":
            done = subprocess.run(
                ["sh", "-ec", command], cwd=folder, env=environ, check=False, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{command}\n{done.stderr}"


def programs_of(url: str) -> Path:
    """Return the folder of pg_dump and pg_restore of the server: older ones refuse it."""
    with sql_runner(url) as query:
        (data,) = query("SHOW data_directory")
    options = Path(data) / "postmaster.opts"
    if not options.is_file():
        pytest.skip("no pg_dump of this server: it runs on another machine")
    return Path(options.read_text("utf-8").split(" ")[0]).parent


def state(sites: ContentSites, folder: Path) -> object:
    """Return what visitors see, and every file."""
    with all_sites("a test"), Session(sites.engine) as session:
        rows = session.execute(
            sa.select(Entry.site_id, Entry.slug, Entry.body).order_by(Entry.site_id, Entry.slug)
        ).all()
    pages = [sites.browser(host).get("/").text for host in (GARDEN, STERNWARTE)]
    kept = (path for name in ("sites", "media") for path in sorted((folder / name).rglob("*")) if path.is_file())
    return rows, pages, {path: path.read_bytes() for path in kept}


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_everything_is_as_before_after_a_restore(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if database == "sqlite" and shutil.which("sqlite3") is None:
        pytest.skip("no sqlite3")
    url = f"sqlite:///{tmp_path}/app.db" if database == "sqlite" else request.getfixturevalue("postgresql_database_url")
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "picture").write_bytes(b"picture")
    (tmp_path / "backup").mkdir()
    backup, restore = (
        (SQLITE_BACKUP, SQLITE_RESTORE) if database == "sqlite" else (POSTGRESQL_BACKUP, POSTGRESQL_RESTORE)
    )
    with content_sites(url, tmp_path) as sites:
        sites.add(sites.garden, "kept")
        sites.add(sites.sternwarte, "kept")
        (tmp_path / "sites" / "garden.example" / "layout.mako").write_text("${self.body()}", "utf-8")
        before = state(sites, tmp_path)
        run(backup, tmp_path, url)
        # What happens between the backup and the accident.
        sites.add(sites.garden, "lost")
        rename_site(sites.engine, STERNWARTE, "Renamed")
        (tmp_path / "media" / "picture").unlink()
        (tmp_path / "sites" / "garden.example" / "layout.mako").write_text("broken", "utf-8")
        stop(sites)
        run(restore, tmp_path, url)
    restored = replace(sites, engine=engine_from_url(url), statements=[])
    assert state(restored, tmp_path) == before
    restored.add(restored.garden, "new")  # Keys go on where they were.
    stop(restored)


def stop(sites: ContentSites) -> None:
    wait_for_directory_threads()
    sites.app.registry[DIRECTORY].engine.dispose()
    sites.engine.dispose()
