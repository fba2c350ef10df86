"""Links in the texts of a site that has a path."""

from __future__ import annotations

import pytest
from content_sites import GARDEN, ContentSites

from multisite.content.site_paths import add_path_to_text
from multisite.core.settings import parse_settings
from multisite.sites.creation import add_site

TEXT = """[entry](/entries/b) [page](/about/) [own](/shop/entries/b) [other](//x.example/a) [away](https://x.example/)
[here](#a) [relative](b) [home](/) [shops](/shops)

<img src="/media/a.png" srcset="/media/s.png 640w, /media/a.png 1280w">"""
ADDRESSES = [
    *("/shop/entries/b", "/shop/about/", "/shop/entries/b", "//x.example/a", "https://x.example/", "#user-content-a"),
    *("b", "/shop/", "/shop/shops"),
]


def test_links_in_texts_stay_on_a_site_with_a_path(sqlite_sites: ContentSites) -> None:
    sites = sqlite_sites
    shop = add_site(sites.engine, f"{GARDEN}/shop", settings=parse_settings(sites.settings), name="Shop")
    for site in (shop, sites.garden):
        sites.add(site, "a", body=TEXT)
        sites.add(site, "/about", body=TEXT, published=None)
    reader = sites.browser(GARDEN)
    for path in ("/shop/entries/a", "/shop/about/"):
        page = reader.get(path)
        found = [link["href"] for link in page.html.select(".entry-body a")]
        assert [address.replace("#a", "#user-content-a") for address in found] == ADDRESSES
        assert page.html.select_one("meta[property='og:image']")["content"] == f"http://{GARDEN}/shop/media/a.png"
    image = reader.get("/shop/entries/a").html.select_one(".entry-body img")
    assert image["src"] == "/shop/media/a.png"
    feed = reader.get("/shop/feed.xml").text
    assert f'href="http://{GARDEN}/shop/entries/b"' in feed.replace("&quot;", '"')
    assert "/shop/shop/" not in feed
    sites.add(shop, "c", picture="/media/c.png")
    chosen = f"http://{GARDEN}/shop/media/c.png"
    assert reader.get("/shop/entries/c").html.select_one("meta[property='og:image']")["content"] == chosen
    assert f'rel="enclosure" type="image/png" href="{chosen}"' in reader.get("/shop/feed.xml").text
    # The site without a path, on the same host.
    assert [link["href"] for link in reader.get("/entries/a").html.select(".entry-body a")][:2] == [
        "/entries/b",
        "/about/",
    ]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<a href="/x">/x href="/y"</a>', '<a href="/s/x">/x href="/y"</a>'),
        ('<img srcset="/a 1w, /b,c 2w,/d 3w, //e 4w">', '<img srcset="/s/a 1w, /s/b,c 2w,/s/d 3w, //e 4w">'),
        ('<a href="/s">x</a> <a href="/s?a">x</a>', '<a href="/s">x</a> <a href="/s/s?a">x</a>'),
    ],
)
def test_the_path_is_added_once(html: str, expected: str) -> None:
    assert add_path_to_text("/s", html) == expected
    assert add_path_to_text("", html) is html
