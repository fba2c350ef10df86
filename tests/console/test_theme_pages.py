"""The theme of a site in the console: pictures, previews at the site's own host, and what hides a theme."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from console_world import CONSOLE, console_browser, console_sites, form_token, log_in_to_console
from content_sites import GARDEN, STERNWARTE, ContentSites
from databases import TWO_WORKERS, fresh_database
from editor_sites import browser_of
from webtest import TestApp

from multisite.core.settings import parse_settings
from multisite.directory.records import get_site
from multisite.sites import theme_list
from multisite.sites.creation import add_site
from multisite.sites.operator_log import LogSelection, list_log
from multisite.sites.template_store.mirror import SHARED, TemplateMirror, site_tree
from multisite.sites.themes import create_theme
from multisite.sites.updates import reload_templates
from multisite.web.theme_preview import THEME_PREVIEW

LAYOUT = '<!doctype html>\n<p id="harbour">Harbour</p>\n${next.body()}\n'
SPARE = "spare.example"
"""A site without templates of its own, which would hide those of themes."""

PICTURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module", params=["sqlite", "postgresql", TWO_WORKERS])
def sites(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    folder, has_two_workers = tmp_path_factory.mktemp("console"), request.param == TWO_WORKERS
    with (
        fresh_database(request, tmp_path_factory) as url,
        console_sites(url, folder, has_two_workers=has_two_workers) as sites,
    ):
        settings = parse_settings(sites.settings)
        for name in ("harbour", "plain"):
            create_theme(settings, name)
        (settings.themes_dir / "harbour" / "layout.mako").write_text(LAYOUT)
        add_site(sites.engine, SPARE, settings=settings)
        shutil.rmtree(settings.sites_dir / SPARE)
        (settings.themes_dir / "harbour" / "screenshot.png").write_bytes(PICTURE)
        yield sites


@pytest.fixture(scope="module")
def rita(sites: ContentSites) -> TestApp:
    return log_in_to_console(sites, "rita", "run")


def page_of(sites: ContentSites) -> str:
    return f"/sites/{get_site(sites.engine, SPARE).site.id}/theme"


def test_each_theme_is_shown_with_its_picture(sites: ContentSites, rita: TestApp) -> None:
    page = rita.get(page_of(sites))
    assert [each.get_text(" ", strip=True) for each in page.html.select(".theme h2")] == [
        "Without a theme", "Folio folio", "harbour harbour", "plain plain", "Shopfront shopfront",
    ]  # fmt: skip
    (image,) = page.html.select(".theme img[src*=harbour]")
    picture = rita.get(image["src"])
    assert (picture.content_type, picture.body) == ("image/png", PICTURE)
    assert picture.headers["X-Content-Type-Options"] == "nosniff"
    for name in ("plain", "nothing", "..", "%2e%2e"):
        rita.get(f"/themes/{name}/picture", status=404)
    console_browser(sites).get(image["src"], status=403)


def test_a_picture_is_a_file_of_the_theme_and_not_too_large(
    sites: ContentSites, rita: TestApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    link = parse_settings(sites.settings).themes_dir / "plain" / "screenshot.png"
    link.symlink_to(tmp_path / "secret")
    rita.get("/themes/plain/picture", status=404)
    link.unlink()
    monkeypatch.setattr(theme_list, "MAX_PICTURE_BYTES", len(PICTURE) - 1)
    rita.get("/themes/harbour/picture", status=404)


def test_a_preview_shows_the_site_in_the_theme_and_changes_nothing_for_visitors(
    sites: ContentSites, rita: TestApp
) -> None:
    fields = {"csrf_token": form_token(rita), "action": "preview", "theme": "harbour"}
    page = rita.post(page_of(sites), fields)
    address = urlsplit(page.html.select_one(".link-once a")["href"])
    assert address.hostname == SPARE
    visitor = browser_of(sites, SPARE)
    for _ in range(2):
        shown = visitor.get(address.path)
        assert shown.html.select_one("#harbour") is not None
        assert "no-store" in shown.headers["Cache-Control"]
        assert visitor.get("/").html.select_one("#harbour") is None
    assert get_site(sites.engine, SPARE).site.theme is None
    browser_of(sites, STERNWARTE).get(address.path, status=404)
    console_browser(sites).get(address.path, status=404)
    newest = next(list_log(sites.engine, LogSelection(who="rita", whats=("add-preview",))))
    assert (newest.site, newest.after) == (SPARE, {"changes": "theme=harbour"})
    refused = rita.post(page_of(sites), {**fields, "theme": "nothing"}, status=400)
    assert "there is no theme" in refused.text


def test_a_link_to_a_preview_is_listed_and_withdrawn(sites: ContentSites, rita: TestApp) -> None:
    fields = {"csrf_token": form_token(rita), "action": "preview", "theme": "plain"}
    path = urlsplit(rita.post(page_of(sites), fields).html.select_one(".link-once a")["href"]).path
    page = rita.get(page_of(sites))
    rows = page.html.select(".rows li")
    assert "theme=plain" in rows[0].text
    assert "by an operator" in rows[0].text
    assert path.split("/")[3] not in page.text
    forms = [form for form in page.forms.values() if "link" in form.fields]
    assert len(forms) == len(rows)
    number = forms[0]["link"].value
    # Not by the page of another site, nor by those who only look, nor a link that is none.
    withdraw = {"csrf_token": form_token(rita), "action": "withdraw", "link": number}
    rita.post(f"/sites/{sites.garden.id}/theme", withdraw, status=404)
    onlooker = log_in_to_console(sites, "otto", "look")
    assert onlooker.get(page_of(sites)).html.select(".rows form") == []
    onlooker.post(page_of(sites), {**withdraw, "csrf_token": form_token(onlooker)}, status=403)
    for wrong in ("", "x", "0", "9" * 18, "9" * 30):
        rita.post(page_of(sites), {**withdraw, "link": wrong}, status=404)
    visitor = browser_of(sites, SPARE)
    visitor.get(path, status=200)
    withdrawn = forms[0].submit("action", status=303).follow()
    assert "The link is withdrawn." in withdrawn.text
    assert len(withdrawn.html.select(".rows li")) == len(rows) - 1
    visitor.get(path, status=404)
    newest = next(list_log(sites.engine, LogSelection(who="rita")))
    assert (newest.what, newest.site, newest.before) == ("remove-preview", SPARE, {"preview": int(number)})
    rita.post(page_of(sites), withdraw, status=404)


def test_the_theme_is_set_with_a_warning_about_what_hides_it(sites: ContentSites, rita: TestApp) -> None:
    settings = parse_settings(sites.settings)
    own = settings.sites_dir / SPARE / "layout.mako"
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text("<p>Own</p>")
    try:
        page = rita.get(page_of(sites))
        assert "1 file of the site hides one of the theme" in page.text
        assert page.html.select_one(".theme details code").text == "layout.mako"
        fields = {"csrf_token": form_token(rita), "action": "theme", "theme": "harbour"}
        chosen = rita.post(page_of(sites), fields, status=303).follow().html.select_one(".theme.chosen")
        assert "harbour" in chosen.text
        assert chosen.find_previous_sibling("li") is None
        assert "In use" in chosen.text
        assert get_site(sites.engine, SPARE).site.theme == "harbour"
        rita.post(page_of(sites), {**fields, "theme": ""}, status=303)
        assert get_site(sites.engine, SPARE).site.theme is None
    finally:
        own.unlink()


def test_an_application_without_previews_has_no_button(
    sites: ContentSites, rita: TestApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sites.app.registry, THEME_PREVIEW)
    page = rita.get(page_of(sites))
    assert page.html.select("button[value=preview]") == []
    assert page.html.select("button[value=theme]") != []
    fields = {"csrf_token": form_token(rita), "action": "preview", "theme": "harbour"}
    rita.post(page_of(sites), fields, status=404)
    rita.post(page_of(sites), {**fields, "action": "withdraw", "link": "1"}, status=404)
    assert CONSOLE not in page.html.select_one(".theme").text


def test_the_console_shows_what_another_machine_has_pushed(tmp_path: Path) -> None:
    with console_sites(f"sqlite:///{tmp_path / 'test.db'}", tmp_path) as sites:
        store = {"multisite.templates_store": f"file://{tmp_path / 'store'}"}
        own = {"multisite.sites_dir": str(tmp_path / "own/sites"), "multisite.templates_dir": str(tmp_path / "own/t")}
        other = parse_settings(sites.settings | store)
        mirror = TemplateMirror(other)
        for tree in (SHARED, site_tree(SPARE), site_tree(GARDEN)):
            if tree == site_tree(SPARE):
                add_site(sites.engine, SPARE, settings=other)
            mirror.push(tree)
        sites.settings |= store | own
        rita = log_in_to_console(sites, "rita", "run")
        page = rita.get(page_of(sites))
        assert "harbour" not in page.text
        assert "2 files of the site hide those of the theme" in page.text
        create_theme(other, "harbour")
        mirror.push(SHARED)
        reload_templates(sites.engine)
        (other.sites_dir / SPARE / "layout.mako").unlink()
        mirror.push(site_tree(SPARE))
        reload_templates(sites.engine, SPARE)
        page = rita.get(page_of(sites))
        assert "harbour harbour" in [each.get_text(" ", strip=True) for each in page.html.select(".theme h2")]
        assert "1 file of the site hides one of the theme" in page.text
        assert not (tmp_path / "own/sites" / GARDEN).exists()
