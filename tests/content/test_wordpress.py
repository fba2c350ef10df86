"""Importing a blog from an export of WordPress: whole, repeated, interrupted, and hostile."""

from __future__ import annotations

import gc
import io
import json
import os
import re
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import warm
from bs4 import BeautifulSoup
from click.testing import CliRunner, Result
from command_folder import MULTISITE
from content_sites import GARDEN, STERNWARTE, ContentSites
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT
from PIL import Image
from sqlalchemy.orm import Session
from wordpress_export import ZERO, attachment, item, write_export

from multisite import Site
from multisite.cli import main
from multisite.content.errors import InvalidExport
from multisite.content.exports import notes
from multisite.content.exports.blocks import read_blocks
from multisite.content.exports.html import convert_html
from multisite.content.exports.paragraphs import add_paragraphs
from multisite.content.exports.uploads import Uploads
from multisite.content.exports.wordpress import import_wordpress
from multisite.content.exports.wordpress_shortcodes import Attachment, expand_wordpress_shortcodes
from multisite.content.exports.wxr import read_wxr
from multisite.content.imports.upsert import BATCH_SIZE
from multisite.content.markup.cleaning import clean
from multisite.content.markup.markdown import render
from multisite.content.menu import MenuItem, list_items
from multisite.content.models import Entry, Media
from multisite.content.redirect_rules import parse_rule
from multisite.content.redirects import list_redirects, save_redirects
from multisite.content.report import ImportReport
from multisite.media import MEDIA_LIBRARY, MediaLibrary


def stored(sites: ContentSites, site: Site) -> dict[str, Entry]:
    with Session(sites.engine, info={"site": site}, expire_on_commit=False) as session:
        entries = session.scalars(sa.select(Entry).options(sa.orm.selectinload(Entry.tags))).all()
        return {entry.slug: entry for entry in entries}


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.added, report.updated, report.unchanged, len(report.bad)


@pytest.fixture
def imported(sqlite_sites: ContentSites, tmp_path: Path) -> Any:
    """Return a function that imports items into the garden, and returns the report and the entries."""

    def run(*items: str, **options: Any) -> tuple[ImportReport, dict[str, Entry]]:
        path = write_export(tmp_path / "export.xml", items)
        report = import_wordpress(sqlite_sites.engine, sqlite_sites.garden, path, **options)
        return report, stored(sqlite_sites, sqlite_sites.garden)

    return run


def test_a_post_arrives_with_all_its_fields(sites: ContentSites, tmp_path: Path) -> None:
    path = write_export(
        tmp_path / "export.xml",
        [
            item(
                12,
                "<!-- wp:paragraph -->\n<p>Rake <strong>wet</strong>: <code>a]]&gt;b ]]></code></p>\n"
                "<!-- /wp:paragraph -->",
                title="Leaf &amp; mould <em>today</em>",
                name="leaf-mould",
                excerpt="A <b>short</b> one.",
                terms=[
                    ("category", "garden", "Garden &amp; House"),
                    ("category", "soil", "Soil"),
                    ("post_tag", "leaf-mould", "Leaf mould"),
                    ("post_format", "post-format-aside", "Aside"),
                ],
                comments=2,
            )
        ],
    )
    report = import_wordpress(sites.engine, sites.sternwarte, path)
    assert counts(report) == (1, 0, 0, 0)
    entry = stored(sites, sites.sternwarte)["leaf-mould"]
    assert (entry.title, entry.summary, entry.author) == ("Leaf & mould today", "A short one.", "Anna Admin")
    assert (entry.published, entry.updated) == (
        datetime(2024, 5, 5, 12, tzinfo=UTC),
        datetime(2024, 5, 6, 12, tzinfo=UTC),
    )
    assert entry.body == "Rake **wet**: `a]]>b ]]>`"
    assert entry.body_html == "<p>Rake <strong>wet</strong>: <code>a]]&gt;b ]]&gt;</code></p>\n"
    assert (entry.draft, entry.source) == (False, "https://old.example/?p=12")
    assert [tag.name for tag in entry.tags] == ["Garden & House", "Leaf mould", "Soil"]
    assert [(note.kind, note.text) for note in report.notes] == [("comments left out", "2 of 'Leaf & mould today'")]
    assert stored(sites, sites.garden) == {}


def test_only_what_visitors_saw_is_published(imported: Any) -> None:
    report, entries = imported(
        item(1, "draft", status="draft", name="", title="An idea", date_gmt=ZERO),
        item(2, "pending", status="pending"),
        item(3, "later", status="future", date_gmt="2998-01-01 10:00:00"),
        item(4, "secret", status="private", title="Mine"),
        item(5, "secret", status="trash"),
        item(6, "secret", status="auto-draft"),
        item(7, "secret", password="x"),
        item(8, "secret", status="wc-completed"),
        item(9, "About us", type="page", title="About", link="https://old.example/about-us/"),
        item(10, "", type="nav_menu_item"),
        item(11, "", type="nav_menu_item"),
        item(12, "old", type="revision", status="inherit"),
        attachment(13, "2024/05/a.jpg"),
        item(14, "no date", date=ZERO, date_gmt=ZERO),
        item(15, "local time", date_gmt=ZERO),
    )
    assert set(entries) == {"an-idea", "post-2", "post-3", "post-15", "/about-us"}
    assert (entries["an-idea"].draft, entries["an-idea"].published) == (True, None)
    assert entries["post-2"].draft
    assert (entries["post-3"].draft, entries["post-3"].published) == (False, datetime(2998, 1, 1, 10, tzinfo=UTC))
    assert entries["post-15"].published == datetime(2024, 5, 5, 14, tzinfo=UTC)
    assert [reason.reason for reason in report.skipped] == [
        "the post 'Mine' is private",
        "the post 'Post 5' is in the trash",
        "the post 'Post 6' is an automatic draft",
        "the post 'Post 7' is protected by a password",
        "the post 'Post 8' has the status wc-completed, which is not known",
    ]
    assert [bad.reason for bad in report.bad] == ["no date, and it is not a draft"]
    assert [note.text for note in report.lost] == ["2 of type nav_menu_item"]
    assert all("secret" not in entry.body for entry in entries.values())


