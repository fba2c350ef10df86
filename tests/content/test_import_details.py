"""Small things of Jekyll, Hugo and Pelican that an import must not lose; each as the tool itself shows it."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest
import sqlalchemy as sa
from content_sites import ContentSites
from sqlalchemy.orm import Session

from multisite.content.errors import InvalidArticle
from multisite.content.imports.dates import parse_date
from multisite.content.imports.importing import import_entries
from multisite.content.markup.dialects import Dialect, prepare
from multisite.content.markup.markdown import render
from multisite.content.models import Entry
from multisite.content.redirects import list_redirects


def html(source: str, dialect: Dialect) -> str:
    return render(source, dialect).html.strip()


# Anchors.


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("* item\n{: .li #x}", '<ul id="user-content-x">'),
        ("1. item\n2. item\n{: #x}", '<ol id="user-content-x">'),
        ("> quote\n{: #x}", '<blockquote id="user-content-x">'),
        ("```ruby\nx\n```\n{: #x}", '<code id="user-content-x" class="language-ruby">'),
        ("    x\n{: #x .language-ruby}", '<code id="user-content-x" class="language-ruby">'),
        ("* item\n\n{: #x}\n## Heading", '<h2 id="user-content-x">'),
        ("* item\n\n{: #x}\n\n## Heading", '<h2 id="user-content-x">'),
        ("* a\n\n  > b\n{: #x}", '<ul id="user-content-x">'),
    ],
)
def test_an_attribute_list_below_a_block_gives_it_an_id(source: str, wanted: str) -> None:
    found = html(source, "kramdown")
    assert wanted in found
    assert found.count("user-content-x") == 1


@pytest.mark.parametrize("dialect", ["kramdown", "goldmark", "python-markdown"])
def test_a_link_to_the_top_leads_there_unless_the_text_has_a_place_of_that_name(dialect: Dialect) -> None:
    assert '<a href="#top">x</a>' in html("## Part\n\n[x](#top)", dialect)
    for place in ("## Top", '<a name="top"></a>', '<p id="top">x</p>'):
        assert '<a href="#user-content-top">x</a>' in html(f"{place}\n\n[x](#top)", dialect)


# Text.


def test_markdown_in_an_element_on_one_line_is_parsed() -> None:
    for value in ("1", "span", "block"):
        assert "<em>s</em>" in html(f'<div class="x" markdown="{value}">*s*</div>\n\nText', "kramdown")
    assert "*s*" in html("<div>*s*</div>", "kramdown")


def test_an_element_with_many_attributes_does_not_block_an_import() -> None:
    # Without limits in the expressions, each would take hours.
    for start in ("<div", "<p", "<div class=x>\n<section"):
        source = start + " markdown=1" * 100_000
        assert prepare(source, "kramdown") == source


def test_hugo_links_addresses_of_mail() -> None:
    source = "Mail me@e.com. `a@b.com` <c@d.com> [x](mailto:e@f.com) https://g@h.com/ a@b"
    found = html(source, "goldmark")
    assert found.count("mailto:") == 3
    assert 'Mail <a href="mailto:me@e.com">me@e.com</a>.' in found
    assert html(source, "kramdown").count("mailto:") == 2


def test_the_sources_of_a_picture_do_not_stay_without_it() -> None:
    found = html('<picture><source srcset="a.webp"><img src="/static/a.png"></picture>', "goldmark")
    assert "<source" not in found
    assert "<img" in found
    for tag in ("audio", "video"):
        assert '<source src="/static/a">' in html(f'<{tag}><source src="/static/a"></{tag}>', "goldmark")


def test_pelican_s_links_to_lists_lead_to_the_lists(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    links = "[a]({tag}Big%20Tag) [b]({category}c++) [c]({index}) [d](|author|me) [e](|tag|x)"
    (tmp_path / "a.md").write_text(f"Title: A\nDate: 2020-01-01\nTags: big tag\n\n{links}\n", "utf-8")
    report = import_entries(sqlite_sites.engine, sqlite_sites.garden, [tmp_path])
    assert (report.bad, report.notes) == ([], [])
    page = sqlite_sites.browser("garden.example").get("/entries/a")
    wanted = {"a": "/tags/big-tag", "b": "/tags/c-plus-plus", "c": "/", "d": "/", "e": "/tags/x"}
    assert wanted.items() <= {link.text: link["href"] for link in page.html.select("main a")}.items()


# Dates and addresses.


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2020-04-05 10:00:00 -0700 PDT", "2020-04-05T17:00:00+00:00"),
        ("2020-03-09 10:00:00 +0900 JST", "2020-03-09T01:00:00+00:00"),
        ("2020-03-09 10:00:00 +0000 UTC", "2020-03-09T10:00:00+00:00"),
        ("2020-03-09 10:00:00 +0545 +0545", "2020-03-09T04:15:00+00:00"),
        ("1586000000", "2020-04-04T11:33:20+00:00"),
        ("20200411", "2020-04-11T00:00:00+00:00"),
    ],
)
def test_dates_are_read_as_hugo_reads_them(text: str, wanted: str) -> None:
    assert parse_date(text, UTC).isoformat() == wanted


@pytest.mark.parametrize("text", ["15860000000", "158600000.5", "2020-03-09 10:00:00 UTC JST"])
def test_other_numbers_and_names_are_no_dates(text: str) -> None:
    with pytest.raises(InvalidArticle):
        parse_date(text, UTC)


def test_the_old_address_of_a_file_name_is_the_one_that_jekyll_makes(
    sqlite_sites: ContentSites, tmp_path: Path
) -> None:
    posts = tmp_path / "_posts"
    posts.mkdir()
    (tmp_path / "_config.yml").write_text("permalink: /:year/:title.html\n", "utf-8")
    for name in ("Über Café!", "a_b  c#1", "C'est (tout)"):
        posts.joinpath(f"2020-01-06-{name}.md").write_text("---\ntitle: X\n---\nX\n", "utf-8")
    import_entries(sqlite_sites.engine, sqlite_sites.garden, [tmp_path])
    with Session(sqlite_sites.engine, info={"site": sqlite_sites.garden}) as session:
        paths = {rule.path for rule, _ in list_redirects(session)}
    assert {"/2020/Über-Café!.html", "/2020/a_b-c-1.html", "/2020/C'est-(tout).html"} <= paths


# Emoji.

EMOJI = """\
:smile: x:+1: (:tada:) :nothing: 10:30:15 https://e.example/:smile: *:100:*

