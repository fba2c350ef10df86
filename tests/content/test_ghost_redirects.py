"""Redirects that were set up in Ghost come along with its posts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from content_sites import GARDEN, ContentSites
from ghost_export import post, write_ghost
from sqlalchemy.orm import Session

from multisite.cli import main
from multisite.content.errors import InvalidExport
from multisite.content.exports.ghost import import_ghost
from multisite.content.exports.uploads import Uploads
from multisite.content.redirects import list_redirects

YAML = """\
302:
  /now/: /post-1/
301:
  /Old-Name/: /post-1/#part
  ^/blog/(.*)$: /$1
  ^\\/wiki\\/(.+)/?$: https://wiki.example/x/$1/
  /shop/i: https://shop.example/
  /about-us/?: /about/
  '/a\\.html': /post-2/
  ^/(19|20)\\d\\d/(.*)$: /$2
  /loop: /loop/
  /nowhere: 7
  /odd: ftp://files.example/
"""
EXPECTED = {
    "/now": ("/entries/post-1", 302),
    "/Old-Name": ("/entries/post-1#part", 301),
    "/blog/*": ("/*", 301),
    "/wiki/*": ("https://wiki.example/x/*", 301),
    "/shop": ("https://shop.example/", 301),
    "/about-us": ("/about/", 301),
    "/a.html": ("/entries/post-2", 301),
}
OWN = {"/post-1", "/post-2", "/tag/soil", "/rss", "/page/*"}


def redirects(sites: ContentSites) -> dict[str, tuple[str | None, int]]:
    with Session(sites.engine, info={"site": sites.garden}) as session:
        return {rule.path: (rule.target, rule.status) for rule, _ in list_redirects(session) if rule.path not in OWN}


@pytest.fixture
def export(tmp_path: Path) -> Path:
    return write_ghost(tmp_path / "export" / "ghost.json", post(1), post(2), post(3, "x", type="page", slug="about"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()


def test_redirects_beside_the_export_are_used(sqlite_sites: ContentSites, export: Path) -> None:
    (export.parent / "redirects.yaml").write_text(YAML, "utf-8")
    report = import_ghost(sqlite_sites.engine, sqlite_sites.garden, export)
    assert redirects(sqlite_sites) == EXPECTED
    assert [note.text for note in report.notes] == [
        "'^/(19|20)\\\\d\\\\d/(.*)$' is an expression that redirects of a site cannot have",
        "the target '7' is neither a path that starts with one slash nor a http(s) URL",
        "the target 'ftp://files.example/' is neither a path that starts with one slash nor a http(s) URL",
    ]
    browser = sqlite_sites.browser(GARDEN)
    assert browser.get("/Old-Name/", status=301).location.endswith("/entries/post-1#part")
    assert browser.get("/now", status=302).location.endswith("/entries/post-1")
    assert browser.get("/blog/post-2/", status=301).location.endswith("/post-2")
    again = import_ghost(sqlite_sites.engine, sqlite_sites.garden, export)
    assert (again.unchanged, redirects(sqlite_sites)) == (3, EXPECTED)


def test_redirects_in_json_are_found_in_the_folder_of_the_blog(sqlite_sites: ContentSites, export: Path) -> None:
    rows: list[Any] = [
        {"from": "/a/", "to": "/post-1/", "permanent": True},
        {"from": "/b", "to": "/post-2", "permanent": False},
        {"from": "/post-2/", "to": "/post-1/", "permanent": True},
        {"from": "/c/", "to": None},
        "x",
    ]
    data = export.parent / "content" / "data"
    data.mkdir(parents=True)
    (data / "redirects.json").write_text("\ufeff" + json.dumps(rows), "utf-8")
    import_ghost(sqlite_sites.engine, sqlite_sites.garden, export, uploads=Uploads(export.parent / "content"))
    assert redirects(sqlite_sites) == {"/a": ("/entries/post-1", 301), "/b": ("/entries/post-2", 302)}
    # A redirect of the file comes before the address of a post, as in Ghost.
    moved = sqlite_sites.browser(GARDEN).get("/post-2/", status=301)
    assert moved.location.endswith("/entries/post-1")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.yaml", "", "no redirects of Ghost"),
        ("r.yaml", "foo: bar", "no redirects of Ghost"),
        ("r.yaml", "301: /a", "no redirects of Ghost"),
        ("r.yaml", "- /a: /b", "it is not a list of 'key: value' lines"),
        ("r.yaml", "301:\n  /a: [", "it is not YAML in line 2"),
        ("r.yaml", "301: " + "[" * 1000, "it is nested too deep"),
        ("r.yaml", "#" * 1_000_001, "it has more than 1000000 characters"),
        ("r.json", "{", "not valid JSON"),
        ("r.json", "7", "no redirects of Ghost"),
        ("r.json", "[" * 200_000, "not valid JSON"),
        ("r.json", "\0", "not a text file"),
    ],
    ids=range(11),
)
def test_a_bad_file_is_refused_before_anything_is_imported(
    sqlite_sites: ContentSites, export: Path, name: str, content: str, message: str
) -> None:
    path = export.parent / name
    path.write_text(content, "utf-8")
    with pytest.raises(InvalidExport) as caught:
        import_ghost(sqlite_sites.engine, sqlite_sites.garden, export, redirects=path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert sqlite_sites.browser(GARDEN).get("/entries/post-1", status=404)


def test_the_option_names_the_file(sqlite_sites: ContentSites, export: Path, tmp_path: Path) -> None:
    ini = "".join(f"{key} = {value}\n" for key, value in sqlite_sites.settings.items())
    (tmp_path / "multisite.ini").write_text(f"[app:main]\nuse = egg:pyramid-multisite\n{ini}", "utf-8")
    (tmp_path / "mine.yaml").write_text("301:\n  /x: /post-1\n302:\n", "utf-8")

    def run(*options: str) -> Any:
        words = ["-c", str(tmp_path / "multisite.ini"), "import-ghost", GARDEN, str(export), *options]
        return CliRunner().invoke(main, words, catch_exceptions=False)

    done = run("--redirects", str(tmp_path / "none.yaml"))
    assert (done.exit_code, "none.yaml: cannot be read: No such file" in done.stderr) == (1, True)
    assert run("--redirects", str(tmp_path / "mine.yaml")).exit_code == 0
    assert redirects(sqlite_sites) == {"/x": ("/entries/post-1", 301)}


ROUTES = """\
routes:
  /start/: {template: start, data: page.about}
  /wiki/:
    controller: channel
    filter: tag:soil
  /plain/: plain
