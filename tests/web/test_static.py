"""Static files: the site's over the shared ones, nothing else, and cached where possible."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from content_sites import GARDEN, STERNWARTE, ContentSites
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from webtest import TestApp

from multisite import Site
from multisite.core.keys import DIRECTORY
from multisite.core.settings import Settings
from multisite.static import static_path
from multisite.templates.assets import digest_of, find_asset, list_assets, static_roots
from multisite.testing import request_for

SECRET = "a secret that must not be served"


@pytest.fixture
def sites(sqlite_sites: ContentSites) -> ContentSites:
    """Only on SQLite: files do not depend on the database."""
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


def test_a_missing_file_is_a_404_page_of_the_site(browser: TestApp) -> None:
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
def test_hidden_and_outside_files_are_not_served(browser: TestApp, own: Path, tmp_path: Path, path: str) -> None:
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
    found = find_asset(static_roots(settings, sites.garden), ["mine.txt"])
    assert found is not None
    assert found.path == own / "mine.txt"
    assert find_asset(static_roots(settings, thief), ["mine.txt"]) is None
    for folder in ("..", f"../sites/{GARDEN}", "", "."):
        assert find_asset(static_roots(settings, Site(9, "thief.example", "Thief", folder)), ["mine.txt"]) is None


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
def test_files_have_a_content_type_and_nosniff(browser: TestApp, own: Path, name: str, content_type: str) -> None:
    (own / name).write_text("content")
    page = browser.get(f"/static/{quote(name)}")
    assert page.headers["Content-Type"] == content_type
    assert page.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
def test_a_revalidated_file_is_a_304(browser: TestApp, own: Path, size: int) -> None:
    content = os.urandom(size)
    (own / "file.bin").write_bytes(content)
    first = browser.get("/static/file.bin")
    assert first.body == content
    assert first.content_length == size
    tag = first.headers["ETag"]
    for known in ({"If-None-Match": tag}, {"If-None-Match": f"W/{tag}"}):
        again = browser.get("/static/file.bin", headers=known)
        assert (again.status_code, again.body) == (304, b""), known
        assert again.headers["ETag"] == tag
    head = browser.head("/static/file.bin")
    assert (head.body, head.headers["Content-Length"]) == (b"", str(size))
    for unknown in ({"If-None-Match": '"other"'}, {"If-Modified-Since": "Tue, 01 Jan 2999 00:00:00 GMT"}):
        assert browser.get("/static/file.bin", headers=unknown).status_code == 200, unknown


def test_ranges_of_a_file_are_served(browser: TestApp, own: Path) -> None:
    (own / "film.bin").write_bytes(bytes(range(256)) * 2000)
    part = browser.get("/static/film.bin", headers={"Range": "bytes=1000-1009"}, status=206)
    assert part.body == bytes((1000 + offset) % 256 for offset in range(10))


def test_a_changed_file_is_sent_again_and_has_another_url_at_once_in_development(
    sites: ContentSites, own: Path
) -> None:
    sites.settings["pyramid.reload_templates"] = "true"
    browser = sites.browser(GARDEN)

    def address() -> str:
        return str(browser.get("/").html.select("link[rel=stylesheet]")[1]["href"])

    before, tag = address(), browser.get("/static/style.css").headers["ETag"]
    (own / "style.css").write_text("body { color: red }")
    assert address() != before
    assert browser.get("/static/style.css", headers={"If-None-Match": tag}).status_code == 200


def test_only_the_url_with_the_right_hash_is_cached_for_a_year(sites: ContentSites) -> None:
    browser = sites.browser(GARDEN)
    for link in browser.get("/").html.select("link[rel=stylesheet]"):
        assert "immutable" in browser.get(link["href"]).headers["Cache-Control"]
        plain = browser.get(link["href"].partition("?")[0])
        assert plain.headers["Cache-Control"] == "public, max-age=3600"
        wrong = browser.get(link["href"].partition("?")[0] + "?v=000000000000")
        assert wrong.headers["Cache-Control"] == "public, max-age=3600"
        odd = browser.get(link["href"].partition("?")[0] + "?v=%ff")
        assert odd.headers["Cache-Control"] == "public, max-age=3600"


def test_a_missing_image_does_not_break_the_page(sites: ContentSites) -> None:
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


# Layers


def test_the_theme_lies_between_the_site_s_folder_and_the_shared_one(tmp_path: Path) -> None:
    settings = Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")
    site = Site(1, "one.example", "One", "one", theme="dark")
    roots = ["sites/one/static", "templates/themes/dark/static", "templates/static"]
    assert [root.relative_to(tmp_path).as_posix() for root in static_roots(settings, site)] == roots
    for number, root in enumerate(roots):
        (tmp_path / root).mkdir(parents=True)
        for name in ("a", "b", "c")[: number + 1]:
            (tmp_path / root / name).write_text(root)
    (tmp_path / "templates/themes/light/static").mkdir(parents=True)
    (tmp_path / "templates/themes/light/static/d").write_text("another theme's")
    found = list_assets(settings, site)
    assert {name: asset.root.relative_to(tmp_path).as_posix() for name, asset in found.items()} == dict(
        zip("abc", roots, strict=True)
    )
    assert list(list_assets(settings, None)) == ["a", "b", "c"]
    for theme in ("..", "../dark", ".", "dark/static", "\0"):
        other = Site(2, "two.example", "Two", "two", theme=theme)
        assert {asset.root for asset in list_assets(settings, other).values()} == {tmp_path / "templates/static"}


def test_a_response_of_one_site_never_validates_that_of_another(sites: ContentSites, own: Path) -> None:
    theirs = own.parent.parent / STERNWARTE / "static" / "same.css"
    for file, content in ((own / "same.css", "aaaa"), (theirs, "bbbb")):
        file.write_text(content)
        os.utime(file, ns=(10**18, 10**18))
    assert (own / "same.css").stat().st_mtime_ns == theirs.stat().st_mtime_ns
    garden, sternwarte = sites.browser(GARDEN), sites.browser(STERNWARTE)
    first = garden.get("/static/same.css")
    second = sternwarte.get("/static/same.css", headers={"If-None-Match": first.headers["ETag"]})
    assert (first.text, second.text) == ("aaaa", "bbbb")
    hashed = [browser.get("/static/same.css?v=" + digest_of(own / "same.css")[:12]) for browser in (garden, sternwarte)]
    assert ["immutable" in page.headers["Cache-Control"] for page in hashed] == [True, False]


def test_an_older_file_of_the_next_layer_is_sent_once_the_site_s_own_is_gone(
    browser: TestApp, own: Path, shared: Path
) -> None:
    (shared / "old.css").write_text("shared")
    os.utime(shared / "old.css", (10**9, 10**9))
    (own / "old.css").write_text("the garden's")
    first = browser.get("/static/old.css")
    assert "Last-Modified" not in first.headers
    (own / "old.css").unlink()
    known = {"If-None-Match": first.headers["ETag"], "If-Modified-Since": "Tue, 01 Jan 2999 00:00:00 GMT"}
    assert browser.get("/static/old.css", headers=known).text == "shared"


def test_a_replaced_file_with_equal_size_and_time_is_noticed(browser: TestApp, own: Path) -> None:
    for content in ("aaaa", "bbbb"):
        (own / "new.css").write_text(content)
        os.utime(own / "new.css", ns=(10**18, 10**18))
        (own / "new.css").replace(own / "file.css")
        page = browser.get("/static/file.css")
        assert page.text == content
        assert page.headers["ETag"] == f'"{hashlib.sha256(content.encode()).hexdigest()[:32]}"'


# Compressed files


def ask(browser: TestApp, path: str, **headers: str | None) -> Response:
    """Return the response as it is sent, which WebTest would decompress. None sends no Accept-Encoding."""
    given = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
    return Request.blank(path, headers=given, host=GARDEN).get_response(browser.app)


def compress(file: Path, suffix: str = ".gz", content: bytes | None = None) -> bytes:
    """Write a compressed variant of `file` beside it, with the same modification time."""
    packed = gzip.compress(file.read_bytes()) if content is None else content
    other = file.with_name(file.name + suffix)
    other.write_bytes(packed)
    os.utime(other, ns=(file.stat().st_mtime_ns,) * 2)
    return packed


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate", "gzip"),
        ("gzip, br", "br"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("*", "br"),
        ("identity", None),
        ("gzip;q=0", None),
        ("nonsense;;", None),
        (None, None),
    ],
)
def test_the_smallest_accepted_encoding_is_sent(
    browser: TestApp, own: Path, accepted: str | None, encoding: str | None
) -> None:
    (own / "long.css").write_bytes(b"body {} " * 100)
    forms: dict[str | None, bytes] = {
        None: (own / "long.css").read_bytes(),
        "gzip": compress(own / "long.css"),
        "br": b"short",
    }
    compress(own / "long.css", ".br", forms["br"])
    page = ask(browser, "/static/long.css", Accept_Encoding=accepted)
    assert page.body == forms[encoding]
    assert page.headers.get("Content-Encoding") == encoding
    assert page.headers["Vary"] == "Accept-Encoding"
    assert page.headers["Content-Type"] == "text/css; charset=utf-8"
    assert page.headers["ETag"] == f'"{hashlib.sha256(forms[encoding]).hexdigest()[:32]}"'
    assert int(page.headers["Content-Length"]) == len(forms[encoding])
    again = ask(browser, "/static/long.css", Accept_Encoding=accepted, If_None_Match=page.headers["ETag"])
    assert (again.status_code, again.headers["Vary"]) == (304, "Accept-Encoding")


def test_the_hash_of_a_compressed_file_is_that_of_its_content(browser: TestApp, own: Path) -> None:
    (own / "long.css").write_bytes(b"body {} " * 100)
    compress(own / "long.css")
    address = "/static/long.css?v=" + digest_of(own / "long.css")[:12]
    for encoding in ("gzip", "identity"):
        assert "immutable" in ask(browser, address, Accept_Encoding=encoding).headers["Cache-Control"]


def test_a_compressed_file_of_another_layer_or_time_is_not_sent(sites: ContentSites, own: Path, shared: Path) -> None:
    sites.settings["pyramid.reload_templates"] = "true"
    browser = sites.browser(GARDEN)
    for folder in (own, shared):
        (folder / "both.css").write_text(f"body {{}} {folder}")
    compress(shared / "both.css")
    assert "Content-Encoding" not in ask(browser, "/static/both.css", Accept_Encoding="gzip").headers
    compress(own / "both.css", content=b"short")
    assert ask(browser, "/static/both.css", Accept_Encoding="gzip").body == b"short"
    os.utime(own / "both.css.gz", (10**9, 10**9))
    (own / "both.css").write_text("changed")
    page = ask(browser, "/static/both.css", Accept_Encoding="gzip")
    assert (page.text, "Content-Encoding" in page.headers) == ("changed", False)


def test_a_link_in_the_place_of_a_compressed_file_is_not_followed(browser: TestApp, own: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.gz").write_bytes(gzip.compress(SECRET.encode()))
    (own / "page.css").write_text("body {}")
    (own / "page.css.gz").symlink_to(tmp_path / "secret.gz")
    page = ask(browser, "/static/page.css", Accept_Encoding="gzip")
    assert page.text == "body {}"


def test_a_compressed_file_that_is_asked_for_as_such_is_not_unpacked(browser: TestApp, own: Path) -> None:
    (own / "entries.tar.gz").write_bytes(gzip.compress(b"tar"))
    page = ask(browser, "/static/entries.tar.gz", Accept_Encoding="gzip")
    assert (page.headers["Content-Type"], page.headers.get("Content-Encoding")) == ("application/gzip", None)


@pytest.mark.parametrize(
    "name",
    [
        "page.mako.gz", "page.mako.bak", "page.mak~", "app.ini.old.gz", "page.mako::$DATA", "#page.mako#",
        "page.mako.1", "tls.KEY",
        "app.db-wal", "app.db-journal", "app.sqlite3-shm", "app.sqlite-wal.gz",
    ],
)  # fmt: skip
def test_compressed_copies_of_hidden_files_are_not_served(browser: TestApp, own: Path, name: str) -> None:
    (own / name).write_text(SECRET)
    browser.get("/static/" + quote(name), status=404)


# URLs generated by Pyramid


def test_pyramid_s_own_calls_give_the_url_of_the_site(sites: ContentSites, own: Path) -> None:
    (own / "style.css").write_text("body { color: green }")
    digest = digest_of(own / "style.css")[:12]
    with request_for(sites.app, GARDEN) as request:
        assert request.static_path("multisite:static/style.css") == f"/static/style.css?v={digest}"
        assert static_path(request, "/style.css") == f"/static/style.css?v={digest}"
        assert request.static_url("multisite:static/style.css") == f"http://{GARDEN}/static/style.css?v={digest}"
        assert request.static_path("multisite:static/no such.css") == "/static/no%20such.css"
        assert request.static_path("multisite:static/../layout.mako") == "/static/../layout.mako"
    with request_for(sites.app, STERNWARTE) as request:
        assert digest not in request.static_path("multisite:static/style.css")


def overridden(sites: ContentSites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **settings: str) -> TestApp:
    """An application with static files in its package `app`, one of which a site overrides."""
    for path, content in {
        "app/__init__.py": "",
        "app/static/own.css": "package",
        "app/static/logo.css": "package",
        "app/static/swapped.css": "package",
        "app/static/secret.mako": SECRET,
        "app/skin/swapped.css": "skin",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "app", raising=False)
    config = Configurator(settings=sites.settings | settings)
    config.include("multisite")
    config.include("multisite.static")
    config.add_site_static_view("static", "app:static")
    config.add_site_static_view("assets/skin", "app:skin/")
    config.override_asset("app:static/swapped.css", "app:skin/swapped.css")
    config.add_route("address", "/address")
    config.add_view(lambda r: Response(r.static_path(r.params["of"])), route_name="address")
    app = config.make_wsgi_app()
    return TestApp(app, extra_environ={"HTTP_HOST": GARDEN})


def test_a_package_s_static_files_lie_below_the_site_s(
    sites: ContentSites, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own / "logo.css").write_text("the garden's")
    browser = overridden(sites, tmp_path, monkeypatch)
    for name, content in {"logo.css": "the garden's", "own.css": "package", "swapped.css": "skin"}.items():
        assert browser.get(f"/static/{name}").text == content
        address = browser.get("/address", {"of": f"app:static/{name}"}).text
        assert re.fullmatch(rf"/static/{name}\?v=[0-9a-f]{{12}}", address)
        page = browser.get(address)
        assert (page.text, "immutable" in page.headers["Cache-Control"]) == (content, True)
    browser.get("/static/secret.mako", status=404)
    assert browser.get("/address", {"of": "app:skin/swapped.css"}).text.startswith("/assets/skin/swapped.css?v=")
    assert browser.get("/assets/skin/logo.css").text == "the garden's"
    browser.get("/assets/skin/own.css", status=404)
    browser.post("/static/own.css", status=404)
    browser.app.registry[DIRECTORY].engine.dispose()


def test_pyramid_s_setting_leaves_the_hash_out(
    sites: ContentSites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = overridden(sites, tmp_path, monkeypatch, **{"pyramid.prevent_cachebust": "true"})
    assert browser.get("/address", {"of": "multisite:static/base.css"}).text == "/static/base.css"
    browser.app.registry[DIRECTORY].engine.dispose()
