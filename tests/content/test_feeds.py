"""The Atom feed, the sitemap and robots.txt are valid when parsed as by their consumers."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest
from content_sites import GARDEN, STERNWARTE, ContentSites

from multisite.content import feeds
from multisite.content.settings import FEED_ENTRIES

ATOM = "{http://www.w3.org/2005/Atom}"
SITEMAP = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
XML = "{http://www.w3.org/XML/1998/namespace}"
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def feed_of(sites: ContentSites, host: str) -> ET.Element:
    page = sites.browser(host).get("/feed.xml")
    assert page.content_type == "application/atom+xml"
    return ET.fromstring(page.body)


def check_rfc4287(feed: ET.Element) -> None:
    """Check the requirements of RFC 4287 sections 4.1.1 and 4.1.2 for a feed and its entries."""
    assert feed.tag == f"{ATOM}feed"
    authors = len(feed.findall(f"{ATOM}author"))
    for element in (feed, *feed.findall(f"{ATOM}entry")):
        for name in ("id", "title", "updated"):
            (found,) = element.findall(f"{ATOM}{name}")
            assert found.text
        assert re.match(r"https?://", element.findtext(f"{ATOM}id") or "")
        assert RFC3339.fullmatch(element.findtext(f"{ATOM}updated") or "")
        assert authors or element.findall(f"{ATOM}author")
        alternates = [link for link in element.findall(f"{ATOM}link") if link.get("rel") == "alternate"]
        assert len({(link.get("type"), link.get("hreflang")) for link in alternates}) == len(alternates) == 1
    ids = [element.text for element in feed.iter(f"{ATOM}id")]
    assert len(ids) == len(set(ids))


def test_the_feed_contains_the_newest_entries_with_text_and_tags(sites: ContentSites) -> None:
    sites.add(sites.garden, "older", published=datetime(2024, 5, 4, tzinfo=UTC))
    sites.add(sites.garden, "newer", title="Peas & <beans>", body="*Text* <b>bold</b>", tags=["soil", "a&b"])
    sites.add(sites.sternwarte, "foreign")
    feed = feed_of(sites, GARDEN)
    check_rfc4287(feed)
    newer, older = feed.findall(f"{ATOM}entry")
    assert newer.findtext(f"{ATOM}title") == "Peas & <beans>"
    assert newer.findtext(f"{ATOM}id") == f"http://{GARDEN}/entries/newer"
    assert newer.findtext(f"{ATOM}published") == "2024-05-05T12:00:00Z"
    assert newer.findtext(f"{ATOM}updated") == "2024-05-06T12:00:00Z"
    assert [item.get("label") for item in newer.findall(f"{ATOM}category")] == ["a&b", "soil"]
    content = newer.find(f"{ATOM}content")
    assert content is not None
    assert content.get("type") == "html"
    assert content.text == "<p><em>Text</em> <b>bold</b></p>\n"
    assert content.get(f"{XML}base") == f"http://{GARDEN}/entries/newer"
    assert older.findtext(f"{ATOM}title") == "older of Garden"
    assert feed.findtext(f"{ATOM}updated") == "2024-05-06T12:00:00Z"


def test_the_feed_uses_the_language_and_canonical_domain_of_the_site(sqlite_sites: ContentSites) -> None:
    sqlite_sites.add(sqlite_sites.garden, "x")
    assert feed_of(sqlite_sites, STERNWARTE).get(f"{XML}lang") == "de"
    text = sqlite_sites.browser("alias.example").get("/feed.xml").text
    assert f"http://{GARDEN}/entries/x" in text
    assert "alias.example" not in text


def test_atom_ids_do_not_depend_on_the_requested_url(sqlite_sites: ContentSites) -> None:
    # RFC 4287 section 4.2.6: feed readers show an entry with a new id again.
    sqlite_sites.add(sqlite_sites.garden, "über uns")
    for host, scheme in ((GARDEN, "http"), (f"{GARDEN}:8443", "https"), ("alias.example:8080", "http")):
        page = sqlite_sites.browser(host).get("/feed.xml", extra_environ={"wsgi.url_scheme": scheme})
        feed = ET.fromstring(page.body)
        ids = [element.text for element in feed.iter(f"{ATOM}id")]
        assert ids == [f"http://{GARDEN}/", f"http://{GARDEN}/entries/%C3%BCber%20uns"]
        links = [str(link.get("href")) for link in feed.iter(f"{ATOM}link")]
        assert all(
            link.startswith(f"{scheme}://{GARDEN}{host.partition(':')[1]}{host.partition(':')[2]}/") for link in links
        )


def test_the_feed_of_a_site_without_entries_is_valid(sqlite_sites: ContentSites) -> None:
    check_rfc4287(feed_of(sqlite_sites, GARDEN))


def test_the_feed_is_limited(sqlite_sites: ContentSites) -> None:
    sqlite_sites.add_many(sqlite_sites.garden, FEED_ENTRIES + 5)
    feed = feed_of(sqlite_sites, GARDEN)
    check_rfc4287(feed)
    assert len(feed.findall(f"{ATOM}entry")) == FEED_ENTRIES


def test_characters_not_allowed_in_xml_do_not_break_the_feed(sqlite_sites: ContentSites) -> None:
    odd = "a\x01b\x0bc\ufffed\U0001f331"
    sqlite_sites.add(sqlite_sites.garden, "odd", title=odd, summary=odd, body_html=f"<p>{odd}</p>", tags=[odd])
    feed = feed_of(sqlite_sites, GARDEN)
    assert feed.findtext(f"{ATOM}entry/{ATOM}title") == "abcd\U0001f331"


def test_an_entry_published_after_its_last_change_counts_as_changed_then(sqlite_sites: ContentSites) -> None:
    sqlite_sites.add(sqlite_sites.garden, "x", updated=datetime(2024, 1, 1, tzinfo=UTC))
    assert feed_of(sqlite_sites, GARDEN).findtext(f"{ATOM}updated") == "2024-05-05T12:00:00Z"
    sitemap = ET.fromstring(sqlite_sites.browser(GARDEN).get("/sitemap.xml").body)
    assert sitemap.findtext(f"{SITEMAP}url/{SITEMAP}lastmod") == "2024-05-05T12:00:00Z"


def locations(body: bytes) -> list[str]:
    return [item.text or "" for item in ET.fromstring(body).iter(f"{SITEMAP}loc")]


def test_the_sitemap_lists_visible_entries(sites: ContentSites) -> None:
    sites.add(sites.garden, "shown")
    sites.add(sites.garden, "ü&x")
    sites.add(sites.garden, "draft", draft=True)
    sites.add(sites.garden, "future", published=datetime.now(UTC) + timedelta(days=1))
    sites.add(sites.sternwarte, "foreign")
    page = sites.browser("alias.example").get("/sitemap.xml")
    assert locations(page.body) == [
        f"http://{GARDEN}/",
        f"http://{GARDEN}/archive",
        f"http://{GARDEN}/entries/shown",
        f"http://{GARDEN}/entries/%C3%BC%26x",
    ]
    for address in locations(page.body):
        sites.browser(GARDEN).get(address.removeprefix(f"http://{GARDEN}"))
    assert ET.fromstring(page.body).findtext(f"{SITEMAP}url/{SITEMAP}lastmod") == "2024-05-06T12:00:00Z"


@pytest.mark.parametrize("count", [5, 6, 36])
def test_the_sitemap_of_a_large_site_has_a_part_for_each_month(
    sites: ContentSites, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(feeds, "SITEMAP_SIZE", 5)
    monkeypatch.setattr(feeds, "PART_SIZE", 25)
    for number in range(count):
        # A sixth on the first of January.
        sites.add(sites.garden, f"entry-{number}", published=datetime(2024, 3 if number % 6 else 1, 1, tzinfo=UTC))
    sites.add(sites.garden, "scheduled", published=datetime.now(UTC) + timedelta(days=40))
    sites.add(sites.sternwarte, "foreign", published=datetime(2023, 3, 1, tzinfo=UTC))
    browser = sites.browser(GARDEN)
    found = locations(browser.get("/sitemap.xml").body)
    if count == 5:
        assert len(found) == count + 2
        return
    parts = ["pages", "2024-01", "2024-03"] + (["2024-03-2"] if count == 36 else [])
    assert found == [f"http://{GARDEN}/sitemap-{part}.xml" for part in parts]
    listed = [locations(browser.get(each.removeprefix(f"http://{GARDEN}")).body) for each in found]
    assert all(1 <= len(part) <= 25 for part in listed)
    every = [address for part in listed for address in part]
    assert len(set(every)) == len(every) == count + 2
    assert listed[0] == [f"http://{GARDEN}/", f"http://{GARDEN}/archive"]
    for missing in ("2024-02", "2024-13", "0000-01", "2023-03", "2024-03-9", "1"):
        browser.get(f"/sitemap-{missing}.xml", status=404)


def test_robots_txt_names_the_sitemap_of_the_site(sqlite_sites: ContentSites) -> None:
    page = sqlite_sites.browser("alias.example").get("/robots.txt")
    assert page.content_type == "text/plain"
    assert page.text.endswith(f"\nSitemap: http://{GARDEN}/sitemap.xml\n")