`:smile:` <code>:smile:</code>

* list

    :tada: in it

1. x

Text

    :smile: code

```
:smile:
```

{% highlight text %}
:smile:
{% endhighlight %}

Last :leaves:
"""
WITH_CHARACTERS = EMOJI.replace(":smile: x:+1: (:tada:)", "😄 x👍 (🎉)").replace("*:100:*", "*💯*")
WITH_CHARACTERS = WITH_CHARACTERS.replace(":tada: in it", "🎉 in it").replace(":leaves:", "🍃")


@pytest.mark.parametrize(
    ("name", "configuration", "title"),
    [
        ("_config.yml", "plugins:\n- jemoji\n", "😄"),
        ("_config.yml", "gems: [jekyll-feed, jemoji]\n", "😄"),
        ("hugo.toml", "baseURL = 'https://o.example/'\nenableEmoji = true\n", ":smile:"),
        ("config.toml", "base_url = 'https://o.example'\n[markdown]\nrender_emoji = true\n", ":smile:"),
        ("_config.yml", "plugins: [jekyll-feed]\n", None),
        ("hugo.toml", "baseURL = 'https://o.example/'\n", None),
        ("config.toml", "base_url = 'https://o.example'\n", None),
        ("pelicanconf.py", "SITEURL = ''\n", None),
    ],
)
def test_names_of_emoji_become_characters_where_the_tool_does_so(
    sqlite_sites: ContentSites, tmp_path: Path, name: str, configuration: str, title: str | None
) -> None:
    (tmp_path / name).write_text(configuration, "utf-8")
    folder = tmp_path / ("_posts" if name.startswith("_") else "content")
    folder.mkdir()
    text = f"---\ntitle: ':smile:'\ndate: 2020-01-01\n---\n{EMOJI}"
    (folder / "2020-01-01-a.md").write_text(text, "utf-8")
    report = import_entries(sqlite_sites.engine, sqlite_sites.garden, [tmp_path])
    assert report.bad == []
    with Session(sqlite_sites.engine, info={"site": sqlite_sites.garden}) as session:
        entry = session.scalars(sa.select(Entry)).one()
        assert entry.title == (title or ":smile:")
        assert entry.body.strip() == (EMOJI if title is None else WITH_CHARACTERS).strip()
        assert ("🍃" in entry.body_html) == (title is not None)
