"""Settings of sites: declared, set, read without a restart in every worker, and separate for sites and applications."""

from __future__ import annotations

import json
import logging
import pickle
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from databases import closing_engine, make_own_tables
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationConflictError, ConfigurationError
from pyramid.request import Request
from sqlalchemy import event
from webtest import TestApp

from multisite import MultisiteError, SettingError, Site, SiteSettingError, all_sites, check, using_site
from multisite.cli import main
from multisite.core import site as site_module
from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.directory.models import SettingRow
from multisite.directory.records import get_site, list_sites
from multisite.errors import UndeclaredSetting
from multisite.sites.creation import add_site
from multisite.sites.removal import remove_site
from multisite.sites.settings.registry import SettingsRegistry
from multisite.sites.settings.setting import make_setting
from multisite.sites.settings.values import set_settings, unset_settings
from multisite.testing import plant_site
from multisite.web.site_settings import CATEGORY, SITE_SETTINGS

# Parsing.


def one_setting(kind: Any, **more: Any) -> SettingsRegistry:
    declared = SettingsRegistry({})
    declared.add(make_setting("it", kind, **{"default": None, "doc": "It.", **more}))
    return declared


def own(**texts: str) -> Site:
    """Return a site with these settings of its own."""
    return Site(1, "a.example", "A", "a.example", own_settings=json.dumps(texts) if texts else "")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (str, " as it is ", " as it is "),
        (str, "", ""),
        (int, " -20 ", -20),
        (float, "2.5e3", 2500.0),
        (bool, "True", True),
        (bool, "false", False),
        (Decimal, "9.90", Decimal("9.90")),
        (("light", "dark"), "dark", "dark"),
        (list[str], "de, en,, fr-CA ", ("de", "en", "fr-CA")),
        (list, "", ()),
        (list, "one\n  two", ("one", "two")),
        (json.loads, '{"a": 1}', {"a": 1}),
    ],
)
def test_a_text_is_parsed_by_its_type(kind: Any, text: str, value: object) -> None:
    found = one_setting(kind).settings_of(own(it=text))["it"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (str, "a\0b"), (str, "\ud800"), (str, "x" * 10_001),
        (int, "abc"), (int, "1_000"), (int, "٣"), (int, "1.5"), (int, ""), (int, "9" * 5000),
        (float, "nan"), (float, "inf"), (float, "1e999"), (float, "1,5"),
        (bool, "1"), (bool, "yes"), (bool, ""),
        (Decimal, "NaN"), (Decimal, "1e5"), (Decimal, "1_0"), (Decimal, "."),
        (("light", "dark"), "Dark"), (("light", "dark"), ""),
        (json.loads, "{"), (lambda text: {}[text], "x"),
    ],
)  # fmt: skip
def test_a_text_that_is_not_valid_is_rejected(kind: Any, text: str) -> None:
    with pytest.raises(SiteSettingError):
        one_setting(kind).settings_of(own(it=text))


def at_most_100(number: int) -> None:
    if number > 100:
        raise ValueError("a whole number up to 100")


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (at_most_100, "expected a whole number up to 100"),
        (lambda number: number <= 100, "expected a whole number that its check accepts: How many."),
        (lambda number: number.missing, "expected a whole number that its check accepts (AttributeError"),
    ],
)
def test_a_check_rejects_what_the_type_accepts(check: Callable[[int], object], expected: str) -> None:
    declared = one_setting(int, doc="How many.", check=check)
    if check is at_most_100:
        assert declared.settings_of(own(it="100"))["it"] == 100
    with pytest.raises(SiteSettingError) as caught:
        declared.settings_of(own(it="101"))
    assert expected in str(caught.value)
    assert (caught.value.site, caught.value.key, caught.value.value) == ("a.example", "it", "101")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"name": "Posts"}, "is not a valid setting name"),
        ({"name": "a" * 65}, "is not a valid setting name"),
        ({"name": "locale"}, "as site.locale"),
        ({"doc": " "}, "needs a description"),
        ({"kind": "int"}, "expected str, int, float"),
        ({"kind": list[int]}, "expected str, int, float"),
        ({"kind": ()}, "a tuple of choices"),
        ({"kind": ("a", 1)}, "a tuple of choices"),
        ({"default": "10"}, None),
        ({"default": True}, "expected a whole number"),
        ({"kind": bool, "default": 1}, "expected true or false"),
        ({"kind": list, "default": "de"}, "a list, not a string"),
        ({"kind": ("a", "b"), "default": "c"}, "expected one of a, b"),
        ({"check": lambda number: number > 10}, "expected a whole number that its check accepts"),
    ],
)
def test_an_invalid_declaration_is_rejected_at_once(arguments: dict[str, Any], reason: str | None) -> None:
    with Configurator(settings={"sqlalchemy.url": "sqlite:////nowhere/x.db"}) as config:
        config.include("multisite")
        every = {"name": "posts", "kind": int, "default": 10, "doc": "Posts on a page.", **arguments}
        if reason is None:  # A text that means a number is as good.
            config.add_site_setting(every.pop("name"), every.pop("kind"), **every)
            return
        with pytest.raises(ConfigurationError, match=reason):
            config.add_site_setting(every.pop("name"), every.pop("kind"), **every)


