"""The head of a page for search engines and previews, and the security headers of every response."""

from __future__ import annotations

import json
from typing import Any

import pytest
from content_sites import GARDEN, STERNWARTE, ContentSites

from multisite.content.head import absolute_urls
from multisite.content.security_headers import CONTENT_SECURITY_POLICY
from multisite.core.keys import DIRECTORY
from multisite.sites.settings.values import set_settings
from multisite.web.site_settings import SITE_SETTINGS

ROOT_URL = f"http://{GARDEN}"


def head(page: Any) -> dict[str, list[str]]:
    """Return the contents of the head's elements by name."""
    found: dict[str, list[str]] = {}
    for meta in page.html.head.select("meta[name], meta[property]"):
        found.setdefault(meta.get("property") or meta["name"], []).append(meta["content"])
    for link in page.html.head.select("link[rel]"):
        found.setdefault(link["rel"][0], []).append(link["href"])
    return found


def json_ld(page: Any) -> Any:
    (script,) = page.html.head.select('script[type="application/ld+json"]')
    return json.loads(script.string)


def change(sites: ContentSites, host: str, **values: str) -> None:
    set_settings(sites.engine, host, values, declared=sites.app.registry[SITE_SETTINGS])
    sites.app.registry[DIRECTORY].refresh_soon()


def test_an_entry_has_open_graph_and_json_ld(sqlite_sites: ContentSites) -> None:
    sites = sqlite_sites
    sites.add(sites.garden, "old", author="Ann & Bo")
    body = "![a](/static/i.jpg?a=1&b=2) and ![b](j.jpg)"
    sites.add(sites.garden, "x", title="Peas & <beans>", body=body, tags=["a", "b"], summary='Say "peas"')
    page = sites.browser(GARDEN).get("/entries/x")
    found = head(page)
    assert found["og:type"] == ["article"]
    assert found["og:title"] == ["Peas & <beans>"]
    assert found["og:url"] == found["canonical"] == [f"{ROOT_URL}/entries/x"]
    assert found["og:description"] == found["description"] == ['Say "peas"']
    assert found["og:image"] == [f"{ROOT_URL}/static/i.jpg?a=1&b=2"]
    assert found["og:locale"] == ["en"]
    assert found["article:tag"] == ["a", "b"]
    assert found["article:published_time"] == ["2024-05-05T12:00:00+00:00"]
    assert found["prev"] == [f"{ROOT_URL}/entries/old"]
    assert "next" not in found
    data = json_ld(page)
    assert data["@type"] == "BlogPosting"
    assert data["headline"] == "Peas & <beans>"
    assert data["image"] == found["og:image"][0]
    assert "author" not in data
    assert json_ld(sites.browser(GARDEN).get("/entries/old"))["author"]["name"] == "Ann & Bo"


@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "<!--<script>", "\u2028\u2029", '\\u003c"'])
def test_no_text_ends_the_json_of_the_head(sqlite_sites: ContentSites, text: str) -> None:
    sqlite_sites.add(sqlite_sites.garden, "x", title=text, summary=text, author=text, tags=[text])
    page = sqlite_sites.browser(GARDEN).get("/entries/x")
    data = json_ld(page)
    assert data["headline"] == data["description"] == data["author"]["name"] == text
    assert page.text.count("<script") == 1


def test_the_first_image_is_that_of_a_preview(sqlite_sites: ContentSites) -> None:
    sites = sqlite_sites
    html = '<p>1 &lt; 2</p><img alt="a < b > c" src="/1.png"><img src="/2.png">'
    sites.add(sites.garden, "pictures", body_html=html)
    # As an archive may have it. With a search to the end from each tag, the page takes an hour.
    sites.add(sites.garden, "broken", body_html='<img "' * 200_000 + "<img " * 200_000)
    browser = sites.browser(GARDEN)
    page = browser.get("/entries/pictures").html
    assert page.select_one('meta[property="og:image"]')["content"] == f"http://{GARDEN}/1.png"
    assert 'property="og:image"' not in browser.get("/entries/broken").text