BLOCKS = """<!-- wp:paragraph -->
<p>First.</p>
<!-- /wp:paragraph -->

<!-- wp:more -->
<!--more-->
<!-- /wp:more -->

<!-- wp:heading {"level":3,"anchor":"soil"} -->
<h3 class="wp-block-heading" id="soil">Soil</h3>
<!-- /wp:heading -->

<!-- wp:list -->
<ul class="wp-block-list"><!-- wp:list-item -->
<li>one</li>
<!-- /wp:list-item -->

<!-- wp:list-item -->
<li>two</li>
<!-- /wp:list-item --></ul>
<!-- /wp:list -->

<!-- wp:code -->
<pre class="wp-block-code"><code>if a &lt; b:

    pass</code></pre>
<!-- /wp:code -->

<!-- wp:embed {"url":"https://www.youtube.com/watch?v=abcdefghijk","type":"video"} -->
<figure class="wp-block-embed is-type-video"><div class="wp-block-embed__wrapper">
https://www.youtube.com/watch?v=abcdefghijk
</div></figure>
<!-- /wp:embed -->

<!-- wp:quote -->
<blockquote class="wp-block-quote"><!-- wp:paragraph -->
<p>Quoted.</p>
<!-- /wp:paragraph --><cite>Somebody</cite></blockquote>
<!-- /wp:quote -->

<!-- wp:latest-posts {"postsToShow":3} /-->

<!-- wp:paragraph -->
<p>Noted<sup data-fn="f1" class="fn"><a href="#f1" id="f1-link">1</a></sup>.</p>
<!-- /wp:paragraph -->

<!-- wp:footnotes /-->"""


def test_blocks_become_markdown(imported: Any) -> None:
    footnotes = json.dumps([{"content": "A <em>note</em>.", "id": "f1"}])
    report, entries = imported(item(1, BLOCKS, meta=[("footnotes", footnotes), ("_edit_last", "1")]))
    entry = entries["post-1"]
    assert entry.summary == "First."
    picture = "![YouTube: abcdefghijk](https://i.ytimg.com/vi/abcdefghijk/hqdefault.jpg)"
    assert entry.body == (
        'First.\n\n<!--more-->\n\n<h3 id="soil">Soil</h3>\n\n- one\n- two\n\n'
        "```\nif a < b:\n\n    pass\n```\n\n"
        f"[{picture}](https://www.youtube.com/watch?v=abcdefghijk)\n\n"
        "> Quoted.\n>\n> <cite>Somebody</cite>\n\n"
        'Noted<sup><a href="#f1" id="f1-link">1</a></sup>.\n\n'
        '<ol><li id="f1">A <em>note</em>. <a href="#f1-link">↩︎</a></li></ol>'
    )
    assert 'id="user-content-f1"' in entry.body_html
    assert [(note.kind, note.text) for note in report.notes] == [("left out", "block latest-posts")]
    text = Path(report.notes[0].path).read_text("utf-8").splitlines()
    assert "wp:latest-posts" in text[(report.notes[0].line or 0) - 1]


CLASSIC = {
    "leaf-mould.html": "leaf-mould.html",
    "One line.\nStill one.\n\nTwo.": "One line.\\\nStill one.\n\nTwo.",
    "<h2>Title</h2>\nText\n<ul>\n\t<li>a</li>\n\t<li>b</li>\n</ul>\nEnd": "## Title\n\nText\n\n- a\n- b\n\nEnd",
    "<blockquote>Quoted.</blockquote>": "> Quoted.",
    "<pre>a\n\nb</pre>\nText": "```\na\n\nb\n```\n\nText",
    "5 * 3 = 15, a_b_c, 1. no list, [sic] and [1]": "5 \\* 3 \\= 15, a\\_b\\_c, 1\\. no list, \\[sic\\] and \\[1\\]",
    '[caption]<a href="//else.example/"><img src="//b.example/a.jpg" alt="A" /></a> The <em>text</em>[/caption]': (
        '<figure><a href="//else.example/"><img alt="A" src="//b.example/a.jpg"/></a>'
        "<figcaption>The <em>text</em></figcaption></figure>"
    ),
    "See\n\nhttps://vimeo.com/123\n\nthere": "See\n\n[https://vimeo.com/123](https://vimeo.com/123)\n\nthere",
    '[embed width="400"]https://youtu.be/abcdefghijk[/embed]': (
        "[![YouTube: abcdefghijk](https://i.ytimg.com/vi/abcdefghijk/hqdefault.jpg)]"
        "(https://www.youtube.com/watch?v=abcdefghijk)"
    ),
    '[video width="640" mp4="https://else.example/a.mp4"][/video]': (
        '<figure><video src="https://else.example/a.mp4"></video></figure>'
    ),
    '[audio mp3="https://else.example/a.mp3"][/audio]': '<figure><audio src="https://else.example/a.mp3"></audio></figure>',
    '[sourcecode language="php"]\n$a = [1];\n\n<b>\n[/sourcecode]': "```php\n$a = [1];\n\n<b>\n```",
    "Write [[gallery]] for one.": "Write \\[gallery\\] for one.",
    "<center>x</center> <strike>y</strike>": "x\n\n~~y~~",
    "<table><tr><td>a</td></tr></table>": "<table><tr><td>a</td></tr></table>",
}


@pytest.mark.parametrize(("content", "markdown"), CLASSIC.items(), ids=range(len(CLASSIC)))
def test_texts_of_the_classic_editor_become_markdown(imported: Any, content: str, markdown: str) -> None:
    report, entries = imported(item(1, content))
    assert entries["post-1"].body == markdown
    assert report.notes == []


def test_shortcodes_of_plugins_stay_and_are_reported_with_their_line(imported: Any) -> None:
    report, entries = imported(
        item(1, 'One.\n\n[contact-form-7 id="3" title="x"]\n\n[tabs]\n[tab]a[/tab]\n[/tabs] [sic]')
    )
    assert '[contact-form-7 id="3" title="x"]' in entries["post-1"].body_html
    lines = Path(report.notes[0].path).read_text("utf-8").splitlines()
    assert [(note.kind, note.text, note.text in lines[(note.line or 0) - 1]) for note in report.notes] == [
        ("raw text", '[contact-form-7 id="3" title="x"]', True),
        ("raw text", "[tabs]", True),
        ("raw text", "[tab]", True),
    ]


