"""The editor: an owner chooses the theme of the site, after a preview."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from content_sites import GARDEN, STERNWARTE, ContentSites
from databases import fresh_database
from editor_sites import add_user, browser_of, csrf_token, editor_sites, log_in, rows_of
from webtest import TestApp

from multisite import Site
from multisite.core.settings import parse_settings
from multisite.directory.models import AS_MULTISITE, DirectoryVersion
from multisite.directory.records import SiteRecord, get_site
from multisite.sites.operator_log import LogSelection, list_log
from multisite.sites.updates import set_theme

PAGE = "/edit/settings/theme"
PICTURE = b"\x89PNG\r\n\x1a\n"
HARBOUR = '<!doctype html>\n<p id="harbour">Harbour</p>\n${next.body()}\n'


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    with (
        fresh_database(request, tmp_path_factory) as url,
        editor_sites(url, tmp_path_factory.mktemp("themes")) as made,
    ):
        made.settings |= {"multisite.refresh_seconds": "0", "multisite.page_cache_seconds": "600"}
        themes = parse_settings(made.settings).themes_dir
        for name, files in {
            "harbour": {"layout.mako": HARBOUR, "theme.toml": 'label = "The harbour"\n'},
            "broken": {"theme.toml": "label = 5\n"},
        }.items():
            (themes / name).mkdir()
            for file, text in files.items():
                (themes / name / file).write_text(text, "utf-8")
        (themes / "harbour" / "screenshot.png").write_bytes(PICTURE)
        for site in (made.garden, made.sternwarte):
            shutil.rmtree(own_folder(made, site))  # The files of a new site would hide those of a theme.
        for role in ("owner", "editor", "author"):
            add_user(made, made.garden, role, role)
        add_user(made, made.sternwarte, "owner", "owner")
        yield made


@pytest.fixture
def sites(world: ContentSites) -> ContentSites:
    if get_site(world.engine, GARDEN).site.theme is not None:
        set_theme(world.engine, GARDEN, None, settings=parse_settings(world.settings))
    return world


def own_folder(sites: ContentSites, site: Site) -> Path:
    return parse_settings(sites.settings).sites_dir / site.folder


def record(sites: ContentSites, host: str = GARDEN) -> SiteRecord:
    return get_site(sites.engine, host)


def version(sites: ContentSites) -> int:
    """Return the version of the directory, which tells running servers to reload it."""
    with sites.engine.connect().execution_options(**AS_MULTISITE) as connection:
        return int(connection.scalar(sa.select(DirectoryVersion.version)) or 0)


def send(browser: TestApp, theme: str, action: str = "use", status: int = 303) -> Any:
    return browser.post(PAGE, {"csrf_token": csrf_token(browser), "theme": theme, "action": action}, status=status)


def form_of(page: Any, theme: str) -> Any:
    return next(form for form in page.forms.values() if "theme" in form.fields and form["theme"].value == theme)


def test_an_owner_chooses_a_theme_and_none_again(sites: ContentSites) -> None:
    owner, visitor, other = log_in(sites, GARDEN, "owner"), browser_of(sites, GARDEN), browser_of(sites, STERNWARTE)
    before, foreign = record(sites, STERNWARTE), (rows_of(sites, sites.sternwarte), other.get("/").text)
    assert visitor.get("/").html.select_one("#harbour") is None
    number = version(sites)
    page = owner.get("/edit/settings").click("Theme")
    assert [each.text.strip() for each in page.html.select(".themes h2")] == [
        "broken", "Folio (folio)", "The harbour (harbour)", "Shopfront (shopfront)", "Without a theme",
    ]  # fmt: skip
    chosen = form_of(page, "harbour").submit("action", value="use", status=303).follow()
    assert chosen.html.select_one("[role=status]").text == "The theme is changed."
    (used,) = [each for each in chosen.html.select(".themes > li") if each.select_one(".badge")]
    assert "The harbour" in used.text
    # As with the command, also for pages that were cached.
    assert visitor.get("/").html.select_one("#harbour") is not None
    assert version(sites) > number
    (newest, *_) = list_log(sites.engine, LogSelection(whats=("set-theme",)))
    assert (newest.site, newest.who, newest.before, newest.after) == (
        GARDEN, "owner (editor)", {"theme": None}, {"theme": "harbour"},
    )  # fmt: skip
    form_of(chosen, "").submit("action", value="use", status=303)
    assert visitor.get("/").html.select_one("#harbour") is None
    assert record(sites).site.theme is None
    assert record(sites, STERNWARTE) == before
    assert (rows_of(sites, sites.sternwarte), other.get("/").text) == foreign


def test_a_preview_shows_the_theme_before_it_is_chosen(sites: ContentSites) -> None:
    owner, visitor = log_in(sites, GARDEN, "owner"), browser_of(sites, GARDEN)
    page = form_of(owner.get(PAGE), "harbour").submit("action", value="preview")
    path = urlsplit(page.html.select_one("pre").text).path
    assert visitor.get(path).html.select_one("#harbour") is not None
    assert visitor.get("/").html.select_one("#harbour") is None
    browser_of(sites, STERNWARTE).get(path, status=404)
    assert record(sites).site.theme is None
    send(owner, "harbour")
    page = send(owner, "", "preview", status=200)
    path = urlsplit(page.html.select_one("pre").text).path
    assert visitor.get(path).html.select_one("#harbour") is None
    assert visitor.get("/").html.select_one("#harbour") is not None


def test_the_page_names_the_files_that_hide_a_theme(sites: ContentSites) -> None:
    owner = log_in(sites, GARDEN, "owner")
    assert owner.get(PAGE).html.select(".themes details") == []
    layout = own_folder(sites, sites.garden) / "layout.mako"
    layout.parent.mkdir()
    try:
        layout.write_text("<p>Own</p>", "utf-8")
        found = [
            [each.text for each in theme.select("details code")]
            for theme in owner.get(PAGE).html.select(".themes > li")
        ]
        assert found == [[], ["layout.mako"], ["layout.mako"], ["layout.mako"], []]
        assert log_in(sites, STERNWARTE, "owner").get(PAGE).html.select(".themes details") == []
    finally:
        shutil.rmtree(layout.parent)


def test_a_name_that_is_no_theme_changes_nothing(sites: ContentSites) -> None:
    owner, before = log_in(sites, GARDEN, "owner"), (record(sites), rows_of(sites, sites.garden)["layout_links"])
    unknown = "There is no theme of this name. Choose one of these."
    messages = dict.fromkeys(["nothing", "..", "../../sites", "harbour/..", "Harbour", " ", "x" * 5000], unknown)
    messages["broken"] = "The theme broken cannot be used, because its theme.toml is not valid."
    for name, message in messages.items():
        for action in ("use", "preview"):
            page = send(owner, name, action, status=400)
            assert [each.text for each in page.html.select("[role=alert]")] == [message], (name, action)
            assert str(parse_settings(sites.settings).themes_dir) not in page.text
    assert (record(sites), rows_of(sites, sites.garden)["layout_links"]) == before


def test_an_incomplete_form_does_not_clear_the_theme(sites: ContentSites) -> None:
    owner = log_in(sites, GARDEN, "owner")
    send(owner, "harbour")
    token = csrf_token(owner)
    for fields in ({"action": "use"}, {"theme": ""}, {"theme": "", "action": "withdraw"}):
        page = owner.post(PAGE, {"csrf_token": token, **fields}, status=400)
        assert page.html.select_one("[role=alert]").text == "Nothing was changed: the form is not complete."
    owner.post(PAGE, {"theme": "", "action": "use"}, status=400)
    assert record(sites).site.theme == "harbour"


def test_only_owners_choose_a_theme(sites: ContentSites) -> None:
    before = record(sites)
    for role in ("editor", "author"):
        browser = log_in(sites, GARDEN, role)
        browser.get(PAGE, status=403)
        browser.get(f"{PAGE}/harbour/picture", status=403)
        for action in ("use", "preview"):
            send(browser, "harbour", action, status=403)
    assert record(sites) == before


def test_pictures_are_those_of_themes(sites: ContentSites) -> None:
    owner = log_in(sites, GARDEN, "owner")
    (image,) = owner.get(PAGE).html.select("img[src*=harbour]")
    picture = owner.get(image["src"])
    assert (picture.content_type, picture.body) == ("image/png", PICTURE)
    assert picture.headers["X-Content-Type-Options"] == "nosniff"
    for name in ("broken", "nothing", "..", "%2e%2e", "..%2fharbour"):
        owner.get(f"{PAGE}/{name}/picture", status=404)
    browser_of(sites, GARDEN).get(image["src"], status=403)


def test_the_page_is_there_in_german(sites: ContentSites) -> None:
    owner = log_in(sites, STERNWARTE, "owner")
    assert [each.text for each in owner.get(PAGE).html.select(".themes h2")][-1] == "Ohne Theme"
    page = send(owner, "nothing", status=400)
    assert page.html.select_one("[role=alert]").text.startswith("Es gibt kein Theme mit diesem Namen.")
