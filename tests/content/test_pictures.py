"""The picture of an entry: on its page, in lists, in Open Graph and in the feed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from xml.etree import ElementTree as ET

import pytest
from bs4 import BeautifulSoup
from content_sites import GARDEN, STERNWARTE, ContentSites, content_sites
from databases import fresh_database
from media_files import add, remove_all
from paths import ROOT
from PIL import Image

from multisite.content.models import Media
from multisite.core.keys import DIRECTORY
from multisite.sites.domains import add_domain, set_canonical

URL = f"http://{GARDEN}"
_target = io.BytesIO()
Image.linear_gradient("L").resize((1600, 900)).convert("RGB").save(_target, "JPEG", quality=95)
PHOTO = _target.getvalue()
LAYOUTS = sorted(path.name for path in (ROOT / "sites").iterdir())


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    with (
        fresh_database(request, tmp_path_factory) as url,
        content_sites(url, tmp_path_factory.mktemp("pictures")) as sites,
    ):
        sites.settings |= {"multisite.refresh_seconds": "0"}
        yield sites


@pytest.fixture
def sites(world: ContentSites) -> ContentSites:
    remove_all(world)
    return world


@pytest.fixture
def media(sites: ContentSites) -> Media:
    """A picture of the garden, which three of its entries have."""
    media = add(sites, sites.garden, PHOTO, alt='A "leaf" & <mould>')
    for number in range(3):
        sites.add(sites.garden, f"with-{number}", picture=media.path)
    sites.add(sites.garden, "without")
    return media


def test_the_page_of_the_entry_shows_it(sites: ContentSites, media: Media) -> None:
    page = sites.browser(GARDEN).get("/entries/with-0")
    image = page.html.select_one(".entry-picture img")
    assert image["src"] == media.path
    assert (image["width"], image["height"]) == ("1600", "900")
    assert image["alt"] == 'A "leaf" & <mould>'
    assert [each.rpartition(" ")[2] for each in image["srcset"].split(", ")] == ["320w", "640w", "1280w", "1600w"]
    assert "loading" not in image.attrs  # It is the largest thing that a visitor waits for.
    found = {each["property"]: each["content"] for each in page.html.select("meta[property^=og]")}
    assert found["og:image"] == f"{URL}{media.path}"
    assert (found["og:image:width"], found["og:image:height"]) == ("1600", "900")
    assert found["og:image:alt"] == 'A "leaf" & <mould>'
    assert sites.browser(GARDEN).get("/entries/without").html.select_one(".entry-picture") is None


def test_a_picture_that_the_text_has_is_shown_once(sites: ContentSites) -> None:
    media = add(sites, sites.garden, PHOTO, alt="A leaf")
    sites.add(sites.garden, "twice", picture=media.path, body=f"Look:\n\n![A leaf]({media.path})")
    page = sites.browser(GARDEN).get("/entries/twice")
    assert len(page.html.select(f'main img[src="{media.path}"]')) == 1
    assert page.html.select_one(".entry-picture") is None
    assert ET.fromstring(sites.browser(GARDEN).get("/feed.xml").body).findtext(".//{*}content").count("<img") == 1


def test_a_list_shows_all_of_them_by_one_query(sites: ContentSites, media: Media) -> None:
    browser = sites.browser(GARDEN)
    browser.get("/")
    sites.statements.clear()
    images = browser.get("/").html.select(".entry-card .entry-picture img")
    assert [(image["src"], image["loading"]) for image in images] == [(media.path, "lazy")] * 3
    assert len([each for each in sites.statements if "FROM media" in each]) == 1


def test_entries_without_pictures_cost_no_query(sites: ContentSites) -> None:
    sites.add(sites.garden, "without")
    browser = sites.browser(GARDEN)
    browser.get("/")
    sites.statements.clear()
    for path in ("/", "/entries/without", "/feed.xml"):
        browser.get(path)
    assert not [each for each in sites.statements if "media" in each]


def test_the_feed_shows_them_with_absolute_addresses(sites: ContentSites, media: Media) -> None:
    sites.statements.clear()
    feed = ET.fromstring(sites.browser(GARDEN).get("/feed.xml").body)
    contents = [each.text or "" for each in feed.iterfind(".//{*}content")]
    images = [image for text in contents for image in BeautifulSoup(text, "html.parser").select("img")]
    assert [image["src"] for image in images] == [f"{URL}{media.path}"] * 3
    assert all(each.startswith(f"{URL}/media/") for image in images for each in image["srcset"].split(", "))
    assert len([each for each in sites.statements if "FROM media" in each]) == 1


def test_a_decorative_picture_has_an_empty_text(sites: ContentSites) -> None:
    media = add(sites, sites.garden, PHOTO, alt="kept", decorative=True)
    sites.add(sites.garden, "decorated", picture=media.path)
    assert sites.browser(GARDEN).get("/entries/decorated").html.select_one(".entry-picture img")["alt"] == ""


def test_the_picture_of_another_site_is_not_shown(sites: ContentSites, media: Media) -> None:
    """The row names a file that this site does not have, as a damaged import could."""
    sites.add(sites.sternwarte, "stolen", picture=media.path)
    page = sites.browser(STERNWARTE).get("/entries/stolen")
    assert page.html.select_one(".entry-picture") is None
    assert page.html.select_one('meta[property="og:image:width"]') is None
    assert sites.browser(STERNWARTE).get("/").html.select_one(".entry-picture") is None


def test_a_site_with_a_path_serves_it_below_the_path(sites: ContentSites) -> None:
    media = add(sites, sites.sternwarte, PHOTO, alt="Stars")
    sites.add(sites.sternwarte, "stars", picture=media.path)
    add_domain(sites.engine, STERNWARTE, f"{GARDEN}/sky")
    set_canonical(sites.engine, f"{GARDEN}/sky")
    sites.app.registry[DIRECTORY].refresh_soon()
    try:
        page = sites.browser(GARDEN).get("/sky/entries/stars")
        image = page.html.select_one(".entry-picture img")
        assert image["src"] == f"/sky{media.path}"
        assert all(each.startswith("/sky/media/") for each in image["srcset"].split(", "))
        sites.browser(GARDEN).get(image["src"])
        sites.browser(GARDEN).get(media.path, status=404)
    finally:
        set_canonical(sites.engine, STERNWARTE)
        sites.app.registry[DIRECTORY].refresh_soon()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_the_demo_shows_it(layout: str) -> None:
    """The files that a layout replaces show pictures as the shared ones do."""
    folder = ROOT / "sites" / layout
    for name, call in (("entry.mako", "lead_image_of("), ("parts.mako", "image_of(")):
        if (folder / name).exists():
            assert call in (folder / name).read_text("utf-8")
