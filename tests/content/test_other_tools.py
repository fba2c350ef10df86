"""Files of Jekyll, Hugo, Zola and Pelican: what their own tools render is imported or reported."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePath
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from content_sites import GARDEN, STERNWARTE, ContentSites
from sqlalchemy.orm import Session, selectinload

from multisite import Site
from multisite.content.editor.entries import save_entry
from multisite.content.entry_text import EntryText
from multisite.content.imports.front_matter import Article, InvalidArticle, NotAnEntry, parse_article, parse_date
from multisite.content.imports.importing import import_entries
from multisite.content.models import Entry
from multisite.content.report import ImportReport
from multisite.content.slugs import SlugPattern
from multisite.content.users import User

BERLIN = ZoneInfo("Europe/Berlin")


def article(text: str, path: str = "posts/a-post.md") -> Article:
    return parse_article(text, PurePath(path), BERLIN)


def stored(sites: ContentSites, site: Site) -> dict[str, Entry]:
    with Session(sites.engine, info={"site": site}, expire_on_commit=False) as session:
        entries = session.scalars(sa.select(Entry).options(selectinload(Entry.tags))).all()
        return {entry.slug: entry for entry in entries}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def names(paths: list[str]) -> list[str]:
    return [Path(path).name for path in paths]


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.added, report.updated, report.unchanged, len(report.bad)


# Pelican's front matter.


def test_a_line_that_starts_with_a_tab_continues_the_value() -> None:
    found = article(
        "Title: A\n\tB\nDate: 2020-04-04\nSummary: One\n\ttwo\n  \tthree\nTags: x,\n\ty\nStatus: draft\n\nText"
    )
    assert (found.title, found.summary, found.tags, found.draft) == ("A B", "One two three", ("x", "y"), True)
    assert found.body == "Text"


@pytest.mark.parametrize(
    "lines",
    [
        "Tags: a, b c\n    d",
        "Tags: a, b c,\n    d",
        "Tags: a\nTags: b c\nTags: d",
        "Tags:\n    a\n    b c\n    d",
        "Tags: a; b c\n    d",
    ],
)
def test_tags_over_several_lines(lines: str) -> None:
    assert article(f"Title: x\nDate: 2020-04-04\n{lines}\n\nText").tags == ("a", "b c", "d")


@pytest.mark.parametrize("dashes", ["---", "...", "--- ", "---\n"])
def test_dashes_after_the_front_matter_are_not_text(dashes: str) -> None:
    found = article(f"Title: x\nDate: 2020-04-04\n{dashes}\nText\n\n---\n\nMore")
    assert found.body == "Text\n\n---\n\nMore"


def test_lines_without_a_space_and_with_spaces_before() -> None:
    found = article("Title:x\nDate:2020-04-04 10:30\n  Slug:y\nTitle: second\n\nText")
    assert (found.title, found.slug, found.published) == ("x", "y", datetime(2020, 4, 4, 8, 30, tzinfo=UTC))
    with pytest.raises(InvalidArticle, match="no front matter"):
        article("https://example.com\n\nText")


# Entries that Hugo does not show.


def test_an_entry_appears_at_hugo_s_publication_date() -> None:
    for front in (
        "---\ntitle: x\ndate: 2020-01-01\npublishDate: 2999-01-01\n---\n",
        "+++\ntitle = 'x'\ndate = 2020-01-01\npublishDate = 2999-01-01\n+++\n",
        "---\ntitle: x\npublishDate: 2999-01-01\n---\n",
        "---\ntitle: x\ndate: 2020-01-01\npubdate: 2999-01-01\n---\n",
        "---\ntitle: x\ndate: 2020-01-01\npublished: 2999-01-01\n---\n",
    ):
        found = article(front)
        assert (found.published, found.draft) == (datetime(2998, 12, 31, 23, tzinfo=UTC), False)
    past = article("---\ntitle: x\ndate: 2020-01-01\npublishDate: 2021-01-01\n---\n")
    assert past.published == datetime(2019, 12, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize("name", ["expiryDate", "unpublishdate"])
def test_an_expired_entry_is_a_draft(name: str) -> None:
    assert article(f"---\ntitle: x\ndate: 2020-01-01\n{name}: 2021-01-01\n---\n").draft
    later = article(f"---\ntitle: x\ndate: 2020-01-01\n{name}: 2999-01-01\n---\n")
    assert not later.draft
    assert later.notes == ("it stays after its expiry date 2998-12-31: entries do not expire",)


@pytest.mark.parametrize(
    "more",
    [
        "headless: true",
        "build:\n  render: never",
        "build: {render: false}",
        "_build:\n  render: link",
        "Build:\n  render: NEVER",
    ],
)
def test_what_hugo_does_not_render_is_not_an_entry(more: str) -> None:
    with pytest.raises(NotAnEntry):
        article(f"---\ntitle: x\ndate: 2020-01-01\n{more}\n---\n")


def test_what_hugo_does_not_list_is_a_draft_and_reported() -> None:
    found = article("+++\ntitle = 'x'\ndate = 2020-01-01\n[build]\nlist = 'never'\n+++\n")
    assert found.draft
    assert found.notes == ("it is a draft, because Hugo does not list its page",)
    assert not article("+++\ntitle = 'x'\ndate = 2020-01-01\n[build]\nlist = 'always'\nrender = 'always'\n+++\n").draft


# Other notations.


@pytest.mark.parametrize(
    "front",
    [
        "---\ntitle:\tTabs\ndate:\t2020-01-01\ntags:\t[a,\tb]\t# two\n---\n",
        '---\ntitle: \t"Tabs"\t\ndate: 2020-01-01\ntags:\n-\ta\n-\tb\n---\n',
        "\n\n---\ntitle: Tabs\ndate: 2020-01-01\ntags: [a, b]\n---\n",
        "\ufeff\ufeff---\ntitle: Tabs\ndate: 2020-01-01\ntags: [a, b]\n---\n",
        "\ufeff\r\n \r\n+++\r\ntitle = 'Tabs'\r\ndate = 2020-01-01\r\ntags = ['a', 'b']\r\n+++\r\n",
        "\n\ufeffTitle: Tabs\nDate: 2020-01-01\nTags: a, b\n\n",
        '{\n "title": "Tabs",\n "date": "2020-01-01",\n "Tags": ["a", "b"]\n}\n\n',
        '{"title": "Tabs", "date": "2020-01-01", "tags": "a b"}\n',
        "+++\ntitle = 'Tabs'\ndate = 2020-01-01\n[taxonomies]\ntags = ['a', 'b']\n+++\n",
    ],
)
def test_the_same_article_in_each_notation(front: str) -> None:
    found = article(front + "Text {here}.")
    assert (found.title, found.tags, found.body) == ("Tabs", ("a", "b"), "Text {here}.")
    assert found.published == datetime(2019, 12, 31, 23, tzinfo=UTC)


def test_a_tab_within_quotes_stays() -> None:
    assert article("---\ntitle:\tx\ndate: 2020-01-01\nslug: 'a\tb'\n---\n").slug == "a-b"
    with pytest.raises(InvalidArticle, match="not YAML in line 3"):
        article("---\nparams:\n\ttitle: x\n---\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"title": "x"', "not JSON"),
        ('{"title": ' + "9" * 5000 + "}", "not JSON"),
        ('{"a": ' + "[" * 50_000, "nested too deep"),
        ('{"title": "' + "x" * 70_000 + '"}', "65536"),
        ("{% include header %}", "no front matter"),
        ("{{< figure >}}", "no front matter"),
    ],
)
def test_invalid_json_is_rejected(text: str, reason: str) -> None:
    with pytest.raises(InvalidArticle, match=reason):
        article(text)


def test_fields_in_zola_s_tables_are_read() -> None:
    found = article(
        "+++\ntitle = 'x'\n[taxonomies]\ncategories = ['c']\n[extra]\nauthor = 'Ada'\ndate = 2020-01-01\n+++\nText",
        "content/blog/2021-05-06-hello.md",
    )
    assert (found.categories, found.author, found.slug) == (("c",), "Ada", "hello")
    assert found.published == datetime(2019, 12, 31, 23, tzinfo=UTC)
    dated = article("+++\ntitle = 'x'\n+++\n", "content/2021-05-06T10:20:30Z-hello.md")
    assert (dated.slug, dated.published) == ("hello", datetime(2021, 5, 5, 22, tzinfo=UTC))


# Dates.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2018-12-21 +0800", "2018-12-20T23:00"),
        ("2018-12-21 Z", "2018-12-20T23:00"),
        ("March 3, 2015", "2015-03-02T23:00"),
        ("Mar 3 2015", "2015-03-02T23:00"),
        ("3rd of March", None),
        ("3 March 2015", "2015-03-02T23:00"),
        ("Sept. 3rd, 2015 at 9:05 PM", "2015-09-03T19:05"),
        ("Tuesday, March 3, 2015 12:00 AM", "2015-03-02T23:00"),
        ("2014-07-29 12:55:56 CDT", "2014-07-29T17:55:56"),
        ("2014-07-29 9:05 a.m.", "2014-07-29T07:05"),
        ("2014-07-29 12:05 pm PST", "2014-07-29T20:05"),
        ("Tue, 03 Mar 2015 10:20:30 +0100", "2015-03-03T09:20:30"),
        ("Tue, 3 Mar 2015 10:20:30 GMT", "2015-03-03T10:20:30"),
        ("20150303", "2015-03-02T23:00"),
        ("2015-03-03, 10:20", "2015-03-03T09:20"),
        ("2015-03-03 10:20:30 UTC+02:00", "2015-03-03T08:20:30"),
        ("Fri Dec 21 10:00:00 2018", "2018-12-21T09:00"),
        ("Fri Dec 21 10:00:00 CST 2018", "2018-12-21T16:00"),
        ("Fri Dec 21 10:00:00 -0600 2018", "2018-12-21T16:00"),
        ("2018-12-21 10:00:00 GMT+0800 (CST)", "2018-12-21T02:00"),
        ("2018-12-21 (Fri)", "2018-12-20T23:00"),
        ("21-Dec-2018", "2018-12-20T23:00"),
        ("21. December 2018, 9:05", "2018-12-21T08:05"),
        ("2018-12-21 1:2:3", "2018-12-21T00:02:03"),
        ("2018-12-31 24:00", "2018-12-31T23:00"),
        ("2018-12-21 24:01", None),
        ("2018-12-21 10:00:00 AEST", "2018-12-21T00:00"),
        ("21/12/2018", "2018-12-20T23:00"),
        ("12/21/2018 10:00", "2018-12-21T09:00"),
        ("05/05/2018", "2018-05-04T22:00"),
        ("21/13/2018", None),
        ("2014-07-29 13:05 PM", None),
        ("2014-07-29 0:05 am", None),
        ("2014-07-29 10:05 XYZ", None),
        ("Smarch 3, 2015", None),
        ("February 30, 2015", None),
        ("03/04/2015", None),
        ("2015-03-03 " + "1" * 10_000, None),
    ],
)
def test_dates_are_parsed_like_the_original_tools_do(text: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(InvalidArticle, match="date"):
            parse_date(text, BERLIN)
    else:
        assert parse_date(text, BERLIN) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


# Fields missing from the front matter.


def test_a_title_from_the_text_or_the_file_name() -> None:
    found = article("---\ndate: 2020-01-01\n---\n\n# The title #\n\nText\n")
    assert (found.title, found.body) == ("The title", "Text")
    assert article("---\nlayout: post\n---\nText", "_posts/2015-11-17-my-first-POST.md").title == "My First Post"
    kept = article("---\ntitle: x\ndate: 2020-01-01\n---\n# Heading\n")
    assert (kept.title, kept.body) == ("x", "# Heading")
    with pytest.raises(InvalidArticle, match="no title"):
        article("---\ndate: 2020-01-01\n---\nText", "posts/a-post.md")


def test_the_last_change_is_used_as_date_if_there_is_no_other() -> None:
    assert article("---\ntitle: x\nlastmod: 2020-01-02\n---\n").published == datetime(2020, 1, 1, 23, tzinfo=UTC)
    named = article("---\ntitle: x\nlastmod: 2020-01-02\n---\n", "2019-05-05-x.md")
    assert named.published == datetime(2019, 5, 4, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("front", "categories"),
    [
        ("---\ntitle: x\ndate: 2020-01-01\ncategories: jekyll update\n---\n", ("jekyll", "update")),
        ("---\ntitle: x\ndate: 2020-01-01\ncategories: [a b, c]\ncategory: d e\n---\n", ("a b", "c", "d e")),
        ("Title: x\nDate: 2020-01-01\nCategory: Garden work\n\n", ("Garden work",)),
        ("---\ntitle: x\ndate: 2020-01-01\ncategory: [a]\n---\n", ()),
    ],
)
def test_categories(front: str, categories: tuple[str, ...]) -> None:
    assert article(front).categories == categories


@pytest.mark.parametrize(
    ("front", "author"),
    [
        ("---\ntitle: x\ndate: 2020-01-01\nauthor: Ada\n---\n", "Ada"),
        ("---\ntitle: x\ndate: 2020-01-01\nauthors: [Ada, {name: Bob}, [x]]\n---\n", "Ada, Bob"),
        ("Title: x\nDate: 2020-01-01\nAuthors: Ada, Bob\n\n", "Ada, Bob"),
        ("---\ntitle: x\ndate: 2020-01-01\nauthor: {nick: a}\n---\n", None),
        ("+++\ntitle = 'x'\ndate = 2020-01-01\n[params]\nauthor = 'Ada'\n+++\n", "Ada"),
    ],
)
def test_authors(front: str, author: str | None) -> None:
    assert article(front).author == author


# Saving to the database.


def test_posts_with_the_same_name_and_different_days_are_different_entries(sites: ContentSites, tmp_path: Path) -> None:
    first = write(tmp_path / "2019" / "2019-12-31-review.md", "---\ntitle: Review of 2019\n---\nThis was 2019.")
    second = write(tmp_path / "2020" / "2020-12-31-review.md", "---\ntitle: Review of 2020\n---\nThis was 2020.")
    assert counts(import_entries(sites.engine, sites.sternwarte, [first])) == (1, 0, 0, 0)
    report = import_entries(sites.engine, sites.sternwarte, [second])
    assert counts(report) == (1, 0, 0, 0)
    assert [note.text for note in report.notes] == [
        "its slug is '2020-12-31-review', since an entry of another day has 'review'"
    ]
    assert not report.lost
    entries = stored(sites, sites.sternwarte)
    assert {slug: entry.title for slug, entry in entries.items()} == {
        "review": "Review of 2019",
        "2020-12-31-review": "Review of 2020",
    }
    assert counts(import_entries(sites.engine, sites.sternwarte, [tmp_path])) == (0, 0, 2, 0)
    assert counts(import_entries(sites.engine, sites.garden, [tmp_path])) == (2, 0, 0, 0)
    assert set(stored(sites, sites.garden)) == set(entries)


def test_an_entry_keeps_its_slug_when_an_older_one_is_imported_later(sites: ContentSites, tmp_path: Path) -> None:
    new = write(tmp_path / "b" / "2020-12-31-review.md", "---\ntitle: New\n---\n")
    import_entries(sites.engine, sites.garden, [new])
    write(tmp_path / "a" / "2019-12-31-review.md", "---\ntitle: Old\n---\n")
    for expected in ((1, 0, 1, 0), (0, 0, 2, 0)):
        assert counts(import_entries(sites.engine, sites.garden, [tmp_path])) == expected
    titles = {slug: entry.title for slug, entry in stored(sites, sites.garden).items()}
    assert titles == {"review": "New", "2019-12-31-review": "Old"}


def test_a_corrected_date_updates_the_same_entry(sites: ContentSites, tmp_path: Path) -> None:
    file = write(tmp_path / "a.md", "---\ntitle: x\ndate: 2020-01-01\n---\n")
    import_entries(sites.engine, sites.garden, [file])
    write(file, "---\ntitle: x\ndate: 2020-01-02\n---\n")
    assert counts(import_entries(sites.engine, sites.garden, [file])) == (0, 1, 0, 0)
    (tmp_path / "moved").mkdir()
    moved = file.rename(tmp_path / "moved" / "a.md")
    assert counts(import_entries(sites.engine, sites.garden, [moved])) == (0, 0, 1, 0)
    assert stored(sites, sites.garden)["a"].source == str(moved)


def test_a_slug_may_contain_the_date(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    write(tmp_path / "2020-12-31-review.md", "---\ntitle: x\n---\n")
    write(tmp_path / "idea.md", "---\ntitle: x\ndraft: true\n---\n")
    report = import_entries(
        sqlite_sites.engine, sqlite_sites.garden, [tmp_path], address_pattern="{year}/{month}-{slug}"
    )
    assert counts(report) == (2, 0, 0, 0)
    assert set(stored(sqlite_sites, sqlite_sites.garden)) == {"2020-12-review", "idea"}
    for pattern in ("{year}", "{slug}{hour}", "{slug", "}{slug}", "{{slug}}"):
        with pytest.raises(ValueError, match="expected"):
            SlugPattern(pattern)


def test_one_of_several_translations_is_imported(sites: ContentSites, tmp_path: Path) -> None:
    for name in ("hello/index.en.md", "hello/index.de.md", "about.md", "about.de.md", "about.fr.md", "x/index.en.md",
                 "node.js.md", "notes.io.md", "_index.de.md"):  # fmt: skip
        write(tmp_path / name, f"---\ntitle: {name}\ndate: 2020-01-01\n---\n")
    report = import_entries(sites.engine, sites.sternwarte, [tmp_path])
    entries = stored(sites, sites.sternwarte)
    assert {slug: entry.title for slug, entry in entries.items()} == {
        "hello": "hello/index.de.md",
        "about": "about.de.md",
        "x": "x/index.en.md",
        "node-js": "node.js.md",
        "notes-io": "notes.io.md",
    }
    assert sorted(names([skipped.path for skipped in report.skipped])) == [
        "_index.de.md", "about.fr.md", "about.md", "index.en.md",
    ]  # fmt: skip
    import_entries(sites.engine, sites.garden, [tmp_path])
    assert stored(sites, sites.garden)["about"].title == "about.md"


def test_a_declared_translation_is_reported(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    write(tmp_path / "a.md", "Title: English\nDate: 2020-01-01\nSlug: x\nLang: en\n\n")
    write(tmp_path / "b.md", "Title: Deutsch\nDate: 2020-01-01\nSlug: x\nLang: de\n\n")
    report = import_entries(sqlite_sites.engine, sqlite_sites.garden, [tmp_path])
    assert counts(report) == (1, 0, 0, 0)
    assert [skipped.reason for skipped in report.skipped] == [f"a translation (de) of {tmp_path / 'a.md'}"]


def test_texts_in_other_markup_languages_are_reported(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    for name in ("a.org", "b.rst", "c.txt", "d.adoc"):
        write(tmp_path / name, "x")
    report = import_entries(sqlite_sites.engine, sqlite_sites.garden, [tmp_path])
    assert [(Path(skipped.path).name, skipped.reason) for skipped in report.skipped] == [
        ("a.org", "Org-mode, which is not supported"),
        ("b.rst", "reStructuredText, which is not supported"),
        ("d.adoc", "AsciiDoc, which is not supported"),
    ]


def test_categories_become_tags_and_authors_are_in_the_feed(sites: ContentSites, tmp_path: Path) -> None:
    write(
        tmp_path / "a.md", "---\ntitle: x\ndate: 2020-01-01\ncategories: [c, Both]\ntags: [t, both]\nauthor: Ada\n---\n"
    )
    import_entries(sites.engine, sites.garden, [tmp_path])
    entry = stored(sites, sites.garden)["a"]
    assert [tag.slug for tag in entry.tags] == ["both", "c", "t"]
    assert entry.author == "Ada"
    assert "<author><name>Ada</name></author>" in sites.browser(sites.garden.host).get("/feed.xml").text


def test_a_dry_run_reports_the_same_and_changes_nothing(sites: ContentSites, tmp_path: Path) -> None:
    for number in range(150):
        write(tmp_path / f"{number}.md", "---\ntitle: x\ndate: 2020-01-01\nexpiryDate: 2999-01-01\n---\n")
    write(tmp_path / "bad.md", "x")
    dry = import_entries(sites.engine, sites.garden, [tmp_path], dry_run=True)
    assert stored(sites, sites.garden) == {}
    real = import_entries(sites.engine, sites.garden, [tmp_path])
    assert (counts(dry), len(dry.notes), dry.rolled_back) == (counts(real), len(real.notes), True)
    assert json.loads(json.dumps(dry.as_dict()))["notes"][0]["kind"] == "front matter"


# Pages.


def test_a_file_without_a_date_becomes_a_page(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    sites = sqlite_sites
    files = {
        "content/about.md": "---\ntitle: About\n---\nWe are [a team](about/team.md).",
        "content/about/team.md": "+++\ntitle = 'Team'\n+++\nAnn",
        "content/legal/index.md": "---\ntitle: Legal\ntags: [x]\n---\nText",
        "content/pages/contact.md": "Title: Contact\n\nText",
        "_pages/dated.md": "---\ntitle: Dated\nlayout: page\ndate: 2020-01-01\npermalink: /who/we-are.html\n---\nText",
        "content/named.md": "---\ntitle: Named\nslug: Other\n---\nText",
        "content/secret.md": "---\ntitle: Secret\ntype: page\ndraft: true\n---\nText",
        "content/post.md": "---\ntitle: Post\ndate: 2020-01-01\n---\nA [link](about.md#x).",
        "content/index.md": "---\ntitle: Home\n---\nText",
        "404.md": "---\ntitle: x\npermalink: /404.html\n---\nText",
        "search.md": "---\ntitle: Search\n---\nText",
        "_posts/undated.md": "---\ntitle: x\n---\nText",
    }
    for name, text in files.items():
        path = tmp_path / "blog" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    (tmp_path / "blog/_config.yml").write_text("title: x\n", "utf-8")
    report = import_entries(sites.engine, sites.garden, [tmp_path / "blog"])
    assert {Path(bad.path).name: bad.reason for bad in report.bad} == {"undated.md": "no date, and it is not a draft"}
    assert {Path(path.path).name: path.reason for path in report.skipped} == {
        "404.md": "the home page, or a page for missing addresses, which the application makes itself",
        "index.md": "the home page, or a page for missing addresses, which the application makes itself",
        "search.md": "a page at /search/, which is an address of the application",
    }
    assert (report.added, report.pages) == (8, 7)
    reader = sites.browser(GARDEN)
    page = reader.get("/about/")
    assert page.html.select_one(".entry-body a")["href"] == "/about/team/"
    assert reader.get("/entries/post").html.select_one(".entry-body a")["href"] == "/about/#user-content-x"
    for path in ("/about/team/", "/legal/", "/contact/", "/who/we-are/", "/other/"):
        reader.get(path)
    reader.get("/secret/", status=404)
    reader.get("/tags/x", status=404)
    assert reader.get("/who/we-are.html", status=301).location == f"http://{GARDEN}/who/we-are/"
    again = import_entries(sites.engine, sites.garden, [tmp_path / "blog"])
    assert (again.added, again.unchanged, again.pages) == (0, 8, 7)
    (tmp_path / "blog/content/about/team.md").unlink()
    pruned = import_entries(sites.engine, sites.garden, [tmp_path / "blog/content"], prune=True)
    assert [Path(path.path).name for path in pruned.pruned] == ["team.md"]
    reader.get("/about/team/", status=404)
    sites.browser(STERNWARTE).get("/about/", status=404)


def test_a_page_that_a_person_has_changed_is_kept(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    sites = sqlite_sites
    (tmp_path / "about.md").write_text("---\ntitle: About\n---\nOne", "utf-8")
    import_entries(sites.engine, sites.garden, [tmp_path])
    with Session(sites.engine, info={"site": sites.garden}) as session, session.begin():
        user = User(login="ann", role="editor")
        session.add(user)
        session.flush()
        page = session.scalars(sa.select(Entry)).one()
        before = EntryText.of(page)
        save_entry(session, user, page.id, replace(before, body="Two"), before.version)
    (tmp_path / "about.md").write_text("---\ntitle: About\n---\nThree", "utf-8")
    report = import_entries(sites.engine, sites.garden, [tmp_path])
    assert [note.kind for note in report.notes] == ["changed entry"]
    assert "Two" in sites.browser(GARDEN).get("/about/").text
    import_entries(sites.engine, sites.garden, [tmp_path], force=True)
    assert "Three" in sites.browser(GARDEN).get("/about/").text
