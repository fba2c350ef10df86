"""What an application does not import at its start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from command_folder import Folder
from paths import ROOT

from multisite.directory import engine_from_url
from multisite.directory.models import metadata

START = """
import sys
from pyramid.config import Configurator
settings = {"sqlalchemy.url": f"sqlite:///{sys.argv[1]}/app.db", "multisite.sites_dir": f"{sys.argv[1]}/sites"}
with Configurator(settings=settings | {"multisite.templates_dir": f"{sys.argv[1]}/templates"}) as config:
    config.include("multisite")
    config.make_wsgi_app()
print(*sorted(name for name in sys.argv[2:] if name in sys.modules))
"""

JOINING = "zope.sqlalchemy.datamanager"
"""The module by which a session joins the transaction of its request."""

LOAD = """
import sys
from pyramid.request import Request, apply_request_extensions
from sqlalchemy import text
from multisite.web.loading import load
app = load(f"{sys.argv[1]}/development.ini")
print(*sorted(name for name in sys.argv[2:] if name in sys.modules))
request = Request.blank("/")
request.registry = app.registry
apply_request_extensions(request)
request.tm.begin()
request.all_sites_session("a test").execute(text("SELECT 1"))
(resource,) = request.tm.get()._resources
print("joined")
request.tm.abort()
"""


def printed(program: str, folder: Path, *names: str) -> list[str]:
    """Return the words that a program prints, a new process with the arguments `folder` and `names`."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(folder), *names],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


def test_an_application_on_sqlite_does_not_load_the_dialect_of_postgresql(tmp_path: Path) -> None:
    names = ("sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.sqlite")
    assert printed(START, tmp_path, *names) == ["sqlalchemy.dialects.sqlite"]


def test_what_joins_a_transaction_is_imported_before_the_first_request(tmp_path: Path) -> None:
    """And without the drivers of PostgreSQL, which nothing uses on SQLite."""
    assert printed(START, tmp_path, "psycopg", "psycopg2", JOINING) == [JOINING]


def test_a_command_that_loads_the_application_imports_no_driver_of_another_database(tmp_path: Path) -> None:
    """A session that is used nevertheless joins the transaction of its request."""
    Folder(tmp_path, f"sqlite:///{tmp_path}/app.db")
    names = ("psycopg", "psycopg2", "sqlite3", JOINING)
    assert printed(LOAD, tmp_path, *names) == ["sqlite3", "joined"]


def test_only_the_canonical_domain_of_a_site_is_unique(database_url: str) -> None:
    """The index is limited, also if the tables are created from the models."""
    engine = engine_from_url(database_url)
    metadata.create_all(engine)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            (text,) = connection.exec_driver_sql(
                "SELECT sql FROM sqlite_master WHERE name = 'uq_domains_canonical'"
            ).one()
        else:
            (text,) = connection.exec_driver_sql("SELECT pg_get_indexdef('uq_domains_canonical'::regclass)").one()
    engine.dispose()
    assert "WHERE" in text
    assert "canonical'" in text