def test_data_urls_are_left_out_and_the_text_of_a_link_stays(imported: Any) -> None:
    report, entries = imported(
        item(
            1,
            'a <a href="data:text/plain,x">b</a> <img src="data:image/png,x"> '
            '<video src="data:x"><source src="data:y"></video> <a href="data:z"><img src="data:z"></a> c',
        )
    )
    entry = entries["post-1"]
    assert BeautifulSoup(entry.body_html, "html.parser").get_text(" ").split() == ["a", "b", "c"]
    assert "data:" not in entry.body + entry.body_html
    assert [note.text for note in report.lost] == [
        "an image in a data: URL",
        "an image in a data: URL",
        "a data: URL of <a>",
        "a data: URL of <video>",
        "a data: URL of <source>",
        "a data: URL of <a>",
    ]


def test_html_that_markdown_cannot_express_stays_html(imported: Any) -> None:
    content = "<p><strong>a</strong><strong>b</strong></p>\n\n<p>c</p><!--more--><p>d</p>"
    _, entries = imported(item(1, f"<!-- wp:html -->{content}<!-- /wp:html -->"))
    entry = entries["post-1"]
    assert "<p><strong>a</strong><strong>b</strong></p>\n<p>c</p>" in entry.body_html
    assert entry.summary == "ab c"
    assert render(entry.body, "html").html == entry.body_html


def test_links_to_other_posts_lead_to_their_entries(imported: Any) -> None:
    report, entries = imported(
        item(
            1,
            '<p><a href="https://www.old.example/2024/05/post-2/#part">a</a> <a href="/?p=2">b</a> '
            '<a href="https://old.example/category/garden/soil/">c</a> '
            '<a href="https://else.example/2024/05/post-2/">d</a> '
            '<a href="https://old.example/about/">e</a> <a href="#f">f</a> <a href="https://old.example/">g</a></p>',
            terms=[("category", "soil", "Soil")],
        ),
        item(2),
    )
    links = {text: url for url, text in re.findall(r'href="([^"]*)">(\w)', entries["post-1"].body_html)}
    assert links == {
        "a": "/entries/post-2#user-content-part",
        "b": "/entries/post-2",
        "c": "/tags/soil",
        "d": "https://else.example/2024/05/post-2/",
        "e": "https://old.example/about/",
        "f": "#user-content-f",
        "g": "https://old.example/",
    }
    assert [note.text for note in report.notes] == ["https://old.example/about/"]


def test_galleries_and_featured_images(imported: Any) -> None:
    report, entries = imported(
        item(1, '[gallery ids="8,7,99"]', meta=[("_thumbnail_id", "9")]),
        item(2, "[gallery]"),
        item(
            3, '<img src="https://old.example/wp-content/uploads/2024/05/c-300x200.jpg">', meta=[("_thumbnail_id", "9")]
        ),
        attachment(7, "2024/05/a.jpg", parent=2, excerpt="Its caption", meta=[("_wp_attachment_image_alt", "An a")]),
        attachment(8, "2024/05/b.jpg", parent=2),
        attachment(9, "2024/05/c.jpg"),
        item(4, "x", meta=[("_thumbnail_id", "98")]),
    )
    pictures = {slug: re.findall(r"/(\w)[-\dx]*\.jpg", entry.body_html) for slug, entry in entries.items()}
    assert pictures == {"post-1": ["c", "b", "a"], "post-2": ["a", "b"], "post-3": ["c"], "post-4": []}
    assert "<figcaption>Its caption</figcaption>" in entries["post-2"].body_html
    assert 'alt="An a"' in entries["post-2"].body_html
    missing = [note.text for note in report.notes if note.kind == "left out"]
    assert missing == [
        "gallery: 1 of its files are not in the export",
        "featured image: attachment 98 is not in the export",
    ]


def menu_item(number: int, kind: str, **values: Any) -> str:
    own = values.pop("meta") | {"type": kind}
    meta = [(f"_menu_item_{key}", str(value)) for key, value in own.items()]
    terms = [("nav_menu", values.pop("menu", "main-menu"), "Main menu")]
    return item(number, "", type="nav_menu_item", **({"title": "", "meta": meta, "terms": terms} | values))


def test_the_main_menu_becomes_that_of_the_site(sites: ContentSites, tmp_path: Path) -> None:
    terms = [("category", "garden", "Garden")]
    items = [
        item(1, "x", terms=terms),
        item(2, "x", type="page", link="https://old.example/about/", title="About"),
        menu_item(20, "post_type", meta={"object": "page", "object_id": 2}),
        menu_item(21, "post_type", meta={"object": "post", "object_id": 1, "menu_item_parent": 20}, title="Post"),
        menu_item(22, "taxonomy", meta={"object": "category", "object_id": 2}, title="Garden"),
        menu_item(23, "custom", meta={"url": "https://old.example/"}, title="Home"),
        menu_item(24, "custom", meta={"url": "https://else.example/x"}, title="Else"),
        menu_item(25, "custom", meta={"url": "javascript:alert(1)"}, title="Bad"),
        menu_item(26, "post_type", meta={"object": "page", "object_id": 99}, title="Gone"),
        menu_item(27, "post_type", meta={"object": "post", "object_id": 1, "menu_item_parent": 21}, title="Deep"),
        *(menu_item(30 + n, "custom", meta={"url": "/"}, title="Foot", menu="footer") for n in range(12)),
    ]
    path = write_export(tmp_path / "export.xml", items)
    dry = import_wordpress(sites.engine, sites.garden, path, dry_run=True)
    report = import_wordpress(sites.engine, sites.garden, path)
    assert dry.notes == report.notes
    with Session(sites.engine, info={"site": sites.garden}) as session:
        found = [(row.label, target, row.parent_id) for row, target in list_items(session)]
        (about,) = session.scalars(sa.select(MenuItem.id).where(MenuItem.label == "About"))
    assert found == [
        ("About", "/about/", None),
        ("Garden", "/tags/garden-house", None),
        ("Home", "/", None),
        ("Else", "https://else.example/x", None),
        ("Post", "/entries/post-1", about),
        ("Deep", "/entries/post-1", about),
    ]
    left_out = [note.text for note in report.lost]
    assert left_out == ["menu footer: 12 items", "menu item 'Bad'", "menu item 'Gone'"]
    again = import_wordpress(sites.engine, sites.garden, path)
    assert [note.text for note in again.notes] == ["the site has a menu already, which is kept"]
    with Session(sites.engine, info={"site": sites.sternwarte}) as session:
        assert list_items(session) == []


