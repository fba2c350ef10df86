"""Importing Markdown files as entries: good and bad files, repeated imports, few files and ten thousand."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import threading
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path, PurePath
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from bs4 import BeautifulSoup
from click.testing import CliRunner, Result
from content_sites import GARDEN, STERNWARTE, ContentSites
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from multisite import Site
from multisite.cli import main
from multisite.content.imports import importing, unchanged, upsert
from multisite.content.imports.files import MAX_FILE_BYTES
from multisite.content.imports.front_matter import Article, InvalidArticle, parse_article, parse_date
from multisite.content.imports.importing import ImportReport, import_entries
from multisite.content.markup.markdown import MAX_DEPTH, SUMMARY_LENGTH, NestingTooDeep, render
from multisite.content.models import Entry, Tag
from multisite.content.slugs import slugify

pytestmark = pytest.mark.slow

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "articles"
    path.mkdir()
    return path


def write(path: Path, text: str = "Text.", *, title: str = "A title", date: str = "2024-05-05", more: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"---\ntitle: {title}\ndate: {date}\n{more}---\n{text}\n", "utf-8")
    return path


def stored(sites: ContentSites, site: Site) -> dict[str, Entry]:
    with Session(sites.engine, info={"site": site}, expire_on_commit=False) as session:
        entries = session.scalars(sa.select(Entry).options(sa.orm.selectinload(Entry.tags))).all()
        return {entry.slug: entry for entry in entries}


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.added, report.updated, report.unchanged, len(report.bad)


# Files of the three tools.


def article(text: str, path: str = "posts/a-post.md") -> Article:
    return parse_article(text, PurePath(path), BERLIN)


def test_a_file_of_jekyll() -> None:
    found = article(
        '---\nlayout: post\ntitle:  "Welcome to Jekyll!"\ndate:   2015-11-17 16:16:01 -0600\n'
        "categories: jekyll update\ntags: [one, two words]\nexcerpt: Short.\n---\nYou’ll find this post.\n",
        "_posts/2015-11-17-welcome-to-jekyll.md",
    )
    assert found == Article(
        slug="welcome-to-jekyll",
        title="Welcome to Jekyll!",
        body="You’ll find this post.",
        tags=("one", "two words"),
        published=datetime(2015, 11, 17, 22, 16, 1, tzinfo=UTC),
        updated=None,
        summary="Short.",
        draft=False,
    )
    from_name = article("---\ntitle: x\n---\n", "_posts/2015-11-17-x.md")
    assert from_name.published == datetime(2015, 11, 16, 23, tzinfo=UTC)
    assert article("---\ntitle: x\npublished: false\n---\n", "_posts/2015-11-17-x.md").draft
    with_date = article("---\ntitle: x\npublished: 2024-10-27\n---\n")
    assert (with_date.published, with_date.draft) == (datetime(2024, 10, 26, 22, tzinfo=UTC), False)
    named = article("---\ntitle: x\ndate: 2024-05-05\npublished: 2024-10-27\n---\n")
    assert named.published == datetime(2024, 5, 4, 22, tzinfo=UTC)
    in_drafts = article("---\ntitle: x\n---\n", "_drafts/idea.md")
    assert (in_drafts.slug, in_drafts.draft, in_drafts.published) == ("idea", True, None)


@pytest.mark.parametrize(
    "front",
    [
        """+++
title = "My First Post"
date = 2024-10-12T09:30:00+02:00
lastmod = 2024-10-13
tags = ["a", "b"]
draft = true
description = "Short."
weight = 3
[params]
author = "x"
+++
""",
        """---
title: My First Post
date: '2024-10-12T09:30:00+02:00'
lastmod: 2024-10-13
tags:
  - a
  - b
draft: true
description: Short.
weight: 3
params:
  author: x
