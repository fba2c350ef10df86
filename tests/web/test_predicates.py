"""View and route predicates by site and theme, and the introspectables of multisite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine, make_own_tables
from pyramid.config import Configurator, not_
from pyramid.exceptions import ConfigurationError
from pyramid.request import Request
from pyramid.response import Response
from webtest import TestApp

from multisite.core.keys import DIRECTORY, SETTINGS
from multisite.errors import DirectoryUnavailable
from multisite.sites.creation import add_site
from multisite.sites.domains import add_domain, set_canonical
from multisite.testing import plant_site
from multisite.web.introspection import CATEGORY, OPEN_PATHS, redacted

Ask = Callable[..., str]


def text(words: str) -> Callable[[Request], Response]:
    return lambda request: Response(words)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    with closing_engine(f"sqlite:///{tmp_path_factory.mktemp('predicates')}/test.db") as engine:
        make_own_tables(engine)
        yield engine


@pytest.fixture(scope="module")
def app(engine: sa.Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("folders")
    config = Configurator(
        settings={
            "multisite.sites_dir": str(folder / "sites"),
            "multisite.open_paths": "/health /static/",
            "multisite.refresh_seconds": "0",
        }
    )
    config.include("multisite")
    config.set_multisite_engine(engine)
    for path in ("home", "many", "below", "shop", "other", "themed", "health"):
        config.add_route(path, f"/{path}")
    config.add_view(text("everybody"), route_name="home")
    config.add_view(text("the garden"), route_name="home", site="Garden.example.")
    config.add_view(text("two"), route_name="many", site=("garden.example", "bücher.example"))
    config.add_view(text("below"), route_name="below", site="*.example.org")
    config.add_view(text("the shop below"), route_name="shop", site="*.example.org/shop")
    config.add_view(text("not the garden"), route_name="other", site=not_("garden.example"))
    config.add_view(text("dawn or dusk"), route_name="themed", theme=("dawn", "dusk"))
    config.add_view(text("no theme"), route_name="themed", theme="")
    config.add_view(text("open"), route_name="health", site=not_("garden.example"))
    config.add_route("special", "/special", site="garden.example")
    config.add_view(text("a route of the garden"), route_name="special")
    config.add_route("dark", "/dark", theme="dusk")
    config.add_view(text("a route of dusk"), route_name="dark")
    app = config.make_wsgi_app()
    for host in ("garden.example", "bücher.example", "a.example.org", "b.example.org/shop", "example.org"):
        add_site(engine, host, settings=app.registry[SETTINGS])
    add_domain(engine, "garden.example", "www.garden.example")
    yield app
    app.registry[DIRECTORY].deactivate()


@pytest.fixture(scope="module")
def ask(app: Any) -> Ask:
    def ask(host: str, path: str, status: int = 200) -> str:
        answer = TestApp(app, extra_environ={"HTTP_HOST": host}).get(path, status=status)
        return answer.text if status == 200 else str(answer.status_int)

    return ask


def test_a_view_for_one_site(ask: Ask) -> None:
    assert ask("garden.example", "/home") == "the garden"
    assert ask("www.garden.example", "/home") == "the garden"
    assert ask("a.example.org", "/home") == "everybody"


def test_a_view_for_several(ask: Ask) -> None:
    assert ask("xn--bcher-kva.example", "/many") == ask("garden.example", "/many") == "two"
    ask("a.example.org", "/many", status=404)


def test_a_view_for_all_sites_below_a_name(ask: Ask) -> None:
    assert ask("a.example.org", "/below") == "below"
    assert ask("b.example.org", "/shop/below") == "below"
    assert ask("b.example.org", "/shop/shop") == "the shop below"
    ask("a.example.org", "/shop", status=404)
    for host in ("example.org", "garden.example"):
        ask(host, "/below", status=404)


def test_a_view_for_all_sites_but_one(ask: Ask) -> None:
    assert ask("a.example.org", "/other") == "not the garden"
    ask("garden.example", "/other", status=404)


def test_an_open_path_matches_no_site(ask: Ask) -> None:
    assert ask("garden.example", "/health") == "open"


def test_routes(ask: Ask) -> None:
    assert ask("garden.example", "/special") == "a route of the garden"
    ask("a.example.org", "/special", status=404)


def test_themes(app: Any, ask: Ask) -> None:
    site = plant_site(app, "themed.example")
    assert ask("themed.example", "/themed") == "no theme"
    for theme in ("dawn", "dusk"):
        app.registry[DIRECTORY].add_override(replace(site, theme=theme), [site.host])
        assert ask("themed.example", "/themed") == "dawn or dusk"
    assert ask("themed.example", "/dark") == "a route of dusk"
    app.registry[DIRECTORY].add_override(replace(site, theme="noon"), [site.host])
    ask("themed.example", "/themed", status=404)
    ask("themed.example", "/dark", status=404)


def test_another_domain_of_the_site_matches_too(engine: sa.Engine, ask: Ask) -> None:
    set_canonical(engine, "www.garden.example")
    assert ask("garden.example", "/home") == "the garden"
    set_canonical(engine, "garden.example")


@pytest.mark.parametrize("value", ["http://garden.example/", "*garden.example", "", ()])
def test_an_invalid_domain_is_a_startup_error(value: Any) -> None:
    config = Configurator()
    config.include("multisite.web.predicates")
    config.add_view(text("never"), site=value)
    with pytest.raises(ConfigurationError, match="site="):
        config.commit()


def test_an_unknown_site_is_not_an_error(app: Any, engine: sa.Engine, ask: Ask) -> None:
    """No site matches before it is added."""
    with Configurator(registry=app.registry) as config:
        config.add_route("soon", "/soon")
        config.add_view(text("soon"), route_name="soon", site="soon.example")
    ask("a.example.org", "/soon", status=404)
    add_site(engine, "soon.example", settings=app.registry[SETTINGS])
    assert ask("soon.example", "/soon") == "soon"


def test_an_exception_view_for_one_site_during_an_outage(app: Any, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a site no predicate matches, so that the view for every site answers."""
    with Configurator(registry=app.registry) as config:
        config.add_exception_view(text("the garden is away"), context=DirectoryUnavailable, site="garden.example")
        config.add_exception_view(text("dusk is away"), context=DirectoryUnavailable, theme="dusk")

    def is_down(*_: object) -> None:
        raise DirectoryUnavailable("the database is down")

    monkeypatch.setattr(app.registry[DIRECTORY], "find", is_down)
    assert ask("garden.example", "/home", status=503) == "503"