# Addresses and repeated imports.


def test_importing_again_changes_only_what_has_changed(sites: ContentSites, tmp_path: Path) -> None:
    posts = [item(number, f"Text {number}.") for number in range(1, 6)]
    path = write_export(tmp_path / "export.xml", posts)
    assert counts(import_wordpress(sites.engine, sites.garden, path)) == (5, 0, 0, 0)
    assert counts(import_wordpress(sites.engine, sites.garden, path)) == (0, 0, 5, 0)
    posts[2] = item(3, "Another text.", name="renamed", date_gmt="2024-06-06 10:00:00")
    write_export(path, [*posts, item(6)])
    assert counts(import_wordpress(sites.engine, sites.garden, path)) == (1, 1, 4, 0)
    assert stored(sites, sites.garden)["post-3"].body == "Another text."
    assert counts(import_wordpress(sites.engine, sites.sternwarte, path)) == (6, 0, 0, 0)


def test_posts_of_one_slug_are_different_entries(imported: Any) -> None:
    _, entries = imported(
        item(1, "first", name="same"),
        item(2, "same day", name="Same"),
        item(3, "another day", name="same", date_gmt="2024-06-06 10:00:00"),
        item(4, "a draft", name="same", status="draft", date_gmt=ZERO),
        item(5, "日本", name="%e6%97%a5%e6%9c%ac"),
    )
    assert {slug: entry.body for slug, entry in entries.items()} == {
        "same": "first",
        "2024-05-05-same": "same day",
        "2024-06-06-same": "another day",
        "4-same": "a draft",
        "日本": "日本",
    }


def test_an_entry_from_elsewhere_is_replaced_only_if_its_slug_and_day_are_the_same(
    sqlite_sites: ContentSites, imported: Any
) -> None:
    sqlite_sites.add(sqlite_sites.garden, "post-1", published=datetime(2024, 5, 5, 1, tzinfo=UTC))
    sqlite_sites.add(sqlite_sites.garden, "post-2", published=datetime(2020, 1, 1, tzinfo=UTC), body="Mine.")
    _, entries = imported(item(1, "New."), item(2, "New, too."))
    assert {slug: entry.body for slug, entry in entries.items()} == {
        "post-1": "New.",
        "post-2": "Mine.",
        "2024-05-05-post-2": "New, too.",
    }


def test_a_dry_run_and_a_failed_strict_run_change_nothing(imported: Any) -> None:
    posts = (item(1, "good"), item(2, "bad", date=ZERO, date_gmt=ZERO))
    report, entries = imported(*posts, dry_run=True)
    assert (counts(report), report.rolled_back, entries) == ((1, 0, 0, 1), True, {})
    report, entries = imported(*posts, strict=True)
    assert (counts(report), report.rolled_back, entries) == ((1, 0, 0, 1), True, {})
    report, entries = imported(*posts)
    assert (counts(report), list(entries)) == ((1, 0, 0, 1), ["post-1"])


def test_pages_keep_their_addresses(sites: ContentSites, tmp_path: Path) -> None:
    pages = [
        item(1, "Team", type="page", link="https://old.example/über/team/", terms=[("category", "soil", "Soil")]),
        item(2, "[us](https://old.example/?page_id=1)", type="page", link="https://old.example/about/"),
        item(3, "Text", type="page", link="https://old.example/archive/"),
        item(4, "Text", type="page", link="https://old.example/?page_id=4", name="later", status="draft"),
        item(5, "Text", type="page", link="https://old.example/", name="front", date=ZERO, date_gmt=ZERO),
        item(6, "Text", type="page", link="https://old.example/soon/", name="soon", status="future"),
        item(7, '<a href="https://old.example/über/team/#user-content-ann">team</a>'),
    ]
    sites.add(sites.garden, "/about", published=None)
    path = write_export(tmp_path / "export.xml", pages)
    report = import_wordpress(sites.engine, sites.garden, path)
    assert (report.added, report.pages, report.bad, report.skipped) == (7, 6, [], [])
    garden = sites.browser(GARDEN)
    assert "Team" in garden.get("/%C3%BCber/team/").text
    assert garden.get("/?p=1", status=301).location == f"http://{GARDEN}/%C3%BCber/team/"
    # The address is taken by a page that is not from the export, which stays.
    assert "about of Garden" not in garden.get("/about-2/").text
    assert "of Garden" in garden.get("/about/").text
    for address in ("/page/archive/", "/front/"):
        garden.get(address)
    for address in ("/later/", "/soon/"):
        garden.get(address, status=404)
    link = garden.get("/entries/post-7").html.select_one(".entry-body a")
    assert link["href"] == "/%C3%BCber/team/#user-content-ann"
    assert not [note.text for note in report.notes if "without end" in note.text]
    again = import_wordpress(sites.engine, sites.garden, path)
    assert (again.added, again.unchanged, again.pages) == (0, 7, 6)
    sites.browser(STERNWARTE).get("/front/", status=404)


def test_old_addresses_lead_to_the_entries(sites: ContentSites, tmp_path: Path) -> None:
    terms = [("category", "soil", "Soil"), ("post_tag", "leaf-mould", "Leaf mould")]
    path = write_export(
        tmp_path / "export.xml",
        [
            item(12, "x", name="grüße", link="https://old.example/2024/05/gr%c3%bc%c3%9fe/", terms=terms),
            item(13, "x", meta=[("_wp_old_slug", "before")]),
            item(14, "x", status="draft"),
            item(15, "x", status="private"),
            item(16, "About", type="page", link="https://old.example/about/"),
        ],
    )
    report = import_wordpress(sites.engine, sites.garden, path)
    garden, other = sites.browser(GARDEN), sites.browser(STERNWARTE)
    expected = {
        "/2024/05/gr%C3%BC%C3%9Fe/": "/entries/gr%C3%BC%C3%9Fe",
        "/?p=12": "/entries/gr%C3%BC%C3%9Fe",
        "/2024/05/post-13": "/entries/post-13",
        "/2024/05/before/": "/entries/post-13",
        "/category/garden/soil/": "/tags/soil",
        "/tag/leaf-mould/": "/tags/leaf-mould",
        "/2024/": "/archive/2024",
        "/2024/05/": "/archive/2024",
        "/feed/": "/feed.xml",
        "/page/2/": "/",
    }
    for old, new in expected.items():
        answer = garden.get(old, status=301)
        assert answer.location == f"http://{GARDEN}{new}", old
        assert garden.get(new, status=200)
        assert other.get(old, status="*").status_int in (200, 404), old
    garden.get("/about/")  # A page keeps its address.
    for old in ("/2024/05/post-14/", "/2024/05/post-15/", "/category/garden/"):
        garden.get(old, status=404)
    assert report.redirects == 15
    assert import_wordpress(sites.engine, sites.garden, path).redirects == 15