---
""",
    ],
)
def test_a_file_of_hugo(front: str) -> None:
    assert article(front + "Text.", "content/posts/my-first-post/index.md") == Article(
        slug="my-first-post",
        title="My First Post",
        body="Text.",
        tags=("a", "b"),
        published=datetime(2024, 10, 12, 7, 30, tzinfo=UTC),
        updated=datetime(2024, 10, 12, 22, tzinfo=UTC),
        summary="Short.",
        draft=True,
    )


def test_a_file_of_pelican() -> None:
    found = article(
        "Title: My super title\nDate: 2010-12-03 10:20\nModified: 2010-12-05 19:30\nCategory: Python\n"
        "Tags: pelican, publishing\nSlug: my-super-post\nAuthors: Alexis, Conan\nStatus: published\n"
        "Summary: Short version for\n    index and feeds\n\nThis is: the content.\n"
    )
    assert found == Article(
        slug="my-super-post",
        title="My super title",
        body="This is: the content.",
        tags=("pelican", "publishing"),
        published=datetime(2010, 12, 3, 9, 20, tzinfo=UTC),
        updated=datetime(2010, 12, 5, 18, 30, tzinfo=UTC),
        summary="Short version for index and feeds",
        draft=False,
    )


@pytest.mark.parametrize(("status", "draft"), [("draft", True), ("Hidden", True), ("skip", True), ("published", False)])
def test_what_pelican_does_not_list_is_not_shown(status: str, draft: bool) -> None:
    assert article(f"Title: x\nDate: 2010-12-03\nStatus: {status}\n\nText").draft is draft


@pytest.mark.parametrize(
    ("tags", "expected"),
    [("machine learning", ("machine learning",)), ("a b, c", ("a b", "c")), ("Doe, Jane; b", ("Doe, Jane", "b"))],
)
def test_pelican_tags_are_separated_by_commas_or_semicolons(tags: str, expected: tuple[str, ...]) -> None:
    assert article(f"Title: x\nDate: 2010-12-03\nTags: {tags}\n\nText").tags == expected


def test_names_with_symbols_have_different_slugs() -> None:
    found = article("---\ntitle: x\ndate: 2024-05-05\ntags: [C, C++, C#, c++]\n---\n", "learning-c++.md")
    assert found.tags == ("C", "C++", "C#")
    assert [slugify(tag) for tag in found.tags] == ["c", "c-plus-plus", "c-sharp"]
    assert found.slug == "learning-c-plus-plus"
    assert slugify("1 + 1 #2 a+b Episode#3") == "1-1-2-a-b-episode-3"


@pytest.mark.parametrize(
    "title", ["2024", "Yes", "1.10", "2024-05-05", "'null and void'", "0x10", "on", "1_000", '"A: B"']
)
def test_a_title_stays_as_written(title: str) -> None:
    assert article(f"---\ntitle: {title}\ndate: 2024-05-05\n---\n").title == title.strip("'\"")


@pytest.mark.parametrize(
    "text",
    ["\ufeff---\r\ntitle: x\r\ndate: 2024-05-05\r\n---\r\nA\r\nB\r\n", "---\rtitle: x\rdate: 2024-05-05\r---\rA\rB\r"],
)
def test_line_ends_and_byte_order_marks_are_normalized(text: str) -> None:
    assert (article(text).title, article(text).body) == ("x", "A\nB")


def test_a_separator_in_the_text_does_not_end_the_front_matter_again() -> None:
    assert article("---\ntitle: x\ndate: 2024-05-05\n---\nA\n\n---\n\nB").body == "A\n\n---\n\nB"


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("[b, a, b]", ("b", "a")),
        ("b, a,,b", ("b", "a")),
        ("[Garlic, garlic]", ("Garlic",)),
        ("[2024, true]", ("2024", "true")),
        ("one two", ("one", "two")),  # as in Jekyll and Hugo
        ("'  two   words '", ("two", "words")),
        ("'two words,'", ("two words",)),
        ("[]", ()),
        ("", ()),
        ("~", ()),
    ],
)
def test_tags_are_a_list_words_or_a_line_with_commas(tags: str, expected: tuple[str, ...]) -> None:
    assert article(f"---\ntitle: x\ndate: 2024-05-05\ntags: {tags}\n---\n").tags == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-05", "2024-05-04T22:00"),
        ("2024-5-5", "2024-05-04T22:00"),
        ("2024/05/05 9:30", "2024-05-05T07:30"),
        ("2024-05-05 09:30:15", "2024-05-05T07:30:15"),
        ("2024-05-05T09:30:15.123456789", "2024-05-05T07:30:15.123456"),
        ("2024-05-05T09:30Z", "2024-05-05T09:30"),
        ("2024-05-05 09:30:00 UTC", "2024-05-05T09:30"),
        ("2024-05-05 09:30:00 +0530", "2024-05-05T04:00"),
        ("2024-05-05T09:30:00-08:00", "2024-05-05T17:30"),
        ("2024-12-05 09:30 +01", "2024-12-05T08:30"),
        ("2024-12-05", "2024-12-04T23:00"),  # in winter, Berlin is one hour ahead of UTC
        ("2024-03-31 02:30", "2024-03-31T01:30"),  # clocks skipped this time
        ("2024-10-27 02:30", "2024-10-27T00:30"),  # clocks showed this time twice: the first is meant
        ("1650-01-01", "1649-12-31T23:06:32"),
    ],
)
def test_a_date_without_a_zone_is_local_time_of_the_site(text: str, expected: str) -> None:
    assert parse_date(text, BERLIN) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "yesterday", "2024", "2024-13-01", "2024-02-30", "24-05-05", "2024-05-05 25:00", "2024-05-05 09:30 +99:00",
        "2024-05-05 09:30 Mars/Base", "0000-01-01", "0001-01-01", "9999-12-31 23:59 -23:00",
        "\u0662\u0660\u0662\u0664-\u0660\u0665-\u0660\u0665",
        "2024-05-05\n2024-05-06", "5" * 10_000,
    ],
)  # fmt: skip
def test_an_invalid_date_is_rejected(text: str) -> None:
    with pytest.raises(InvalidArticle, match="date"):
        parse_date(text, BERLIN)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no front matter"),
        ("Just text.", "no front matter"),
        ("# A heading\n\ntitle: x", "no front matter"),
        ("---\ntitle: x\ndate: 2024-05-05\n", "no closing ---"),
        ("+++\ntitle = 'x'\n", r"no closing \+\+\+"),
        ("---\n---\nText", "no title"),
        ("---\ntitle:\ndate: 2024-05-05\n---\n", "no title"),
        ("---\ntitle: x\n---\n", "no date"),
        ("---\ntitle: x\ndate: soon\n---\n", "'soon' is not like"),
        ("---\ntitle: x\npublished: soon\n---\n", "'soon' is not like"),
        ("---\ntitle: [x]\ndate: 2024-05-05\n---\n", "title is not text"),
        ("---\ntitle: {x: y}\ndate: 2024-05-05\n---\n", "title is not text"),
        ("---\ntitle: x\ndate: 2024-05-05\ntags: {a: b}\n---\n", "tags is not text"),
        ("---\ntitle: x\ndate: 2024-05-05\ntags: ['!!!']\n---\n", "no letter or digit"),
        ("---\ntitle: x\ndate: 2024-05-05\ndraft: perhaps\n---\n", "expected true or false"),
        ("---\ntitle: x\ndate: 2024-05-05\nslug: '...'\n---\n", "no slug"),
        ("---\ntitle: a: b: c\n---\n", "not YAML in line 2"),
        ("---\n- a\n- b\n---\n", "not a list"),
        ("+++\ntitle = x\n+++\n", "not TOML"),
        ("---\ntitle: '" + "x" * 301 + "'\ndate: 2024-05-05\n---\n", "more than 300 characters"),
        ("---\ntitle: x\ndate: 2024-05-05\ntags: [" + "x" * 301 + "]\n---\n", "more than 300 characters"),
        ('---\ntitle: "a\\0b"\ndate: 2024-05-05\n---\n', "characters that are not allowed in text"),
        ('---\ntitle: "a\\uD800b"\ndate: 2024-05-05\n---\n', "characters that are not allowed in text"),
        ("---\nx: " + "y" * 70_000 + "\n---\n", "more than 65536 characters"),
    ],
)
def test_an_invalid_front_matter_is_rejected_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidArticle, match=reason):
        article(text)


@pytest.mark.parametrize(
    "payload",
    [
        "!!python/object/apply:os.system ['touch {mark}']",
        "!!python/object/new:subprocess.Popen [['touch', '{mark}']]",
        "!!python/name:os.system",
        "!<tag:yaml.org,2002:python/module:os> x",
        "&a [*a]",
        "{{<<: {{title: x}}}}",
        "[" * 60_000,
        "{{" * 30_000,
        "? " * 20_000,
        "\n" + "".join("  " * depth + "-\n" for depth in range(240)),
    ],
)
def test_yaml_executes_nothing_and_crashes_nothing(payload: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = f"---\ntitle: {payload.format(mark=mark)}\ndate: 2024-05-05\n---\n"
    with pytest.raises(InvalidArticle):
        article(text)
    assert not mark.exists()


def test_aliases_of_aliases_are_bounded() -> None:
    laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    assert article(f"---\n{laughs}title: x\ndate: 2024-05-05\n---\n").title == "x"
    with pytest.raises(InvalidArticle):
        article(f"---\n{laughs}title: *a11\ndate: 2024-05-05\n---\n")
    assert article(f"---\n{laughs}title: x\ntags: *a11\ndate: 2024-05-05\n---\n").tags == ()


def test_merged_fields_count() -> None:
    found = article("---\nbase: &base {title: Shared, date: 2024-05-05, tags: [a]}\n<<: *base\ntags: [b]\n---\n")
    assert (found.title, found.tags) == ("Shared", ("b",))
    both = "a: &a {title: A}\nb: &b {title: B, date: 2024-05-05}\n<<: [*a, *b]\n"
    assert article(f"---\n{both}---\n").title == "A"


def test_the_merge_key_is_text_elsewhere() -> None:
    found = article("---\ntitle: <<\ndate: 2024-05-05\n---\n")
    assert found.title == "<<"


def test_merged_fields_are_bounded() -> None:
    laughs = "a0: &a0 {x: y}\n" + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12)
    )
    with pytest.raises(InvalidArticle, match="merge"):
        article(f"---\n{laughs}title: x\ndate: 2024-05-05\n---\n")


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_any_front_matter_is_an_article_or_rejected(text: str) -> None:
    for whole in (
        text,
        f"---\n{text}\n---\n",
        f"+++\n{text}\n+++\n",
        f"---\ntitle: {text}\ndate: 2024-05-05\n---\n{text}",
    ):
        try:
            found = article(whole)
        except InvalidArticle:
            continue
        assert 1 <= len(found.title) <= 300
        found.title.encode()
        assert slugify(found.slug) == found.slug


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_slugify_is_idempotent_and_gives_one_path_segment(text: str) -> None:
    slug = slugify(text)
    assert slugify(slug) == slug
    assert len(slug) <= 200
    assert not set(slug) & set("/\\?#%.& \0")


# Markdown.


@pytest.mark.parametrize(
    "payload",
    [
        "<script>alert(1)</script>",
        "<SCRIPT SRC=//evil.test/x.js></SCRIPT>",
        "<img src=x onerror=alert(1)>",
        "<svg onload=alert(1)><script>alert(1)</script></svg>",
        "<math><mtext></mtext><mglyph><style><img src onerror=alert(1)></style></mglyph></math>",
        "<iframe src=javascript:alert(1)></iframe>",
        "<object data=javascript:alert(1)></object>",
        "<embed src=//evil.test/x.swf>",
        "<form action=//evil.test><input name=password></form>",
        "<style>body{background:url(javascript:alert(1))}</style>",
        "<p style='position:fixed;inset:0'>x</p>",
        "<td style='text-align:left;background:url(//evil.test)'>x</td>",
        "<base href=//evil.test/>",
        "<meta http-equiv=refresh content='0;url=//evil.test'>",
        "<link rel=stylesheet href=//evil.test/x.css>",
        "<a href='javascript:alert(1)'>x</a>",
        "<a href='jav&#x09;ascript:alert(1)'>x</a>",
        "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
        "<a href='vbscript:msgbox(1)'>x</a>",
        "<div id=content name=location class=site-header>x</div>",
        "<span class='k site-header'>x</span><span class=site-header>x</span>",
        "[x](javascript:alert(1))",
        "[x](<JaVaScRiPt:alert(1)>)",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "![x](javascript:alert(1))",
        "[x]: javascript:alert(1)\n\n[x]",
        "<javascript:alert(1)>",
        "```html onload=alert(1)\n<script>alert(1)</script>\n```",
        "`<script>alert(1)</script>`",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "<!--<img src=--><img src=x onerror=alert(1)>",
        "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
        "<a title='x\" onmouseover=alert(1) y=\"'>x</a>",
        "| <img src=x onerror=alert(1)> | b |\n|---|---|\n| <script>alert(1)</script> | c |",
    ],
)
def test_scripts_are_removed(payload: str) -> None:
    for html in (render(payload).html, render(f"Before *x* {payload} after").html):
        assert not dangers(html)


def dangers(html: str) -> list[str]:
    """Return everything in `html` that could run, load or disguise something in a browser."""
    found = []
    for tag in BeautifulSoup(html, "html.parser").find_all(True):
        if tag.name in DANGEROUS_TAGS:
            found.append(tag.name)
        for name, value in tag.attrs.items():
            text = " ".join(value) if isinstance(value, list) else value
            allowed_style = name == "style" and re.fullmatch("text-align:(left|right|center)", text)
            allowed_class = name == "class" and tag.name == "code" and text.startswith("language-")
            if name == "class" and tag.name == "span":
                allowed_class = re.fullmatch("[a-z][a-z0-9]{0,2}", text) is not None
            scheme = re.match(r"\s*([a-z]+)\s*:", text, re.IGNORECASE) if name in ("href", "src") else None
            bad_scheme = scheme is not None and scheme[1].lower() not in ("http", "https", "mailto", "tel")
            disguise = name in ("id", "name", "class", "style") and not (allowed_style or allowed_class)
            if name.startswith("on") or bad_scheme or disguise:
                found.append(f"{tag.name} {name}={text}")
    return found


DANGEROUS_TAGS = frozenset(
    {"script", "svg", "math", "style", "iframe", "object", "embed", "form", "input", "base", "meta", "link", "noscript"}
)


def test_the_check_for_dangers_finds_what_sanitizing_removes() -> None:
    for payload in ("<img src=x onerror=alert(1)>", "<a href=' JavaScript:x'>", "<p id=x>", "<p style=a>", "<svg>"):
        assert dangers(payload), payload


def test_harmless_html_is_kept() -> None:
    html = render(
        '## Head\n\n*e* **s** ~~d~~ `c` [a](/b?c=d "t") ![alt](/static/x.png)\n\n'
        "|a|b|\n|:-|-:|\n|1|2|\n\n```python\nx = 1\n```\n\n> q\n\n1. one\n\n"
        "<details><summary>More</summary>text</details> <kbd>Ctrl</kbd> <sup>2</sup>\n"
    ).html
    for wanted in (
        "<h2>Head</h2>", "<em>e</em>", "<strong>s</strong>", "<s>d</s>", "<code>c</code>", "<blockquote>", "<ol>",
        "<details>", "<kbd>", "<sup>", 'alt="alt"', 'style="text-align:right"', '<code class="language-python">',
        '<a href="/b?c=d" title="t">a</a>',
    ):  # fmt: skip
        assert wanted in html, wanted


def test_headings_move_below_the_title() -> None:
    assert render("# A\n\n## B\n\n###### F").html == "<h2>A</h2>\n<h3>B</h3>\n<h6>F</h6>\n"
    assert render("## A\n\n### B").html == "<h2>A</h2>\n<h3>B</h3>\n"


@pytest.mark.parametrize(
    ("source", "summary"),
    [
        ("One *two* `three`\nfour.\n\nFive.", "One two three four."),
        ("# Head\n\n- item\n\nText &amp; <b>bold</b> [link](/x).", "Text & bold link."),
        ("<script>alert(1)</script>\n\nText <script>alert(1)</script>here.", "Text here."),
        ("![alt](x.png)\n\nText.", "Text."),
        ("# Head only", ""),
        ("", ""),
    ],
)
def test_a_summary_is_the_text_of_the_first_paragraph(source: str, summary: str) -> None:
    assert render(source).summary == summary


def test_a_long_first_paragraph_is_truncated_between_words() -> None:
    summary = render("several words " * 100).summary
    assert len(summary) <= SUMMARY_LENGTH + 1
    assert summary.endswith(("several…", "words…"))
    assert len(render("x" * 1000).summary) == SUMMARY_LENGTH + 1


def test_html_that_would_take_minutes_to_sanitize_is_rejected() -> None:
    with pytest.raises(NestingTooDeep):
        render("<div>" * 200_000)
    assert render("<div>" * (MAX_DEPTH - 1)).html


# Saving to the database.


def test_entries_are_imported_completely(sites: ContentSites, folder: Path) -> None:
    write(folder / "a.md", "*Text*", title="Ä", date="2024-05-05 10:00", more="tags: [x, y]\nsummary: S\n")
    write(folder / "deep" / "er" / "b.markdown", "First.\n\nSecond.", more="tags: x\ndraft: true\n")
    (folder / "note.txt").write_text("not Markdown")
    assert counts(import_entries(sites.engine, sites.sternwarte, [folder])) == (2, 0, 0, 0)
    entries = stored(sites, sites.sternwarte)
    a, b = entries["a"], entries["b"]
    assert (a.title, a.body, a.body_html, a.summary) == ("Ä", "*Text*", "<p><em>Text</em></p>\n", "S")
    assert a.published == a.updated == datetime(2024, 5, 5, 8, tzinfo=UTC)
    assert [tag.name for tag in a.tags] == ["x", "y"]
    assert (b.draft, b.summary, [tag.name for tag in b.tags]) == (True, "First.", ["x"])
    assert stored(sites, sites.garden) == {}


def test_importing_again_changes_only_what_differs(sites: ContentSites, folder: Path) -> None:
    for name in ("a", "b", "c"):
        write(folder / f"{name}.md", more="tags: [x, y]\n")
    import_entries(sites.engine, sites.garden, [folder])
    before = stored(sites, sites.garden)
    assert counts(import_entries(sites.engine, sites.garden, [folder])) == (0, 0, 3, 0)
    write(folder / "b.md", "Changed.", more="tags: [y, z]\n")
    write(folder / "d.md")
    (folder / "c.md").unlink()
    assert counts(import_entries(sites.engine, sites.garden, [folder])) == (1, 1, 1, 0)
    after = stored(sites, sites.garden)
    assert set(after) == {"a", "b", "c", "d"}
    assert after["b"].id == before["b"].id
    assert after["b"].updated > before["b"].updated
    assert [tag.name for tag in after["b"].tags] == ["y", "z"]
    assert after["a"].updated == before["a"].updated
    with Session(sites.engine, info={"site": sites.garden}) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Tag)) == 3


def test_the_same_slugs_in_two_sites_are_different_entries(sites: ContentSites, folder: Path) -> None:
    write(folder / "a.md", "Of the garden.", more="tags: x\n")
    import_entries(sites.engine, sites.garden, [folder])
    write(folder / "a.md", "Of the observatory.", more="tags: x\n")
    assert counts(import_entries(sites.engine, sites.sternwarte, [folder])) == (1, 0, 0, 0)
    assert stored(sites, sites.garden)["a"].body == "Of the garden."
    assert stored(sites, sites.sternwarte)["a"].body == "Of the observatory."


def write_bad_files(folder: Path) -> dict[str, str]:
    """Write one bad file of each kind, and return the expected messages."""
    write(folder / "m-original.md", more="slug: twice\n")
    write(folder / "n-copy.md", more="slug: Twice\n")
    (folder / "binary.md").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    (folder / "latin1.md").write_bytes("---\ntitle: ä\ndate: 2024-05-05\n---\n".encode("latin-1"))
    (folder / "plain.md").write_text("No front matter.")
    write(folder / "deep.md", "<div>" * 5000)
    with (folder / "huge.md").open("wb") as file:
        file.write(b"---\ntitle: x\ndate: 2024-05-05\n---\n")
        file.truncate(50_000_000)
    os.mkfifo(folder / "pipe.md")
    (folder / "dangling.md").symlink_to("nowhere")
    return {
        "n-copy.md": f"its slug 'twice' is already used by {folder / 'm-original.md'}",
        "binary.md": "not a text file: it contains NUL bytes",
        "latin1.md": "not UTF-8: byte 0xe4 in line 2",
        "plain.md": "no front matter: the first line is neither '---' nor '+++' nor like 'Title: …'",
        "deep.md": f"HTML nested more than {MAX_DEPTH} deep",
        "huge.md": f"longer than {MAX_FILE_BYTES:,} bytes",
        "pipe.md": "not a file",
        "dangling.md": "cannot be read: No such file or directory",
    }


def test_bad_files_are_reported_and_good_ones_imported(sites: ContentSites, folder: Path) -> None:
    write(folder / "good.md")
    expected = write_bad_files(folder)
    write(folder / "zuletzt.md")
    report = import_entries(sites.engine, sites.garden, [folder, folder / "missing.md", folder / "note.txt"])
    (folder / "note.txt").write_text("x")
    found = {Path(bad.path).name: bad.reason for bad in report.bad}
    assert found == expected | {
        "missing.md": "no such file or folder",
        "note.txt": "no such file or folder",
    }
    assert report.added == 3
    assert set(stored(sites, sites.garden)) == {"good", "twice", "zuletzt"}


def test_strict_rolls_back_for_a_single_bad_file(sites: ContentSites, folder: Path) -> None:
    write(folder / "a.md", "Before.")
    import_entries(sites.engine, sites.garden, [folder])
    for number in range(2 * importing.BATCH_SIZE):
        write(folder / f"n{number}.md", more="tags: new\n")
    write(folder / "a.md", "After.")
    (folder / "z.md").write_text("bad")
    report = import_entries(sites.engine, sites.garden, [folder], strict=True)
    assert report.rolled_back
    assert counts(report) == (2 * importing.BATCH_SIZE, 1, 0, 1)
    entries = stored(sites, sites.garden)
    assert set(entries) == {"a"}
    assert entries["a"].body == "Before."
    (folder / "z.md").unlink()
    report = import_entries(sites.engine, sites.garden, [folder], strict=True)
    assert not report.rolled_back
    assert len(stored(sites, sites.garden)) == 2 * importing.BATCH_SIZE + 1


def test_an_interrupted_import_is_completed_by_the_next(sqlite_sites: ContentSites, folder: Path) -> None:
    for number in range(3 * importing.BATCH_SIZE):
        write(folder / f"n{number:03}.md")

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_entries(sqlite_sites.engine, sqlite_sites.garden, [folder], progress=interrupt)
    assert 0 < len(stored(sqlite_sites, sqlite_sites.garden)) < 3 * importing.BATCH_SIZE
    import_entries(sqlite_sites.engine, sqlite_sites.garden, [folder])
    assert len(stored(sqlite_sites, sqlite_sites.garden)) == 3 * importing.BATCH_SIZE


def test_concurrent_imports_create_each_entry_once(sites: ContentSites, folder: Path) -> None:
    for number in range(2 * importing.BATCH_SIZE):
        write(folder / f"n{number:03}.md", more=f"tags: [all, t{number % 9}]\n")
    start = threading.Barrier(2)
    reports: list[ImportReport] = []

    def work() -> None:
        start.wait()
        reports.append(import_entries(sites.engine, sites.garden, [folder]))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(report.added for report in reports) == len(stored(sites, sites.garden)) == 2 * importing.BATCH_SIZE


def test_files_are_imported_once_and_hidden_ones_ignored(sqlite_sites: ContentSites, folder: Path) -> None:
    a = write(folder / "a.md")
    write(folder / ".git" / "b.md")
    write(folder / ".c.md")
    write(folder / "section" / "_index.md")
    (folder / "circle").symlink_to(folder)
    report = import_entries(sqlite_sites.engine, sqlite_sites.garden, [folder, a, folder / "." / "a.md"])
    assert counts(report) == (1, 0, 0, 0)
    assert [Path(skipped.path).name for skipped in report.skipped] == ["_index.md"]


def test_file_names_that_are_not_utf8_can_be_imported_and_reported(sqlite_sites: ContentSites, folder: Path) -> None:
    write(folder / os.fsdecode(b"caf\xe9.md"))
    (folder / os.fsdecode(b"bad\xe9.md")).write_text("x")
    report = import_entries(sqlite_sites.engine, sqlite_sites.garden, [folder])
    assert report.added == 1
    assert report.bad[0].path.endswith(r"bad\xe9.md")
    json.dumps(report.as_dict()).encode()


def test_a_bad_file_name_is_escaped_on_the_terminal(sqlite_sites: ContentSites, folder: Path) -> None:
    (folder / "two\nlines \x1b[31mred – ü.md").write_text("x")
    report = import_entries(sqlite_sites.engine, sqlite_sites.garden, [folder])
    assert report.bad[0].path == str(folder / r"two\nlines \x1b[31mred – ü.md")


def test_progress_is_reported_from_start_to_end(sqlite_sites: ContentSites, folder: Path) -> None:
    for number in range(importing.BATCH_SIZE + 3):
        write(folder / f"n{number}.md")
    (folder / "zz-bad.md").write_text("bad")
    told: list[tuple[int, int]] = []
    import_entries(
        sqlite_sites.engine, sqlite_sites.garden, [folder], progress=lambda done, total: told.append((done, total))
    )
    total = importing.BATCH_SIZE + 4
    assert told == [(importing.BATCH_SIZE, total), (total, total)]


# Many files in bounded memory.


def many_files(folder: Path, count: int) -> None:
    text = "word " * 800
    for number in range(count):
        write(
            folder / f"{number % 50}" / f"post-{number}.md",
            text,
            title=f"Post {number}",
            more=f"tags: [t{number % 20}]\n",
        )


def peak_bytes(sites: ContentSites, folder: Path, count: int, *, strict: bool) -> int:
    many_files(folder, count)
    # Python collects the oldest generation less often if it is large: exclude the objects of earlier tests. They stay
    # excluded: `gc.unfreeze` would also return the thousands of tests to each later collection.
    gc.collect()
    gc.freeze()
    # And what awaits collection would be part of the peak.
    thresholds = gc.get_threshold()
    gc.set_threshold(500, 5, 5)
    tracemalloc.start()
    try:
        report = import_entries(sites.engine, sites.garden, [folder], strict=strict)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.set_threshold(*thresholds)
    assert counts(report) == (count, 0, 0, 0)
    return peak


def growth_per_file(sites: ContentSites, folder: Path, *, strict: bool) -> float:
    """Return how many more bytes an import of 80 files takes at its peak than one of 20, for each file."""
    few, many = 20, 80
    peaks = []
    for count in (5, few, many):  # What is imported or cached once is part of the first peak only.
        peaks.append(peak_bytes(sites, folder / str(count), count, strict=strict))
        with Session(sites.engine, info={"site": sites.garden}) as session:
            session.execute(sa.delete(Entry))
            session.commit()
    return (peaks[2] - peaks[1]) / (many - few)


@pytest.mark.parametrize("strict", [False, True])
def test_memory_use_hardly_depends_on_the_number_of_files(
    sqlite_sites: ContentSites, tmp_path: Path, strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upsert, "BATCH_SIZE", 10)  # Few files, and many batches of them.
    monkeypatch.setattr(unchanged, "FILES_AT_A_TIME", 10)
    # Names, slugs and what else is known of a file stay in memory: 1.6 kB each on Python 3.11, with more on later ones.
    # Neither its text of 4 kB nor its HTML of 4 kB does: the next test shows how much memory these would need.
    assert growth_per_file(sqlite_sites, tmp_path, strict=strict) < (2500 if sys.version_info < (3, 13) else 2800)


def test_without_batches_memory_use_would_grow(
    sqlite_sites: ContentSites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upsert, "BATCH_SIZE", 10_000)
    assert growth_per_file(sqlite_sites, tmp_path, strict=False) > 9000


@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("MULTISITE_SOAK"), reason="runs long; only with MULTISITE_SOAK=1")
def test_ten_thousand_files_are_imported(sites: ContentSites, folder: Path) -> None:
    assert peak_bytes(sites, folder, 10_000, strict=False) < 60_000_000
    assert counts(import_entries(sites.engine, sites.garden, [folder])) == (0, 0, 10_000, 0)


def test_large_texts_end_a_batch_early(
    sqlite_sites: ContentSites, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upsert, "BATCH_CHARACTERS", 1_000_000)
    for number in range(12):
        write(folder / f"n{number}.md", ("word " * 200 + "\n\n") * 200)
    gc.collect()
    gc.freeze()
    tracemalloc.start()
    try:
        report = import_entries(sqlite_sites.engine, sqlite_sites.garden, [folder])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert counts(report) == (12, 0, 0, 0)
    assert peak < 20_000_000


# The command.


@pytest.fixture
def ini(sqlite_sites: ContentSites, tmp_path: Path) -> Path:
    path = tmp_path / "test.ini"
    lines = [f"{key} = {value}" for key, value in sqlite_sites.settings.items()]
    path.write_text(
        "\n".join(["[app:main]", "use = egg:pyramid-multisite", *lines, "[server:main]", "use = egg:waitress", ""])
    )
    return path


def run(ini: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["-c", str(ini), "import-entries", *map(str, arguments)])


def test_the_command_prints_a_summary(ini: Path, sqlite_sites: ContentSites, folder: Path) -> None:
    write(folder / "a.md")
    write(folder / "b.md")
    done = run(ini, "alias.example", folder)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == f"Imported into {GARDEN}: 2 added, 0 updated, 0 unchanged, 0 bad.\n"
    assert set(stored(sqlite_sites, sqlite_sites.garden)) == {"a", "b"}


def test_the_command_lists_bad_files_and_fails(ini: Path, sqlite_sites: ContentSites, folder: Path) -> None:
    write(folder / "a.md")
    (folder / "b.md").write_text("bad")
    done = run(ini, GARDEN, folder)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"{folder / 'b.md'}: no front matter")
    assert "1 added, 0 updated, 0 unchanged, 1 bad" in done.stdout
    (folder / "c.md").write_text("---\ntitle: c\ndate: 2024-05-05\n---\n")
    strict = run(ini, GARDEN, folder, "--strict")
    assert strict.exit_code == 1
    assert strict.stdout == f"Imported nothing into {GARDEN}: 1 bad, and --strict was given.\n"
    assert set(stored(sqlite_sites, sqlite_sites.garden)) == {"a"}


def test_the_command_lists_what_was_left_out(ini: Path, sqlite_sites: ContentSites, folder: Path) -> None:
    write(
        folder / "a.md",
        "\n".join(f"{{% own{number} \x1b[31m %}}" for number in range(5)) + "\n\n<svg>\n\n<iframe src=/x>",
    )
    dry = run(ini, GARDEN, folder, "--dry-run")
    assert (dry.exit_code, stored(sqlite_sites, sqlite_sites.garden)) == (0, {})
    assert dry.stdout == f"Would import into {GARDEN}: 1 added, 0 updated, 0 unchanged, 0 bad. Nothing was changed.\n"
    place = folder / "a.md"
    assert dry.stderr.splitlines() == [
        "became a link, 1:",
        f"  {place}:13: <iframe>",
        "left out, 1:",
        f"  {place}:11: <svg>",
        "raw text, 5:",
        *(f"  {place}:{5 + number}: {{% own{number} \\x1b[31m %}}" for number in range(3)),
        "  and 2 more (--json lists all)",
    ]
    strict = run(ini, GARDEN, folder, "--strict")
    assert strict.exit_code == 1
    assert set(stored(sqlite_sites, sqlite_sites.garden)) == {"a"}
    notes = json.loads(run(ini, GARDEN, folder, "--json").stdout)["notes"]
    assert [(note["line"], note["kind"], note["lost"]) for note in notes][4:] == [
        (9, "raw text", True), (11, "left out", True), (13, "became a link", False),
    ]  # fmt: skip
    wrong = run(ini, GARDEN, folder, "--address-pattern", "{year}")
    assert (wrong.exit_code, "expected a text with {slug}" in wrong.stderr) == (2, True)


def test_the_command_prints_json(ini: Path, sqlite_sites: ContentSites, folder: Path) -> None:
    write(folder / "a.md")
    (folder / "b.md").write_text("bad")
    done = run(ini, STERNWARTE, folder, "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 1
    assert (report["host"], report["added"], report["rolled_back"]) == (STERNWARTE, 1, False)
    assert [Path(bad["path"]).name for bad in report["bad"]] == ["b.md"]


def test_the_command_shows_progress_on_many_files_only(ini: Path, folder: Path) -> None:
    for number in range(importing.BATCH_SIZE + 1):
        write(folder / f"n{number}.md")
    assert run(ini, GARDEN, folder).stderr == "101 of 101 files\n"


@pytest.mark.parametrize(
    ("host", "path", "exit_code", "words"),
    [
        ("unknown.example", ".", 1, "unknown.example"),
        ("a..b", ".", 1, "a..b"),
        (GARDEN, "missing", 1, "no such file or folder"),
        (GARDEN, "empty", 1, "no .md or .markdown file"),
    ],
)
def test_the_command_explains_why_it_failed(
    ini: Path, tmp_path: Path, host: str, path: str, exit_code: int, words: str
) -> None:
    (tmp_path / "empty").mkdir()
    done = run(ini, host, tmp_path / path)
    assert done.exit_code == exit_code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["--dry-rum", "--strickt"])
def test_an_unknown_option_imports_nothing(ini: Path, sqlite_sites: ContentSites, folder: Path, option: str) -> None:
    """An unknown option used to be treated as a path, and the files were imported."""
    (folder / "one.md").write_text("---\ntitle: One\ndate: 2024-01-01\n---\nText")
    for arguments in ([GARDEN, option, folder], [option, GARDEN, folder], [GARDEN, folder, option]):
        done = run(ini, *arguments)
        assert (done.exit_code, done.stdout) == (2, "")
        assert "No such option" in done.stderr
        assert option in done.stderr
    with Session(sqlite_sites.engine, info={"site": sqlite_sites.garden}) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Entry)) == 0


def test_the_command_needs_a_path(ini: Path) -> None:
    assert run(ini, GARDEN).exit_code == 2


def test_importing_does_not_load_pyramid() -> None:
    code = "import sys, multisite.content.imports.importing; sys.exit('pyramid' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
