"""The optional includes: alone and in any order, by `config.include` and by `pyramid.includes`."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from databases import closing_engine, make_own_tables
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationExecutionError
from pyramid.interfaces import ITweens
from pyramid.request import Request
from pyramid.response import Response
from webtest import TestApp

from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.sites.creation import add_site

HOST = "garden.example"

OURS = [
    "multisite",
    "multisite.debugtoolbar",
    "multisite.logs",
    "multisite.metrics",
    "multisite.page_cache",
    "multisite.web.predicates",
    "multisite.web.renderer",
    "multisite.static",
    "multisite.tracing",
]
"""All modules with an `includeme` for applications."""

OTHERS = ["pyramid_debugtoolbar", "pyramid_mako", "pyramid_retry", "pyramid_tm"]
"""Other packages that applications include, and that interact with multisite."""

STANDALONE = {"multisite.web.predicates", "multisite.web.renderer"}
"""Parts that work without the rest of multisite, and do not include it."""

SITE, EXCVIEW = "multisite.web.tween.site_tween_factory", "pyramid.tweens.excview_tween_factory"
ABOVE = [
    ("multisite.metrics.counting_tween_factory", SITE),
    ("multisite.logs.request_id_tween_factory", SITE),
    (SITE, "multisite.metrics.progress_tween_factory"),
    (SITE, "multisite.tracing.tracing_tween_factory"),
    (SITE, "multisite.web.error_pages.error_page_tween_factory"),
    ("multisite.web.error_pages.error_page_tween_factory", "multisite.web.maintenance.maintenance_tween_factory"),
    ("multisite.metrics.progress_tween_factory", "multisite.page_cache.page_cache_tween_factory"),
    ("multisite.web.maintenance.maintenance_tween_factory", "multisite.page_cache.page_cache_tween_factory"),
    ("multisite.web.maintenance.maintenance_tween_factory", "pyramid_tm.tm_tween_factory"),
    ("multisite.page_cache.page_cache_tween_factory", "pyramid_tm.tm_tween_factory"),
    (SITE, EXCVIEW),
    ("multisite.page_cache.page_cache_tween_factory", EXCVIEW),
]
"""The required order of tweens."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("includes")
    given = settings_of(folder)
    with closing_engine(given["sqlalchemy.url"]) as engine:
        make_own_tables(engine)
        add_site(engine, HOST, settings=parse_settings(given))
    (folder / "sites" / HOST / "page.mako").write_text("the garden's own page on ${request.site.host}")
    (folder / "templates").mkdir()
    (folder / "templates" / "page.mako").write_text("everybody's page")
    return folder


def settings_of(folder: Path) -> dict[str, Any]:
    return {
        "sqlalchemy.url": f"sqlite:///{folder}/sites.db",
        "mako.directories": str(folder / "templates"),
        "multisite.sites_dir": str(folder / "sites"),
        "multisite.templates_dir": str(folder / "templates"),
        "multisite.metrics_path": "/metrics",
        "multisite.page_cache_seconds": "60",
        "debugtoolbar.enabled": "false",
        "debugtoolbar.active_panels": "",
    }


def page_view(request: Request) -> dict[str, Any]:
    return {}


@pytest.fixture
def apps() -> Iterator[list[Any]]:
    made: list[Any] = []
    yield made
    for app in made:
        app.registry[DIRECTORY].deactivate()
        app.registry[DIRECTORY].engine.dispose()


def make(
    apps: list[Any], folder: Path, by_code: Sequence[str] = (), by_setting: Sequence[str] = (), late: bool = False
) -> Any:
    """Return the application; with `late`, its settings are added after `pyramid.includes` has been processed."""
    settings = settings_of(folder)
    first = {} if late else settings
    config = Configurator(settings={**first, "pyramid.includes": " ".join(by_setting)})
    config.registry.settings.update(settings)
    for name in by_code:
        config.include(name)
    options = {"page_cache": True} if "multisite.page_cache" in (*by_code, *by_setting) else {}
    config.add_route("page", "/")
    config.add_view(page_view, route_name="page", renderer="page.mako", **options)
    config.add_route("whose", "/whose")
    config.add_view(lambda request: Response(request.site.host), route_name="whose")
    app = config.make_wsgi_app()
    apps.append(app)
    return app


