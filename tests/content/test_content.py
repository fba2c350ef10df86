"""The pages of the reference application show only their own site's content, at a fixed number of queries."""

from __future__ import annotations

import dataclasses
import gettext
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
import warm
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from bs4 import BeautifulSoup
from content_sites import GARDEN, STERNWARTE, ContentSites
from paths import ROOT
from pyramid.renderers import render as pyramid_render
from sqlalchemy.exc import IntegrityError, NoResultFound
from sqlalchemy.orm import Session

from multisite import CrossSiteError, Site, all_sites
from multisite.autogenerate import own_tables
from multisite.cli.upgrade import upgrade
from multisite.content.listing import EntryList
from multisite.content.messages import DOMAIN, PHRASES, PLURALS
from multisite.content.models import Base, Entry, Tag, UtcDateTime, entry_tags
from multisite.content.settings import POSTS_PER_PAGE
from multisite.content.variables import ERRORS
from multisite.core.keys import DIRECTORY
from multisite.directory import engine_from_url
from multisite.language.formats import formats_for
from multisite.language.local_time import zone_of
from multisite.sites.settings.values import set_settings
from multisite.sites.updates import reload_templates
from multisite.testing import request_for
from multisite.web.site_settings import SITE_SETTINGS

pytestmark = pytest.mark.slow

BERLIN = ZoneInfo("Europe/Berlin")


# Isolation of sites.


def test_each_site_shows_its_own_entries_with_the_same_slugs(sites: ContentSites) -> None:
    for site in (sites.garden, sites.sternwarte):
        sites.add(site, "same", tags=["shared"])
        sites.add(site, "other", tags=["shared"], published=datetime(2024, 4, 4, tzinfo=UTC))
    for mine, theirs in ((sites.garden, sites.sternwarte), (sites.sternwarte, sites.garden)):
        browser = sites.browser(mine.host)
        for path in ("/", "/entries/same", "/tags/shared", "/archive/2024", "/feed.xml"):
            page = browser.get(path).text
            assert f"same of {mine.name}" in page, path
            assert f"of {theirs.name}" not in page, path
            assert theirs.host not in page, path


def test_an_entry_tag_or_year_of_another_site_is_not_found(sites: ContentSites) -> None:
    sites.add(sites.garden, "mine", tags=["only here"])
    for path in ("/entries/mine", "/tags/only-here", "/archive/2024"):
        assert sites.browser(GARDEN).get(path).status_code == 200
        assert sites.browser(STERNWARTE).get(path, status=404).status_code == 404


def test_the_database_rejects_a_tag_of_another_site(sites: ContentSites) -> None:
    sites.add(sites.garden, "mine", tags=["a"])
    sites.add(sites.sternwarte, "theirs", tags=["b"])
    with all_sites("test of the reference"), Session(sites.engine) as session:
        entry = session.scalars(sa.select(Entry).where(Entry.slug == "mine")).one()
        tag = session.scalars(sa.select(Tag).where(Tag.name == "b")).one()
        linking = entry_tags.insert().values(site_id=entry.site_id, entry_id=entry.id, tag_id=tag.id)
        with pytest.raises(IntegrityError):
            session.execute(linking)


def test_an_entry_cannot_be_saved_for_another_site(sqlite_sites: ContentSites) -> None:
    with Session(sqlite_sites.engine, info={"site": sqlite_sites.garden}) as session, pytest.raises(CrossSiteError):
        session.add(Entry(slug="x", title="x", draft=True, site_id=sqlite_sites.sternwarte.id))


# Visible entries.


def test_drafts_and_future_entries_are_not_shown(sites: ContentSites) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    sites.add(sites.garden, "shown", tags=["both"])
    sites.add(sites.garden, "draft", tags=["both", "only-draft"], draft=True)
    sites.add(sites.garden, "undated", draft=True, published=None)
    sites.add(sites.garden, "future", tags=["both"], published=soon)
    browser = sites.browser(GARDEN)
    for path in ("/", "/tags/both", "/archive", f"/archive/{2024}", "/feed.xml", "/sitemap.xml", "/entries/shown"):
        page = browser.get(path).text
        assert not [slug for slug in ("draft", "undated", "future") if slug in page.replace("only-draft", "")], path
    for path in ("/entries/draft", "/entries/undated", "/entries/future", "/tags/only-draft"):
        browser.get(path, status=404)


