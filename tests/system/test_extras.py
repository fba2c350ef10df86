"""An application that only includes multisite runs without the packages of the extras; messages name the extra."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

EXTRAS = {
    "markdown_it", "mdit_py_plugins", "nh3", "yaml", "linkify_it", "waitress", "argon2", "dogpile", "prometheus_client",
    "opentelemetry", "psycopg", "fsspec", "PIL", "wtforms", "emoji",
}  # fmt: skip

WITHOUT = f"""
import sys
for name in {sorted(EXTRAS)}:
    sys.modules[name] = None
"""

APPLICATION = """
from pyramid.config import Configurator
from pyramid.request import Request
from multisite.testing import plant_site
config = Configurator(settings={"multisite.database_url": sys.argv[1]})
config.include("multisite")
for name in ("static", "page_cache", "logs"):
    config.include(f"multisite.{name}")
config.add_route("home", "/")
config.add_view(lambda request: request.site.domain, route_name="home", renderer="string")
app = config.make_wsgi_app()
plant_site(app, "one.example")
print(Request.blank("/", base_url="http://one.example").get_response(app).text)
"""

COMMAND = """
from multisite.cli import main
main(sys.argv[1:])
"""


def run(code: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT + code, *arguments],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip


def test_an_application_needs_no_extra(tmp_path: Path) -> None:
    done = run(APPLICATION, f"sqlite:///{tmp_path}/test.db", folder=tmp_path)
    assert (done.stdout, done.stderr) == ("one.example\n", "")


WITHOUT_MEDIA = """
import sys
for name in ("fsspec", "PIL"):
    sys.modules[name] = None
import sqlalchemy as sa
from pyramid.request import Request
from multisite.alembic import upgrade_own
from multisite.content import main
from multisite.content.models import Base
from multisite.core.settings import parse_settings
from multisite.sites.removal import remove_site
from multisite.sites.creation import add_site
settings = {
    "sqlalchemy.url": f"sqlite:///{sys.argv[1]}/test.db", "multisite.sites_dir": f"{sys.argv[1]}/sites",
    "multisite.templates_dir": sys.argv[2],
}
engine = sa.create_engine(settings["sqlalchemy.url"])
with engine.begin() as connection:
    upgrade_own(connection)
Base.metadata.create_all(engine)
add_site(engine, "one.example", settings=parse_settings(settings), name="One")
app = main({}, **settings)
print(Request.blank("/", base_url="http://one.example").get_response(app).status)
print(Request.blank(f"/media/{'0' * 64}/a.jpg", base_url="http://one.example").get_response(app).status)
remove_site(engine, "one.example", settings=parse_settings(settings))
"""


def test_the_reference_application_starts_without_media(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_MEDIA, str(tmp_path), str(ROOT / "templates")],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("200 OK\n404 Not Found\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["add-site", "--help"], ["list-sites", "--help"]])
def test_the_command_needs_no_extra(tmp_path: Path, arguments: list[str]) -> None:
    done = run(COMMAND, *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_import_names_the_extra_that_it_needs(tmp_path: Path) -> None:
    done = run(COMMAND, "import-entries", "one.example", ".", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "is not installed: pip install 'pyramid-multisite[content]'" in done.stderr
