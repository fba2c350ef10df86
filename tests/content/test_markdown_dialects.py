"""Markdown dialects and shortcodes of static site generators are rendered like by their tools, or reported."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from bs4 import BeautifulSoup
from content_sites import GARDEN, ContentSites
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import rules_core
from paths import PYTHONPATH
from sqlalchemy.orm import Session

from multisite.content.imports.importing import import_entries
from multisite.content.markup import plain_paragraphs
from multisite.content.markup.cleaning import ANCHOR_PREFIX
from multisite.content.markup.dialects import Dialect, Parser, find_features
from multisite.content.markup.markdown import NestingTooDeep, render
from multisite.content.markup.shortcodes import expand_shortcodes
from multisite.content.models import Entry

DIALECTS: tuple[Dialect, ...] = ("kramdown", "goldmark", "python-markdown")


def html(source: str, dialect: Dialect = "kramdown") -> str:
    return render(source, dialect).html.strip()


def expand(text: str) -> tuple[str, list[tuple[int, str]]]:
    reported: list[tuple[int, str]] = []
    expanded = expand_shortcodes(
        text,
        lambda target: None if "missing" in target else f"/entries/{target}",
        lambda line, _kind, tag: reported.append((line, tag)),
    )
    return expanded, reported


def anchors(text: str) -> tuple[set[str], set[str]]:
    """Return the ids in some HTML, and the fragments of its links."""
    soup = BeautifulSoup(text, "html.parser")
    targets = {
        str(tag.get("id") or tag.get("name")) for tag in soup.find_all(lambda tag: tag.get("id") or tag.get("name"))
    }
    return targets, {str(tag["href"])[1:] for tag in soup.find_all("a", href=re.compile("^#"))}


# Anchors.


@pytest.mark.parametrize(
    ("heading", "github", "ascii_only"),
    [
        ("Part one", "part-one", "part-one"),
        ("What's *new* & `x_y`?", "whats-new--x_y", "whats-new-x_y"),
        ("Über Äpfel", "über-äpfel", "uber-apfel"),
        ("1. First - second", "1-first---second", "1-first-second"),
        ("日本", "日本", "heading"),
        ("???", "heading", "heading"),
    ],
)
def test_headings_have_the_ids_of_the_original_tools(heading: str, github: str, ascii_only: str) -> None:
    for dialect, expected in (("kramdown", github), ("goldmark", github), ("python-markdown", ascii_only)):
        assert f'<h2 id="{ANCHOR_PREFIX}{expected}">' in render(f"## {heading}", dialect).html


def test_ids_are_unique_and_explicit_ones_take_precedence() -> None:
    found = html("## A\n\n## A\n\n### B {#a}\n\n## A")
    assert re.findall('id="user-content-([^"]+)"', found) == ["a-1", "a-2", "a", "a-3"]
    assert 'id="user-content-a_1"' in html("## A\n\n## A", "python-markdown")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_links_within_a_text_have_targets(dialect: Dialect) -> None:
    found = html(
        "[1](#part-one) [2](#two) [3](#old) [4](#own) [^1]\n\n## Part one\n\n<h2 id='two'>Two</h2>\n\n"
        "<a name=old></a>x\n\n## Four {#own}\n\n[^1]: Note.\n",
        dialect,
    )
    targets, links = anchors(found)
    assert len(links) >= 6
    assert links <= targets
    assert all(target.startswith(ANCHOR_PREFIX) for target in targets)


def test_without_a_dialect_a_text_has_no_ids() -> None:
    assert render("## A {#b}\n\n<p id=x>y</p>\n\nsee https://example.com").html == (
        "<h2>A {#b}</h2>\n<p>y</p>\n<p>see https://example.com</p>\n"
    )


# Extensions of CommonMark.


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("- [x] done\n- [ ] not", "<ul>\n<li>☑ done</li>\n<li>☐ not</li>\n</ul>"),
        ("Term\n:   What it is.", "<dl>\n<dt>Term</dt>\n<dd>What it is.</dd>\n</dl>"),
        ("$$x_1 * y_1 * z$$", "<p>$$x_1 * y_1 * z$$</p>"),
        ("a $x_1 * y_1 * z$ b", "<p>a $x_1 * y_1 * z$ b</p>"),
        ("a $$x_1 < y_1$$ b", "<p>a $$x_1 &lt; y_1$$ b</p>"),
        ("$5 *and* $6", "<p>$5 <em>and</em> $6</p>"),
        (
            "at https://example.com/a_b_c.",
            '<p>at <a href="https://example.com/a_b_c">https://example.com/a_b_c</a>.</p>',
        ),
        ("(http://a.example)", '<p>(<a href="http://a.example">http://a.example</a>)</p>'),
        ('a "https://a.example/b"', '<p>a "<a href="https://a.example/b">https://a.example/b</a>"</p>'),
        ("x //a.example/b", "<p>x //a.example/b</p>"),
        ("content.py and a@b.example", "<p>content.py and a@b.example</p>"),
        ("Text.\n{: .note #first}", '<p id="user-content-first">Text.</p>'),
        ('[x](/y){:target="_blank"} z', '<p><a href="/y">x</a> z</p>'),
        ("`x`{:.ruby} {: y }", "<p><code>x</code> {: y }</p>"),
        ("## A\n{: #b}", '<h2 id="user-content-b">A</h2>'),
        ("* TOC\n{:toc}\n\nText.", "<p>Text.</p>"),
        ("[TOC]\n\nText.", "<p>Text.</p>"),
        ("Text {braces} {a: b}", "<p>Text {braces} {a: b}</p>"),
        ('<div markdown="1">\n**bold**\n</div>', "<div>\n<p><strong>bold</strong></p>\n</div>"),
        ("    {: .x}", "<pre><code>{: .x}\n</code></pre>"),
    ],
)
def test_extensions_of_commonmark(source: str, expected: str, dialect: Dialect) -> None:
    assert html(source, dialect) == expected


def test_python_markdown_allows_headings_without_a_space() -> None:
    assert html("##Tight\n\n```\n#code\n```", "python-markdown") == (
        '<h2 id="user-content-tight">Tight</h2>\n<pre><code>#code\n</code></pre>'
    )
    assert html("##Tight", "goldmark") == "<p>##Tight</p>"


def test_a_summary_ends_at_the_author_s_mark() -> None:
    for mark in ("<!--more-->", "<!-- more -->", "<!--MORE-->"):
        assert render(f"One.\n\n## Head\n\nTwo[^1].\n\n{mark}\n\nThree.\n\n[^1]: x", "goldmark").summary == "One. Two."
    assert len(render("word " * 5000 + "\n\n<!--more-->\n\nx", "kramdown").summary) <= 1001


# Removed HTML.

FRAME = ["became a link <iframe>"]


@pytest.mark.parametrize(
    ("source", "expected", "losses"),
    [
        ("<iframe src='https://v.example' title='A talk'></iframe>", '<a href="https://v.example">A talk</a>', FRAME),
        ("<iframe src='//www.youtube.com/embed/abcdefghijk?x=1'></iframe>", "watch?v=abcdefghijk", FRAME),
        ("<iframe src='javascript:alert(1)'></iframe>", "", ["left out <iframe>"]),
        ("<object data='/a.pdf'></object>", '<a href="/a.pdf">/a.pdf</a>', ["became a link <object>"]),
        ("<script src='https://gist.github.com/u/1.js'></script>", 'github.com/u/1">Gist', ["became a link <script>"]),
        ("<script>x</script>", "", ["left out <script>"]),
        ("<style>p {}</style>", "", ["left out <style>"]),
        ("<form><input></form>", "", ["left out <form>", "left out <input>"]),
        ("<img src='data:image/gif;base64,R0=' alt=x>", "alt", ["left out an image in a data: URL"]),
        ("![x](data:image/gif;base64,R0lGODlhAQABAAAAACw=)", "<p>x</p>", ["left out an image in a data: URL"]),
        ("<video src='/a.mp4' autoplay onplay=x>no</video>", '<video src="/a.mp4"', []),
        ("<audio><source src='/a.mp3' type='audio/mpeg'></audio>", '<source src="/a.mp3" type="audio/mpeg">', []),
        ("<video src='javascript:x'></video>", "<video", []),
        ("<font color=red>x</font><center>y</center>", "xy", []),
    ],
)  # fmt: skip
def test_embedded_content_becomes_a_link_or_is_reported(source: str, expected: str, losses: list[str]) -> None:
    found = render(f"One.\n\n<div>\n{source}\n</div>\n", "kramdown")
    if source.startswith("!["):
        found = render(f"One.\n\n\n{source}", "kramdown")
    assert expected in found.html
    assert [f"{loss.kind} {loss.text}" for loss in found.losses] == losses
    assert {loss.line for loss in found.losses} <= {3}
    for word in ("<iframe", "<script", "<object", "javascript:", "data:", "onplay", "autoplay"):
        assert word not in found.html


def test_a_picture_is_reported_once() -> None:
    found = render("<b>x</b>\n\n![x](data:image/gif;base64,R0lGODlhAQABAAAAACw=)", "goldmark")
    assert [(loss.line, loss.kind) for loss in found.losses] == [(2, "left out")]


def test_lines_of_losses_are_those_of_the_text() -> None:
    found = render(
        "a <br> b\nc\n<form> d <b>x</b>\n<svg>\n\n> e\n> <canvas>\n\n<p>\n\n</p>\n\n<p>1\n2\n<input>\n", "goldmark"
    )
    assert [(loss.line, loss.text) for loss in found.losses] == [
        (2, "<form>"),
        (3, "<svg>"),
        (6, "<canvas>"),
        (14, "<input>"),
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a {::comment}b\n\nc{:/comment} d", "<p>a</p>\n<p>d</p>"),
        ("{::comment}b{:/}c", "<p>c</p>"),
        ('{::options parse_block_html="true" /}\n\na', "<p>a</p>"),
        ("{::nomarkdown}\n<b>x</b>\n{:/}", "<p><b>x</b></p>"),
        ("{:ref: .a #b}\n\na", "<p>a</p>"),
        ("`{:/}`\n\n    {::comment}", "<p><code>{:/}</code></p>\n<pre><code>{::comment}\n</code></pre>"),
        ("{:.x #y}\na", '<p id="user-content-y">a</p>'),
        ("{: #y}\n## A", '<h2 id="user-content-y">A</h2>'),
        ("## A\n\n{: #y}\n## B", '<h2 id="user-content-a">A</h2>\n<h2 id="user-content-y">B</h2>'),
        ("![i](/a.png){:width='1'}{: .c} z", '<p><img src="/a.png" alt="i" loading="lazy"> z</p>'),
        ("a\n^\nb", "<p>a</p>\n<p>b</p>"),
        ('<p markdown="1">**b**</p>', "<p><strong>b</strong></p>"),
    ],
)
def test_marks_of_kramdown_are_not_text(source: str, expected: str) -> None:
    assert html(source, "kramdown") == expected


def test_a_list_below_a_table_is_not_a_row() -> None:
    assert html("| a | b |\n|---|---|\n| 1 | 2 |\n{:.table}\n", "kramdown").count("<tr>") == 2


def test_definitions_of_abbreviations_are_not_text() -> None:
    source = 'HTML, XHTML and `HTML`.\n\n*[HTML]: Hyper "Text"\n*[CSS]: Sheets\n\nText\n*[A]: B\n'
    title = "Hyper &quot;Text&quot;"
    for dialect in ("kramdown", "python-markdown"):
        expected = f'<p><abbr title="{title}">HTML</abbr>, XHTML and <code>HTML</code>.</p>\n<p>Text</p>'
        assert html(source, dialect) == expected
    assert "*[HTML]" in html(source, "goldmark")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('!!! note "Hi"\n    A **b**.', "<div>\n<p>Hi</p>\n<p>A <strong>b</strong>.</p>\n</div>"),
        ("    :::python\n    x", '<pre><code class="language-python">x\n</code></pre>'),
        ("    #!/bin/sh\n    x", "<pre><code>#!/bin/sh\nx\n</code></pre>"),
        ('``` {.python hl_lines="1"}\nx\n```', '<pre><code class="language-python">x\n</code></pre>'),
        ("##A##\n\n```\n##B##\n```", '<h2 id="user-content-a">A</h2>\n<pre><code>##B##\n</code></pre>'),
    ],
)
def test_extensions_of_python_markdown(source: str, expected: str) -> None:
    assert html(source, "python-markdown") == expected


# Tags and shortcodes.

FIGURE = '<figure><img src="a.png" alt="A"><figcaption>&#x27;B&#x27; &lt; C</figcaption></figure>'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{% highlight ruby linenos %}\nputs 1\n{% endhighlight %}\n", "```ruby\nputs 1\n```\n"),
        ("{%- highlight c++ -%}x{%- endhighlight -%}", "```c++\nx\n```"),
        ("{% highlight md %}\n```\nx\n```\n{% endhighlight %}", "````md\n```\nx\n```\n````"),
        ("1. a\n\n   {% highlight c %}\n   x\n   {% endhighlight %}\n", "1. a\n\n   ```c\n   x\n   \n   ```\n"),
        ('{{< highlight go "linenos=table" >}}\nx\n{{< /highlight >}}', "```go\nx\n```"),
        ("{% raw %}{{ x }} {% y %}{% endraw %}", "{{ x }} {% y %}"),
        ("```\n{% raw %}\n{{ x }}\n{% endraw %}\n```", "```\n\n{{ x }}\n\n```"),
        ("a{% comment %}b\nc{% endcomment %}d", "ad"),
        ("[x]({{ site.baseurl }}/docs/) {{site.url}}/y", "[x](/docs/) /y"),
        ("{{ '/a/b.png' | relative_url }} {{ \"/c\" | prepend: site.baseurl }}", "/a/b.png /c"),
        ("[x]({% post_url 2015-11-17-name %})", "[x](/entries/2015-11-17-name)"),
        ("[x]({% link _posts/a.md %})", "[x](/entries/_posts/a.md)"),
        ('[x]({{< ref "a.md#b" >}}) {{% relref path="c.md" %}}', "[x](/entries/a.md#b) /entries/c.md"),
        ('{{< figure src="a.png" alt="A" caption="\'B\' < C" >}}', FIGURE),
        ('{{< figure src="a.png" link="/b" >}}', '<figure><a href="/b"><img src="a.png" alt=""></a></figure>'),
        ("{% gist u/12 %}", "[Gist](https://gist.github.com/u/12)"),
        ("{{< gist u 12 >}}", "[Gist](https://gist.github.com/u/12)"),
        ("{% gist 12345 file.py %}", "[Gist](https://gist.github.com/12345)"),
        ("{{< vimeo 123 >}}", "[Vimeo](https://vimeo.com/123)"),
        ("{{< tweet 45 >}}", "[Tweet](https://twitter.com/i/status/45)"),
        ("`{{ x }}` and ``{% y %}``", "`{{ x }}` and ``{% y %}``"),
        ("~~~\n{{< figure src=x >}}\n~~~", "~~~\n{{< figure src=x >}}\n~~~"),
        ('{{< tweet user="x" id="45" >}}', "[Tweet](https://twitter.com/i/status/45)"),
        ('{{<  figure\n  src="a.png"\n  alt="A" caption="\'B\' < C"\n>}}', FIGURE),
        ("{% highlight\nruby %}\nx\n{% endhighlight %}", "```ruby\nx\n```"),
        ("{% codeblock Title lang:ruby %}\n# x\n{% endcodeblock %}", "```ruby\n# x\n```"),
        ("{% codeblock %}\n<b>\n{% endcodeblock %}", "```\n<b>\n```"),
        ("{{</* figure <b> */>}} {{%/* x */%}}", "{{&lt; figure &lt;b&gt; &gt;}} {{% x %}}"),
        ("`{{</* figure */>}}`\n\n```\n{{%/* x */%}}\n```", "`{{< figure >}}`\n\n```\n{{% x %}}\n```"),
        ("{{ 'a.png' | relative_url }} {{ site.baseurl | prepend: site.url }}", "/a.png "),
        ('{% include figure.html image_path="a.png" alt="A" caption="\'B\' < C" %}', FIGURE),
        ('{% include video id="123" provider="vimeo" %}', "[Vimeo](https://vimeo.com/123)"),
        ("{% img left /a.png 30 20 'T' 'A' %}", '<img src="/a.png" alt="A">'),
        ("{{< instagram abc >}}", "[Instagram](https://www.instagram.com/p/abc/)"),
    ],
)  # fmt: skip
def test_known_tags_are_replaced(text: str, expected: str) -> None:
    assert expand(text) == (expected, [])


def test_a_video_is_a_link_with_its_picture() -> None:
    for text in (
        "{{< youtube abcdefghijk >}}",
        '{{< youtube id="abcdefghijk" >}}',
        "{% youtube abcdefghijk %}",
        '{% youtube "https://www.youtube.com/watch?v=abcdefghijk" %}',
        "{% youtube https://youtu.be/abcdefghijk?t=3 %}",
        '{% include youtube.html id="abcdefghijk" %}',
    ):
        found = html(expand(text)[0], "goldmark")
        assert '<a href="https://www.youtube.com/watch?v=abcdefghijk"><img src="https://i.ytimg.com/' in found


def test_unknown_tags_stay_and_are_reported_with_their_line() -> None:
    text = "a\n{% include x.html %}\n\n`{% y %}`\n{{ page.title }} {{< own a=b >}}\n"
    text += "{% post_url missing %}\n{% highlight c %}\n"
    expanded, reported = expand(text)
    assert expanded == text
    assert reported == [
        (1, "{% include x.html %}"),
        (4, "{{ page.title }}"),
        (4, "{{< own a=b >}}"),
        (5, "{% post_url missing %}"),
        (6, "{% highlight c %}"),
    ]


def test_arguments_of_shortcodes_are_text() -> None:
    found = html(expand('{{< figure src="javascript:alert(1)" caption="<script>x</script>" >}}')[0], "goldmark")
    assert not BeautifulSoup(found, "html.parser").find("script")
    assert "javascript:" not in found
    assert expand("{{< youtube ../../x?y >}}")[1]
    assert expand("{{< gist u '\"onload=x' >}}")[0].count("onload") == 1


# Arbitrary text.


PIECES = """
{: .a #b}|{:toc}|* TOC|## A {#b}|[^1]|[^1]: x|- [ ] x|Term|: d|$$|$x$|{% raw %}|{% endraw %}|{% highlight c %}|[TOC]
{% endhighlight %}|{{< figure src=a >}}|<div markdown=1>|</div>|<iframe src=x>|https://a.b|```|<!--more-->|<!--@5-->
<script>|{{ x }}|`|## |>|<video src=a>|<a name=b>
"""
PIECE = st.one_of(st.text(max_size=15), st.sampled_from(PIECES.strip().replace("\n", "|").split("|")))


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECE, max_size=25).map("\n".join), st.sampled_from(DIALECTS))
def test_any_text_is_rendered_in_each_dialect(text: str, dialect: Dialect) -> None:
    try:
        found = render(expand(text)[0], dialect)
    except NestingTooDeep:
        return
    found.html.encode()
    soup = BeautifulSoup(found.html, "html.parser")
    assert not soup.find(["script", "iframe", "style", "form", "input"])
    for tag in soup.find_all(True):
        assert not any(name.startswith("on") or str(tag[name]).startswith("javascript:") for name in tag.attrs)
    targets, _ = anchors(found.html)
    assert all(target.startswith(ANCHOR_PREFIX) for target in targets)


LONG = {
    "lists of attributes": "x\n{: " + ".a" * 20_000 + "!}\n",
    "many of them": "x\n{: .a}\n\n" * 8_000,
    "places for a table of contents": "* a\n{:toc}\n\n" * 8_000,
    "headings of one name": "## a\n\n" * 15_000,
    "footnotes": "".join(f"[^{n}] " for n in range(9_000)) + "\n\n" + "".join(f"[^{n}]: x\n" for n in range(9_000)),
    "one footnote many times": "[^1] " * 15_000 + "\n\n[^1]: x\n",
    "dollars": "$a " * 50_000,
    "dollars in pairs": "$$a\n" * 30_000,
    "addresses": "https://a.example " * 20_000,
    "schemes": "http:" * 100_000,
    "an address of a megabyte": "https://a.example/" + "a-" * 500_000,
    "parentheses in an address": "https://a.example/" + "(" * 200_000,
    "terms": "a\n: b\n\n" * 12_000,
    "open tags": "{% " * 100_000,
    "open blocks": "{% highlight c %}\n" * 30_000,
    "open outputs": "{{ " * 100_000,
    "open shortcodes": "{{< a=" * 50_000,
    "code spans": "`" * 90_000,
    "elements that are Markdown": "<div markdown=1>\n" * 900,
    "frames": "<iframe src='https://a.example'></iframe>\n" * 9_000,
    "tasks": "- [ ] a\n" * 15_000,
    "abbreviations": "a b c\n*[a]: b\n" * 3_000,
    "abbreviations of many names": "".join(f"*[a{n}]: b\n" for n in range(3_000)) + "\n" + "a1 a2 a3 " * 3_000,
    "comments that stay open": "{::comment}" * 30_000,
    "lists before a text": "{:.a}\n" * 10_000,
    "admonitions": "!!! note\n    a\n\n" * 2_000,
    "ends of headings": "#a " + "#" * 200_000 + "a",
    "shortcodes without an end": "{{< " * 24_000,
    "paragraphs that are Markdown": "<p markdown=1>" * 6_000,
}