def test_an_entry_appears_at_its_time_of_publication(sqlite_sites: ContentSites) -> None:
    sqlite_sites.add(sqlite_sites.garden, "past", published=datetime.now(UTC) - timedelta(seconds=1))
    assert "past of Garden" in sqlite_sites.browser(GARDEN).get("/")


def test_home_is_paginated_newest_first(sites: ContentSites) -> None:
    sites.add_many(sites.garden, 2 * POSTS_PER_PAGE + 1)
    browser = sites.browser(GARDEN)
    seen = []
    page = browser.get("/")
    while True:
        seen += [link.text for link in page.html.select(".entry-card h2 a")]
        older = page.html.select_one(".pager-older")
        if older is None:
            break
        page = browser.get(older["href"].removeprefix(f"http://{GARDEN}"))
    assert seen == [f"Entry {number:03}" for number in range(2 * POSTS_PER_PAGE + 1)]
    assert page.html.select_one(".pager-newer")["href"] == f"http://{GARDEN}/?page=2"
    assert page.html.select_one("link[rel=canonical]")["href"] == f"http://{GARDEN}/?page=3"
    browser.get("/?page=4", status=404)


@pytest.mark.parametrize("reload", ["true", "false"])
def test_an_empty_home_page_shows_the_import_command_in_development(sqlite_sites: ContentSites, reload: str) -> None:
    sqlite_sites.settings["pyramid.reload_templates"] = reload
    browser = sqlite_sites.browser(GARDEN)
    page = browser.get("/")
    assert page.html.select_one(".nothing-yet").text == "Nothing has been published here yet."
    commands = [code.text for code in page.html.select(".next-step code.command")]
    assert commands == ([f"multisite import-entries {GARDEN} FOLDER"] if reload == "true" else [])
    sqlite_sites.add(sqlite_sites.garden, "first")
    page = browser.get("/")
    assert page.html.select(".nothing-yet, .next-step") == []


def test_a_full_last_page_has_no_next_page(sqlite_sites: ContentSites) -> None:
    sqlite_sites.add_many(sqlite_sites.garden, POSTS_PER_PAGE)
    assert sqlite_sites.browser(GARDEN).get("/").html.select_one(".pager") is None


@pytest.mark.parametrize("page", ["0", "-1", "01", "1.0", "x", "", "²", "9" * 7, "9" * 4000])
def test_an_invalid_page_number_is_not_found(sqlite_sites: ContentSites, page: str) -> None:
    browser = sqlite_sites.browser(GARDEN)
    assert browser.get("/", {"page": page}, status=404).status_code == 404
    assert browser.get("/", {"page": "1"}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/entries/%00", "/tags/%00", "/entries/a%2Fb", "/archive/0", "/archive/9999", "/archive/1"]
)
def test_odd_urls_are_not_found(sites: ContentSites, path: str) -> None:
    sites.browser(GARDEN).get(path, status=404)


def test_a_path_that_is_not_utf8_is_a_bad_request(sqlite_sites: ContentSites) -> None:
    sqlite_sites.browser(GARDEN).get("/entries/%ff", status=400)


@pytest.mark.parametrize("path", ["/", "/archive/2024", "/tags/a"])
def test_a_page_number_that_is_not_utf8_is_a_bad_request(sqlite_sites: ContentSites, path: str) -> None:
    sqlite_sites.add(sqlite_sites.garden, "a", tags=["a"])
    sqlite_sites.browser(GARDEN).get(f"{path}?page=1")
    sqlite_sites.browser(GARDEN).get(f"{path}?page=%ff", status=400)


def test_a_site_without_entries_has_pages(sites: ContentSites) -> None:
    browser = sites.browser(STERNWARTE)
    assert "Hier ist noch nichts erschienen." in browser.get("/")
    assert "Hier ist noch nichts erschienen." in browser.get("/archive")