def test_an_undeclared_name_is_a_key_error_with_a_message() -> None:
    settings = one_setting(int).settings_of(own())
    with pytest.raises(KeyError) as caught:
        settings["posts_per_page"]
    assert isinstance(caught.value, UndeclaredSetting)
    assert str(caught.value) == (
        "the application declares no setting of sites called 'posts_per_page' (config.add_site_setting), only it"
    )
    assert settings.get("posts_per_page", 7) == 7
    assert list(settings.items()) == [("it", None)]
    with pytest.raises(TypeError):
        settings["it"] = 1  # type: ignore[index]


def test_a_site_is_still_a_small_value() -> None:
    site_module._resolvers.clear()  # Those of earlier tests, one of which may know a site with this id.
    plain, other = own(), own(it="1")
    found = Site(1, "a.example", "A", "a.example", settings_provider=one_setting(int))
    assert found == plain != other
    assert hash(found) == hash(plain)
    assert pickle.loads(pickle.dumps(other)) == other
    assert len(pickle.dumps(found)) < 200
    # Two more fields: the text, one empty string for all sites without settings, and the provider.
    assert sys.getsizeof(found) <= sys.getsizeof(()) + 8 * 13
    with pytest.raises(MultisiteError, match="the settings of the site a.example are unknown here"):
        _ = pickle.loads(pickle.dumps(found)).settings


def test_sites_with_the_same_settings_share_the_parsed_values() -> None:
    declared = one_setting(int, default=1)
    first, second = (Site(number, f"{number}.example", "S", "s") for number in (1, 2))
    assert declared.settings_of(first) is declared.settings_of(second)


# In an application.


class World:
    """Two sites, and applications on their database."""

    def __init__(self, engine: sa.Engine, url: str, folder: Path) -> None:
        self.engine = engine
        self.settings = {
            "sqlalchemy.url": url,
            "multisite.sites_dir": str(folder / "sites"),
            "multisite.templates_dir": str(folder / "templates"),
        }
        parsed = parse_settings(self.settings)
        self.a, self.b = (add_site(engine, host, settings=parsed) for host in ("a.example", "b.example"))
        self.apps: list[Any] = []

    def app(self, declare: Callable[[Configurator], None] | None = None, **settings: str) -> TestApp:
        """Return an application whose page shows the settings that `declare` declares."""
        every = {**self.settings, "multisite.refresh_seconds": "0"}
        every |= {f"multisite.{name.replace('__', '.')}": value for name, value in settings.items()}
        with Configurator(settings=every) as config:
            config.include("multisite")
            (declare or declare_posts)(config)
            config.add_route("page", "/")
            config.add_view(page, route_name="page", renderer="json")
        wsgi = config.make_wsgi_app()
        self.apps.append(wsgi)
        return TestApp(wsgi)

    def read(self, app: TestApp, host: str, status: int = 200) -> Any:
        answer = app.get("/", extra_environ={"HTTP_HOST": host}, status=status)
        return answer.json if status == 200 else answer

    def edit(self, site: Site, name: str, value: str) -> None:
        """Change a row by hand, and refresh the directory."""
        with all_sites("a test"), self.engine.begin() as connection:
            connection.execute(sa.delete(SettingRow).where(SettingRow.site_id == site.id, SettingRow.name == name))
            connection.execute(sa.insert(SettingRow).values(site_id=site.id, name=name, value=value))

    def close(self) -> None:
        for wsgi in self.apps:
            wsgi.registry[DIRECTORY].deactivate()
            wsgi.registry[DIRECTORY].engine.dispose()
        self.apps.clear()


