"""Settings that a theme declares in its `theme.toml`: the file, the values of sites, and their CSS."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from content_sites import GARDEN, STERNWARTE, ContentSites, content_sites
from editor_sites import add_user, editor_sites, log_in

from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory.records import get_site
from multisite.errors import MultisiteError, SettingError, UnknownSetting
from multisite.sites.creation import create_site
from multisite.sites.settings import SettingsRegistry, theme_file
from multisite.sites.settings.theme_file import ThemeFiles, css_value, read_theme_file
from multisite.sites.settings.values import set_settings, set_settings_of_sites, unset_settings
from multisite.sites.themes import create_theme, hidden_files, set_aside
from multisite.sites.updates import set_theme
from multisite.web.site_settings import SITE_SETTINGS

THEME = """
label = "Dusk"

[settings.accent]
type = "colour"
default = "#8a3b12"
label = {en = "Colour of links", de = "Farbe der Links"}

[settings.corners]
type = "choice"
choices = ["round", "square"]
default = "round"
label = "Corners"

[settings.logo]
type = "image"
default = ""
label = "Logo"

[settings.motto]
type = "text"
default = "Every day"
label = "Motto"
"""


def write(folder: Path, text: str = THEME, name: str = "dusk") -> Path:
    path = folder / name / "theme.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_theme_declares_settings_with_labels(tmp_path: Path) -> None:
    found = read_theme_file(write(tmp_path))
    assert (found.label, list(found.settings)) == (
        "Dusk",
        [f"theme.{n}" for n in ("accent", "corners", "logo", "motto")],
    )
    assert [found.label_of("theme.accent", language) for language in ("de", "de-AT", "en", "fr")] == [
        "Farbe der Links", "Farbe der Links", "Colour of links", "Colour of links",
    ]  # fmt: skip
    assert found.settings["theme.corners"].kind.choices == ("round", "square")
    assert all(setting.owner for setting in found.settings.values())
    assert read_theme_file(tmp_path / "none" / "theme.toml").settings == {}


WRONG = {
    "colours = 1": "'colours' is not a key of a theme",
    "label = 1": "label is a text",
    "settings = 1": "settings are tables",
    "label = 'a": "at end of document",
    "[settings.Accent]\ntype = 'text'\ndefault = ''": "lowercase letters",
    "[settings.a]\ntype = 'color'\ndefault = '#000000'": "its type is one of choice, colour, image, text, not 'color'",
    "[settings.a]\ntype = 'text'": "default is a text",
    "[settings.a]\ntype = 'text'\ndefault = 1": "default is a text",
    "[settings.a]\ntype = 'colour'\ndefault = 'red'": "expected a colour such as",
    "[settings.a]\ntype = 'colour'\ndefault = '#000000'\nlabels = 'x'": "'labels' is not a key of a setting",
    "[settings.a]\ntype = 'choice'\ndefault = 'x'": "choices are a list",
    "[settings.a]\ntype = 'choice'\nchoices = ['a;b']\ndefault = 'a;b'": "choices are a list",
    "[settings.a]\ntype = 'choice'\nchoices = ['a']\ndefault = 'b'": "expected one of a",
    "[settings.a]\ntype = 'text'\nchoices = ['a']\ndefault = 'a'": "has choices",
    "[settings.a]\ntype = 'text'\ndefault = 'a'\nlabel = {}": "label is a text",
    "[settings.a]\ntype = 'text'\ndefault = 'a'\nlabel = {de = 1}": "label is a text",
    "[settings.a]\ntype = 'image'\ndefault = 'https://other.example/a.png'": "the path of a picture on this site",
    "[settings.a]\ntype = 'text'\ndefault = '''a\nb'''": "on one line",
    "settings = " + "[" * 5_000: "",
    "# " + "x" * 100_000: "more than 100000 bytes",
    "label = '\udc80'": "utf-8",
}


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_a_file_that_is_not_valid_is_refused_by_name(text: str, tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(MultisiteError) as raised:
        read_theme_file(path)
    assert str(path) in str(raised.value)
    assert WRONG[text] in str(raised.value)


def test_no_value_leaves_its_declaration(tmp_path: Path) -> None:
    settings = read_theme_file(write(tmp_path)).settings
    refused = {
        "accent": ["red", "#12345", "#1234567", "#12345g", "#123456;", "#123456\n", "url(x)", ""],
        "corners": ["oval", "round;", "round }", "Round"],
        "logo": ["//other.example/a.png", "https://other.example/", "a.png", '/a");', "/a b", "/a)", "/ä.png", "/"],
        "motto": ["a\nb", "a\0b", "a\x1bb", "x" * 501, "\u2028"],
    }
    for name, texts in refused.items():
        for text in texts:
            with pytest.raises(ValueError, match="."):
                settings[f"theme.{name}"].parse(text)
    motto = settings["theme.motto"]
    hostile = '"; } body { background: url(//evil.example) } </style><script> \\"'
    css = css_value(motto, motto.parse(hostile))
    inside = css[1:-1]
    assert css[0] == css[-1] == '"'
    assert not {'"', "<", ">"} & set(inside)
    assert inside.count("\\") == sum(hostile.count(character) for character in '"\\<>')
    assert css_value(settings["theme.logo"], "/media/a.png") == 'url("/media/a.png")'
    assert css_value(settings["theme.logo"], "") == "none"
    assert css_value(settings["theme.accent"], "#123456") == "#123456"


def test_a_changed_file_is_read_again_and_a_broken_one_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(theme_file, "CHECK_SECONDS", 0)
    files, path = ThemeFiles(tmp_path), write(tmp_path)
    first = files.of("dusk")
    assert files.of("dusk") is first
    assert files.of("missing").settings == {}
    write(tmp_path, THEME.replace("#8a3b12", "#000000"))
    os.utime(path, ns=(1, 1))
    second = files.of("dusk")
    assert second.settings["theme.accent"].default == "#000000"
    write(tmp_path, "[")
    with caplog.at_level(logging.ERROR):
        assert files.of("dusk") is second
        assert files.of("dusk") is second
    assert [str(path) in record.getMessage() for record in caplog.records] == [True]
    path.unlink()
    assert files.of("dusk").settings == {}


@pytest.fixture
def declared(tmp_path: Path) -> SettingsRegistry:
    registry = SettingsRegistry({})
    registry.themes_dir = tmp_path / "templates" / "themes"
    write(registry.themes_dir)
    write(registry.themes_dir, '[settings.accent]\ntype = "choice"\nchoices = ["red"]\ndefault = "red"', "dawn")
    return registry


def test_each_site_has_its_values(own_engine: sa.Engine, tmp_path: Path, declared: SettingsRegistry) -> None:
    settings = Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")
    for host, theme in (("a.example", "dusk"), ("b.example", "dusk"), ("plain.example", None)):
        create_site(own_engine, host, settings=settings, theme=theme)

    def values(host: str) -> dict[str, Any]:
        return dict(declared.settings_of(get_site(own_engine, host).site))

    defaults = {"theme.accent": "#8a3b12", "theme.corners": "round", "theme.logo": "", "theme.motto": "Every day"}
    set_settings(own_engine, "a.example", {"theme.accent": "#010203", "theme.motto": "Now"}, declared=declared)
    assert values("a.example") == {**defaults, "theme.accent": "#010203", "theme.motto": "Now"}
    assert values("b.example") == defaults
    assert values("plain.example") == {}
    with pytest.raises(SettingError, match="a colour such as"):
        set_settings(own_engine, "a.example", {"theme.motto": "Later", "theme.accent": "blue"}, declared=declared)
    with pytest.raises(UnknownSetting, match=r"did you mean theme\.accent"):
        set_settings(own_engine, "a.example", {"theme.acent": "#000000"}, declared=declared)
    with pytest.raises(MultisiteError, match="a setting of a theme, and the site has none"):
        set_settings(own_engine, "plain.example", {"theme.accent": "#000000"}, declared=declared)
    ids = [get_site(own_engine, host).site.id for host in ("a.example", "b.example", "plain.example")]
    with pytest.raises(MultisiteError, match="has none"):
        set_settings_of_sites(own_engine, ids, {"theme.motto": "All"}, declared=declared)
    assert (values("a.example")["theme.motto"], values("b.example")) == ("Now", defaults)
    set_settings_of_sites(own_engine, ids[:2], {"theme.motto": "All"}, declared=declared)
    assert {values(host)["theme.motto"] for host in ("a.example", "b.example")} == {"All"}
    # Another theme accepts other values; with the first theme, the site's own is back.
    set_theme(own_engine, "a.example", "dawn", settings=settings)
    assert values("a.example") == {"theme.accent": "red"}
    described = {each.name: each for each in declared.describe(get_site(own_engine, "a.example").site)}
    assert (described["theme.accent"].value, described["theme.accent"].source) == ("red", "theme")
    assert described["theme.motto"].doc == "Not declared by the theme of the site."
    set_theme(own_engine, "a.example", "dusk", settings=settings)
    assert values("a.example")["theme.accent"] == "#010203"
    unset_settings(own_engine, "a.example", ["theme.accent", "theme.motto"], declared=declared)
    assert values("a.example") == defaults
    write(settings.themes_dir, "[")
    with pytest.raises(MultisiteError, match=r"theme\.toml is not valid"):
        set_theme(own_engine, "plain.example", "dusk", settings=settings)


def test_a_setting_that_the_application_declares_has_precedence(declared: SettingsRegistry) -> None:
    from multisite.sites.settings.setting import make_setting

    declared.add(make_setting("theme.accent", int, default=7, doc="A number."))
    site = Site(1, "a.example", "A", "a.example", theme="dusk", own_settings='{"theme.accent":"8"}')
    assert declared.settings_of(site)["theme.accent"] == 8
    assert "theme.accent" not in declared.of_theme("dusk")


def test_files_that_override_those_of_the_theme_are_renamed(tmp_path: Path) -> None:
    settings = Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")
    create_theme(settings, "dusk")
    site = Site(1, "a.example", "A", "a.example", theme="dusk")
    own = settings.sites_dir / "a.example"
    own.mkdir(parents=True)
    (own / "layout.mako").write_text("own")
    (own / "layout.mako.set-aside").write_text("older")
    (own / "entry.mako").write_text("has no file of that name in the theme")
    assert set_aside(hidden_files(settings, site)) == [own / "layout.mako.set-aside-2"]
    assert (own / "layout.mako.set-aside-2").read_text() == "own"
    assert (own / "layout.mako.set-aside").read_text() == "older"
    assert hidden_files(settings, site) == []


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    folder = tmp_path_factory.mktemp("themes")
    with editor_sites(f"sqlite:///{folder / 'test.db'}", folder) as made:
        templates = folder / "templates"
        write(templates / "themes")
        shared = Path(__file__).parents[2] / "templates"
        made.settings |= {
            "multisite.refresh_seconds": "0",
            "multisite.templates_dir": str(templates),
            "mako.directories": str(shared),
        }
        settings = Settings(sites_dir=folder / "sites", templates_dir=templates)
        for site in (made.garden, made.sternwarte):
            set_theme(made.engine, site.host, "dusk", settings=settings)
            add_user(made, site, "owner", "owner")
        yield made


def stylesheet(sites: ContentSites, host: str) -> str | None:
    links = sites.browser(host).get("/").html.select("link[rel=stylesheet]")
    return next((link["href"] for link in links if "theme.css" in link["href"]), None)


def test_the_values_are_variables_of_css(sites: ContentSites) -> None:
    registry = sites.app.registry[SITE_SETTINGS]
    before = stylesheet(sites, GARDEN)
    assert before is not None
    assert stylesheet(sites, STERNWARTE) == before
    set_settings(sites.engine, GARDEN, {"theme.accent": "#123456"}, declared=registry)
    after = stylesheet(sites, GARDEN)
    assert after is not None
    assert after != before == stylesheet(sites, STERNWARTE)
    found = sites.browser(GARDEN).get(after)
    assert found.text == (
        ":root {\n  --theme-accent: #123456;\n  --theme-corners: round;\n  --theme-logo: none;\n"
        '  --theme-motto: "Every day";\n}\n'
    )
    assert (found.content_type, "immutable" in found.headers["Cache-Control"]) == ("text/css", True)
    # An older address has the new values, and is not cached under it.
    assert sites.browser(GARDEN).get(before).headers["Cache-Control"] == "no-cache"
    assert "#8a3b12" in sites.browser(STERNWARTE).get(before).text
    unset_settings(sites.engine, GARDEN, ["theme.accent"], declared=registry)


def test_an_owner_changes_the_theme(sites: ContentSites) -> None:
    other = get_site(sites.engine, GARDEN)
    browser = log_in(sites, STERNWARTE, "owner")
    page = browser.get("/edit/settings")
    assert page.html.select_one('label[for="theme.accent"]').text == "Farbe der Links"
    assert page.html.select_one('[name="theme.accent"]')["type"] == "color"
    form = page.forms[0]
    form["theme.accent"], form["theme.corners"] = "#00ff00", "square"
    form.submit(status=303)
    site = get_site(sites.engine, STERNWARTE).site
    assert site.own_settings == '{"theme.accent":"#00ff00","theme.corners":"square"}'
    assert "--theme-corners: square;" in browser.get(stylesheet(sites, STERNWARTE)).text
    form = browser.get("/edit/settings").forms[0]
    form["theme.accent"] = "javascript:alert(1)"
    assert form.submit(status=400).html.select_one("[aria-invalid]")["name"] == "theme.accent"
    form["theme.accent"], form["theme.corners"] = "#8a3b12", "round"
    form.submit(status=303)
    assert get_site(sites.engine, STERNWARTE).site.own_settings == ""
    assert get_site(sites.engine, GARDEN) == other


def test_a_site_without_theme_settings_has_no_stylesheet_of_them(tmp_path: Path) -> None:
    with content_sites(f"sqlite:///{tmp_path / 'test.db'}", tmp_path) as made:
        assert stylesheet(made, GARDEN) is None
        made.browser(GARDEN).get("/theme.css", status=404)
