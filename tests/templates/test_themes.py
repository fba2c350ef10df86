"""Themes: the middle layer, its name and folder, the theme of a site, and how running servers notice a change."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from pyramid.config import Configurator
from webtest import TestApp

from multisite import all_sites
from multisite.core.keys import DIRECTORY
from multisite.core.settings import Settings
from multisite.directory import Directory
from multisite.directory.models import SiteRow
from multisite.directory.records import get_site
from multisite.errors import MultisiteError, UnknownSite
from multisite.sites.creation import add_site, create_site
from multisite.sites.settings.theme_file import read_theme_file
from multisite.sites.themes import create_theme, list_themes
from multisite.sites.updates import reload_templates, set_theme


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")


NAMES = {
    "dark": True,
    "a": True,
    "0": True,
    "two-words_2": True,
    "x" * 64: True,
    "": False,
    "Dark": False,
    "x" * 65: False,
    "-a": False,
    "_a": False,
    ".staging-a": False,
    "..": False,
    "a/b": False,
    "a\\b": False,
    "a b": False,
    "a\n": False,
    "d\u00fcster": False,
    "a.b": False,
    "a'b": False,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_theme_name_is_a_plain_folder_name(name: str, settings: Settings) -> None:
    if NAMES[name]:
        assert create_theme(settings, name) == settings.themes_dir / name
        assert list_themes(settings) == [name]
    else:
        with pytest.raises(MultisiteError, match="is not a valid theme name"):
            create_theme(settings, name)
        assert not settings.templates_dir.exists()


def test_the_database_accepts_the_same_theme_names_and_no_others(own_engine: sa.Engine, settings: Settings) -> None:
    site = add_site(own_engine, "a.example", settings=settings)
    change = sa.update(SiteRow).where(SiteRow.__table__.c.id == site.id)
    for name, is_one in NAMES.items():
        if is_one:
            with all_sites("a test"), own_engine.begin() as connection:
                connection.execute(change.values(theme=name))
        else:
            with all_sites("a test"), pytest.raises(sa.exc.DBAPIError), own_engine.begin() as connection:
                connection.execute(change.values(theme=name))


def test_a_new_theme_has_a_layout_that_extends_the_shared_one(settings: Settings) -> None:
    (settings.themes_dir / ".staging-dark").mkdir(parents=True)
    (settings.themes_dir / ".staging-dark" / "half").touch()  # What an interrupted call left behind.
    folder = create_theme(settings, "dark")
    assert sorted(path.name for path in folder.iterdir()) == ["layout.mako", "static", "theme.toml"]
    assert "var(--theme-accent)" in (folder / "static" / "style.css").read_text()
    assert list(read_theme_file(folder / "theme.toml").settings) == ["theme.accent"]
    assert "parent:layout.mako" in (folder / "layout.mako").read_text()
    with pytest.raises(MultisiteError, match=f"the theme 'dark' already exists: {folder}"):
        create_theme(settings, "dark")
    assert list_themes(settings) == ["dark"]


def test_a_theme_that_cannot_be_created_names_its_folder(settings: Settings) -> None:
    settings.templates_dir.write_text("a file, not a folder")
    with pytest.raises(MultisiteError, match=f"cannot create the folder {settings.themes_dir / 'dark'}"):
        create_theme(settings, "dark")


def test_a_site_with_a_theme_starts_without_a_layout_of_its_own(own_engine: sa.Engine, settings: Settings) -> None:
    create_theme(settings, "dark")
    (settings.templates_dir / "layout.mako").write_text("shared")
    dark = create_site(own_engine, "dark.example", settings=settings, theme="dark")
    plain = create_site(own_engine, "plain.example", settings=settings)
    assert (dark.site.theme, plain.site.theme) == ("dark", None)
    assert [path.name for path in dark.folder.iterdir()] == ["README.txt"]
    assert [path.name for path in plain.folder.iterdir()] == ["layout.mako"]


def test_a_site_cannot_get_a_missing_theme(own_engine: sa.Engine, settings: Settings) -> None:
    with pytest.raises(MultisiteError, match="create it: multisite new-theme dark"):
        add_site(own_engine, "a.example", settings=settings, theme="dark")
    assert not settings.sites_dir.exists()
    create_theme(settings, "light")
    add_site(own_engine, "a.example", settings=settings, theme="light")
    for name, message in {
        "dark": "existing themes are light; create it",
        "../light": "is not a valid theme name",
    }.items():
        with pytest.raises(MultisiteError, match=message):
            set_theme(own_engine, "a.example", name, settings=settings)
    assert get_site(own_engine, "a.example").site.theme == "light"
    with pytest.raises(UnknownSite):
        set_theme(own_engine, "b.example", "light", settings=settings)


def test_running_servers_see_another_theme_and_the_others_are_left_alone(
    own_engine: sa.Engine, settings: Settings
) -> None:
    create_theme(settings, "dark")
    for host in ("a.example", "b.example"):
        add_site(own_engine, host, settings=settings)
    directory = Directory(own_engine, refresh_seconds=0)
    before = directory.find("b.example")
    for theme in ("dark", None):
        info = set_theme(own_engine, "A.example", theme, settings=settings)
        assert info.site.theme == theme
        found = directory.find("a.example")
        assert found is not None
        assert found.site == info.site
    assert directory.find("b.example") == before


def generations(directory: Directory) -> tuple[int, int, int]:
    a, b = directory.find("a.example"), directory.find("b.example")
    assert a is not None
    assert b is not None
    return a.site.template_generation, b.site.template_generation, directory.template_generation()


def test_a_generation_is_raised_for_one_site_or_for_all(own_engine: sa.Engine, settings: Settings) -> None:
    for host in ("a.example", "b.example"):
        add_site(own_engine, host, settings=settings)
    directory = Directory(own_engine, refresh_seconds=0)
    assert generations(directory) == (0, 0, 0)
    reload_templates(own_engine, "A.example")
    assert generations(directory) == (1, 0, 0)
    reload_templates(own_engine)
    assert generations(directory) == (2, 1, 1)
    assert get_site(own_engine, "a.example").site.template_generation == 2
    with pytest.raises(UnknownSite):
        reload_templates(own_engine, "c.example")


def test_the_shared_generation_is_polled_and_never_blocks_a_page(own_engine: sa.Engine, settings: Settings) -> None:
    now = 0.0
    directory = Directory(own_engine, refresh_seconds=1, clock=lambda: now)
    assert directory.template_generation() == 0
    reload_templates(own_engine)
    assert directory.template_generation() == 0  # as of half a moment ago
    now = 1.0
    with own_engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE multisite_version RENAME TO gone")
    assert directory.template_generation() == 0
    with own_engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO multisite_version")
    now = 3.0
    # What follows an outage is read aside, and this page does not wait for it.
    end = time.monotonic() + 60
    while directory.template_generation() != 1:
        assert time.monotonic() < end
        time.sleep(0.01)


# --- in running servers ----------------------------------------------------------------------------------------------


def worker(settings: Settings, url: str) -> TestApp:
    """An application as in a worker process, which polls for changes at every request."""
    config = Configurator(
        settings={
            "multisite.database_url": url,
            "multisite.sites_dir": str(settings.sites_dir),
            "multisite.templates_dir": str(settings.templates_dir),
            "multisite.refresh_seconds": "0",
            "multisite.open_paths": "/open",
        }
    )
    config.include("multisite")
    for name in ("home", "open"):
        config.add_route(name, f"/{name}")
        config.add_view(lambda request: {}, route_name=name, renderer="page.mako")
    return TestApp(config.make_wsgi_app())


def pages(app: TestApp) -> list[str]:
    """Return the page of two sites, and the one that has no site."""
    hosts = {"a.example": "/home", "b.example": "/home", "nobody.example": "/open"}
    return [app.get(path, headers={"Host": host}).text for host, path in hosts.items()]


def test_every_worker_sees_themes_and_changed_templates_without_a_restart(
    own_engine: sa.Engine, settings: Settings
) -> None:
    for host in ("a.example", "b.example"):
        add_site(own_engine, host, settings=settings)
    settings.templates_dir.mkdir(exist_ok=True)
    shared = settings.templates_dir / "page.mako"
    shared.write_text("one")
    url = own_engine.url.render_as_string(hide_password=False)
    workers = [worker(settings, url) for _ in range(2)]
    assert [pages(app) for app in workers] == [["one", "one", "one"]] * 2

    theme = create_theme(settings, "dusk")
    (theme / "page.mako").write_text("dusk of <%include file='parent:page.mako'/>")
    set_theme(own_engine, "a.example", "dusk", settings=settings)
    assert [pages(app) for app in workers] == [["dusk of one", "one", "one"]] * 2

    shared.write_text("two")
    assert [pages(app) for app in workers] == [["dusk of one", "one", "one"]] * 2
    reload_templates(own_engine, "b.example")
    assert [pages(app) for app in workers] == [["dusk of one", "two", "one"]] * 2
    reload_templates(own_engine)
    assert [pages(app) for app in workers] == [["dusk of two", "two", "two"]] * 2

    (theme / "page.mako").unlink()
    (settings.sites_dir / "a.example" / "page.mako").write_text("own")
    set_theme(own_engine, "a.example", None, settings=settings)
    assert [pages(app) for app in workers] == [["own", "two", "two"]] * 2
    for app in workers:
        directory = app.app.registry[DIRECTORY]
        directory.deactivate()
        directory.engine.dispose()