def page(request: Request) -> dict[str, Any]:
    return {name: str(value) for name, value in request.site.settings.items() if name in ("posts", "colour")}


def declare_posts(config: Configurator) -> None:
    config.add_site_setting("posts", int, default=10, doc="Posts on a page.", check=at_most_100)
    config.add_site_setting("colour", ("red", "green"), default="red", doc="The colour.")


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    yield from make_world(database_url, tmp_path)


@pytest.fixture
def sqlite_world(sqlite_database_url: str, tmp_path: Path) -> Iterator[World]:
    yield from make_world(sqlite_database_url, tmp_path)


def make_world(url: str, folder: Path) -> Iterator[World]:
    with closing_engine(url) as engine:
        make_own_tables(engine)
        made = World(engine, url, folder)
        yield made
        made.close()


def declared_of(app: TestApp) -> SettingsRegistry:
    declared: SettingsRegistry = app.app.registry[SITE_SETTINGS]
    return declared


def test_a_site_has_its_own_value_as_soon_as_it_is_set_and_no_other_site_has(world: World) -> None:
    app, worker = world.app(), world.app()
    assert world.read(app, "a.example") == {"posts": "10", "colour": "red"}
    record = set_settings(world.engine, "A.example", {"posts": " 20 ", "colour": "green"}, declared=declared_of(app))
    assert record.site.own_settings == '{"colour":"green","posts":" 20 "}'
    for each in (app, worker):
        assert world.read(each, "a.example") == {"posts": "20", "colour": "green"}
        assert world.read(each, "b.example") == {"posts": "10", "colour": "red"}
    assert world.apps[0].registry[DIRECTORY].find("a.example").site == get_site(world.engine, "a.example").site
    unset_settings(world.engine, "a.example", ["posts"], declared=declared_of(app))
    assert world.read(worker, "a.example") == {"posts": "10", "colour": "green"}


def test_the_ini_gives_defaults_below_those_of_sites(sqlite_world: World) -> None:
    app = sqlite_world.app(site__posts=" 30 ")
    set_settings(sqlite_world.engine, "b.example", {"posts": "40"}, declared=declared_of(app))
    assert sqlite_world.read(app, "a.example")["posts"] == "30"
    assert sqlite_world.read(app, "b.example")["posts"] == "40"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"site__post": "1"}, "there is no setting multisite.site.post; did you mean multisite.site.posts?"),
        ({"site__posts": "many"}, "multisite.site.posts = many: expected a whole number"),
        ({"site__posts": "101"}, "multisite.site.posts = 101: expected a whole number up to 100"),
    ],
)
def test_an_invalid_default_in_the_ini_stops_startup(
    sqlite_world: World, settings: dict[str, str], expected: str
) -> None:
    with pytest.raises(SettingError) as caught:
        sqlite_world.app(**settings)
    assert str(caught.value).startswith(expected)