def check(app: Any, included: Sequence[str]) -> None:
    """Check that all included parts work."""
    browser = TestApp(app, extra_environ={"HTTP_HOST": HOST, "REMOTE_ADDR": "127.0.0.1"})
    assert browser.get("/whose").text == HOST
    assert browser.get("/").text == f"the garden's own page on {HOST}"
    assert browser.get("/whose", headers={"Host": "unknown.example"}, status=404).text == "There is no site here.\n"
    if "multisite.metrics" in included:
        assert "multisite_requests_total" in browser.get("/metrics").text
    if "multisite.static" in included:
        assert browser.get("/static/style.css", status="*").status_int == 404
    if "multisite.page_cache" in included:
        browser.get("/")
        assert app.registry["multisite.page_cache"].hits == 1
    if "multisite.logs" in included:
        assert browser.get("/").headers["X-Request-ID"]
    names = [name for name, _ in app.registry.getUtility(ITweens).implicit()]
    for upper, lower in ABOVE:
        if upper in names and lower in names:
            assert names.index(upper) < names.index(lower), (upper, lower)


@pytest.mark.parametrize("by_setting", [False, True], ids=["include", "pyramid.includes"])
@pytest.mark.parametrize("name", sorted({*OURS} - STANDALONE))
def test_each_part_alone_includes_multisite(apps: list[Any], folder: Path, name: str, by_setting: bool) -> None:
    app = make(apps, folder, *(([], [name]) if by_setting else ([name], [])))
    check(app, [name])


@pytest.mark.parametrize("name", [*OURS, *OTHERS])
def test_each_may_come_first_or_last(apps: list[Any], folder: Path, name: str) -> None:
    for by_code, by_setting in ((["multisite", name], []), ([name, "multisite"], []), (["multisite"], [name])):
        check(make(apps, folder, by_code, by_setting), ["multisite", name])
    if name != "multisite":
        check(make(apps, folder, ["multisite"], [name], late=True), ["multisite", name])


@pytest.mark.parametrize("name", sorted({*OURS} - {"multisite.debugtoolbar"}))
def test_each_may_come_first_where_each_statement_is_executed_at_once(apps: list[Any], folder: Path, name: str) -> None:
    config = Configurator(settings=settings_of(folder), autocommit=True)
    for each in (name, "multisite"):
        config.include(each)
    config.add_route("whose", "/whose")
    config.add_view(lambda request: Response(request.site.host), route_name="whose")
    apps.append(config.make_wsgi_app())
    assert TestApp(apps[-1]).get("/whose", headers={"Host": HOST}).text == HOST


@pytest.mark.parametrize("seed", range(12))
def test_any_number_in_any_order(apps: list[Any], folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(4):
        names = chance.sample([*OURS, *OTHERS], chance.randrange(2, len(OURS) + len(OTHERS) + 1))
        if "multisite" not in names:
            names.insert(chance.randrange(len(names) + 1), "multisite")
        cut = chance.randrange(len(names) + 1)
        check(make(apps, folder, names[cut:], names[:cut]), names)


def test_settings_that_come_between_are_seen(apps: list[Any], folder: Path) -> None:
    names = ["multisite.metrics", "multisite.page_cache", "multisite.web.renderer", "multisite.static"]
    check(make(apps, folder, ["multisite"], names, late=True), names)
    check(
        make(apps, folder, [], [name for name in names if name != "multisite.web.renderer"], late=True), ["multisite"]
    )


def test_an_engine_that_is_set_by_the_directive_is_used_whatever_came_first(apps: list[Any], folder: Path) -> None:
    settings = {key: value for key, value in settings_of(folder).items() if key != "sqlalchemy.url"}
    with closing_engine(settings_of(folder)["sqlalchemy.url"]) as engine:
        config = Configurator(settings={**settings, "pyramid.includes": "multisite.page_cache multisite.metrics"})
        config.include("multisite")
        config.set_multisite_engine(engine)
        config.add_route("whose", "/whose")
        config.add_view(lambda request: Response(request.site.host), route_name="whose")
        apps.append(config.make_wsgi_app())
        assert TestApp(apps[-1]).get("/whose", headers={"Host": HOST}).text == HOST


def test_a_bad_setting_is_named_also_where_multisite_is_included_late(folder: Path) -> None:
    config = Configurator(settings={**settings_of(folder), "multisite.nonsense": "1"})
    config.include("multisite.metrics")
    with pytest.raises(ConfigurationExecutionError, match=r"multisite\.nonsense"):
        config.commit()