def test_no_dialect_takes_minutes_to_render(tmp_path: Path) -> None:
    """All of them in one process with a limit of two minutes: a minute for one would be noticed."""
    code = (
        "import sys; sys.path[:0] = sys.argv[1].split(':')\n"
        "from test_markdown_dialects import DIALECTS, LONG, NestingTooDeep, expand, render\n"
        "for name, text in LONG.items():\n"
        "    print(name, flush=True)\n"
        "    try: render(expand(text[: len(text) // 2])[0], 'kramdown')\n"
        "    except NestingTooDeep: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"{Path(__file__).parent}:{PYTHONPATH}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# Saving to the database.


def test_an_import_reports_what_it_left_out_with_file_and_line(sites: ContentSites, tmp_path: Path) -> None:
    (tmp_path / "2020-01-01-a.md").write_text(
        "---\ntitle: x\n---\n\nSee [b]({% post_url 2019-05-05-b %}).\n\n{% include x %}\n\n"
        "<iframe src='https://v.example'></iframe>\n\n<form>\n\n## A {#b}\n"
    )
    (tmp_path / "2019-05-05-b.md").write_text("---\ntitle: x\nslug: other\n---\n")
    report = import_entries(sites.engine, sites.garden, [tmp_path])
    assert [(note.line, note.kind, note.text, note.lost) for note in report.notes] == [
        (7, "raw text", "{% include x %}", True),
        (9, "became a link", "<iframe>", False),
        (11, "left out", "<form>", True),
    ]
    with Session(sites.engine, info={"site": sites.garden}) as session:
        entry = session.scalars(sa.select(Entry).where(Entry.slug == "a")).one()
        assert '<a href="/entries/other">b</a>' in entry.body_html
        assert '<h2 id="user-content-b">A</h2>' in entry.body_html
    assert "user-content-b" in sites.browser(GARDEN).get("/entries/a").text


def test_links_to_other_files_become_links_to_their_entries(sites: ContentSites, tmp_path: Path) -> None:
    texts = {
        "posts/a.md": "[1](b.md#x) [2](../bundle/index.md) [3](/posts/named.md) [4](gone.md) [5](https://x.example/b.md)\n"
        '![6](pic.png) ![7](/static/pic.png) [8](/other/)\n{{< ref "bundle" >}} [9](#here) {{< ref "b#y" >}}',
        "posts/b.md": "x",
        "bundle/index.md": "x",
        "posts/named.md": "x",
    }
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        slug = "slug: own name\n" if "named" in name else ""
        path.write_text(f"---\ntitle: x\ndate: 2020-01-01\n{slug}---\n{text}\n")
    (tmp_path / "pelican.md").write_text(
        "Title: x\nDate: 2020-01-01\n\n[1]({filename}/posts/b.md) [2](|filename|bundle/index.md) ![3]({static}/a.png)\n"
    )
    report = import_entries(sites.engine, sites.garden, [tmp_path])
    with Session(sites.engine, info={"site": sites.garden}) as session:
        texts = dict(session.execute(sa.select(Entry.slug, Entry.body_html)).all())
    hrefs = re.findall('href="([^"]*)"', texts["a"])
    assert hrefs == [
        "/entries/b#user-content-x", "/entries/bundle", "/entries/own-name", "gone.md", "https://x.example/b.md",
        "/other/", "#user-content-here",
    ]  # fmt: skip
    assert "/entries/bundle <a" in texts["a"]
    assert "/entries/b#user-content-y" in texts["a"]
    assert re.findall('href="([^"]*)"', texts["pelican"]) == ["/entries/b", "/entries/bundle"]
    assert [(Path(note.path).name, note.line, note.kind, note.text) for note in report.lost] == [
        ("pelican.md", 4, "file that is not imported", "{static}/a.png"),
        ("a.md", 5, "link to a file that is not imported", "gone.md"),
        ("a.md", 6, "file that is not imported", "pic.png"),
    ]


def test_links_to_posts_of_one_name_lead_to_the_one_of_the_day(sites: ContentSites, tmp_path: Path) -> None:
    link = "[{0}]({{% post_url {0}-01-01-review %}}) "
    text = "".join(link.format(year) for year in (2018, 2019, 2020))
    for year in (2018, 2019, 2020):
        (tmp_path / f"{year}-01-01-review.md").write_text(f"---\ntitle: {year}\n---\n{text}\n")
    (tmp_path / "earlier.md").write_text("---\ntitle: x\ndate: 2015-01-01\nslug: review\n---\n")
    import_entries(sites.engine, sites.garden, [tmp_path / "earlier.md"])
    import_entries(sites.engine, sites.garden, [tmp_path / "2019-01-01-review.md"])
    for _ in range(2):
        import_entries(sites.engine, sites.garden, [tmp_path])
        with Session(sites.engine, info={"site": sites.garden}) as session:
            found = dict(session.execute(sa.select(Entry.title, Entry.slug)).all())
            texts = dict(session.execute(sa.select(Entry.title, Entry.body_html)).all())
        for year in ("2018", "2019", "2020"):
            assert found[year] == f"{year}-01-01-review"
            assert f'href="/entries/{found[year]}">{year}</a>' in texts["2020"]


def test_a_link_leads_to_an_entry_of_an_earlier_import(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    old, new = tmp_path / "old.md", tmp_path / "new.md"
    old.write_text("---\ntitle: old\ndate: 2020-01-01\nslug: other\n---\n")
    new.write_text("---\ntitle: new\ndate: 2020-01-01\n---\n[x](old.md)\n")
    import_entries(sqlite_sites.engine, sqlite_sites.garden, [old])
    assert import_entries(sqlite_sites.engine, sqlite_sites.garden, [new]).lost == []
    assert import_entries(sqlite_sites.engine, sqlite_sites.sternwarte, [new]).lost
    with Session(sqlite_sites.engine, info={"site": sqlite_sites.garden}) as session:
        html = session.scalars(sa.select(Entry.body_html).where(Entry.slug == "new")).one()
    assert 'href="/entries/other"' in html


def test_a_link_uses_the_slug_of_the_pattern(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.md").write_text("---\ntitle: x\ndate: 2020-05-01\n---\n[b](b.md)\n")
    import_entries(sqlite_sites.engine, sqlite_sites.garden, [tmp_path], address_pattern="{year}-{slug}")
    with Session(sqlite_sites.engine, info={"site": sqlite_sites.garden}) as session:
        assert "/entries/2020-b" in session.scalars(sa.select(Entry.body_html)).first()


def test_a_link_reads_no_file_that_is_not_imported(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    secret = tmp_path / "secret.md"
    secret.write_text("---\ntitle: x\ndate: 2020-01-01\nslug: hidden\n---\n")
    file = tmp_path / "in" / "a.md"
    file.parent.mkdir()
    file.write_text(f"---\ntitle: x\ndate: 2020-01-01\n---\n[1](../secret.md) [2]({secret})\n")
    file.write_text(file.read_text() + "[3](%00.md) [4](" + "x" * 5000 + ".md)\n")
    report = import_entries(sqlite_sites.engine, sqlite_sites.garden, [file])
    assert [note.text for note in report.lost][:2] == ["../secret.md", str(secret)]
    assert len(report.lost) == 4
    with Session(sqlite_sites.engine, info={"site": sqlite_sites.garden}) as session:
        assert "hidden" not in str(session.scalars(sa.select(Entry.body_html)).one())


PIECES = (
    *(
        "word",
        "Größe",
        "naïve 😀",
        "a_b",
        "_it_",
        "*em*",
        "**b**",
        "`code`",
        "[a](b.md)",
        "![a](b)",
        "<b>",
        "&amp;",
        "&",
    ),
    *(
        "$x$",
        "[^1]",
        "{: .c}",
        "~~no~~",
        "http://a.example",
        "...",
        "(c)",
        "\\*",
        "<http://b.example>",
        "50 %",
        "Dr. No",
    ),
    *(
        " ",
        "  ",
        "\t",
        "\n",
        "\r\n",
        "\r",
        " \n",
        "\n ",
        "  \n",
        "\n\n",
        "\0",
        "# ",
        "- ",
        "> ",
        "| a | b |",
        ": ",
        "*[a]: b",
    ),
)


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.sampled_from((*DIALECTS, "commonmark")))
@settings(max_examples=150, deadline=None)
def test_paragraphs_without_markup_are_parsed_as_by_the_rules_of_markdown_it(source: str, dialect: Dialect) -> None:
    markdown = Parser.for_text(source, dialect)._markdown
    found = [token.as_dict() for token in markdown.parse(source, {})]
    try:
        markdown.core.ruler.at("normalize", rules_core.normalize)
        markdown.core.ruler.at("inline", rules_core.inline)
        wanted = [token.as_dict() for token in markdown.parse(source, {})]
    finally:
        markdown.core.ruler.at("normalize", plain_paragraphs.normalize)
        markdown.core.ruler.at("inline", plain_paragraphs.parse_paragraphs)
    assert found == wanted


PLUGINS = {
    "attributes": re.compile(r"\{|\[TOC\]"),
    "tasks": re.compile(r"\[[ xX]\]"),
    "footnotes": re.compile(r"\[\^"),
    "definitions": re.compile(r"^[ \t>]*:[ \t]", re.MULTILINE),
    "mathematics": re.compile(r"\$"),
    "abbreviations": re.compile(r"^[ ]{0,3}\*\[", re.MULTILINE),
    "inline elements": re.compile(r"^[ \t>]*</?(?:a|b|span|sub)(?=[\s/>])", re.MULTILINE | re.IGNORECASE),
    "admonitions": re.compile(r"^!!! ?\w", re.MULTILINE),
    "code languages": re.compile(r":::|#!|(?:```|~~~)[ ]?\{"),
}
"""What a text contains that needs a plugin."""


@given(
    st.lists(
        st.sampled_from(
            (
                *PIECES,
                "!!! note",
                "!!!",
                "[x]",
                "[ ]",
                "[TOC]",
                "~ ",
                "<SPAN>",
                "</b>",
                "<sub/>",
                "<div>",
                "```",
                ":::",
                "#!",
                "{",
                " ",
            )
        )
    )
)
@settings(max_examples=150, deadline=None)
def test_a_text_is_parsed_with_the_plugins_that_it_needs(pieces: list[str]) -> None:
    source = "".join(pieces)
    wanted = {name for name, sign in PLUGINS.items() if sign.search(source)}
    assert find_features(source) - {"links"} == wanted