def test_reading_settings_makes_no_query_once_the_site_is_cached(sqlite_world: World) -> None:
    app = sqlite_world.app(refresh_seconds="1000")
    set_settings(sqlite_world.engine, "a.example", {"posts": "20"}, declared=declared_of(app))
    statements: list[str] = []
    event.listen(app.app.registry[DIRECTORY].engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    assert sqlite_world.read(app, "a.example")["posts"] == "20"
    assert len(statements) == 1
    for _ in range(3):
        assert sqlite_world.read(app, "a.example")["posts"] == "20"
    assert len(statements) == 1


@pytest.mark.parametrize("refused", [{"posts": "101"}, {"posts": "5", "colour": "blue"}, {"posts": "5", "post": "6"}])
def test_if_one_of_several_values_is_invalid_none_is_set(sqlite_world: World, refused: dict[str, str]) -> None:
    app = sqlite_world.app()
    with pytest.raises(SettingError):
        set_settings(sqlite_world.engine, "a.example", refused, declared=declared_of(app))
    assert get_site(sqlite_world.engine, "a.example").site.own_settings == ""


def test_an_invalid_row_makes_only_its_site_unavailable_and_is_logged_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    app = world.app()
    assert world.read(app, "a.example")["posts"] == "10"
    world.edit(world.a, "posts", "many")
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            answer = world.read(app, "a.example", status=503)
            assert world.read(app, "b.example")["posts"] == "10"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Retry-After"] == "60"
    assert "many" not in answer.text
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "the site a.example has the setting posts = many, expected a whole number" in record.getMessage()
    # If the row were ignored, the site would be served with the default: negative control.
    unset_settings(world.engine, "a.example", ["posts"], declared=declared_of(app))
    assert world.read(app, "a.example")["posts"] == "10"


def test_a_value_that_is_no_longer_declared_is_ignored(sqlite_world: World, caplog: pytest.LogCaptureFixture) -> None:
    app = sqlite_world.app()
    sqlite_world.edit(sqlite_world.a, "gone", "x")
    assert sqlite_world.read(app, "a.example")["posts"] == "10"
    assert not caplog.records
    (finding,) = [one for one in check.run(app.app, "a.example") if one.kind == "site-setting"]
    assert (finding.severity, finding.subject) == ("notice", "a.example gone")
    unset_settings(sqlite_world.engine, "a.example", ["gone"], declared=declared_of(app))
    assert not [one for one in check.run(app.app, "a.example") if one.kind == "site-setting"]


def test_check_reports_an_invalid_value(sqlite_world: World) -> None:
    app = sqlite_world.app()
    sqlite_world.edit(sqlite_world.a, "posts", "many")
    for host in (None, "a.example"):
        (finding,) = [one for one in check.run(app.app, host) if one.kind == "site-setting"]
        assert (finding.severity, finding.subject) == ("fault", "a.example posts")
    assert not [one for one in check.run(app.app, "b.example") if one.kind == "site-setting"]


def test_two_applications_of_one_process_do_not_mix(sqlite_world: World) -> None:
    def declare_otherwise(config: Configurator) -> None:
        config.add_site_setting("posts", str, default="none", doc="Another meaning.")

    site_module._resolvers.clear()  # Those of earlier tests, whose databases are gone.
    first, second = sqlite_world.app(), sqlite_world.app(declare_otherwise, site__posts="some")
    assert sqlite_world.read(first, "a.example") == {"posts": "10", "colour": "red"}
    assert sqlite_world.read(second, "a.example") == {"posts": "some"}
    set_settings(sqlite_world.engine, "a.example", {"posts": "7"}, declared=declared_of(first))
    assert sqlite_world.apps[0].registry[DIRECTORY].resolve("a.example").settings["posts"] == 7
    assert sqlite_world.apps[1].registry[DIRECTORY].resolve("a.example").settings["posts"] == "7"
    with (
        using_site("a.example") as site,
        pytest.raises(MultisiteError, match="the settings of the site a.example are unknown"),
    ):
        _ = site.settings
    sqlite_world.apps[1].registry[DIRECTORY].deactivate()
    with using_site("a.example") as site:
        assert site.settings["posts"] == 7
        # A copy from a queue, or from the tables, is of a site that this application knows.
        assert pickle.loads(pickle.dumps(site)).settings["posts"] == 7
    assert get_site(sqlite_world.engine, "a.example").site.settings["posts"] == 7


def test_a_planted_site_has_the_defaults(sqlite_world: World) -> None:
    app = sqlite_world.app()
    assert plant_site(app.app, "planted.example").settings["posts"] == 10
    assert sqlite_world.read(app, "planted.example")["posts"] == "10"


def test_two_declarations_of_a_name_conflict(sqlite_world: World) -> None:
    def twice(config: Configurator) -> None:
        config.add_site_setting("posts", int, default=1, doc="First.")
        config.add_site_setting("posts", int, default=2, doc="Second.")

    with pytest.raises(ConfigurationConflictError):
        sqlite_world.app(twice)

    def library(config: Configurator) -> None:
        config.add_site_setting("posts", int, default=1, doc="A library's.")

    def overridden(config: Configurator) -> None:
        config.include(library)
        config.add_site_setting("posts", int, default=2, doc="The application's.")

    app = sqlite_world.app(overridden)
    assert sqlite_world.read(app, "a.example") == {"posts": "2"}
    entries = app.app.registry.introspector.get_category(CATEGORY)
    (found,) = [entry["introspectable"] for entry in entries if entry["introspectable"]["name"] == "posts"]
    assert (found["kind"], found["default"], found["doc"]) == ("whole number", 2, "The application's.")


def test_a_removed_site_has_no_settings(sqlite_world: World) -> None:
    app = sqlite_world.app()
    set_settings(sqlite_world.engine, "a.example", {"posts": "7"}, declared=declared_of(app))
    remove_site(sqlite_world.engine, "a.example", settings=parse_settings(sqlite_world.settings))
    with all_sites("a test"), sqlite_world.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(SettingRow)) == 0


# On the command line.