collections:
  /blog/:
    permalink: /blog/{year}/{month}/{day}/{primary_tag}/{slug}/
    filter: featured:true
  /:
    permalink: /{primary_author}/{id}/
    template: index
  /odd/: {permalink: '/{colour}/{slug}/'}
taxonomies:
  tag: /topics/{slug}/
  author: /author/{slug}/
"""


@pytest.mark.parametrize("place", ["export", "content/settings"])
def test_addresses_of_routes_redirect(sqlite_sites: ContentSites, tmp_path: Path, place: str) -> None:
    late = post(1, published_at="2024-05-31T23:00:00.000Z", html='<p><a href="/blog/2024/06/01/soil/post-1/">x</a></p>')
    export = write_ghost(
        tmp_path / "export" / "ghost.json",
        late,
        post(2, status="draft"),
        post(3, "x", type="page", slug="about"),
        users=[{"id": "1", "name": "Anna", "slug": "anna"}, {"id": "2", "name": "Ben", "slug": "ben"}],
        settings=[{"key": "timezone", "value": "Europe/Berlin"}],
    )
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "routes.yaml").write_text(ROUTES, "utf-8")
    uploads = Uploads(tmp_path / "content") if place != "export" else None
    report = import_ghost(sqlite_sites.engine, sqlite_sites.garden, export, uploads=uploads)
    number = f"{1:024x}"
    assert redirects(sqlite_sites) == {
        "/blog/2024/06/01/soil/post-1": ("/entries/post-1", 301),
        f"/anna/{number}": ("/entries/post-1", 301),
        "/start": ("/about/", 301),
        "/topics/soil": ("/tags/soil-air", 301),
        "/blog": ("/", 301),
        "/blog/rss": ("/feed.xml", 301),
        "/blog/page/*": ("/", 301),
        "/odd": ("/", 301),
        "/odd/rss": ("/feed.xml", 301),
        "/odd/page/*": ("/", 301),
    }
    assert [note.text for note in report.notes] == [
        "the permalink of the collection '/odd/' is not one of Ghost: '/{colour}/{slug}/'",
        "the route '/wiki' shows 'channel', which is not in the export",
        "the route '/plain' shows 'plain', which is not in the export",
    ]
    browser = sqlite_sites.browser(GARDEN)
    assert browser.get("/blog/2024/06/01/soil/post-1/", status=301).location.endswith("/entries/post-1")
    links = browser.get("/entries/post-1").html.select("main p a")
    assert [link["href"] for link in links if link.text == "x"] == ["/entries/post-1"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("routes: [", "line 1"), ("301:\n  /a: /b\n", "no routes of Ghost"), ("- a\n", "not a list of")],
)
def test_a_file_that_has_no_routes_is_refused(sqlite_sites: ContentSites, export: Path, text: str, reason: str) -> None:
    (export.parent / "routes.yaml").write_text(text, "utf-8")
    with pytest.raises(InvalidExport, match=reason) as error:
        import_ghost(sqlite_sites.engine, sqlite_sites.garden, export)
    assert "routes.yaml" in str(error.value)
