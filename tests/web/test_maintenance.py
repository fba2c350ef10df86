"""The page of a site in maintenance: its style sheet, the message, and the bypass for operators."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from content_sites import GARDEN, STERNWARTE, ContentSites
from databases import closing_engine, make_own_tables
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from webtest import TestApp

from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.directory.matching import BYPASS_NAME
from multisite.sites.availability import enable_site, maintain_site
from multisite.sites.creation import add_site


def test_the_page_has_its_style_sheet_and_the_message(sqlite_sites: ContentSites) -> None:
    sqlite_sites.settings["multisite.refresh_seconds"] = "0"
    maintain_site(sqlite_sites.engine, GARDEN, message="Moving <house>, back at six.")
    browser = sqlite_sites.browser(GARDEN)
    page = browser.get("/", status=503)
    assert "Moving &lt;house&gt;, back at six." in page.text
    assert page.headers["Cache-Control"] == "no-store"
    sheets = re.findall(r'rel="stylesheet" href="([^"]+)"', page.text)
    assert len(sheets) == 2
    for sheet in sheets:
        answer = browser.get(sheet)
        assert answer.content_type == "text/css"
        assert "immutable" in answer.headers["Cache-Control"]
    browser.get("/static/none.css", status=404)
    # Nothing else is served.
    for path in ("/static", "/entries/static/", "/feed.xml", "/sitemap.xml"):
        browser.get(path, status=503)
    browser.post("/static/base.css", status=503)
    enable_site(sqlite_sites.engine, GARDEN)
    assert browser.get("/").status_int == 200


def test_without_a_message_the_page_has_a_default_text(sqlite_sites: ContentSites) -> None:
    maintain_site(sqlite_sites.engine, STERNWARTE)
    page = sqlite_sites.browser(STERNWARTE).get("/", status=503)
    assert "Diese Website ist vorübergehend nicht erreichbar." in page.text
    assert "None" not in page.text.partition("<main")[2]


@pytest.fixture
def app(sqlite_database_url: str, tmp_path: Path) -> Iterator[TestApp]:
    """An application with static views of Pyramid and of multisite, and routes that match some of their paths."""
    (tmp_path / "assets").mkdir()
    for name in ("a.css", "taken.css"):
        (tmp_path / "assets" / name).write_text(f"file {name}")
    settings = {"multisite.sites_dir": str(tmp_path / "sites"), "multisite.templates_dir": str(tmp_path / "templates")}
    with closing_engine(sqlite_database_url) as engine:
        make_own_tables(engine)
        add_site(engine, GARDEN, settings=parse_settings(settings))
        config = Configurator(settings={**settings, "multisite.refresh_seconds": "0"})
        config.include("multisite")
        config.include("multisite.static")
        config.set_multisite_engine(engine)
        config.add_route("taken", "/assets/taken.css")
        config.add_view(lambda request: Response("the application's own"), route_name="taken")
        config.add_route("asked", "/asked/*rest")
        config.add_static_view("assets", str(tmp_path / "assets"))
        config.add_static_view("https://cdn.example/", "multisite:static/cdn")
        app = config.make_wsgi_app()
        maintain_site(engine, GARDEN)
        yield TestApp(app, extra_environ={"HTTP_HOST": GARDEN})
        app.registry[DIRECTORY].deactivate()


def ask(app: TestApp, path: str, **environ: Any) -> Any:
    blank = Request.blank("/", environ={"HTTP_HOST": GARDEN, "PATH_INFO": path, **environ})
    return blank.get_response(app.app)


def test_static_views_of_pyramid_are_served_too(app: TestApp) -> None:
    assert app.get("/assets/a.css").text == "file a.css"
    app.head("/assets/a.css", status=200)
    app.get("/assets/none.css", status=404)


def test_a_path_of_a_static_view_that_another_route_takes_stays_closed(app: TestApp) -> None:
    app.get("/assets/taken.css", status=503)


@pytest.mark.parametrize("path", ["", "/", "/assets", "/assets\xff", "/\xff", "/assetsx/a.css", "/asked/assets/a.css"])
def test_all_other_paths_are_closed(app: TestApp, path: str) -> None:
    assert ask(app, path).status_int == 503


def test_operators_bypass_maintenance(app: TestApp) -> None:
    engine = app.app.registry[DIRECTORY].engine
    _info, bypass_token = maintain_site(engine, GARDEN)
    assert app.get(f"/assets/taken.css?{BYPASS_NAME}={bypass_token}", status=303)
    assert app.get("/assets/taken.css").text == "the application's own"