class Line:
    """Commands on the reference application, with the site a.example."""

    def __init__(self, folder: Path, url: str) -> None:
        self.ini = folder / "development.ini"
        self.url = url
        self.write("multisite.site.posts_per_page = 30")
        with closing_engine(url) as engine:
            make_own_tables(engine)
        self.run("add-site", "a.example")

    def write(self, line: str) -> None:
        self.ini.write_text(
            "[app:main]\nuse = egg:pyramid-multisite\nsqlalchemy.url = sqlite:///%(here)s/test.db\n"
            f"multisite.sites_dir = %(here)s/sites\nmultisite.templates_dir = %(here)s/templates\n{line}\n"
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, ["-c", str(self.ini), *arguments])
        assert result.exit_code == code, result.output
        return result.stdout if code == 0 else result.stderr

    def own(self, name: str) -> dict[str, str]:
        """Return the values that sites have for a setting, by host."""
        with closing_engine(self.url) as engine:
            found = {record.site.host: json.loads(record.site.own_settings or "{}") for record in list_sites(engine)}
        return {host: texts[name] for host, texts in found.items() if name in texts}

    def settings(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in json.loads(self.run("settings", "a.example", "--json"))}


@pytest.fixture
def line(tmp_path: Path, sqlite_database_url: str) -> Line:
    return Line(tmp_path, sqlite_database_url)


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """The same folder, for commands that change nothing."""
    folder = tmp_path_factory.mktemp("unchanged")
    return Line(folder, f"sqlite:///{folder / 'test.db'}")


def test_commands_set_unset_and_show(line: Line) -> None:
    said = line.run("set", "A.example", "posts_per_page=5", "tagline=a = b", "locale=DE-at", "timezone=Europe/Vienna")
    assert said == (
        "Set posts_per_page, tagline, locale, timezone of a.example. Running servers use it within 1 second.\n"
    )
    found = line.settings()
    assert found["posts_per_page"] == {
        "name": "posts_per_page", "kind": "whole number", "value": 5, "text": "5", "source": "site", "default": 30,
        "doc": "Entries on one page of the home page and of a tag.", "fault": None,
    }  # fmt: skip
    assert (found["tagline"]["value"], found["tagline"]["source"]) == ("a = b", "site")
    assert (found["feed_entries"]["value"], found["feed_entries"]["source"]) == (20, "default")
    assert found["locale"]["value"] == "de-AT"
    assert json.loads(line.run("show-site", "a.example", "--json"))["timezone"] == "Europe/Vienna"
    shown = line.run("settings", "a.example").splitlines()
    assert "posts_per_page = 5 (site)" in shown
    assert "    Entries on one page of the home page and of a tag." in shown
    assert line.run("unset", "a.example", "posts_per_page", "feed_entries").startswith("Unset posts_per_page, feed_")
    # Editors of a site may be allowed to set the value, and operators read it in a terminal.
    line.run("set", "a.example", "tagline=grün\n\x1b[2J\r\u202e")
    assert "tagline = grün \\x1b[2J\\r\\u202e (site)" in line.run("settings", "a.example").splitlines()
    assert (line.settings()["posts_per_page"]["value"], line.settings()["posts_per_page"]["source"]) == (30, "ini")