def test_a_list_links_the_adjacent_pages_and_describes_the_site(sqlite_sites: ContentSites) -> None:
    sites = sqlite_sites
    change(sites, STERNWARTE, tagline="Sterne & mehr")
    sites.add_many(sites.sternwarte, 25)
    page = sites.browser(STERNWARTE).get("/?page=2")
    found, root = head(page), f"http://{STERNWARTE}"
    assert (found["prev"], found["next"]) == ([f"{root}/"], [f"{root}/?page=3"])
    assert found["canonical"] == [f"{root}/?page=2"]
    assert found["og:type"] == ["website"]
    assert found["og:description"] == ["Sterne & mehr"]
    data = json_ld(page)
    assert data.pop("potentialAction")["target"] == f"{root}/search?q={{words}}"
    assert data == {
        "@context": "https://schema.org", "@type": "WebSite", "name": "Sternwarte", "description": "Sterne & mehr",
        "url": f"{root}/", "inLanguage": "de",
    }  # fmt: skip
    assert "og:url" not in head(sites.browser(STERNWARTE).get("/nothing", status=404))


def test_the_feed_has_absolute_urls(sqlite_sites: ContentSites) -> None:
    body = "![a](/static/i.jpg) [b](../tags/x?a=1&b=2) [c](#d) [e](https://e.example/)"
    sqlite_sites.add(sqlite_sites.garden, "x", body=body)
    text = sqlite_sites.browser(GARDEN).get("/feed.xml").text
    for url in ("/static/i.jpg", "/tags/x?a=1&amp;amp;b=2", "/entries/x#"):
        assert f'="{ROOT_URL}{url}' in text
    assert 'href="https://e.example/"' in text
    assert absolute_urls('<a href="http://[">x</a>', ROOT_URL) == '<a href="http://[">x</a>'
    shown = '<p> src="x" is how <code>&lt;img src="x"&gt;</code> is written</p>'
    assert absolute_urls(shown, ROOT_URL) == shown
    sizes = '<img src="/a.jpg" srcset="/media/1/a-320.webp 320w, /a.jpg 900w">'
    assert f'srcset="{ROOT_URL}/media/1/a-320.webp 320w, {ROOT_URL}/a.jpg 900w"' in absolute_urls(sizes, ROOT_URL)


@pytest.mark.parametrize(
    ("value", "meta", "text"),
    [("index", None, "Allow: /\n"), ("noindex", ["noindex"], "Allow: /\n"), ("disallow", ["noindex"], "Disallow: /\n")],
)
def test_robots_of_one_site(sqlite_sites: ContentSites, value: str, meta: list[str] | None, text: str) -> None:
    change(sqlite_sites, GARDEN, robots=value)
    for host, wanted, lines in ((GARDEN, meta, text), (STERNWARTE, None, "Allow: /\n")):
        page = sqlite_sites.browser(host).get("/")
        assert head(page).get("robots") == wanted
        assert page.headers.get("X-Robots-Tag") == (wanted and wanted[0])
        assert f"\n{lines}" in sqlite_sites.browser(host).get("/robots.txt").text


PAGES = ["/", "/feed.xml", "/robots.txt", "/static/style.css", "/nothing"]


@pytest.mark.parametrize("path", PAGES)
def test_every_response_has_security_headers(sqlite_sites: ContentSites, path: str) -> None:
    for host in (GARDEN, "unknown.example"):
        page = sqlite_sites.browser(host).get(path, expect_errors=True)
        assert page.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Referrer-Policy"] == "strict-origin-when-cross-origin"


def test_the_policy_of_all_sites_and_of_one(sqlite_sites: ContentSites) -> None:
    sqlite_sites.settings["multisite.site.content_security_policy"] = "default-src *"
    change(sqlite_sites, GARDEN, content_security_policy="")
    assert "Content-Security-Policy" not in sqlite_sites.browser(GARDEN).get("/").headers
    assert sqlite_sites.browser(STERNWARTE).get("/").headers["Content-Security-Policy"] == "default-src *"


@pytest.mark.parametrize("value", ["default-src 'self'\nX: y", "default-src 'self', x", "a b;;c", "Ü", "; x"])
def test_a_policy_that_is_none_is_refused(sqlite_sites: ContentSites, value: str) -> None:
    with pytest.raises(Exception, match="directives with semicolons"):
        change(sqlite_sites, GARDEN, content_security_policy=value)


def test_cached_pages_have_the_headers_once(sqlite_sites: ContentSites) -> None:
    sqlite_sites.settings["multisite.page_cache_seconds"] = "60"
    browser = sqlite_sites.browser(GARDEN)
    first, second = browser.get("/"), browser.get("/")
    assert first.body == second.body
    for page in (first, second):
        assert page.headers.getall("Content-Security-Policy") == [CONTENT_SECURITY_POLICY]
    change(sqlite_sites, GARDEN, content_security_policy="default-src *")
    assert browser.get("/").headers["Content-Security-Policy"] == "default-src *"
