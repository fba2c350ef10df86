"""Imported entries are found at their old addresses: by the rules of Jekyll, Hugo, Zola and Pelican, and as built."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path, PurePath, PurePosixPath
from urllib.parse import quote, unquote

import pytest
import sqlalchemy as sa
from content_sites import GARDEN, STERNWARTE, ContentSites
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from multisite import Site
from multisite.content.imports.article import Article
from multisite.content.imports.importing import ImportReport, import_entries
from multisite.content.imports.old_site import OldSite, Tool, seen_from
from multisite.content.imports.permalinks import JEKYLL_STYLES, date_values, expand_braces, expand_colons, plain_slug
from multisite.content.models import Entry
from multisite.content.page_paths import address_of
from multisite.content.redirect_rules import InvalidRedirect, parse_rule
from multisite.content.redirects import find_redirect, list_redirects, save_redirects

MOVED = """---
title: Moved
date: 2012-05-06
permalink: /2012/05/moved.html
redirect_from:
  - /archive/2012/05/06/moved.aspx
aliases: [/blog/moved/, "https://old.example/x?id=5"]
wordpress_id: 123
---
Text.
"""


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return root


def article(front: str) -> str:
    return f"---\n{front}\n---\nText.\n"


def stored(sites: ContentSites, site: Site) -> dict[str, str | None]:
    with Session(sites.engine, info={"site": site}) as session:
        return {rule.path: rule.target for rule, _ in list_redirects(session)}


def addresses_of_entries(sites: ContentSites) -> dict[str, set[str]]:
    """Return the old addresses of each entry of the garden by its slug."""
    found: dict[str, set[str]] = {}
    for path, target in stored(sites, sites.garden).items():
        if target is not None and target.startswith("/entries/"):
            found.setdefault(unquote(target.removeprefix("/entries/")), set()).add(path)
    return found


def do_import(sites: ContentSites, *paths: Path, dry_run: bool = False) -> ImportReport:
    return import_entries(sites.engine, sites.garden, paths, dry_run=dry_run)


# Addresses in the front matter.


def test_the_addresses_in_the_front_matter_lead_to_the_entry(sites: ContentSites, tmp_path: Path) -> None:
    write(tmp_path, {"moved.md": MOVED, "draft.md": article("title: D\ndraft: true\naliases: [/d]")})
    report = do_import(sites, tmp_path)
    assert [note.text for note in report.notes] == []
    browser = sites.browser(GARDEN)
    old = ["/2012/05/moved.html", "/archive/2012/05/06/moved.aspx", "/blog/moved/", "/x?id=5", "/?p=123"]
    for address in old:
        assert browser.get(address, status=301).location == f"http://{GARDEN}/entries/moved"
        sites.browser(STERNWARTE).get(address, status=200 if address == "/?p=123" else 404)
    for address in ("/index.xml", "/atom.xml", "/feeds/all.atom.xml"):
        assert browser.get(address, status=301).location == f"http://{GARDEN}/feed.xml"
    browser.get("/d", status=404)
    assert report.redirects == len(stored(sites, sites.garden))


def test_an_import_can_be_repeated_and_keeps_what_a_person_made(sites: ContentSites, tmp_path: Path) -> None:
    write(tmp_path, {"moved.md": MOVED})
    with Session(sites.engine, info={"site": sites.garden}) as session:
        save_redirects(session, [parse_rule("/blog/moved", "/archive"), parse_rule("/atom.xml", None, 410)])
        session.commit()
    dry = do_import(sites, tmp_path, dry_run=True)
    assert set(stored(sites, sites.garden)) == {"/blog/moved", "/atom.xml"}
    first = do_import(sites, tmp_path)
    assert first.redirects == dry.redirects == len(stored(sites, sites.garden)) - 2 > 0
    assert [note.path for note in first.notes if not note.lost] == ["/blog/moved", "/atom.xml"]
    again = do_import(sites, tmp_path)
    assert (again.redirects, again.unchanged) == (first.redirects, 1)
    assert stored(sites, sites.garden)["/blog/moved"] == "/archive"
    write(tmp_path, {"moved.md": MOVED.replace("title: Moved", "title: Moved\nslug: again")})
    assert do_import(sites, tmp_path).added == 1
    assert stored(sites, sites.garden)["/2012/05/moved.html"] == "/entries/again"


def test_an_address_that_is_not_possible_or_taken_is_reported(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    bad = ["/a*b", "/a\\b", "https://[x/", "//x"]
    aliases = ", ".join(f"'{each}'" for each in bad)
    write(
        tmp_path,
        {
            "a.md": article("title: A\ndate: 2020-01-01\nurl: /same"),
            "b.md": article(f"title: B\ndate: 2020-01-02\nurl: /same/\naliases: [{aliases}, [x], 5, '']"),
            "c.md": article("title: C\ndate: 2020-01-02\nurl: https://elsewhere.example/\naliases: /entries/c/"),
        },
    )
    report = do_import(sqlite_sites, tmp_path)
    assert report.added == 3
    assert {note.kind for note in report.notes} == {"redirect"}
    texts = [note.text for note in report.notes]
    assert texts[0] == "/same leads to /entries/a, which names it as well"
    assert [text.partition(":")[0].partition(" contains")[0] for text in texts[1:4]] == [
        "'/a*b'",
        "'/a\\\\b'",
        "'https",
    ]
    assert addresses_of_entries(sqlite_sites) == {"a": {"/same"}, "b": {"/x", "/5"}}


# Addresses by the configuration.


WHEN = datetime(2015, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("pattern", "address"),
    [
        (JEKYLL_STYLES["date"], "/2015/03/04/x.html"),
        (JEKYLL_STYLES["ordinal"], "/2015/063/x.html"),
        (JEKYLL_STYLES["weekdate"], "/2015/W10/Wed/x.html"),
        ("/:short_year/:i_month/:i_day/:long_month/:title", "/15/3/4/March/x"),
        ("/:year_:month/:title/", "/2015_03/x/"),
        ("/:nothing/:title/", None),
        ("plain", "/plain"),
    ],
)
def test_patterns_with_colons(pattern: str, address: str | None) -> None:
    values = {"title": "x", "categories": "", "output_ext": ".html"}
    assert expand_colons(pattern, values | date_values(WHEN)) == address


@pytest.mark.parametrize(
    ("pattern", "address"),
    [
        ("{slug}.html", "/x.html"),
        ("posts/{date:%Y}/{date:%b}/{date:%-d}/{slug}/index.html", "/posts/2015/Mar/4/x/index.html"),
        ("{date:%Q}/{slug}", None),
        ("{nothing}", None),
    ],
)
def test_patterns_with_braces(pattern: str, address: str | None) -> None:
    assert expand_braces(pattern, {"slug": "x"}, WHEN) == address
    assert expand_braces("{date:%Y}", {}, None) is None


_HOSTILE = st.text(alphabet=":/{}%*?#[]\\ aä.\n", max_size=30) | st.sampled_from(
    [*JEKYLL_STYLES.values(), "http://[", "{date:%"]
)


@given(st.sampled_from(["jekyll", "hugo", "zola", "pelican", None]), _HOSTILE, _HOSTILE, st.none() | st.just(WHEN))
def test_no_pattern_and_no_address_raises_an_error(
    tool: Tool | None, pattern: str, address: str, when: datetime | None
) -> None:
    config = dict.fromkeys(("permalink", "article_url", "page_url", "tag_url", "category_url"), pattern)
    old_site = OldSite(tool, {**config, "permalinks": {"posts": pattern}}, Path("/x"), "/base")
    for own in (address, ""):
        found = Article("a", "A b", "", ("t",), when, None, None, draft=False, address=own, aliases=(pattern, address))
        every = list(old_site.addresses(found, PurePath("/x/content/posts/a.md"), when))
        assert len(every) <= 4
        for each in (*every, *(address for address, _ in old_site.list_addresses(found))):
            with suppress(InvalidRedirect):
                parse_rule(each, "/entries/a")


def test_slugs_of_titles() -> None:
    assert plain_slug("What's  new: Äpfel & C") == "whats-new-äpfel-c"
    assert plain_slug("What's new: Äpfel", ascii_only=True) == "whats-new-apfel"


def test_the_configuration_beside_the_content_is_used(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "config.toml": 'base_url = "https://z.example/blog"\n',
            "content/posts/2020-01-02-one.md": '+++\ntitle = "One"\n+++\nText.',
            "content/two/index.md": '+++\ntitle = "Two"\ndate = 2020-01-02\naliases = ["old"]\n+++\nText.',
            "content/three.md": '+++\ntitle = "Three"\ndate = 2020-01-02\npath = "third"\n+++\nText.',
        },
    )
    do_import(sqlite_sites, tmp_path / "content")
    assert addresses_of_entries(sqlite_sites) == {
        "one": {"/blog/posts/one"},
        "two": {"/blog/two", "/blog/old"},
        "three": {"/blog/third"},
    }


def test_pages_of_the_old_home_page_are_redirected(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    write(tmp_path, {f"_posts/2020-01-02-n{number}.md": article(f"title: N{number}") for number in range(21)})
    write(tmp_path, {"_config.yml": "baseurl: /b"})
    do_import(sqlite_sites, tmp_path)
    found = stored(sqlite_sites, sqlite_sites.garden)
    assert found["/b/page/2"] == found["/b/page2"] == "/?page=2"
    assert found["/b/page/3"] == "/?page=3"
    assert "/b/page/4" not in found


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("_config.yml", "a: ["),
        ("hugo.toml", "a ="),
        ("hugo.json", "{"),
        ("hugo.json", "[]"),
        ("pelicanconf.py", "def"),
        ("pelicanconf.py", "(" * 10_000),
        ("_config.yml", "x: " + 70_000 * "y"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_reported(
    sqlite_sites: ContentSites, tmp_path: Path, name: str, content: str
) -> None:
    write(tmp_path, {name: content, "a.md": article("title: A\ndate: 2020-01-01")})
    report = do_import(sqlite_sites, tmp_path)
    assert report.added == 1
    assert [note.path for note in report.notes] == [str(tmp_path / name)]
    assert report.notes[0].text.startswith("the old addresses are not known: ")


@pytest.mark.parametrize(
    "content", ["SITEURL = open('/etc/passwd').read()\nARTICLE_URL = f'{1}'\n", "ARTICLE_URL = 5", "X = '\\d'"]
)
def test_python_of_pelican_is_not_run(sqlite_sites: ContentSites, tmp_path: Path, content: str) -> None:
    write(tmp_path, {"pelicanconf.py": content, "content/a.md": "Title: A b\nDate: 2020-01-01\n\nText.\n"})
    do_import(sqlite_sites, tmp_path / "content")
    assert addresses_of_entries(sqlite_sites) == {"a": {"/a-b.html"}}


def test_a_configured_address_that_is_not_possible_is_reported(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    write(tmp_path, {"content/a.md": "Title: A\nDate: 2020-01-01\nTags: t\n\nText.\n"})
    write(tmp_path, {"pelicanconf.py": "FEED_ALL_ATOM = 'a*b'\nTAG_URL = '\\\\{slug}'\nSITEURL = 'https://[x'\n"})
    report = do_import(sqlite_sites, tmp_path / "content")
    assert report.added == 1
    assert [(note.path, note.text.partition(" ")[0]) for note in report.notes] == [
        (str(tmp_path), "'/a*b':"),
        (str(tmp_path), "'/\\\\t'"),
    ]


def test_a_configuration_of_another_program_is_ignored(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    write(tmp_path, {"config.toml": "x = 1", "a.md": article("title: A\ndate: 2020-01-01")})
    assert do_import(sqlite_sites, tmp_path).notes == []
    assert stored(sqlite_sites, sqlite_sites.garden) == {}


def test_the_path_of_the_new_site_is_not_part_of_an_old_address() -> None:
    old = OldSite("hugo", base="/blog")
    site = Site(id=1, host="x.example", name="X", folder="x", path="/blog")
    assert (seen_from(site, old).base, seen_from(replace(site, path=""), old).base) == ("", "/blog")
    assert seen_from(site, None) == OldSite()


# As the tools build them.


def titles_of(sites: ContentSites, pages: dict[str, str]) -> dict[str, str | None]:
    """Return the title of the entry that each address leads to, None without."""
    with Session(sites.engine, info={"site": sites.garden}) as session:
        titles = {unquote(address_of(entry.slug)): entry.title for entry in session.scalars(sa.select(Entry))}
        found = {address: find_redirect(session, address) for address in pages}
    return {address: titles.get(unquote(rule.target or "")) if rule else None for address, rule in found.items()}


def built(folder: Path, beginning: str = "title=") -> dict[str, str]:
    """Return what follows `beginning` in the pages that a tool has built, by address: the title of an article."""
    found = {}
    for page in folder.rglob("*.html"):
        text = page.read_text("utf-8")
        if text.startswith(beginning):
            address = PurePosixPath("/") / page.relative_to(folder)
            found[str(address)] = unescape(text.removeprefix(beginning).strip())
    return found


HUGO_POSTS = {
    "content/posts/Plain Name.md": "title: Plain\ndate: 2020-01-02",
    "content/posts/2020-01-02-dated.md": "title: Dated\ndate: 2020-01-02",
    "content/posts/slug.md": "title: Slug\ndate: 2020-01-02\nslug: Own-Slug",
    "content/posts/bundle/index.md": "title: Bundle\ndate: 2020-01-02",
    "content/posts/sub/deep.md": "title: Deep\ndate: 2020-01-02",
    "content/posts/url.md": "title: Url\ndate: 2020-01-02\nurl: /2019/own.html",
    "content/news/what.md": "title: What's new – a B\ndate: 2020-03-04",
    "content/about.md": "title: About\ndate: 2020-01-02",
}


@pytest.mark.skipif(shutil.which("hugo") is None, reason="hugo is not installed")
@pytest.mark.parametrize("more", ["", '[permalinks]\nposts = "/:year/:month/:slug/"\nnews = "/n/:monthname/:title"\n'])
def test_hugo(sqlite_sites: ContentSites, tmp_path: Path, more: str) -> None:
    write(tmp_path, {path: article(front) for path, front in HUGO_POSTS.items()})
    kinds = 'disableKinds = ["taxonomy", "term", "RSS", "sitemap", "section", "home", "404"]'
    write(tmp_path, {"config.toml": f'baseURL = "https://x.example/"\n{kinds}\n{more}'})
    write(tmp_path, {"layouts/_default/single.html": "title={{ .Title }}"})
    subprocess.run(["hugo", "--quiet"], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    do_import(sqlite_sites, tmp_path / "content")
    pages = built(tmp_path / "public")
    assert len(pages) == len(HUGO_POSTS)
    assert titles_of(sqlite_sites, pages) == pages


HUGO_OF_LANGUAGES = """
baseURL = "https://x.example/"
disableKinds = ["taxonomy", "term", "RSS", "sitemap", "section", "home", "404"]
defaultContentLanguage = "en"
[languages.en]
weight = 1
contentDir = "content/en"
[languages.de]
weight = 2
contentDir = "content/de"
"""


@pytest.mark.skipif(shutil.which("hugo") is None, reason="hugo is not installed")
def test_hugo_with_languages_cascades_and_relative_aliases(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    files = {
        "content/en/posts/one.md": article("title: One\ndate: 2020-01-02\naliases: [old-one, ../up, /root/]"),
        "content/de/posts/one.md": article("title: Eins\ndate: 2020-01-02"),
        "content/de/posts/nur.md": article("title: Nur\ndate: 2020-01-03\naliases: [alt]"),
        "content/en/hidden/_index.md": "---\ncascade:\n  draft: true\n---\n",
        "content/en/hidden/draft.md": article("title: Draft\ndate: 2020-01-02"),
        "content/en/hidden/own.md": article("title: Own\ndate: 2020-01-02\ndraft: false"),
        "content/en/parts/_index.md": "+++\n[[cascade]]\n_build = {render = 'never'}\n[cascade._target]\n"
        "path = '/parts/sub/**'\n+++\n",
        "content/en/parts/sub/part.md": article("title: Part\ndate: 2020-01-02"),
        "content/en/parts/shown.md": article("title: Shown\ndate: 2020-01-02"),
    }
    write(tmp_path, files | {"config.toml": HUGO_OF_LANGUAGES, "layouts/_default/single.html": "title={{ .Title }}"})
    subprocess.run(["hugo", "--quiet"], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    report = do_import(sqlite_sites, tmp_path / "content")
    pages = built(tmp_path / "public")
    assert sorted(pages.values()) == ["Eins", "Nur", "One", "Shown"]
    del pages["/de/posts/one/index.html"]  # The site has one language.
    assert titles_of(sqlite_sites, pages) == pages
    aliases = {
        f"/{page.parent.relative_to(tmp_path / 'public')}"
        for page in (tmp_path / "public").rglob("index.html")
        if 'http-equiv="refresh"' in page.read_text() or "http-equiv=refresh" in page.read_text()
    }
    assert {"/posts/old-one", "/up", "/root", "/de/posts/alt"} <= aliases
    for address in ("/posts/old-one", "/up", "/root", "/de/posts/alt"):
        sqlite_sites.browser(GARDEN).get(address, status=301)
    with Session(sqlite_sites.engine, info={"site": sqlite_sites.garden}) as session:
        drafts = set(session.scalars(sa.select(Entry.title).where(Entry.draft)))
    assert drafts == {"Draft", "Own"}
    skipped = {Path(path.path).name: path.reason for path in report.skipped}
    assert skipped["one.md"] == "a translation (de) of one.md"
    assert skipped["part.md"] == "its build options tell Hugo not to render it"
    # The section is read again, although the file is unchanged.
    write(tmp_path, {"content/en/hidden/_index.md": "---\ntitle: x\n---\n"})
    do_import(sqlite_sites, tmp_path / "content")
    with Session(sqlite_sites.engine, info={"site": sqlite_sites.garden}) as session:
        assert not session.scalars(sa.select(Entry).where(Entry.draft)).all()


JEKYLL_CONFIGURATION = """
timezone: UTC
collections:
  recipes: {output: true}
  notes: {output: true, permalink: "/n/:name/"}
  secrets: {output: false}
  parts:
