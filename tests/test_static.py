"""Static files: the site's over the shared ones, nothing else, and as seldom as possible."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import pytest
from content_sites import GARDEN, STERNWARTE, ContentSites
from webtest import TestApp

from multisite import Site
from multisite.settings import Settings
from multisite.static import find_static

SECRET = "a secret that must not be served"


@pytest.fixture
def sites(sqlite_sites: ContentSites) -> ContentSites:
    """On SQLite alone: files do not depend on the database."""
    return sqlite_sites


@pytest.fixture
def own(sites: ContentSites) -> Path:
    """The garden's folder of static files."""
    return Path(sites.settings["multisite.sites_dir"], GARDEN, "static")


@pytest.fixture
def shared(sites: ContentSites) -> Path:
    """The folder of static files that all sites share."""
    return Path(sites.settings["multisite.templates_dir"], "static")


@pytest.fixture
def browser(sites: ContentSites) -> TestApp:
    return sites.browser(GARDEN)


def test_the_file_of_the_site_wins_over_the_shared_one(sites: ContentSites, own: Path, shared: Path) -> None:
    (shared / "both.txt").write_text("shared")
    (shared / "img").mkdir()
    (shared / "img" / "shared.txt").write_text("shared only")
    (own / "both.txt").write_text("the garden's")
    (own / "mine.txt").write_text("the garden's only")
    garden, sternwarte = sites.browser(GARDEN), sites.browser(STERNWARTE)
    assert garden.get("/static/both.txt").text == "the garden's"
    assert sternwarte.get("/static/both.txt").text == "shared"
    assert garden.get("/static/img/shared.txt").text == "shared only"
    assert garden.get("/static/mine.txt").text == "the garden's only"
    sternwarte.get("/static/mine.txt", status=404)