def test_commands_change_several_sites_at_once(line: Line) -> None:
    for host in ("b.example", "c.other", "d.other", "e.other"):
        line.run("add-site", host)
    line.run("disable-site", "b.example")
    with all_sites("a test"), closing_engine(line.url) as engine, engine.begin() as connection:
        connection.exec_driver_sql("UPDATE sites SET status = 'pending' WHERE name = 'd.other'")
        connection.exec_driver_sql("UPDATE sites SET availability = 'removing' WHERE name = 'e.other'")
    assert line.run("set", "--all", "posts_per_page=5", "locale=de").splitlines() == [
        "d.other left out: pending",
        "e.other left out: removing",
        "Set posts_per_page, locale of 3 sites. Running servers use it within 1 second.",
    ]
    assert line.own("posts_per_page") == {"a.example": "5", "b.example": "5", "c.other": "5"}
    assert json.loads(line.run("show-site", "b.example", "--json"))["locale"] == "de"
    assert json.loads(line.run("show-site", "d.other", "--json"))["locale"] == "en"
    changed = json.loads(line.run("set", "--only", "*.EXAMPLE", "--only", "d.*", "posts_per_page=6", "--json"))
    assert [(each["domain"], each["result"], each["reason"]) for each in changed] == [
        ("a.example", "done", None),
        ("b.example", "done", None),
        ("d.other", "left out", "pending"),
    ]
    assert line.own("posts_per_page") == {"a.example": "6", "b.example": "6", "c.other": "5"}
    assert line.run("unset", "--only", "b.*", "posts_per_page").startswith("Unset posts_per_page of 1 site. ")
    assert line.own("posts_per_page") == {"a.example": "6", "c.other": "5"}
    # A setting that is no longer declared can be unset if one of the sites has it.
    with all_sites("a test"), closing_engine(line.url) as engine, engine.begin() as connection:
        connection.exec_driver_sql("UPDATE multisite_settings SET name = 'old' WHERE value = '5'")
    assert "there is no setting old" in line.run("unset", "--only", "*.example", "old", code=1)
    assert line.own("old") == {"c.other": "5"}
    line.run("unset", "--all", "old", "posts_per_page")
    assert line.own("old") == line.own("posts_per_page") == {}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("set", "--all", "--only", "*", "posts_per_page=5"), "Pass --only or --all, not both."),
        (("set", "--all", "a.example", "posts_per_page=5"), "'a.example' is not an assignment"),
        (("set", "a.example"), "Missing argument 'KEY=VALUE...'."),
        (("unset", "a.example"), "Missing argument 'KEY...'."),
        (("unset", "--all"), "Missing argument '[HOST] KEY...'."),
    ],
)
def test_commands_on_several_sites_report_wrong_usage(
    unchanged: Line, arguments: tuple[str, ...], expected: str
) -> None:
    assert expected in unchanged.run(*arguments, code=2)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("set", "--all", "posts_per_page=many"), "posts_per_page = many: expected a whole number"),
        (("set", "--only", "b.*", "posts_per_page=5"), "no site matches 'b.*'; list all sites: "),
        (("unset", "--all", "locale"), "locale and timezone have no default"),
        (("set", "a.example", "posts_per_page=many"), "posts_per_page = many: expected a whole number"),
        (("set", "a.example", "posts_per_page=0"), "posts_per_page = 0: expected a whole number from 1 to 100"),
        (("set", "a.example", "posts=5"), "there is no setting posts; the existing ones: "),
        (("set", "a.example", "timezone=Mars"), "'Mars' is not a time zone"),
        (("set", "a.example", "locale=xx-YY"), "'xx-YY' is not a locale"),
        (("set", "b.example", "tagline=x"), "no site is known as 'b.example'"),
        (("set", "a.example", "tag_line=x"), "there is no setting tag_line; did you mean tagline?"),
        (("set", "a.example", "local=de"), "there is no setting local; did you mean locale?"),
        (
            ("unset", "a.example", "posts"),
            "there is no setting posts; the existing ones: content_security_policy, ",
        ),
        (("unset", "a.example", "locale"), "locale and timezone have no default"),
        (("settings", "b.example"), "no site is known as 'b.example'"),
    ],
)
def test_commands_report_errors_in_one_line(unchanged: Line, arguments: tuple[str, ...], expected: str) -> None:
    (said,) = unchanged.run(*arguments, code=1).splitlines()
    assert said.startswith(f"Error: {expected}")
    url = f"sqlite:///{unchanged.ini.parent / 'test.db'}"
    with closing_engine(url) as engine, all_sites("a test"), engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(SettingRow)) == 0


@pytest.mark.parametrize("assignments", [("tagline",), ("=x",), ("tagline=a", "tagline=b"), ()])
def test_wrong_usage_is_exit_code_2(unchanged: Line, assignments: tuple[str, ...]) -> None:
    unchanged.run("set", "a.example", *assignments, code=2)


def test_an_invalid_row_is_shown_with_its_fault_and_an_invalid_ini_in_one_line(line: Line) -> None:
    line.run("set", "a.example", "tagline=x")
    url = f"sqlite:///{line.ini.parent / 'test.db'}"
    with closing_engine(url) as engine, all_sites("a test"), engine.begin() as connection:
        connection.execute(sa.update(SettingRow).values(name="posts_per_page"))
    found = line.settings()["posts_per_page"]
    assert (found["value"], found["text"], found["fault"]) == (None, "x", "a whole number")
    assert "    expected a whole number: the site answers 503" in line.run("settings", "a.example")
    line.write("multisite.site.posts = 5")
    assert line.run("settings", "a.example", code=1).startswith("Error: there is no setting multisite.site.posts;")
