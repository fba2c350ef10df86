"""Absolute links to the old site lead to the imported entries and pictures, as relative ones do."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from content_sites import GARDEN, ContentSites
from PIL import Image
from sqlalchemy.orm import Session

from multisite.content.imports.importing import import_entries
from multisite.content.models import Entry
from multisite.content.report import ImportReport
from multisite.media import MEDIA_LIBRARY

TEXT = """[post](https://{host}/{other}#part) and [again](http://www.{host}/{other}index.html)
<a href="//{host}/{other}">html</a> https://{host}/{other}

![picture](https://{host}/images/a.png) [home](https://{host}/)

[missing](https://{host}/gone/) [elsewhere](https://else.example/{other}) [port](https://{host}:8080/{other})
[mail](mailto:a@{host}) [broken](http://[) [evil](https://{host}.evil.example/{other})

`https://{host}/{other}`
"""
JEKYLL = {
    "_config.yml": "url: https://old.example\nbaseurl: /blog\npermalink: /:year/:title/\n",
    "_posts/2020-01-02-one.md": "---\ntitle: One\n---\n" + TEXT.format(host="old.example/blog", other="2021/two/"),
    "_posts/2021-01-02-two.md": "---\ntitle: Two\n---\n## Part\n",
}
HUGO = {
    "hugo.toml": 'baseURL = "https://WWW.old.example/"\n',
    "content/posts/one.md": "+++\ntitle = 'One'\ndate = 2020-01-02\n+++\n"
    + TEXT.format(host="old.example", other="posts/two/"),
    "content/posts/two.md": "+++\ntitle = 'Two'\ndate = 2020-01-02\n+++\n## Part\n",
}
PELICAN = {
    "pelicanconf.py": "SITEURL = 'https://old.example'\nARTICLE_URL = '{slug}/'\n",
    "content/one.md": "Title: One\nDate: 2020-01-02\n\n" + TEXT.format(host="old.example", other="two/"),
    "content/two.md": "Title: Two\nDate: 2020-01-02\n\n## Part\n",
}


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    for folder in ("images", "static/images", "content/images"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / folder / "a.png")
    return root


def do_import(sites: ContentSites, path: Path) -> tuple[ImportReport, dict[str, Entry]]:
    library = sites.app.registry[MEDIA_LIBRARY]
    report = import_entries(sites.engine, sites.garden, [path], library_of=lambda: library)
    with Session(sites.engine, info={"site": sites.garden}) as session:
        return report, {entry.slug: entry for entry in session.scalars(sa.select(Entry))}


@pytest.mark.parametrize("files", [JEKYLL, HUGO, PELICAN], ids=["jekyll", "hugo", "pelican"])
def test_absolute_links_to_the_old_site_lead_to_what_was_imported(
    sqlite_sites: ContentSites, tmp_path: Path, files: dict[str, str]
) -> None:
    report, entries = do_import(sqlite_sites, write(tmp_path, files))
    html, body = entries["one"].body_html, entries["one"].body
    assert '<a href="/entries/two#user-content-part">post</a>' in html
    for text in ("again", "html"):
        assert f'<a href="/entries/two">{text}</a>' in html
    assert html.count('href="/entries/two"') == 3
    assert 'src="/media/' in html
    assert "[post](/entries/two#user-content-part)" in body
    assert "![picture](/media/" in body
    # What is not of the old site, or was not imported, stays as it was; so does code.
    for kept in ("https://else.example/", ":8080/", "mailto:a@", ".evil.example/", "/gone/", '/">home</a>'):
        assert kept in html
    assert "<code>https://old.example/" in html
    assert [(note.kind, note.text.partition("old.example")[2].removeprefix("/blog")) for note in report.notes] == [
        ("link to a page that is not imported", "/gone/")
    ]
    sqlite_sites.browser(GARDEN).get("/entries/two", status=200)


def test_an_import_without_a_configuration_knows_no_old_domain(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    files = {name: text for name, text in JEKYLL.items() if name != "_config.yml"}
    report, entries = do_import(sqlite_sites, write(tmp_path, files))
    assert entries["one"].body_html.count("https://old.example/blog/2021/two/") == 4
    assert report.notes == []