def test_a_blog_below_a_path_and_redirects_of_people(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    blog = "https://old.example/blog"
    posts = [item(number, "x", link=f"{blog}/post-{number}/") for number in (1, 2)]
    path = write_export(tmp_path / "export.xml", posts, blog=blog)
    with Session(sqlite_sites.engine, info={"site": sqlite_sites.garden}) as session:
        save_redirects(session, [parse_rule("/blog/post-2", "/entries/mine"), parse_rule("/entries/*", "/blog/*")])
        session.commit()
    report = import_wordpress(sqlite_sites.engine, sqlite_sites.garden, path)
    with Session(sqlite_sites.engine, info={"site": sqlite_sites.garden}) as session:
        rules = {rule.path: rule.target for rule, _ in list_redirects(session)}
    assert rules["/blog/post-2"] == "/entries/mine"
    assert "/blog/post-1" not in rules
    notes = [(note.path, note.lost) for note in report.notes if note.kind == "redirect"]
    assert ("/blog/post-2", False) in notes
    assert ("/blog/post-1", True) in notes


def test_an_import_that_is_killed_can_be_repeated(sqlite_sites: ContentSites, tmp_path: Path, uploads: Path) -> None:
    count = 2 * BATCH_SIZE
    posts = (picture_post(number, "2024/05/a.jpg") for number in range(1, count + 1))
    path = write_export(tmp_path / "export.xml", posts)
    ini = "".join(f"{key} = {value}\n" for key, value in sqlite_sites.settings.items())
    (tmp_path / "multisite.ini").write_text(f"[app:main]\nuse = egg:pyramid-multisite\n{ini}", "utf-8")
    words = ("-c", str(tmp_path / "multisite.ini"), "import-wordpress", GARDEN, str(path), "--uploads", str(uploads))
    process = subprocess.Popen([*warm.python(), *MULTISITE, *words], env={**os.environ, "PYTHONPATH": str(ROOT)})
    while not stored(sqlite_sites, sqlite_sites.garden):
        assert process.poll() is None, "the import ended before it could be killed"
        time.sleep(0.01)
    process.kill()
    process.wait()
    saved = len(stored(sqlite_sites, sqlite_sites.garden))
    assert 0 < saved < count
    done = CliRunner().invoke(main, list(words), catch_exceptions=False)
    assert done.stdout.startswith(f"Imported into {GARDEN}: {count - saved} added, 0 updated, {saved} unchanged, 0 bad")
    assert len(stored(sqlite_sites, sqlite_sites.garden)) == count
    assert media_of(sqlite_sites, sqlite_sites.garden) == ["a.jpg"]
    assert stored(sqlite_sites, sqlite_sites.sternwarte) == {}


# Uploaded files.


def jpeg(color: str) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (40, 20), color).save(target, "JPEG")
    return target.getvalue()


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """Return a folder of uploads, beside which there is a file that nobody may read."""
    folder = tmp_path / "uploads"
    (folder / "2024" / "05").mkdir(parents=True)
    (folder / "2024" / "05" / "a.jpg").write_bytes(jpeg("red"))
    (folder / "2024" / "05" / "b-40x20.jpg").write_bytes(jpeg("blue"))
    (folder / "2024" / "05" / "evil.svg").write_text("<svg onload='alert(1)'/>")
    (tmp_path / "outside.jpg").write_bytes(jpeg("green"))
    (folder / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    return folder


def library_of(sites: ContentSites) -> MediaLibrary:
    found: MediaLibrary = sites.app.registry[MEDIA_LIBRARY]
    return found


def media_of(sites: ContentSites, site: Site) -> list[str]:
    with Session(sites.engine, info={"site": site}) as session:
        return sorted(media.name for media in session.scalars(sa.select(Media)))


def picture_post(number: int, *names: str) -> str:
    base = "https://old.example/wp-content/uploads"
    return item(number, "\n\n".join(f'<img src="{base}/{name}" alt="{name}">' for name in names))


def test_pictures_become_media_of_the_site(sites: ContentSites, tmp_path: Path, uploads: Path) -> None:
    path = write_export(
        tmp_path / "export.xml",
        [picture_post(1, "2024/05/a-30x15.jpg", "2024/05/b-40x20.jpg"), picture_post(2, "2024/05/a.jpg")],
    )
    found = Uploads(uploads, library_of(sites))
    report = import_wordpress(sites.engine, sites.garden, path, uploads=found)
    assert (counts(report), report.notes) == ((2, 0, 0, 0), [])
    assert media_of(sites, sites.garden) == ["a.jpg", "b-40x20.jpg"]
    assert media_of(sites, sites.sternwarte) == []
    entries = stored(sites, sites.garden)
    first, second = re.findall(r'src="([^"]*)"', entries["post-1"].body_html)
    assert re.findall(r'src="([^"]*)"', entries["post-2"].body_html) == [first]
    for address in (first, second):
        assert sites.browser(GARDEN).get(address, status=200).content_type == "image/jpeg"
        sites.browser(STERNWARTE).get(address, status=404)
    again = import_wordpress(sites.engine, sites.garden, path, uploads=found)
    assert counts(again) == (0, 0, 2, 0)
    assert len(media_of(sites, sites.garden)) == 2


def test_the_featured_image_is_the_picture_of_the_entry(
    sqlite_sites: ContentSites, tmp_path: Path, uploads: Path
) -> None:
    items = [item(1, "x", meta=[("_thumbnail_id", "9")]), item(2, "y"), attachment(9, "2024/05/a.jpg")]
    path = write_export(tmp_path / "export.xml", items)
    found = Uploads(uploads, library_of(sqlite_sites))
    import_wordpress(sqlite_sites.engine, sqlite_sites.garden, path, uploads=found)
    entries = stored(sqlite_sites, sqlite_sites.garden)
    assert (entries["post-1"].picture or "").endswith("/a.jpg")
    assert entries["post-2"].picture is None
    page = sqlite_sites.browser(GARDEN).get("/entries/post-1").text
    assert len(re.findall(r"<img[^>]*a\.jpg", page)) == 1
    import_wordpress(sqlite_sites.engine, sqlite_sites.sternwarte, path)
    assert stored(sqlite_sites, sqlite_sites.sternwarte)["post-1"].picture is None


def test_pictures_of_the_blog_that_are_no_uploads_are_listed(imported: Any) -> None:
    urls = [
        "/img/a.jpg",
        "b.jpg",
        "https://old.example/img/c.jpg",
        "https://else.example/d.jpg",
        "//else.example/e.jpg",
    ]
    report, _ = imported(item(1, " ".join(f'<img src="{url}">' for url in urls)))
    assert [(note.kind, note.text) for note in report.lost] == [("file that is not imported", url) for url in urls[:3]]


def test_only_media_in_the_folder_are_read(sqlite_sites: ContentSites, tmp_path: Path, uploads: Path) -> None:
    names = ("../outside.jpg", "%2e%2e/outside.jpg", "link.jpg", "none.jpg", "2024/05/evil.svg", "2024", "a%00b.jpg")
    path = write_export(tmp_path / "export.xml", [picture_post(1, *names)])
    found = Uploads(uploads, library_of(sqlite_sites))
    report = import_wordpress(sqlite_sites.engine, sqlite_sites.garden, path, uploads=found)
    assert media_of(sqlite_sites, sqlite_sites.garden) == []
    missing = "there is no such file in the folder of uploads"
    reasons = [note.text.partition(": ")[2] for note in report.notes]
    assert [reason == missing for reason in reasons] == [True, True, True, True, False, True, True]
    assert {note.kind for note in report.notes} == {"file that is not imported"}


@pytest.mark.parametrize("option", ["dry_run", "strict"])
def test_a_rolled_back_import_leaves_no_media(sites: ContentSites, tmp_path: Path, uploads: Path, option: str) -> None:
    bad = item(2, "x", date=ZERO, date_gmt=ZERO)
    path = write_export(tmp_path / "export.xml", [picture_post(1, "2024/05/a.jpg"), bad])
    found = Uploads(uploads, library_of(sites))
    report = import_wordpress(sites.engine, sites.garden, path, uploads=found, **{option: True})
    assert (report.rolled_back, media_of(sites, sites.garden)) == (True, [])
    folder = Path(sites.settings["multisite.media_url"])
    assert [each for each in folder.rglob("*") if each.is_file()] == []


# The command.


@pytest.fixture
def run(sqlite_sites: ContentSites, tmp_path: Path) -> Callable[..., Result]:
    """Return a function that runs the command on an export with one good, one bad and one private post."""
    ini = "".join(f"{key} = {value}\n" for key, value in sqlite_sites.settings.items())
    (tmp_path / "multisite.ini").write_text(f"[app:main]\nuse = egg:pyramid-multisite\n{ini}", "utf-8")
    bad = item(2, "x", date=ZERO, date_gmt=ZERO)
    write_export(tmp_path / "export.xml", [item(1, "x", comments=1), bad, item(3, status="private", title="Mine")])

    def run(*arguments: str) -> Result:
        words = ["-c", str(tmp_path / "multisite.ini"), "import-wordpress", *arguments]
        return CliRunner().invoke(main, words, catch_exceptions=False)

    return run


def test_the_command_prints_what_was_left_out(run: Callable[..., Result], tmp_path: Path) -> None:
    path = str(tmp_path / "export.xml")
    lines = Path(path).read_text("utf-8").splitlines()
    begins = [number for number, line in enumerate(lines, start=1) if line == "\t<item>"]
    done = run(GARDEN, path, "--dry-run")
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        f"{path}:{begins[2]}: skipped, the post 'Mine' is private",
        f"{path}:{begins[1]}: no date, and it is not a draft",
        "comments left out, 1:",
        f"  {path}:{begins[0]}: 1 of 'Post 1'",
    ]
    summary = f"{GARDEN}: 1 added, 0 updated, 0 unchanged, 1 bad, 1 skipped, 9 redirects"
    assert done.stdout == f"Would import into {summary}. Nothing was changed.\n"
    assert run(GARDEN, path).stdout == f"Imported into {summary}.\n"
    answer = json.loads(run(GARDEN, path, "--json").stdout)
    assert (answer["host"], answer["unchanged"], answer["redirects"]) == (GARDEN, 1, 9)


