"""Importing a blog from an export of Ghost: whole, repeated, and hostile."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from content_sites import GARDEN, STERNWARTE, ContentSites
from ghost_export import export, post, write_ghost
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sqlalchemy.orm import Session

from multisite import Site
from multisite.cli import main
from multisite.content.errors import InvalidArticle, InvalidExport, NotAnEntry
from multisite.content.exports import ghost_posts
from multisite.content.exports.cards import drop_controls
from multisite.content.exports.ghost import import_ghost
from multisite.content.exports.ghost_posts import read_ghost, read_post
from multisite.content.exports.uploads import Uploads
from multisite.content.markup.markdown import render
from multisite.content.models import Entry
from multisite.content.report import ImportReport
from multisite.media import MEDIA_LIBRARY
from multisite.search.words import plain_text


def stored(sites: ContentSites, site: Site) -> dict[str, Entry]:
    with Session(sites.engine, info={"site": site}, expire_on_commit=False) as session:
        entries = session.scalars(sa.select(Entry).options(sa.orm.selectinload(Entry.tags))).all()
        return {entry.slug: entry for entry in entries}


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.added, report.updated, report.unchanged, len(report.bad)


@pytest.fixture
def imported(sqlite_sites: ContentSites, tmp_path: Path) -> Callable[..., tuple[ImportReport, dict[str, Entry]]]:
    """Return a function that imports posts into the garden, and returns the report and the entries."""

    def run(*posts: dict[str, Any], **options: Any) -> tuple[ImportReport, dict[str, Entry]]:
        path = write_ghost(tmp_path / "ghost.json", *posts)
        report = import_ghost(sqlite_sites.engine, sqlite_sites.garden, path, **options)
        return report, stored(sqlite_sites, sqlite_sites.garden)

    return run


def test_a_post_arrives_with_all_its_fields(sites: ContentSites, tmp_path: Path) -> None:
    html = '<p>See <a href="__GHOST_URL__/post-2/#x">the other</a> and <a href="__GHOST_URL__/about/">us</a>.</p>'
    meta = {"post_id": f"{1:024x}", "feature_image_alt": "A heap", "feature_image_caption": "By <b>Ben</b>"}
    path = write_ghost(
        tmp_path / "ghost.json",
        post(
            1,
            html,
            title="Leaf mould",
            slug="leaf-mould",
            custom_excerpt="Short.",
            feature_image="https://images.example/a.jpg",
            canonical_url="https://else.example/x",
        ),
        post(2),
        posts_meta=[meta],
    )
    report = import_ghost(sites.engine, sites.sternwarte, path)
    assert counts(report) == (2, 0, 0, 0)
    entry = stored(sites, sites.sternwarte)["leaf-mould"]
    assert (entry.title, entry.summary, entry.author, entry.draft) == ("Leaf mould", "Short.", "Anna, Ben", False)
    assert entry.published == datetime(2024, 5, 5, 12, tzinfo=UTC)
    assert entry.updated == datetime(2024, 5, 6, 12, tzinfo=UTC)
    assert [tag.name for tag in entry.tags] == ["Soil & air"]
    assert entry.source == "urn:uuid:00000000-0000-4000-8000-000000000001"
    assert entry.body == (
        '<figure><img alt="A heap" src="https://images.example/a.jpg"/><figcaption>By <b>Ben</b></figcaption></figure>'
        "\n\nSee [the other](/entries/post-2#user-content-x) and [us](/about/)."
    )
    assert [(note.kind, note.text) for note in report.notes] == [
        ("link to a page that is not imported", "'Leaf mould': /about/"),
        ("left out", "'Leaf mould': canonical URL https://else.example/x"),
    ]
    browser = sites.browser(STERNWARTE)
    for old, new in {
        "/leaf-mould/": "/entries/leaf-mould",
        "/tag/soil/": "/tags/soil-air",
        "/rss/": "/feed.xml",
    }.items():
        assert browser.get(old, status=301).location == f"http://{STERNWARTE}{new}"
        assert browser.get(new, status=200)
    assert stored(sites, sites.garden) == {}
    assert counts(import_ghost(sites.engine, sites.sternwarte, path)) == (0, 0, 2, 0)


def test_only_what_visitors_saw_is_published(imported: Any) -> None:
    report, entries = imported(
        post(1, status="draft", published_at=None),
        post(2, status="scheduled", published_at="2998-01-01T10:00:00.000Z"),
        post(3, "secret", visibility="paid"),
        post(4, "secret", visibility="members"),
        post(5, "secret", status="sent"),
        post(6, "About", type="page"),
        post(7, "About", page=1),
        post(8, "x", status="published", published_at=None),
        post(9, None, lexical="x"),
        post(10, None, lexical='{"root": {"children": [ ]}}'),
        post(11, published_at=1_700_000_000_000, updated_at=None),
        post(12, "draft", status="draft", visibility="paid"),
    )
    assert {slug: (entry.draft, entry.published) for slug, entry in entries.items()} == {
        "post-1": (True, None),
        "/post-6": (False, None),
        "/post-7": (False, None),
        "post-2": (False, datetime(2998, 1, 1, 10, tzinfo=UTC)),
        "post-10": (False, datetime(2024, 5, 5, 12, tzinfo=UTC)),
        "post-11": (False, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        "post-12": (True, None),
    }
    assert [skipped.reason for skipped in report.skipped] == [
        "the post 'Post 3' is not public: its visibility is paid",
        "the post 'Post 4' is not public: its visibility is members",
        "the post 'Post 5' was sent as a newsletter only",
    ]
    assert [note.text for note in report.lost] == [
        "'Post 12': its visibility paid: once it is published, everybody can read it"
    ]
    assert [(bad.path.rpartition(":")[2], bad.reason) for bad in report.bad] == [
        ("posts[7]", "no date, and it is not a draft"),
        ("posts[8]", "no html, and its lexical is not valid JSON"),
    ]


def test_pages_keep_their_addresses(sites: ContentSites, tmp_path: Path) -> None:
    path = write_ghost(
        tmp_path / "ghost.json",
        post(1, '<p><a href="__GHOST_URL__/about/#x">us</a></p>'),
        post(2, "Ann", type="page", slug="about"),
        post(3, "Soon", type="page", slug="soon", status="scheduled", published_at="2998-01-01T10:00:00.000Z"),
        post(4, "Tags", type="page", slug="tags", published_at=None),
    )
    report = import_ghost(sites.engine, sites.sternwarte, path)
    assert (report.added, report.pages, report.bad) == (4, 3, [])
    reader = sites.browser(STERNWARTE)
    assert "Ann" in reader.get("/about/").text
    assert "Tags" in reader.get("/page/tags/").text
    reader.get("/soon/", status=404)
    assert reader.get("/entries/post-1").html.select_one(".entry-body a")["href"] == "/about/#user-content-x"
    sites.browser(GARDEN).get("/about/", status=404)
    again = import_ghost(sites.engine, sites.sternwarte, path)
    assert (again.added, again.unchanged) == (0, 4)


CARDS = """<h2 id="a">A</h2><p>Text<br>more</p>
<figure class="kg-card kg-image-card"><img src="https://else.example/a.jpg" class="kg-image" alt="A" loading="lazy" \
srcset="x 600w" sizes="(min-width: 720px) 720px"></figure>
<pre><code class="language-js">let a = 1;