def test_neighbours_link_all_entries_in_both_directions(sites: ContentSites) -> None:
    sites.add_many(sites.garden, 3)
    # Entries of the same instant must still have one order.
    for slug in ("twin-a", "twin-b"):
        sites.add(sites.garden, slug)
    sites.add(sites.sternwarte, "foreign", published=datetime(2024, 5, 5, 11, 30, tzinfo=UTC))
    browser = sites.browser(GARDEN)
    seen = ["twin-b"]
    while (older := browser.get(f"/entries/{seen[-1]}").html.select_one(".pager-older")) is not None:
        seen.append(older["href"].rpartition("/")[2])
    assert seen == ["twin-b", "twin-a", "entry-000", "entry-001", "entry-002"]
    back = [seen[-1]]
    while (newer := browser.get(f"/entries/{back[-1]}").html.select_one(".pager-newer")) is not None:
        back.append(newer["href"].rpartition("/")[2])
    assert back == seen[::-1]


def test_text_is_escaped_and_only_the_sanitized_body_is_html(sqlite_sites: ContentSites) -> None:
    payload = "<script>alert(1)</script>"
    sqlite_sites.add(
        sqlite_sites.garden, "x", title=f"T{payload}", summary=f"S{payload}", tags=[f"N{payload}"], body=f"*b*{payload}"
    )
    browser = sqlite_sites.browser(GARDEN)
    tag_url = browser.get("/").html.select_one("a[rel=tag]")["href"].removeprefix(f"http://{GARDEN}")
    for path in ("/", "/entries/x", "/archive/2024", tag_url):
        assert payload not in browser.get(path), path
        assert browser.get(path).text.count("<script") == len(
            browser.get(path).html.select("head > script[type$=json]")
        )
    assert "<em>b</em>" in browser.get("/entries/x")


def test_slugs_in_any_script_have_urls(sqlite_sites: ContentSites) -> None:
    for slug in ("über-uns", "日本語", "हिन्दी"):
        sqlite_sites.add(sqlite_sites.garden, slug, tags=[slug])
    browser = sqlite_sites.browser(GARDEN)
    links = browser.get("/").html.select(".entry-card a")
    assert len(links) == 6
    for link in links:
        assert link["href"].isascii()
        browser.get(link["href"].removeprefix(f"http://{GARDEN}"))


# Language, time zone and years.


def test_phrases_and_dates_are_in_the_language_of_the_site(sqlite_sites: ContentSites) -> None:
    late = datetime(2024, 5, 5, 22, 30, tzinfo=UTC)
    for site in (sqlite_sites.garden, sqlite_sites.sternwarte):
        sqlite_sites.add(site, "late", published=late)
    english = sqlite_sites.browser(GARDEN).get("/entries/late")
    german = sqlite_sites.browser(STERNWARTE).get("/entries/late")
    assert english.html.html["lang"] == "en"
    assert english.html.time.text == "May 5, 2024"
    assert english.html.time["datetime"] == "2024-05-05T22:30:00+00:00"
    assert "Skip to content" in english
    assert german.html.html["lang"] == "de"
    assert german.html.time.text == "6. Mai 2024"
    assert german.html.time["datetime"] == "2024-05-06T00:30:00+02:00"
    assert "Zum Inhalt springen" in german


def test_years_begin_at_midnight_in_the_site_s_time_zone(sites: ContentSites) -> None:
    at_midnight = datetime(2024, 1, 1, tzinfo=BERLIN)
    for site in (sites.garden, sites.sternwarte):
        sites.add(site, "first-of-2024", published=at_midnight)
        sites.add(site, "last-of-2023", published=at_midnight - timedelta(seconds=1))
        sites.add(site, "old", published=datetime(1999, 6, 1, tzinfo=UTC))

    def years(host: str) -> list[str]:
        items = sites.browser(host).get("/archive").html.select(".year-list li")
        return [" ".join(item.text.split()) for item in items]

    assert years(STERNWARTE) == ["2024 1 Beitrag", "2023 1 Beitrag", "1999 1 Beitrag"]
    assert years(GARDEN) == ["2023 2 entries", "1999 1 entry"]
    page = sites.browser(STERNWARTE).get("/archive/2024")
    assert "first-of-2024" in page
    assert "last-of-2023" not in page
    assert "last-of-2023" in sites.browser(STERNWARTE).get("/archive/2023")
    sites.browser(GARDEN).get("/archive/2024", status=404)


def test_the_archive_counts_across_centuries(sites: ContentSites) -> None:
    for year in (1, 1066, 1582, 1900, 2024):
        sites.add(sites.garden, f"of-{year}", published=datetime(year, 7, 1, tzinfo=UTC))
    items = sites.browser(GARDEN).get("/archive").html.select(".year-list a")
    assert [item.text for item in items] == ["2024", "1900", "1582", "1066", "1"]
    for item in items:
        sites.browser(GARDEN).get(item["href"].removeprefix(f"http://{GARDEN}"))