defaults:
- scope: {path: ""}
  values: {layout: page}
- scope: {path: "", type: posts}
  values: {permalink: "/blog/:year/:title/"}
- scope: {path: _posts/hidden}
  values: {published: false}
- scope: {path: "_posts/own/*.md"}
  values: {permalink: "/own/:title/"}
"""


@pytest.mark.skipif(shutil.which("jekyll") is None, reason="jekyll is not installed")
def test_jekyll_with_defaults_and_collections(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    files = {
        "_posts/2020-01-02-one.md": article("title: One"),
        "_posts/hidden/2020-01-02-two.md": article("title: Two"),
        "_posts/hidden/2020-01-02-three.md": article("title: Three\npublished: true"),
        "_posts/own/2020-01-02-four.md": article("title: Four"),
        "_posts/2020-01-02-five.md": article("title: Five\npermalink: /five.html"),
        "_recipes/sub/bread.md": article("title: Bread\ndate: 2020-01-02"),
        "_notes/note.md": article("title: Note\ndate: 2020-01-02"),
        "_secrets/secret.md": article("title: Secret\ndate: 2020-01-02"),
        "_parts/part.md": article("title: Part\ndate: 2020-01-02"),
        "_includes/included.md": article("title: Included\ndate: 2020-01-02"),
    }
    write(tmp_path, files | {"_config.yml": JEKYLL_CONFIGURATION, "_layouts/page.html": "title={{ page.title }}"})
    command = ["jekyll", "build", "--quiet", "--source", str(tmp_path), "--destination", str(tmp_path / "_site")]
    environment = os.environ | {"LANG": "C.UTF-8"}
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=240, env=environment)
    shutil.move(tmp_path / "_site", built_folder := tmp_path.parent / f"{tmp_path.name}-built")
    report = do_import(sqlite_sites, tmp_path)
    pages = built(built_folder)
    with Session(sqlite_sites.engine, info={"site": sqlite_sites.garden}) as session:
        shown = set(session.scalars(sa.select(Entry.title).where(sa.not_(Entry.draft))))
    assert shown == set(pages.values()) == {"One", "Three", "Four", "Five", "Bread", "Note"}
    assert titles_of(sqlite_sites, pages) == pages
    assert {Path(path.path).name: path.reason for path in report.skipped} == {
        "secret.md": "of the collection secrets, which Jekyll does not render",
        "part.md": "of the collection parts, which Jekyll does not render",
        "included.md": "in the folder _includes, which Jekyll does not render",
    }


JEKYLL_POSTS = {
    "_posts/2020-01-02-Plain-Name.md": "title: Plain",
    "_posts/2020-03-04-categories.md": "title: Categories\ncategories: [News, Old]",
    "_posts/2020-03-04-slug.md": "title: Slug\nslug: own",
    "_posts/2020-03-04-date.md": "title: Date\ndate: 2019-12-31 23:00:00 +0000",
    "_posts/2020-03-04-pretty.md": "title: Pretty\npermalink: pretty",
    "_posts/2020-03-04-ordinal.md": "title: Ordinal\npermalink: ordinal",
    "_posts/2020-03-05-tokens.md": "title: Own\npermalink: /:short_year/:i_month/:short_month/x-:title",
    "about.md": "title: About\ndate: 2020-01-01",
    "sub/page.md": "title: Page\ndate: 2020-01-01",
}


@pytest.mark.skipif(shutil.which("jekyll") is None, reason="jekyll is not installed")
@pytest.mark.parametrize("permalink", ["", "permalink: /blog/:categories/:year/:month/:title:output_ext"])
def test_jekyll(sqlite_sites: ContentSites, tmp_path: Path, permalink: str) -> None:
    write(tmp_path, {path: article(f"{front}\nlayout: page") for path, front in JEKYLL_POSTS.items()})
    write(tmp_path, {"_config.yml": f"timezone: UTC\n{permalink}", "_layouts/page.html": "title={{ page.title }}"})
    command = ["jekyll", "build", "--quiet", "--source", str(tmp_path), "--destination", str(tmp_path / "_site")]
    environment = os.environ | {"LANG": "C.UTF-8"}
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=240, env=environment)
    do_import(sqlite_sites, *(tmp_path / path for path in JEKYLL_POSTS), tmp_path / "_posts")
    pages = built(tmp_path / "_site")
    assert len(pages) == len(JEKYLL_POSTS)
    assert titles_of(sqlite_sites, pages) == pages


PELICAN_POSTS = {
    "content/plain.md": "Title: What's new: a B\nDate: 2020-01-02",
    "content/accents.md": "Title: Äpfel für Élise\nDate: 2020-01-02",
    "content/slug.md": "Title: Slug\nDate: 2020-01-02\nSlug: own",
    "content/News/category.md": "Title: Category\nDate: 2020-03-04",
    "content/tags.md": "Title: Tags\nDate: 2020-01-02\nTags: Soil & Seed, C++, Über\nCategory: In the Garden",
    "content/save.md": "Title: Save\nDate: 2020-01-02\nSave_as: own/page.html\nUrl: own/page.html",
    "content/pages/about.md": "Title: About\nDate: 2020-01-02",
    "content/lang.md": "Title: Langue\nDate: 2020-01-02\nLang: fr",
}


@pytest.mark.skipif(shutil.which("pelican") is None, reason="pelican is not installed")
@pytest.mark.parametrize(
    "more",
    [
        "",
        "ARTICLE_SAVE_AS = '{category}/{date:%Y}/{date:%b}/{date:%-d}/{slug}/index.html'",
        "SLUGIFY_SOURCE = 'basename'\nDEFAULT_LANG = 'de'\nARTICLE_LANG_SAVE_AS = 'l/{lang}/{slug}.html'",
    ],
)
def test_pelican(sqlite_sites: ContentSites, tmp_path: Path, more: str) -> None:
    write(tmp_path, {path: f"{front}\n\nText.\n" for path, front in PELICAN_POSTS.items()})
    lines = ["SITENAME = 'x'", "SITEURL = ''", "TIMEZONE = 'UTC'", "PATH = 'content'", "THEME = 'theme'", more]
    lines += ["DIRECT_TEMPLATES = []", "AUTHOR_SAVE_AS = ''", "PLUGINS = []"]
    write(tmp_path, {"pelicanconf.py": "\n".join(lines), "theme/static/x.css": ""})
    templates = {"article": "title={{ article.title }}", "page": "title={{ page.title }}"}
    templates |= {"tag": "tag={{ tag.name }}", "category": "tag={{ category.name }}"}
    write(tmp_path, {f"theme/templates/{name}.html": text for name, text in templates.items()})
    command = ["pelican", "content", "--settings", "pelicanconf.py", "--output", "out", "--quiet"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=240)
    do_import(sqlite_sites, tmp_path / "content")
    pages = built(tmp_path / "out")
    assert len(pages) == len(PELICAN_POSTS)
    assert titles_of(sqlite_sites, pages) == pages
    browser = sqlite_sites.browser(GARDEN)
    lists = {address: name for address, name in built(tmp_path / "out", "tag=").items() if name not in {"misc", "News"}}
    assert set(lists.values()) == {"Soil & Seed", "C++", "Über", "In the Garden"}
    for address, name in lists.items():
        assert f"“{name}”" in unescape(browser.get(quote(address), status=301).follow().text)