def test_strict_fails_if_anything_is_lost(run: Callable[..., Result], tmp_path: Path) -> None:
    path = str(tmp_path / "export.xml")
    assert "Imported nothing" in run(GARDEN, path, "--strict").stdout
    write_export(tmp_path / "export.xml", [item(1, "x", comments=1)])
    assert run(GARDEN, path, "--strict").exit_code == 1
    write_export(tmp_path / "export.xml", [item(1, "x")])
    assert run(GARDEN, path, "--strict").exit_code == 0


def test_the_command_adds_the_files_of_the_folder(
    run: Callable[..., Result], sqlite_sites: ContentSites, tmp_path: Path, uploads: Path
) -> None:
    path = write_export(tmp_path / "export.xml", [picture_post(1, "2024/05/a.jpg", "2024/05/c.jpg")])
    dry = run(GARDEN, str(path), "--uploads", str(uploads), "--dry-run")
    assert media_of(sqlite_sites, sqlite_sites.garden) == []
    done = run(GARDEN, str(path), "--uploads", str(uploads))
    assert media_of(sqlite_sites, sqlite_sites.garden) == ["a.jpg"]
    assert dry.stderr == done.stderr
    assert "c.jpg: there is no such file in the folder of uploads" in done.stderr


def test_a_broken_export_is_one_line(run: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "export.xml"
    path.write_bytes(path.read_bytes()[:2000])
    done = run(GARDEN, str(path))
    assert done.exit_code == 1
    assert re.fullmatch(
        rf"Error: {re.escape(str(path))}:\d+:\d+: the file is cut off here: export it again\n", done.stderr
    )
    assert run(GARDEN, str(path), "--uploads", str(tmp_path / "none")).exit_code == 2


# Hostile and broken exports.

BOMB = """<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;&lol;&lol;&lol;&lol;">]>
<rss><channel><title>&lol2;</title></channel></rss>"""
GOOD = item(1, "Text.")


def refusal(sites: ContentSites, path: Path) -> str:
    """Return the message of an import that must fail with one line, and must change nothing."""
    before = stored(sites, sites.garden)
    with pytest.raises(InvalidExport) as caught:
        import_wordpress(sites.engine, sites.garden, path)
    assert stored(sites, sites.garden).keys() == before.keys()
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, ":1: a DOCTYPE or an entity, which an export of WordPress does not have"),
        ('<!DOCTYPE rss SYSTEM "file:///etc/passwd"><rss/>', ":1: a DOCTYPE or an entity"),
        ("<rss>&undefined;</rss>", ":1:6: not well-formed XML: undefined entity"),
        ("", ":1: the file is empty"),
        ("Not XML", ":1:1: not well-formed XML: syntax error"),
        ("<html></html>", ":1: not an export of WordPress: its first element is html, not rss"),
        ("<rss><channel><item/></channel></rss>", ":1: not an export of WordPress: an RSS feed without wp:wxr_version"),
        ("<rss><channel></channel></rss>", ":1: not an export of WordPress: an RSS feed without wp:wxr_version"),
        ("<rss>" + "<a>" * 100_000, ":1: elements are nested more than 20 deep"),
        ("<?xml version='1.0' encoding='x-none'?><rss/>", ":1: its encoding cannot be read: unknown encoding"),
        ("<?xml version='1.0' encoding='utf-16'?><rss/>", ":1:31: not well-formed XML: encoding specified"),
        ("<rss a='" + "x" * 5_000_000, ":1: a tag or comment of more than 4,000,000 bytes"),
    ],
    ids=range(12),
)
def test_what_is_no_export_is_refused(sqlite_sites: ContentSites, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "export.xml"
    path.write_text(content, "utf-8")
    assert refusal(sqlite_sites, path).startswith(message)


def test_a_file_that_is_cut_off_changes_nothing(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    path = write_export(tmp_path / "export.xml", [GOOD, item(2, "<!-- wp:paragraph -->\n<p>x</p>")])
    whole = path.read_bytes()
    for length in (*range(100, len(whole) - 20, 397), len(whole) - 8):
        path.write_bytes(whole[:length])
        line = whole[:length].count(b"\n") + 1
        found = re.match(r":(\d+):\d+: the file is cut off here", refusal(sqlite_sites, path))
        assert found is not None
        assert int(found[1]) <= line
    path.write_bytes(whole)
    assert counts(import_wordpress(sqlite_sites.engine, sqlite_sites.garden, path)) == (2, 0, 0, 0)


def test_bytes_that_are_not_utf_8_are_named_with_line_and_column(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    path = write_export(tmp_path / "export.xml", [GOOD])
    whole = path.read_bytes()
    at = whole.index(b"Text.")
    path.write_bytes(whole[:at] + b"T\xe4xt" + whole[at:])
    line, column = whole[:at].count(b"\n") + 1, at - whole.rindex(b"\n", 0, at) + 1
    reason = "not well-formed XML: not well-formed (invalid token) (is it UTF-8?)"
    assert refusal(sqlite_sites, path) == f":{line}:{column}: {reason}"


def test_namespaces_with_https_and_other_versions_are_the_same(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    path = write_export(tmp_path / "export.xml", [item(1, "Text.", excerpt="Short.")])
    text = re.sub(r'(xmlns:\w+=")http:', r"\1https:", path.read_text("utf-8"))
    path.write_text(text.replace("/export/1.2/", "/export/1.0/"), "utf-8")
    import_wordpress(sqlite_sites.engine, sqlite_sites.garden, path)
    entry = stored(sqlite_sites, sqlite_sites.garden)["post-1"]
    assert (entry.body, entry.summary, entry.author) == ("Text.", "Short.", "Anna Admin")


def test_control_characters_and_empty_lines_before_the_file_are_read(
    sqlite_sites: ContentSites, tmp_path: Path
) -> None:
    path = write_export(tmp_path / "export.xml", [item(1, "a\x08b\x0bc")])
    path.write_bytes(b"\n\n" + path.read_bytes())
    report = import_wordpress(sqlite_sites.engine, sqlite_sites.garden, path)
    assert stored(sqlite_sites, sqlite_sites.garden)["post-1"].body == "a b c"
    assert [note.kind for note in report.notes] == ["control characters"]
    assert report.lost == []


def test_what_cannot_be_opened_is_refused(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    assert refusal(sqlite_sites, tmp_path / "none.xml") == ": cannot be read: No such file or directory"
    assert refusal(sqlite_sites, tmp_path) == ": not a file"
    os.mkfifo(tmp_path / "pipe.xml")
    assert refusal(sqlite_sites, tmp_path / "pipe.xml") == ": not a file"


def test_a_post_that_is_too_long_or_too_deep_does_not_affect_others(imported: Any) -> None:
    report, entries = imported(
        item(1, "x" * 2_000_001),
        item(2, "<div>" * 2000),
        item(3, "*" * 200_000),
        item(4, "good", title="x" * 400),
        item(5, "<ul>" + "<li>x" * 5000, terms=[("post_tag", "x", "\u2665"), ("post_tag", "y", "y" * 400)]),
        item(6, "x", terms=[("post_tag", f"t{n}", f"t{n}") for n in range(101)]),
        item(7, "x", title="y" * 200_000),
        item(0, "x"),
    )
    assert [bad.reason for bad in report.bad] == [
        "content:encoded is too long",
        "HTML nested more than 1000 deep",
        "more than 100,000 lines and markup characters",
        "more than 100 tags",
        "title is too long",
        "no wp:post_id",
    ]
    assert len(entries["post-4"].title) == 300
    assert entries["post-5"].body_html.count("<li>") == 5000
    assert [len(tag.name) for tag in entries["post-5"].tags] == [1, 300]


def test_a_field_is_cut_at_its_limit_while_it_is_read(tmp_path: Path) -> None:
    long = "y" * 3_000_000
    items = [
        item(1, long),
        item(2, title=long),
        item(3, comments=1, comment_text=long, meta=[("_elementor_data", long)]),
        item(4, meta=[("footnotes", long)]),
    ]
    path = write_export(tmp_path / "export.xml", items)
    first, second, third, fourth = (record for record in read_wxr(path) if record.kind == "item")
    assert (third.too_long, third.meta, fourth.too_long) == (None, {}, "wp:meta_value")
    assert (first.too_long, len(first.fields["content:encoded"]) <= 2_000_000) == ("content:encoded", True)
    assert (second.too_long, len(second.fields["title"]) <= 100_000) == ("title", True)


def test_no_script_of_an_export_reaches_a_page(imported: Any) -> None:
    evil = (
        "<script>alert(1)</script><p onclick='alert(1)'>a</p><a href='javascript:alert(1)'>b</a>"
        "<img src=x onerror=alert(1)><svg onload=alert(1)><pre><code>&lt;script&gt;</code></pre>"
        '[caption caption="<script>alert(1)</script>"]<img src="/a.jpg"/>[/caption]'
        "[video mp4='javascript:alert(1)'][/video][embed]javascript:alert(1)[/embed]"
        "[sourcecode language='\"><script>']&lt;/code&gt;<script>alert(1)</script>[/sourcecode]"
    )
    _, entries = imported(item(1, evil), item(2, f"<!-- wp:html -->{evil}<!-- /wp:html -->"))
    for entry in entries.values():
        found = BeautifulSoup(entry.body_html, "html.parser")
        assert found.find(["script", "svg"]) is None
        for tag in found.find_all(True):
            assert not any(name.startswith("on") or "javascript" in str(value) for name, value in tag.attrs.items())
        assert render(entry.body, "html").html == entry.body_html


PIECES = """
<p> </p> <b> </b> <i> </i> <ul> <li> </ul> <ol> <pre> </pre> <table> <tr> <td> <th> <figure> <figcaption> <!--more-->
<!-- --> <!--wp:x--> [caption] [/caption] <img/src='/b(c).jpg'alt='[x]'> <a/href='/?p=1'> </a> [gallery] [code] [/code]
<br> <h2/id=a> </h2> &lt; &amp; * _ ` ~~ 1. # - > + | = \\ [[x]] ]]> https://youtu.be/abcdefgh [embed] [/embed] <div>
</div> <code> </code> <blockquote> <dl> <dt> <sup> </sup> <details> <hr> <video/src='/a.mp4'> word
<img/src='data:x'> <audio/src='data:x'> <a/href='data:x'>
""".split()  # noqa: SIM905 (sixty quoted pieces are harder to read)
TEXTS = st.lists(
    st.one_of(
        st.sampled_from([*PIECES, "\n", "\n\n", " ", "    ", "<!-- wp:x -->", "<!-- wp:x /-->"]),
        st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=8),
    ),
    max_size=25,
).map("".join)


@settings(max_examples=80, deadline=None)
@given(content=TEXTS, is_block=st.booleans())
def test_any_text_is_converted_so_that_its_markdown_means_its_html(content: str, is_block: bool) -> None:
    def ignore(*_: object) -> None:
        return

    html = read_blocks(content, "", ignore)
    html = expand_wordpress_shortcodes(html, lambda _numbers: [Attachment("/a.jpg", "t")], ignore)
    html = html if is_block else add_paragraphs(html)
    body, rendered = convert_html(html, lambda _tag, url, _line: url, ignore)
    assert render(body, "html").html == rendered.html
    wanted = clean(html, raw=True, anchors=True, on_removed=ignore)
    assert text_letters(rendered.html) == text_letters(wanted)


def text_letters(html: str) -> str:
    return "".join(BeautifulSoup(f"{html}\n", "html.parser").get_text().split())


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_bytes_are_an_export_or_refused(scratch: Path, data: st.DataObject) -> None:
    whole = scratch.with_name("whole.xml").read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 200)))
    scratch.write_bytes(whole[:start] + data.draw(st.binary(max_size=50)) + whole[end:])
    try:
        for record in read_wxr(scratch):
            assert record.kind in ("channel", "item", "wp:author", "wp:category")
    except InvalidExport as error:
        message = str(error)
        assert re.match(rf"{re.escape(str(scratch))}:\d+:", message)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    write_export(folder / "whole.xml", [item(1, BLOCKS, comments=1), attachment(2, "a.jpg")])
    return folder / "export.xml"


# Size.


def peak_bytes(sites: ContentSites, path: Path, count: int) -> int:
    text = "word " * 800
    write_export(path, (item(number, "x", comments=5, comment_text=text) for number in range(1, count + 1)))
    gc.collect()
    tracemalloc.start()
    try:
        report = import_wordpress(sites.engine, sites.garden, path, dry_run=True)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        assert report.added == count


def test_memory_use_does_not_grow_with_the_export(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    few = peak_bytes(sqlite_sites, tmp_path / "few.xml", 110)
    many = peak_bytes(sqlite_sites, tmp_path / "many.xml", 220)
    # Each further post has 20 kB in the export. A note about its comments stays in memory.
    assert many < few + 110 * 5000


@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("MULTISITE_SOAK"), reason="runs long; only with MULTISITE_SOAK=1")
def test_a_gigabyte_is_imported_in_bounded_memory(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    text = "word " * 4000
    posts = (item(number, f"<p>{text[:1000]}</p>", comments=5, comment_text=text) for number in range(1, 10_001))
    path = write_export(tmp_path / "export.xml", posts)
    assert path.stat().st_size > 1_000_000_000
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from multisite.content.exports.wordpress import import_wordpress\n"
        "from multisite.directory import engine_from_url; from multisite.directory.records import get_site\n"
        "engine = engine_from_url(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (700_000_000, 700_000_000))\n"
        "report = import_wordpress(engine, get_site(engine, sys.argv[2]).site, Path(sys.argv[3]))\n"
        "print(report.added, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    command = [sys.executable, "-c", code, sqlite_sites.settings["sqlalchemy.url"], GARDEN, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout.split()[:1]) == (0, "", ["10000"])
    assert int(done.stdout.split()[1]) < 300_000  # kB


def test_notes_are_limited(imported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "MAX_NOTES", 3)
    report, _ = imported(
        *(item(number, "x", comments=1) for number in range(1, 6)),
        *(item(number, status="private") for number in range(6, 12)),
        *(item(number, type=f"type-{number}") for number in range(12, 14)),
    )
    assert [note.text for note in report.notes] == [
        *(f"1 of 'Post {number}'" for number in range(1, 4)),
        "1 of type type-12",
        "1 of type type-13",
        "2 more",
    ]
    assert [skipped.reason for skipped in report.skipped][3:] == ["3 more"]