# Introspection


def test_settings_and_open_paths_are_shown(app: Any) -> None:
    introspector = app.registry.introspector
    setting = introspector.get(CATEGORY, "multisite.refresh_seconds")
    assert (setting["value"], setting["is_default"]) == (0.0, False)
    assert introspector.get(CATEGORY, "multisite.directory_size")["is_default"]
    paths = [entry["introspectable"] for entry in introspector.get_category(OPEN_PATHS)]
    assert [(path["path"], path["is_prefix"]) for path in paths] == [("/health", False), ("/static/", True)]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("secret", "s3cret" * 10, "(set)"),
        ("secret", None, None),
        ("previous_secrets", ("s3cret",), "(set)"),
        ("owner_url", "postgresql://me:s3cret@host/db", "postgresql://me:***@host/db"),
        ("database_url", "s3cret", "(set)"),
        ("notify", True, True),
    ],
)
def test_secrets_are_not_shown(name: str, value: object, expected: object) -> None:
    assert redacted(name, value) == expected


def test_the_predicates_are_shown(app: Any) -> None:
    for category in ("view predicates", "route predicates"):
        names = {entry["introspectable"]["name"] for entry in app.registry.introspector.get_category(category)}
        assert {"site", "theme"} <= names
    (view,) = (
        view for entry in app.registry.introspector.get_category("views")
        if (view := entry["introspectable"]).get("site") == "Garden.example."
    )  # fmt: skip
    assert view["route_name"] == "home"
