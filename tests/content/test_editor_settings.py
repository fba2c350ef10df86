"""The editor: settings of the site, for its owners."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from content_sites import GARDEN, STERNWARTE, ContentSites
from databases import fresh_database
from editor_sites import add_user, csrf_token, editor_sites, log_in

from multisite.directory.records import get_site
from multisite.sites.settings.values import set_settings
from multisite.web.site_settings import SITE_SETTINGS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def sites(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    with (
        fresh_database(request, tmp_path_factory) as url,
        editor_sites(url, tmp_path_factory.mktemp("editor")) as made,
    ):
        made.settings |= {"multisite.refresh_seconds": "0", "multisite.site.feed_entries": "7"}
        for role in ("owner", "editor", "author"):
            add_user(made, made.garden, role, role)
        add_user(made, made.sternwarte, "owner", "owner")
        yield made


def test_an_owner_changes_the_site_at_once(sites: ContentSites) -> None:
    other = get_site(sites.engine, STERNWARTE)
    browser = log_in(sites, GARDEN, "owner")
    form = browser.get("/edit/settings").forms[0]
    assert [form[name].value for name in ("name", "timezone", "feed_entries", "tagline")] == ["Garden", "UTC", "7", ""]
    form["name"], form["timezone"], form["tagline"] = "The Garden", "Europe/Vienna", "Outdoors <b>only</b>"
    form["feed_entries"] = "20"  # What the declaration says, but not the ini.
    saved = form.submit(status=303).follow()
    assert saved.html.select_one("[role=status]").text == "The settings are saved."
    page = browser.get("/")
    assert (page.html.select_one(".site-name").text, page.html.select_one(".tagline").text) == (
        "The Garden",
        "Outdoors <b>only</b>",
    )
    site = get_site(sites.engine, GARDEN).site
    assert (site.timezone, site.own_settings) == (
        "Europe/Vienna",
        '{"feed_entries":"20","tagline":"Outdoors <b>only</b>"}',
    )
    assert get_site(sites.engine, STERNWARTE) == other
    form = browser.get("/edit/settings").forms[0]
    form["tagline"], form["feed_entries"], form["name"], form["timezone"] = "", "7", "Garden", "UTC"
    form.submit(status=303)
    assert get_site(sites.engine, GARDEN).site == sites.garden


def test_a_bad_value_changes_nothing(sites: ContentSites) -> None:
    browser = log_in(sites, GARDEN, "owner")
    before = get_site(sites.engine, GARDEN)
    bad = {"name": " ", "locale": "xx-XX-1", "timezone": "Mars/Crater", "posts_per_page": "0", "feed_entries": "many"}
    for name, value in bad.items():
        form = browser.get("/edit/settings").forms[0]
        form["tagline"] = "Not saved"
        form[name].force_value(value)
        page = form.submit(status=400)
        assert page.html.select_one("[role=alert]").text == "Nothing was saved: some values are not valid."
        assert page.html.select_one(".fault").text.startswith("Expected: ")
        assert page.html.select_one("[aria-invalid]")["name"] == name
        assert page.forms[0]["tagline"].value == "Not saved"
    assert get_site(sites.engine, GARDEN) == before


def test_what_is_not_declared_for_owners_cannot_be_changed(sites: ContentSites) -> None:
    browser = log_in(sites, GARDEN, "owner")
    form = browser.get("/edit/settings").forms[0]
    assert "mail_from" not in form.fields
    fields = dict(form.submit_fields()) | {"mail_from": "boss@example.com", "id": "2", "site_id": "2", "theme": "x"}
    browser.post("/edit/settings", fields, status=303)
    assert get_site(sites.engine, GARDEN).site == sites.garden


def test_only_owners_may_see_and_change_settings(sites: ContentSites) -> None:
    before = get_site(sites.engine, GARDEN)
    for role in ("editor", "author"):
        browser = log_in(sites, GARDEN, role)
        browser.get("/edit/settings", status=403)
        browser.post("/edit/settings", {"csrf_token": csrf_token(browser), "name": "Mine"}, status=403)
        assert "/edit/settings" not in browser.get("/edit/").text
    assert get_site(sites.engine, GARDEN) == before


def test_the_form_is_there_in_german(sites: ContentSites) -> None:
    declared = sites.app.registry[SITE_SETTINGS]
    browser = log_in(sites, STERNWARTE, "owner")
    form = browser.get("/edit/settings").forms[0]
    form["posts_per_page"] = "0"
    page = form.submit(status=400)
    assert page.html.select_one(".fault").text == "Erwartet: eine ganze Zahl von 1 bis 100"
    assert "Wie viele Beiträge auf einer Seite" in page.text
    assert set_settings(sites.engine, STERNWARTE, {"tagline": ""}, declared=declared).site.name == "Sternwarte"
