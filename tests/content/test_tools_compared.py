"""The import renders files like Hugo and Jekyll themselves, if these are installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest
import sqlalchemy as sa
from content_sites import ContentSites
from sqlalchemy.orm import Session

from multisite.content.imports.importing import import_entries
from multisite.content.markup.cleaning import ANCHOR_PREFIX
from multisite.content.models import Entry

HEADINGS = [
    "Part one",
    "What's *new* & `x_y`?",
    "Über Äpfel",
    "1. First - second",
    "日本",
    "A",
    "A",
    "C++ & C#",
    "B {#own}",
]
TEXT = (
    "\n\n".join(f"## {heading}" for heading in HEADINGS)
    + "\n\nA claim.[^1]\n\nTerm\n: Meaning\n\n[^1]: Its source.\n\n"
    + "[named](https://example.com/named) [there](#part-one) ![Leaf](/static/leaf.png)\n"
)
HUGO = {
    "plain": "title: Plain\ndate: 2020-01-02T03:04:05Z\ntags: [Soil, Leaf mould]",
    "zone": "title: Zone\ndate: 2020-01-02 03:04:05 -0600",
    "tabs": "title:\tTabs\ndate:\t2020-01-02",
    "from-lastmod": "title: Lastmod\nlastmod: 2020-01-02",
    "later": "title: Later\ndate: 2020-01-02\npublishDate: 2999-01-02",
    "over": "title: Over\ndate: 2020-01-02\nexpiryDate: 2021-01-02",
    "never": "title: Never\ndate: 2020-01-02\n_build:\n  render: never",
    "draft": "title: Draft\ndate: 2020-01-02\ndraft: true",
}
JEKYLL = {
    "2020-01-02-plain": "title: Plain\ntags: [Soil, Leaf mould]",
    "2020-01-03-no-title": "layout: page",
    "2020-01-04-offset": "title: Offset\ndate: 2020-01-02 +0800",
    "2020-01-05-words": "title: Words\ndate: March 3, 2015",
    "2020-01-06-zone": "title: Zone\ndate: 2014-07-29 12:55:56 CDT",
    "2020-01-07-hidden": "title: Hidden\npublished: false",
}


Page = tuple[datetime | None, set[str], str]
"""The date, the tags and the text of a page."""


def seen(sites: ContentSites) -> dict[str, Page]:
    """Return each visible entry by its title."""
    with Session(sites.engine, info={"site": sites.garden}) as session:
        shown = sa.select(Entry).where(Entry.draft == sa.false(), Entry.published <= datetime.now(UTC))
        return {
            entry.title: (entry.published, {tag.name for tag in entry.tags}, entry.body_html)
            for entry in session.scalars(shown)
        }


def built(pages: list[Path]) -> dict[str, Page]:
    """Return the pages that a tool has built, which consist of title, date, tags and text, separated by `|`."""
    parts = (page.read_text("utf-8").split("|", 3) for page in pages)
    return {
        unescape(title): (
            datetime.fromisoformat(unescape(date)).astimezone(UTC),
            set(filter(None, tags.split(","))),
            text,
        )
        for title, date, tags, text in parts
    }


def addresses(text: str) -> list[str]:
    """Return the addresses of links and images, without those of footnotes."""
    found = re.findall(r'(?:href|src)="?([^"\s>]*)', text)
    return [address.replace(ANCHOR_PREFIX, "") for address in found if "fn" not in address]


def ids(text: str) -> list[str]:
    found = re.findall(r'<h2[^>]*\bid="?([^">]*)', text)
    return [name.removeprefix(ANCHOR_PREFIX) for name in found]


def compare(tool: dict[str, Page], ours: dict[str, Page]) -> None:
    assert {title: page[:2] for title, page in tool.items()} == {title: page[:2] for title, page in ours.items()}
    assert tool["Plain"][1] == {"Soil", "Leaf mould"}
    for title, (_, _, text) in tool.items():
        html = ours[title][2]
        assert ids(text) == ids(html)
        assert len(ids(text)) == len(HEADINGS)
        assert addresses(text) == addresses(html)
        assert len(addresses(html)) == 3
        for tag in ("<dt>", "<dd>", "<sup"):
            assert text.count(tag) == html.count(tag) > 0


@pytest.mark.skipif(shutil.which("hugo") is None, reason="hugo is not installed")
def test_hugo_shows_the_same(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    for name, front in HUGO.items():
        path = tmp_path / "content" / "posts" / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"---\n{front}\n---\n{TEXT}", "utf-8")
    (tmp_path / "config.toml").write_text(
        'baseURL = "https://x.example/"\ndisableKinds = ["taxonomy", "term", "RSS", "sitemap"]\n'
    )
    layout = tmp_path / "layouts" / "_default" / "single.html"
    layout.parent.mkdir(parents=True)
    tags = '{{ delimit (.Params.tags | default slice) "," }}'
    date = '{{ .Date.Format "2006-01-02T15:04:05-07:00" }}'
    layout.write_text("{{ .Title }}|%s|%s|{{ .Content }}" % (date, tags))  # noqa: UP031 (braces are the tool's)
    subprocess.run(["hugo", "--quiet"], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    import_entries(sqlite_sites.engine, sqlite_sites.garden, [tmp_path / "content"])
    compare(built(sorted((tmp_path / "public" / "posts").glob("*/index.html"))), seen(sqlite_sites))


@pytest.mark.skipif(shutil.which("jekyll") is None, reason="jekyll is not installed")
def test_jekyll_shows_the_same(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    for name, front in JEKYLL.items():
        path = tmp_path / "_posts" / f"{name}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f"---\n{front}\nlayout: page\n---\n{TEXT}".replace("layout: page\nlayout: page", "layout: page"), "utf-8"
        )
    (tmp_path / "_config.yml").write_text("timezone: UTC\nencoding: utf-8\n")
    layout = tmp_path / "_layouts" / "page.html"
    layout.parent.mkdir()
    tags = "{{ page.tags | join: ',' }}"
    layout.write_text("{{ page.title }}|{{ page.date | date_to_xmlschema }}|" + tags + "|{{ content }}")
    command = ["jekyll", "build", "--quiet", "--source", str(tmp_path), "--destination", str(tmp_path / "out")]
    subprocess.run(
        command, cwd=tmp_path, check=True, capture_output=True, timeout=240, env=os.environ | {"LANG": "C.UTF-8"}
    )
    import_entries(sqlite_sites.engine, sqlite_sites.garden, [tmp_path / "_posts"])
    compare(built(sorted((tmp_path / "out").rglob("*.html"))), seen(sqlite_sites))