def test_threads_of_different_sites_do_not_interfere(sqlite_sites: ContentSites) -> None:
    for site in (sqlite_sites.garden, sqlite_sites.sternwarte):
        sqlite_sites.add(site, "x")
    browsers = {host: sqlite_sites.browser(host) for host in (GARDEN, STERNWARTE)}

    def date(host: str) -> tuple[str, str]:
        return host, browsers[host].get("/entries/x").html.time.text

    with ThreadPoolExecutor(8) as pool:
        seen = set(pool.map(date, [GARDEN, STERNWARTE] * 20))
    assert seen == {(GARDEN, "May 5, 2024"), (STERNWARTE, "5. Mai 2024")}


CATALOG = ROOT / "multisite" / "content" / "locale" / "de" / "LC_MESSAGES" / "content"


def test_both_languages_have_all_phrases_with_the_same_fields() -> None:
    with CATALOG.with_suffix(".po").open("rb") as po, CATALOG.with_suffix(".mo").open("rb") as mo:
        german, compiled = read_po(po), gettext.GNUTranslations(mo)
    assert {message.id for message in german if message.id} == {*PHRASES.values(), *PLURALS.values()}
    for message in german:
        if not message.id:
            continue
        one, *more = (message.id,) if isinstance(message.id, str) else message.id
        translations = [message.string] if not more else list(message.string)
        assert all(text.count("{") == one.count("{") for text in translations), one
        # The compiled catalog is up to date.
        said = [compiled.ngettext(one, *more, n) for n in (1, 2)] if more else [compiled.gettext(one)]
        assert said == translations


def test_a_site_translates_and_overrides_phrases(sqlite_sites: ContentSites) -> None:
    with request_for(sqlite_sites.app, STERNWARTE) as request:
        assert request.phrase("home") == "Startseite"
        assert request.phrase("entry_count", n=1, count="1") == "1 Beitrag"
        assert request.phrase("entry_count", n=1000, count="1.000") == "1.000 Beiträge"
        assert request.phrase("page_number", number="2") == "Seite 2"
    with request_for(sqlite_sites.app, GARDEN) as request:
        assert request.phrase("home") == "Home"
        assert request.phrase("entry_count", n=1, count="1") == "1 entry"
    own = Catalog(locale="de")
    own.add("Home", "Kuppel")
    folder = Path(sqlite_sites.settings["multisite.sites_dir"]) / STERNWARTE / "locale" / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    with (folder / f"{DOMAIN}.mo").open("wb") as file:
        write_mo(file, own)
    reload_templates(sqlite_sites.engine)
    browser = sqlite_sites.browser(STERNWARTE)
    sqlite_sites.app.registry[DIRECTORY].refresh_soon()
    assert [link.text for link in browser.get("/").html.select(".site-nav a")] == ["Kuppel", "Archiv", "Suche"]
    assert [link.text for link in sqlite_sites.browser(GARDEN).get("/").html.select(".site-nav a")] == [
        "Home",
        "Archive",
        "Search",
    ]


def test_settings_of_a_site_change_only_its_own_pages(sqlite_sites: ContentSites) -> None:
    declared = sqlite_sites.app.registry[SITE_SETTINGS]
    values = {"posts_per_page": "1", "feed_entries": "1", "tagline": "Sky & stars", "languages": "en"}
    set_settings(sqlite_sites.engine, STERNWARTE, values, declared=declared)
    for site in (sqlite_sites.garden, sqlite_sites.sternwarte):
        for slug in ("x", "y"):
            sqlite_sites.add(site, slug)
    for host, count in ((STERNWARTE, 1), (GARDEN, 2)):
        browser = sqlite_sites.browser(host)
        page = browser.get("/", headers={"Accept-Language": "en"})
        assert len(page.html.select(".entry-card")) == count
        assert len(page.html.select(".tagline")) == page.headers.get("Vary", "").count("Accept-Language") == 2 - count
        assert ("Sky &amp; stars" in page.text) == (host == STERNWARTE)
        assert page.html.html["lang"] == "en"
        assert browser.get("/feed.xml").text.count("<entry>") == count
    german = sqlite_sites.browser(STERNWARTE).get("/", headers={"Accept-Language": "de-CH"})
    assert (german.html.html["lang"], german.html.select_one(".site-nav a").text) == ("de", "Startseite")