def test_a_missing_file_is_answered_by_the_404_of_the_site(browser: TestApp) -> None:
    assert "Page not found – Garden" in browser.get("/static/missing.css", status=404)


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/static/img",
        "/static/../layout.mako",
        "/static/%2e%2e/layout.mako",
        "/static/..%2flayout.mako",
        "/static/%2e%2e%2f%2e%2e%2fsecret.txt",
        "/static/..%5csecret.txt",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/.hidden",
        "/static/.git/config",
        "/static/img/.hidden",
        "/static/page.mako",
        "/static/page.MAKO",
        "/static/code.py",
        "/static/style.css%00",
        "/static/style.css%00.png",
        "/static/style.css/more",
        "/static/" + "a" * 5000,
        "/static/link.txt",
        "/static/folder-link/secret.txt",
        "/static/link-to-hidden.txt",
        "/static/link-to-template.txt",
        "/static/link-to-sternwarte.txt",
        "/static/circle.txt",
        "/static/pipe.txt",
    ],
)
def test_nothing_is_served_that_is_not_meant_to_be(browser: TestApp, own: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.txt").write_text(SECRET)
    (own / "img").mkdir()
    (own / ".git").mkdir()
    for name in (".hidden", "img/.hidden", ".git/config", "page.mako", "page.MAKO", "code.py"):
        (own / name).write_text(SECRET)
    theirs = own.parent.parent / STERNWARTE / "static" / "theirs.txt"
    theirs.write_text(SECRET)
    (own / "link.txt").symlink_to(tmp_path / "secret.txt")
    (own / "folder-link").symlink_to(tmp_path)
    (own / "link-to-hidden.txt").symlink_to(".hidden")
    (own / "link-to-template.txt").symlink_to("page.mako")
    (own / "link-to-sternwarte.txt").symlink_to(theirs)
    (own / "circle.txt").symlink_to("circle.txt")
    os.mkfifo(own / "pipe.txt")
    page = browser.get(path, expect_errors=True)
    assert page.status_code in (400, 404)
    assert SECRET not in page


def test_a_link_within_the_folder_is_followed(browser: TestApp, own: Path) -> None:
    (own / "real.txt").write_text("real")
    (own / "link.txt").symlink_to("real.txt")
    assert browser.get("/static/link.txt").text == "real"


def test_a_refused_file_of_the_site_is_not_replaced_by_the_shared_one(
    browser: TestApp, own: Path, shared: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text(SECRET)
    (own / "logo.txt").symlink_to(tmp_path / "secret.txt")
    (shared / "logo.txt").write_text("shared")
    browser.get("/static/logo.txt", status=404)


def test_a_site_whose_folder_is_a_link_to_another_has_no_files_of_it(sites: ContentSites, own: Path) -> None:
    (own / "mine.txt").write_text("the garden's")
    settings = Settings(
        sites_dir=Path(sites.settings["multisite.sites_dir"]),
        templates_dir=Path(sites.settings["multisite.templates_dir"]),
    )
    (settings.sites_dir / "thief").symlink_to(GARDEN)
    thief = Site(9, "thief.example", "Thief", "thief")
    assert find_static(settings, sites.garden, ["mine.txt"]) == own / "mine.txt"
    assert find_static(settings, thief, ["mine.txt"]) is None
    for folder in ("..", f"../sites/{GARDEN}", "", "."):
        assert find_static(settings, Site(9, "thief.example", "Thief", folder), ["mine.txt"]) is None


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.css", "text/css; charset=utf-8"),
        ("a.SVG", "image/svg+xml"),
        ("a.woff2", "font/woff2"),
        ("a.webp", "image/webp"),
        ("a.png", "image/png"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.unknown-thing", "application/octet-stream"),
        ("noending", "application/octet-stream"),
        ("ümläut 1.txt", "text/plain; charset=utf-8"),
    ],
)
def test_files_have_their_type_and_no_browser_guesses(
    browser: TestApp, own: Path, name: str, content_type: str
) -> None:
    (own / name).write_text("content")
    page = browser.get(f"/static/{quote(name)}")
    assert page.headers["Content-Type"] == content_type
    assert page.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
def test_a_file_is_sent_whole_once_and_then_not_again(browser: TestApp, own: Path, size: int) -> None:
    content = os.urandom(size)
    (own / "file.bin").write_bytes(content)
    first = browser.get("/static/file.bin")
    assert first.body == content
    assert first.content_length == size
    tag, modified = first.headers["ETag"], first.headers["Last-Modified"]
    for known in ({"If-None-Match": tag}, {"If-None-Match": f"W/{tag}"}, {"If-Modified-Since": modified}):
        again = browser.get("/static/file.bin", headers=known)
        assert (again.status_code, again.body) == (304, b""), known
        assert again.headers["ETag"] == tag
    head = browser.head("/static/file.bin")
    assert (head.body, head.headers["Content-Length"]) == (b"", str(size))
    other = {"If-None-Match": '"other"', "If-Modified-Since": modified}
    assert browser.get("/static/file.bin", headers=other).status_code == 200


def test_a_part_of_a_file_can_be_asked_for(browser: TestApp, own: Path) -> None:
    (own / "film.bin").write_bytes(bytes(range(256)) * 2000)
    part = browser.get("/static/film.bin", headers={"Range": "bytes=1000-1009"}, status=206)
    assert part.body == bytes((1000 + offset) % 256 for offset in range(10))


def test_a_changed_file_is_sent_again_and_has_another_address(sites: ContentSites, own: Path) -> None:
    browser = sites.browser(GARDEN)

    def address() -> str:
        return str(browser.get("/").html.select("link[rel=stylesheet]")[1]["href"])

    before, tag = address(), browser.get("/static/style.css").headers["ETag"]
    (own / "style.css").write_text("body { color: red }")
    assert address() != before
    assert browser.get("/static/style.css", headers={"If-None-Match": tag}).status_code == 200


def test_only_the_address_with_the_right_hash_is_kept_for_long(sites: ContentSites) -> None:
    browser = sites.browser(GARDEN)
    for link in browser.get("/").html.select("link[rel=stylesheet]"):
        assert "immutable" in browser.get(link["href"]).headers["Cache-Control"]
        plain = browser.get(link["href"].partition("?")[0])
        assert plain.headers["Cache-Control"] == "public, max-age=3600"
        wrong = browser.get(link["href"].partition("?")[0] + "?v=000000000000")
        assert wrong.headers["Cache-Control"] == "public, max-age=3600"
        odd = browser.get(link["href"].partition("?")[0] + "?v=%ff")
        assert odd.headers["Cache-Control"] == "public, max-age=3600"


def test_a_missing_picture_does_not_cost_the_page(sites: ContentSites) -> None:
    layout = Path(sites.settings["multisite.sites_dir"], GARDEN, "layout.mako")
    picture = """<%block name="intro"><img src="${static_url('no such.png')}" alt=""></%block>"""
    layout.write_text(layout.read_text("utf-8").replace('<%block name="intro"></%block>', picture), "utf-8")
    assert sites.browser(GARDEN).get("/").html.img["src"] == "/static/no%20such.png"


def test_other_methods_are_refused(browser: TestApp) -> None:
    browser.get("/static/base.css")
    assert browser.post("/static/base.css", status=405).headers["Allow"] == "GET, HEAD"


def test_an_open_path_serves_the_shared_files_to_any_host(sites: ContentSites, own: Path) -> None:
    (own / "base.css").write_text("/* the garden's */")
    sites.settings["multisite.open_paths"] = "/static/"
    page = sites.browser("unknown.example").get("/static/base.css")
    assert "--color-accent" in page
    assert "--color-accent" in sites.browser(GARDEN).get("/static/base.css")
