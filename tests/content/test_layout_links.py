"""Links that show a site with another layout, without a log-in."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from content_sites import GARDEN, STERNWARTE, ContentSites
from databases import fresh_database
from editor_sites import add_user, browser_of, csrf_token, editor_sites, log_in, rows_of
from media_files import add, photo
from sqlalchemy.orm import Session
from webtest import TestApp

from multisite import Site
from multisite.cli import main as multisite_command
from multisite.content.editor import layout_pages
from multisite.content.layout_links import LINK_DAYS, MAX_LINKS, LayoutChanges, LayoutLink, find_changes, make_link
from multisite.content.models import MissingAddress
from multisite.content.not_found import COUNTER
from multisite.core.keys import DIRECTORY
from multisite.directory.models import AS_MULTISITE, SiteRow
from multisite.sites.domains import add_domain, set_canonical
from multisite.sites.rotate_secret import rotate_secret

MINE = f"http://{GARDEN}"
ROLES = {"author": "author", "editor": "editor", "owner": "owner"}
THEME = {
    "theme.toml": '[settings.accent]\ntype = "colour"\ndefault = "#112233"\nlabel = "Accent"\n',
    "layout.mako": '<%inherit file="parent:layout.mako"/>\n<%block name="intro"><p id="dawn">Dawn</p></%block>\n'
    "${next.body()}\n",
    "static/style.css": "/* dawn */",
}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    with (
        fresh_database(request, tmp_path_factory) as url,
        editor_sites(url, tmp_path_factory.mktemp("layouts")) as sites,
    ):
        sites.settings |= {"multisite.page_cache_seconds": "600", "multisite.refresh_seconds": "0"}
        for name, text in THEME.items():
            path = Path(sites.settings["multisite.templates_dir"], "themes", "dawn", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        next_layout = Path(sites.settings["multisite.sites_dir"], "garden.next", "layout.mako")
        next_layout.parent.mkdir()
        next_layout.write_text(
            '<%inherit file="base.mako"/>\n<%block name="intro"><p id="next">Next</p></%block>\n${next.body()}\n',
            "utf-8",
        )
        Path(sites.settings["multisite.templates_dir"], "layout.mako").write_text(
            '<%inherit file="base.mako"/>\n'
            '<%block name="aside" cached="True"><p id="cached">${site.settings["tagline"]}</p></%block>\n'
            "${next.body()}\n",
            "utf-8",
        )
        for site in (sites.garden, sites.sternwarte):
            # The files of a new site would hide those of a theme.
            shutil.rmtree(Path(sites.settings["multisite.sites_dir"], site.folder))
            sites.add(site, "peas", tags=["green"], body=f"Peas of {site.host}. [Beans](/entries/beans)")
            for login, role in ROLES.items():
                add_user(sites, site, login, role)
        yield sites


@pytest.fixture
def sites(world: ContentSites) -> ContentSites:
    with Session(world.engine, info={"all_sites": "tests"}) as session, session.begin():
        session.execute(sa.delete(LayoutLink))
    return world


def link_to(sites: ContentSites, settings: dict[str, str | None] | None = None, **columns: str | None) -> str:
    """Make a link to the garden with changes, and return its path."""
    with Session(sites.engine, info={"site": sites.garden}) as session, session.begin():
        return f"/preview/layout/{make_link(session, sites.garden, None, LayoutChanges(columns, settings or {}))}"


def owner_link(browser: TestApp, **changes: str) -> str:
    """Make a link by the form of the settings."""
    form = browser.get("/edit/settings").forms[0]
    for name, text in changes.items():
        form[name] = text
    page = form.submit("action", value="preview")
    link = str(page.html.select_one("main pre").text)
    assert re.fullmatch(rf"{MINE}/preview/layout/[\w-]{{43}}/", link)
    return link.removeprefix(MINE)


def test_an_owner_shows_the_site_with_settings_that_are_not_saved(sites: ContentSites) -> None:
    owner, reader = log_in(sites, GARDEN, "owner"), sites.browser(GARDEN)
    before = {path: reader.get(path).body for path in ("/", "/entries/peas")}
    path = owner_link(owner, name="A bolder garden", tagline="Soon", locale="de")
    page = reader.get(path)
    assert page.html.select_one(".site-name").text == "A bolder garden"
    assert page.html.select_one(".tagline").text == "Soon"
    assert page.html["lang"] == "de" if page.html.name == "html" else page.html.html["lang"] == "de"
    assert (page.headers["Cache-Control"], page.headers["X-Robots-Tag"]) == ("no-store", "noindex")
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert "script-src" not in page.headers["Content-Security-Policy"]  # That of the site, whose scripts may run.
    assert not {"Set-Cookie", "ETag"} & set(page.headers)
    # For others nothing has changed, neither in the page cache nor without it.
    assert {path: reader.get(path).body for path in before} == before
    assert {path: sites.browser(GARDEN).get(path, headers={"Cookie": "x=1"}).body for path in before} == before
    reader.get(path, headers={"If-None-Match": "*"}, status=200)
    assert reader.head(path).status_int == 200
    reader.post(path, status=405)


def test_every_link_of_a_page_stays_in_the_layout(sites: ContentSites) -> None:
    path, reader = link_to(sites, {"tagline": "Soon"}), sites.browser(GARDEN)
    seen, waiting = set(), [f"{path}/"]
    while waiting:
        address = waiting.pop()
        seen.add(address)
        response = reader.get(address, status="*")
        assert (response.status_int == 404) == address.endswith("/entries/beans")  # Peas link to what is not there.
        assert response.headers["Cache-Control"] == "no-store"
        if response.content_type != "text/html":
            continue
        assert response.html.select_one(".tagline").text == "Soon", address
        for element in response.html.select("a[href], link[href], img[src]"):
            target = (element.get("href") or element["src"]).removeprefix(MINE).partition("#")[0]
            if target:
                assert target.startswith(f"{path}/"), (address, target)
                if target not in seen:
                    waiting.append(target)
    names = {address.removeprefix(path).partition("?")[0] for address in seen}
    assert {"/", "/archive", "/search", "/feed.xml", "/entries/peas", "/tags/green"} <= names
    assert any(name.startswith("/static/") for name in names)


def test_a_theme_that_no_site_has_is_shown_with_its_settings_and_files(sites: ContentSites) -> None:
    reader = sites.browser(GARDEN)
    public = reader.get("/").body
    path = link_to(sites, {"theme.accent": "#445566"}, theme="dawn")
    page = reader.get(f"{path}/entries/peas")
    assert page.html.select_one("#dawn")
    sheets = [sheet["href"] for sheet in page.html.select("link[rel=stylesheet]")]
    texts = [reader.get(sheet).text for sheet in sheets]
    assert any("/* dawn */" in text for text in texts)
    assert any("--theme-accent: #445566" in text for text in texts)
    # The error page too.
    assert reader.get(f"{path}/nothing", status=404).html.select_one("#dawn")
    assert reader.get("/").body == public
    reader.get("/theme.css", status=404)


def test_a_folder_with_another_layout_is_shown(sites: ContentSites) -> None:
    reader, path = sites.browser(GARDEN), link_to(sites, folder="garden.next")
    for _ in range(2):
        assert reader.get(f"{path}/").html.select_one("#next")
        page = sites.browser(GARDEN).get("/", headers={"Cookie": "x=1"})  # Not from the page cache.
        assert page.html.select_one("#next") is None
    # The folder has become that of another site since.
    give_folder(sites, sites.sternwarte, "Garden.next")
    try:
        reader.get(f"{path}/", status=404)
    finally:
        give_folder(sites, sites.sternwarte, sites.sternwarte.folder)


def cached_block(sites: ContentSites, path: str) -> str:
    # With a cookie, no page comes from the page cache.
    page = sites.browser(GARDEN).get(path, headers={"Cookie": "x=1"})
    return str(page.html.select_one("#cached").text)


def test_cached_blocks_of_a_link_are_its_own(sites: ContentSites, monkeypatch: pytest.MonkeyPatch) -> None:
    path = link_to(sites, {"tagline": "Soon"})
    assert cached_block(sites, "/") == ""
    assert cached_block(sites, f"{path}/") == "Soon"
    other = link_to(sites, {"tagline": "Later"})
    assert cached_block(sites, f"{other}/") == "Later"
    assert cached_block(sites, "/") == ""
    # Control: with the template generation of the site itself, the cached block would be shared.
    plain = layout_pages.changed_site
    monkeypatch.setattr(
        layout_pages,
        "changed_site",
        lambda *given: replace(plain(*given), template_generation=given[0].template_generation),
    )
    assert cached_block(sites, f"{other}/") == ""


def give_folder(sites: ContentSites, site: Site, folder: str) -> None:
    with sites.engine.begin() as connection:
        connection.execution_options(**AS_MULTISITE)
        connection.execute(sa.update(SiteRow).where(SiteRow.id == site.id).values(folder=folder))


def test_pictures_are_there(sites: ContentSites) -> None:
    media = add(sites, sites.garden, photo(), alt="A leaf")
    sites.add(sites.garden, "leaf", picture=media.path, body=f"![x]({media.path.replace('leaf-mould', 'x')})")
    path, reader = link_to(sites), sites.browser(GARDEN)
    image = reader.get(f"{path}/").html.select_one(".entry-card img")
    assert image["src"] == f"{path}{media.path}"
    assert reader.get(image["src"]).content_type == "image/jpeg"


def test_nobody_is_logged_in_in_a_preview_and_the_editor_is_not_there(sites: ContentSites) -> None:
    owner, path = log_in(sites, GARDEN, "owner"), link_to(sites)
    before = rows_of(sites, sites.garden)
    for closed in ("/edit/", "/edit/new", "/edit/settings", "/login", "/logout", "/preview/x", f"{path}/"):
        response = owner.get(f"{path}{closed}", status=404)
        assert response.headers["Cache-Control"] == "no-store"
        owner.post(f"{path}{closed}", {"csrf_token": csrf_token(owner)}, status=(404, 405))
    assert rows_of(sites, sites.garden) == before


def test_another_site_has_no_such_link(sites: ContentSites) -> None:
    path = link_to(sites, {"tagline": "Ours"})
    before = [rows_of(sites, site) for site in (sites.garden, sites.sternwarte)]
    for browser in (sites.browser(STERNWARTE), *(log_in(sites, STERNWARTE, login) for login in ROLES)):
        for address in (path, f"{path}/", f"{path}/entries/peas", f"{path}/static/style.css"):
            assert "Ours" not in browser.get(address, status=404).text
            browser.head(address, status=404)
    for bad in (f"{path}x/", f"{path[:-1]}/", f"{path.swapcase()}/", "/preview/layout/", "/preview/layout/x/"):
        sites.browser(GARDEN).get(bad, status=404)
    assert [rows_of(sites, site)["layout_links"] for site in (sites.garden, sites.sternwarte)] == [
        rows["layout_links"] for rows in before
    ]
    with Session(sites.engine, info={"all_sites": "tests"}) as session:
        counted = str(session.scalars(sa.select(MissingAddress.path)).all()) + str(vars(sites.app.registry[COUNTER]))
    assert path.rpartition("/")[2][:30] not in counted  # No token is among the missing addresses.


def test_the_database_holds_no_token(sites: ContentSites) -> None:
    token = link_to(sites).rpartition("/")[2]
    assert token not in str(rows_of(sites, sites.garden)["layout_links"])


def test_a_link_ends_after_a_week_by_a_withdrawal_and_by_a_new_secret(
    sites: ContentSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, reader = log_in(sites, GARDEN, "owner"), sites.browser(GARDEN)
    kept, path = link_to(sites), owner_link(owner, tagline="Soon")
    page = owner.get("/edit/settings/links")
    assert page.html.select_one(".rows small").text.startswith("tagline=Soon ·")  # And nothing that was not changed.
    assert "made by owner" in page.text
    other = log_in(sites, STERNWARTE, "owner")
    link = page.forms[0]["link"].value
    other.post("/edit/settings/links", {"csrf_token": csrf_token(other), "link": link}, status=404)
    reader.get(path)
    page.forms[0].submit(status=303)
    reader.get(path, status=404)
    reader.get(f"{kept}/")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + LINK_DAYS * 86_400 - 60)
    reader.get(f"{kept}/")
    monkeypatch.setattr(time, "time", lambda: now + LINK_DAYS * 86_400 + 60)
    reader.get(f"{kept}/", status=404)
    new = link_to(sites)
    assert len(rows_of(sites, sites.garden)["layout_links"]) == 1  # The rows of links that have ended are gone.
    rotate_secret(sites.engine, GARDEN)
    sites.app.registry[DIRECTORY].refresh_soon()
    reader.get(f"{new}/", status=404)
    sites.garden = sites.app.registry[DIRECTORY].resolve(GARDEN)


def test_the_oldest_of_many_links_ends(sites: ContentSites) -> None:
    paths = [link_to(sites) for _ in range(MAX_LINKS + 1)]
    sites.browser(GARDEN).get(f"{paths[0]}/", status=404)
    sites.browser(GARDEN).get(f"{paths[1]}/")


@pytest.mark.parametrize("role", ["author", "editor"])
def test_only_an_owner_makes_and_withdraws_links(sites: ContentSites, role: str) -> None:
    link_to(sites)
    browser, before = log_in(sites, GARDEN, role), rows_of(sites, sites.garden)["layout_links"]
    token = csrf_token(browser)
    browser.get("/edit/settings/links", status=403)
    for address in ("/edit/settings/links", "/edit/settings"):
        browser.post(address, {"csrf_token": token, "link": "1", "action": "preview"}, status=403)
        browser_of(sites, GARDEN).post(address, {"link": "1"}, status=403)
    assert rows_of(sites, sites.garden)["layout_links"] == before


def test_a_bad_value_makes_no_link(sites: ContentSites) -> None:
    owner = log_in(sites, GARDEN, "owner")
    form = owner.get("/edit/settings").forms[0]
    form["timezone"].force_value("Europe/Nowhere")
    page = form.submit("action", value="preview", status=400)
    assert page.html.select_one(".fault")
    assert rows_of(sites, sites.garden)["layout_links"] == []


def test_a_link_shows_the_site_as_it_is_now(sites: ContentSites) -> None:
    path, reader = link_to(sites, {"tagline": "Soon"}), sites.browser(GARDEN)
    sites.add(sites.garden, "later")
    assert "later of Garden" in reader.get(f"{path}/").text


def test_a_site_with_a_path_is_shown_below_its_path(sites: ContentSites) -> None:
    """The path without that of the site would be another site."""
    add_domain(sites.engine, GARDEN, f"{STERNWARTE}/garden")
    set_canonical(sites.engine, f"{STERNWARTE}/garden")
    sites.app.registry[DIRECTORY].refresh_soon()
    try:
        reader = sites.browser(STERNWARTE)
        path = f"/garden{link_to(sites, {'tagline': 'Soon'})}"
        page: Any = reader.get(f"{path}/entries/peas")
        assert f"Peas of {GARDEN}" in page.text
        assert page.html.select_one(".tagline").text == "Soon"
        targets = [
            each["href"].removeprefix(f"http://{STERNWARTE}") for each in page.html.select("a[href^='/'], nav a")
        ]
        assert all(target.startswith(f"{path}/") for target in targets), targets
        reader.get(path.removeprefix("/garden") + "/", status=404)
    finally:
        set_canonical(sites.engine, GARDEN)
        sites.app.registry[DIRECTORY].refresh_soon()


def test_a_damaged_token_is_no_link(sites: ContentSites) -> None:
    with Session(sites.engine, info={"site": sites.garden}) as session:
        for token in ("", "x" * 43, "\ud800" * 40, "é" * 40):
            assert find_changes(session, sites.garden, token) is None


def test_a_theme_that_is_gone_breaks_neither_the_site_nor_the_link(sites: ContentSites) -> None:
    folder = Path(sites.settings["multisite.templates_dir"], "themes", "dusk")
    shutil.copytree(folder.with_name("dawn"), folder)
    path, reader = link_to(sites, {"theme.accent": "#445566"}, theme="dusk"), sites.browser(GARDEN)
    reader.get(f"{path}/")
    shutil.rmtree(folder)
    assert reader.get("/").status_int == 200
    assert reader.get(f"{path}/archive").status_int == 200


# Commands.


@pytest.fixture
def run(sites: ContentSites, tmp_path: Path) -> Callable[..., str]:
    """Run a command, and return what it prints; with `fails`, its error."""
    ini = tmp_path / "development.ini"
    lines = "".join(f"{key} = {value.replace('%', '%%')}\n" for key, value in sites.settings.items())
    ini.write_text(f"[app:main]\nuse = call:multisite.content:main\n{lines}", "utf-8")

    def run(*arguments: str, fails: bool = False) -> str:
        result = CliRunner().invoke(multisite_command, ["-c", str(ini), *arguments])
        assert result.exit_code == int(fails), result.output
        return result.stderr if fails else result.stdout

    return run


def test_an_operator_makes_and_withdraws_a_link(sites: ContentSites, run: Callable[..., str]) -> None:
    reader = sites.browser(GARDEN)
    made = json.loads(run("add-preview", GARDEN, "--theme", "dawn", "tagline=Soon", "locale=de", "--json"))
    path = urlsplit(made["link"]).path
    page = reader.get(path)
    assert page.html.select_one("#dawn")
    assert page.html.select_one(".tagline").text == "Soon"
    assert page.html.html["lang"] == "de"
    (listed,) = json.loads(run("list-previews", GARDEN, "--json"))
    assert listed["columns"] == {"theme": "dawn", "locale": "de"}
    assert listed["settings"] == {"tagline": "Soon"}
    number = str(listed["id"])
    assert f"has no link {number}" in run("remove-preview", STERNWARTE, number, fails=True)
    reader.get(path)
    assert run("remove-preview", GARDEN, number) == f"Withdrew the link {number} of {GARDEN}.\n"
    reader.get(path, status=404)
    assert run("list-previews", GARDEN) == ""


def test_what_a_link_cannot_show_is_refused(sites: ContentSites, run: Callable[..., str]) -> None:
    (Path(sites.settings["multisite.sites_dir"]) / "linked").symlink_to("garden.next")
    give_folder(sites, sites.sternwarte, "garden.next")
    try:
        for arguments, said in (
            (("--theme", "dusk"), "there is no theme 'dusk'"),
            (("--folder", "nothing"), "there is no folder 'nothing'"),
            (("--folder", "../templates"), "there is no folder"),
            (("--folder", "linked"), "there is no folder"),
            (("--folder", "garden.next"), "is that of another site"),
            (("theme.accent=#445566",), "is a setting of a theme, and the site has none"),
            (("--theme", "dawn", "theme.accent=red"), "a colour"),
            (("--theme", "dawn", "theme.nothing=x"), "theme.nothing"),
            (("nothing=x",), "nothing"),
            (("timezone=Europe/Nowhere",), "Europe/Nowhere"),
            (("--url", f"http://{STERNWARTE}"), "is not an address of"),
        ):
            assert said in run("add-preview", GARDEN, *arguments, fails=True), arguments
    finally:
        give_folder(sites, sites.sternwarte, sites.sternwarte.folder)
    assert rows_of(sites, sites.garden)["layout_links"] == []


def test_files_of_the_site_that_hide_those_of_the_theme_are_named(sites: ContentSites, run: Callable[..., str]) -> None:
    own = Path(sites.settings["multisite.sites_dir"], sites.garden.folder, "layout.mako")
    own.parent.mkdir(exist_ok=True)
    own.write_text("own", "utf-8")
    try:
        assert "hide 1 of the theme" in run("add-preview", GARDEN, "--theme", "dawn")
        own.parent.with_name("garden.bare").mkdir(exist_ok=True)
        assert "hide" not in run("add-preview", GARDEN, "--theme", "dawn", "--folder", "garden.bare")
    finally:
        own.unlink()