def test_every_phrase_is_used() -> None:
    code = [*ROOT.glob("templates/*.mako"), *ROOT.glob("multisite/content/*.py")]
    said = set(
        re.findall(r"""\b(?:text|phrase)\(["']([a-z_]+)["']""", "".join(path.read_text("utf-8") for path in code))
    )
    said |= {f"error_{status}_{part}" for status in ERRORS for part in ("title", "text")}
    assert {*PHRASES, *PLURALS} == said


@pytest.mark.parametrize(
    ("locale", "timezone", "direction", "date"),
    [
        ("en-GB", "Europe/London", "ltr", "5 May 2024"),
        ("ar", "UTC", "rtl", "5 مايو 2024"),
        ("zz-nowhere", "Not/AZone", "ltr", "May 5, 2024"),
        ("de-x-private", "../../etc/passwd", "ltr", "5. Mai 2024"),
    ],
)
def test_pages_work_in_any_locale_and_time_zone(locale: str, timezone: str, direction: str, date: str) -> None:
    formats = formats_for(locale, zone_of(Site(1, "a.example", "A", "a", locale, timezone)))
    assert formats.direction == direction
    assert formats.date(datetime(2024, 5, 5, 12, tzinfo=UTC)) == date


# URLs and headers.


def test_links_use_the_canonical_domain(sqlite_sites: ContentSites) -> None:
    sqlite_sites.add(sqlite_sites.garden, "x", tags=["t"])
    page = sqlite_sites.browser("alias.example:6543").get("/entries/x")
    assert "alias.example" not in page
    assert page.html.select_one("link[rel=canonical]")["href"] == f"http://{GARDEN}:6543/entries/x"
    assert {link["href"] for link in page.html.select(".site-nav a")} == {
        f"http://{GARDEN}:6543/",
        f"http://{GARDEN}:6543/archive",
        f"http://{GARDEN}:6543/search",
    }


PATHS = [
    "/",
    "/?page=2",
    "/entries/entry-001",
    "/tags/t",
    "/archive",
    "/archive/2024",
    "/feed.xml",
    "/sitemap.xml",
    "/robots.txt",
]


@pytest.fixture
def filled(sqlite_sites: ContentSites) -> ContentSites:
    sqlite_sites.add_many(sqlite_sites.garden, POSTS_PER_PAGE + 2)
    sqlite_sites.add(sqlite_sites.garden, "tagged", tags=["t"])
    return sqlite_sites


@pytest.mark.parametrize("path", PATHS)
def test_an_unchanged_page_is_answered_with_304(filled: ContentSites, path: str) -> None:
    browser = filled.browser(GARDEN)
    first = browser.get(path)
    tag = first.headers["ETag"]
    assert tag.startswith('W/"')
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}'):
        again = browser.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.body) == (304, b""), known
        assert again.headers["ETag"] == tag
        assert again.headers["Cache-Control"] == first.headers["Cache-Control"]
    assert browser.get(path, headers={"If-None-Match": 'W/"other"'}).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_head_has_the_headers_of_get_and_no_body(filled: ContentSites, path: str) -> None:
    browser = filled.browser(GARDEN)
    got, headed = browser.get(path), browser.head(path)
    assert headed.body == b""
    for name in ("ETag", "Content-Type", "Content-Length"):
        assert headed.headers[name] == got.headers[name]
    assert browser.head(path, headers={"If-None-Match": got.headers["ETag"]}).status_code == 304


@pytest.mark.parametrize("path", [path for path in PATHS if path not in ("/?page=2", "/robots.txt")])
def test_a_new_entry_changes_the_etag_of_every_page_that_shows_it(filled: ContentSites, path: str) -> None:
    browser = filled.browser(GARDEN)
    before = browser.get(path).headers["ETag"]
    # Published between the first entry and the second, so the neighbour of the second changes.
    between = datetime(2024, 5, 5, 11, 30, tzinfo=UTC)
    filled.add(filled.garden, "new", tags=["t"], published=between)
    if path != "/archive":
        assert "new" in browser.get(path)
    assert browser.get(path, headers={"If-None-Match": before}).status_code == 200