let b;</code></pre>
<!--kg-card-begin: html--><p>raw</p><!--kg-card-end: html-->
<div class="kg-card kg-callout-card kg-callout-card-blue"><div class="kg-callout-emoji">!</div>\
<div class="kg-callout-text">Mind.</div></div>
<div class="kg-card kg-audio-card"><img src="" class="kg-audio-thumbnail kg-audio-hide">\
<div class="kg-audio-thumbnail placeholder"><svg width="24"><path d="M1"/></svg></div>\
<div class="kg-audio-player-container"><audio src="https://else.example/a.mp3" preload="metadata"></audio>\
<div class="kg-audio-title">A song</div><div class="kg-audio-player">\
<button class="kg-audio-play-icon"><svg></svg></button>\
<span class="kg-audio-current-time">0:00</span><div>/<span>1:00</span></div></div></div></div>
<figure class="kg-card kg-bookmark-card"><a class="kg-bookmark-container" href="https://else.example/">\
<div class="kg-bookmark-content"><div class="kg-bookmark-title">A page</div></div></a></figure>
<figure class="kg-card kg-embed-card"><iframe src="https://www.youtube.com/embed/abcdefghijk"></iframe></figure>"""


def test_cards_become_markdown_without_the_controls_of_players(imported: Any) -> None:
    report, entries = imported(post(1, CARDS))
    entry = entries["post-1"]
    assert " ".join(plain_text(entry.body_html).split()) == "A Text more let a = 1; let b; raw ! Mind. A song A page"
    assert '<audio src="https://else.example/a.mp3"' in entry.body_html
    assert '<a href="https://else.example/"><div><div>A page</div></div></a>' in entry.body_html
    assert 'id="user-content-a"' in entry.body_html
    assert "```js\nlet a = 1;\n\nlet b;\n```" in entry.body
    assert [(note.kind, note.lost) for note in report.notes] == [("became a link", False)]
    assert render(entry.body, "html").html == entry.body_html


@pytest.mark.parametrize(
    ("html", "kept"),
    [
        ('a<div class="kg-audio-player"><div>b</div></div>c', "ac"),
        ('a<div class="kg-audio-player"><div>b</div>c', 'a<div class="kg-audio-player"><div>b</div>c'),
        ('a<div class="kg-audio-player-container">b</div>c', 'a<div class="kg-audio-player-container">b</div>c'),
        ('a<button class="kg-toggle-card-icon">\n<svg></svg>\n</button>c', "a\n\nc"),
        ("kg-" + "<div class=kg-audio-player>" * 20_000, "kg-" + "<div class=kg-audio-player>" * 20_000),
    ],
    ids=range(5),
)
def test_controls_are_dropped_with_all_that_is_in_them(html: str, kept: str) -> None:
    assert drop_controls(html) == kept


def test_pictures_become_media_of_the_site(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    folder = tmp_path / "content" / "images" / "2024" / "05"
    folder.mkdir(parents=True)
    Image.new("RGB", (40, 20), "red").save(folder / "a.jpg")
    small = '<img src="__GHOST_URL__/content/images/size/w600/2024/05/a.jpg">'
    large = "__GHOST_URL__/content/images/2024/05/a.jpg"
    path = write_ghost(tmp_path / "ghost.json", post(1, small, feature_image=large))
    library = sqlite_sites.app.registry[MEDIA_LIBRARY]
    found = Uploads(tmp_path / "content", library)
    report = import_ghost(sqlite_sites.engine, sqlite_sites.garden, path, uploads=found)
    first, second = re.findall(r'src="([^"]*)"', stored(sqlite_sites, sqlite_sites.garden)["post-1"].body_html)
    assert (first, report.notes) == (second, [])
    assert stored(sqlite_sites, sqlite_sites.garden)["post-1"].picture == first
    assert sqlite_sites.browser(GARDEN).get(first, status=200).content_type == "image/jpeg"
    sqlite_sites.browser(STERNWARTE).get(first, status=404)


def test_a_dry_run_and_a_failed_strict_run_change_nothing(imported: Any) -> None:
    posts = (post(1), post(2, published_at="soon"))
    for options in ({"dry_run": True}, {"strict": True}):
        report, entries = imported(*posts, **options)
        assert (counts(report), report.rolled_back, entries) == ((1, 0, 0, 1), True, {})
    report, entries = imported(*posts)
    assert (counts(report), list(entries)) == ((1, 0, 0, 1), ["post-1"])


def test_the_command(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    ini = "".join(f"{key} = {value}\n" for key, value in sqlite_sites.settings.items())
    (tmp_path / "multisite.ini").write_text(f"[app:main]\nuse = egg:pyramid-multisite\n{ini}", "utf-8")
    path = write_ghost(tmp_path / "ghost.json", post(1), post(2, type="page"))

    def run(*options: str) -> Any:
        words = ["-c", str(tmp_path / "multisite.ini"), "import-ghost", GARDEN, str(path), *options]
        return CliRunner().invoke(main, words, catch_exceptions=False)

    done = run()
    counts = "2 added, 0 updated, 0 unchanged, 0 bad, 1 of them pages, 4 redirects"
    assert done.stdout == f"Imported into {GARDEN}: {counts}.\n"
    again = json.loads(run("--json").stdout)
    assert (done.exit_code, again["unchanged"], again["pages"]) == (0, 2, 1)
    path.write_text("{", "utf-8")
    done = run()
    assert (done.exit_code, done.stderr.startswith(f"Error: {path}:1:2: not valid JSON: ")) == (1, True)


# Hostile and broken exports.

GOOD = json.dumps(export(post(1)), indent=1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ":1:1: not valid JSON: the file is cut off here: export it again"),
        (GOOD[: len(GOOD) // 2].encode(), r":\d+:\d+: not valid JSON: "),
        (b'{"db": [\n  x', ":2:3: not valid JSON: Expecting value"),
        (b'{"db": [\n  "\xe4"', ":2:4: not UTF-8: byte 0xe4"),
        (b'{"a": "\x01"}', ":1:8: not valid JSON: Invalid control character at"),
        (b"[" * 200_000, ":1: not valid JSON: nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", ":1: not valid JSON: Exceeds the limit"),
        (b"[]", ":1: not an export of Ghost: it has no data with posts"),
        (b'{"db": [{"data": {"posts": {}}}]}', ":1: not an export of Ghost: it has no data with posts"),
    ],
    ids=range(9),
)
def test_what_is_no_export_is_refused(sqlite_sites: ContentSites, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "ghost.json"
    path.write_bytes(content)
    with pytest.raises(InvalidExport) as caught:
        import_ghost(sqlite_sites.engine, sqlite_sites.garden, path)
    assert re.match(re.escape(str(path)) + message, str(caught.value))
    assert "\n" not in str(caught.value)
    assert stored(sqlite_sites, sqlite_sites.garden) == {}


def test_an_export_that_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ghost.json"
    path.write_text(GOOD, "utf-8")
    monkeypatch.setattr(ghost_posts, "MAX_EXPORT_BYTES", len(GOOD))
    assert len(read_ghost(path).posts) == 1
    monkeypatch.setattr(ghost_posts, "MAX_EXPORT_BYTES", len(GOOD) - 1)
    with pytest.raises(InvalidExport, match="longer than"):
        read_ghost(path)


def test_a_bad_post_does_not_affect_others(imported: Any) -> None:
    report, entries = imported(
        post(1, title=["x"]),
        post(2, "\ud800 a\x00b"),
        post(3, title="\ud800"),
        post(4, "<div>" * 2000),
        post(5, "x" * 2_000_001),
        post(6, slug="", title="", lost=1),
        {"title": "x"},
    )
    assert [bad.reason for bad in report.bad] == [
        "title is not text",
        "title contains characters that are not allowed in text",
        "HTML nested more than 1000 deep",
        "its html is too long",
        "no id",
    ]
    assert entries["post-2"].body == "a b"
    assert entries[f"{6:024x}"].title == "Text."


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(), st.text(max_size=5), st.just([]), st.just({})
)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_values_are_posts_or_rejected_posts(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    document = copy.deepcopy(export(post(1), post(2)))
    tables: dict[str, Any] = document["db"][0]["data"]
    for _ in range(data.draw(st.integers(1, 4))):
        name = data.draw(st.sampled_from(sorted(tables)))
        if not isinstance(tables[name], list) or not tables[name] or data.draw(st.integers(0, 9)) == 0:
            tables[name] = data.draw(VALUES)
            continue
        row = data.draw(st.integers(0, len(tables[name]) - 1))
        if isinstance(tables[name][row], dict) and tables[name][row]:
            tables[name][row][data.draw(st.sampled_from(sorted(tables[name][row])))] = data.draw(VALUES)
        else:
            tables[name][row] = data.draw(VALUES)
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(document), "utf-8")
    try:
        found = read_ghost(path)
    except InvalidExport:
        return
    for each in found.posts:
        try:
            result = read_post(each, found)
        except (InvalidArticle, NotAnEntry):
            continue
        for text in (result.title, result.slug, result.html, result.author or "", *result.tags):
            text.encode()
