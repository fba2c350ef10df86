"""What an application does not import at its start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def test_an_application_on_sqlite_does_not_load_the_dialect_of_postgresql(tmp_path: Path) -> None:
    names = ("sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.sqlite")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", START, str(tmp_path), *names],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr) == (["sqlalchemy.dialects.sqlite"], "")


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