def test_a_changed_layout_changes_the_etag(filled: ContentSites) -> None:
    layout = Path(filled.settings["multisite.sites_dir"], GARDEN, "layout.mako")
    before = filled.browser(GARDEN).get("/").headers["ETag"]
    layout.write_text(layout.read_text("utf-8").replace("</footer>", "<p>Greetings.</p></footer>"), "utf-8")
    with_new_layout = ContentSites(filled.engine, filled.settings, filled.garden, filled.sternwarte)
    page = with_new_layout.browser(GARDEN).get("/", headers={"If-None-Match": before})
    assert "Greetings." in page
    with_new_layout.app.registry[DIRECTORY].engine.dispose()


def test_the_404_uses_the_layout_of_the_site_and_has_no_etag(filled: ContentSites) -> None:
    for host, title in ((GARDEN, "Page not found – Garden"), (STERNWARTE, "Seite nicht gefunden – Sternwarte")):
        page = filled.browser(host).get("/nothing/here", status=404)
        assert page.html.title.text == title
        assert page.html.select_one(".site-header")
        assert "ETag" not in page.headers


@pytest.mark.parametrize("status", [400, 403, 410, 418, 500, 502, 503])
@pytest.mark.parametrize(("host", "rest"), [(GARDEN, " – Garden"), (STERNWARTE, " – Sternwarte")])
def test_every_error_has_a_page_in_the_language_of_the_site(
    sqlite_sites: ContentSites, host: str, rest: str, status: int
) -> None:
    known = status if status in ERRORS else status // 100 * 100
    variables = {"status": status, "reason": "Whatever"}
    with request_for(sqlite_sites.app, host, "/nothing/here") as request:
        page = BeautifulSoup(pyramid_render("/error.mako", variables, request=request), "html.parser")
        title, text = (request.phrase(f"error_{known}_{part}") for part in ("title", "text"))
    assert page.title is not None
    assert page.title.text == title + rest
    assert text in page.text
    assert (title in PHRASES.values()) == (host == GARDEN)
    assert page.body["class"] == ["page-error"]


def test_the_error_page_needs_no_query(filled: ContentSites) -> None:
    filled.queries()
    filled.browser(GARDEN).get("/nothing/here.html", status=404)
    assert filled.queries() == []
    # A page could be here.
    filled.browser(GARDEN).get("/nothing/here", status=404)
    assert len(filled.queries()) == 1


def test_other_methods_get_405(filled: ContentSites) -> None:
    browser = filled.browser(GARDEN)
    for path in (*PATHS, "/robots.txt"):
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            page = browser.request(path, method=method, headers={"Host": GARDEN}, status=405)
            assert page.headers["Allow"] == "GET, HEAD"
        assert browser.head(path).status_code == 200
    browser.post("/nothing/here", status=404)


# Cost.


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/", 2),
        ("/entries/entry-001", 4),
        ("/tags/t", 3),
        ("/archive", 2),
        ("/archive/2024", 4),
        ("/feed.xml", 2),
        ("/sitemap.xml", 4),
    ],
)
def test_a_page_needs_few_queries_for_any_number_of_entries(filled: ContentSites, path: str, most: int) -> None:
    browser = filled.browser(GARDEN)
    filled.queries()
    browser.get(path)
    assert 0 < len(filled.queries()) <= most


def test_a_page_renders_no_markdown_and_lists_load_no_texts(filled: ContentSites) -> None:
    filled.add(filled.garden, "rendered", body="*source*", body_html="<p>what was saved</p>")
    assert "what was saved" in filled.browser(GARDEN).get("/entries/rendered")
    filled.queries()
    filled.browser(GARDEN).get("/")
    assert not [statement for statement in filled.queries() if "body" in statement]


def test_a_listed_entry_has_its_own_tags_in_order_and_loads_its_text_on_demand(sites: ContentSites) -> None:
    for site, names in ((sites.sternwarte, ["x", "a"]), (sites.garden, ["c", "b", "a"])):
        sites.add(site, "same", tags=names, body_html=f"<p>{site.host}</p>")
        sites.add(site, "plain")
    with Session(sites.engine, info={"site": sites.garden}) as session:
        listing = EntryList(datetime(2025, 1, 1, tzinfo=UTC)).page(session, size=5)
        assert [entry.slug for entry in listing.entries] == ["plain", "same"]
        plain, same = listing.entries
        assert [[tag.name for tag in entry.tags] for entry in (plain, same)] == [[], ["a", "b", "c"]]
        assert same.body_html == f"<p>{GARDEN}</p>"
    with Session(sites.engine, info={"site": sites.sternwarte}) as session:
        # As if an entry were taken to the session of another site.
        taken = dataclasses.replace(same, session=session)
        with pytest.raises(NoResultFound):
            taken.body_html  # noqa: B018


def test_lists_use_an_index_without_sorting(sqlite_sites: ContentSites) -> None:
    sites = sqlite_sites  # With so few rows, the planner of PostgreSQL prefers to sort
    sites.add_many(sites.garden, 50)
    sites.add_many(sites.sternwarte, 50)
    sites.queries()
    sites.browser(GARDEN).get("/")
    (statement,) = (each for each in sites.queries() if "FROM entries" in each and "LIMIT" in each)
    with sites.engine.connect() as connection, all_sites("explain"):
        plan = connection.exec_driver_sql(
            f"EXPLAIN QUERY PLAN {statement}", tuple("x" for _ in range(statement.count("?")))
        ).fetchall()
    text = " ".join(str(row) for row in plan)
    assert "ix_entries_site_id_draft_published_id" in text
    assert "TEMP B-TREE" not in text


# The tables.


@pytest.fixture
def ini(database_url: str, tmp_path: Path) -> Path:
    text = (ROOT / "development.ini").read_text("utf-8")
    text = text.replace("sqlite:///%(here)s/var/multisite.db", database_url.replace("%", "%%"))
    text = text.replace("%(here)s/migrations", str(ROOT / "migrations"))
    path = tmp_path / "test.ini"
    path.write_text(text, "utf-8")
    return path


def differences(database_url: str) -> list[object]:
    engine = engine_from_url(database_url)
    try:
        with engine.connect() as connection:
            options = {"compare_type": True, "compare_server_default": True}
            context = MigrationContext.configure(connection, opts=options)
            found = compare_metadata(context, Base.metadata)
    finally:
        engine.dispose()
    return [one for one in found if getattr(one[1], "name", None) not in own_tables()]


def test_the_revisions_create_the_tables_of_the_models(ini: Path, database_url: str) -> None:
    own, application = (
        [path.name[:4] for path in sorted((ROOT / folder / "versions").glob("[0-9]*.py"))]
        for folder in ("multisite/directory/migrations", "migrations")
    )
    assert [line.split(":")[0] for line in upgrade(ini)] == [
        *(f"multisite {revision}" for revision in own),
        *(f"application content_{revision}" for revision in application),
    ]
    assert upgrade(ini) == []
    assert differences(database_url) == []


def test_the_comparison_finds_a_missing_column(ini: Path, database_url: str) -> None:
    upgrade(ini)
    engine = engine_from_url(database_url)
    with engine.begin() as connection, all_sites("change a table by hand"):
        connection.execute(sa.text("ALTER TABLE tags ADD COLUMN surplus INTEGER"))
    engine.dispose()
    assert differences(database_url) != []


def test_plain_alembic_creates_and_drops_the_same_tables(ini: Path, database_url: str) -> None:
    def alembic(*arguments: str) -> str:
        command = [*warm.python(), "-W", "ignore", "-m", "alembic", "-c", str(ini), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        return done.stdout

    alembic("upgrade", "head")
    assert differences(database_url) == []
    assert alembic("current").endswith("(head)\n")
    alembic("check")
    alembic("downgrade", "base")
    alembic("upgrade", "head")
    assert "CREATE TABLE entries" in alembic("upgrade", "head", "--sql")


def test_a_datetime_keeps_its_instant_and_must_be_aware(sites: ContentSites) -> None:
    sites.add(sites.garden, "x", published=datetime(2024, 5, 5, 12, tzinfo=BERLIN))
    with Session(sites.engine, info={"site": sites.garden}) as session:
        entry = session.scalars(sa.select(Entry)).one()
        assert entry.published == datetime(2024, 5, 5, 10, tzinfo=UTC)
        assert entry.published.tzinfo is UTC
    with pytest.raises(ValueError, match="no time zone"):
        UtcDateTime().process_bind_param(datetime(2024, 5, 5), sites.engine.dialect)  # noqa: DTZ001
