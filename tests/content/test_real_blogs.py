"""What public blogs have that CommonMark, or a first look at the tools, has not; each as its own tool shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from content_sites import ContentSites
from PIL import Image
from sqlalchemy.orm import Session, selectinload

from multisite.content.imports.importing import import_entries
from multisite.content.imports.pelican_slugs import pelican_slug
from multisite.content.markup.dialects import Dialect
from multisite.content.markup.embeds import youtube_html
from multisite.content.markup.markdown import render, render_stored
from multisite.content.markup.shortcodes import expand_shortcodes
from multisite.content.models import Entry
from multisite.content.redirects import list_redirects
from multisite.content.report import ImportReport
from multisite.media import MEDIA_LIBRARY
from multisite.search.words import plain_text


def html(source: str, dialect: Dialect) -> str:
    return render(source, dialect).html.strip()


# Markdown.


@pytest.mark.parametrize("dialect", ["kramdown", "python-markdown"])
@pytest.mark.parametrize(
    "element", ['<a name="x"></a>', "<span id=x />", '<a id="x"/>', "<br>", "<img src='/static/a.png'>", "<b>x</b>"]
)
def test_an_inline_element_on_its_own_line_does_not_hide_what_follows(dialect: Dialect, element: str) -> None:
    found = html(f"{element}\n## Part *one*\n\ntext", dialect)
    assert ">Part <em>one</em></h2>" in found
    assert "##" not in found
    followed = html(f"{element}\n*text*", dialect)
    assert "<em>text</em>" in followed


def test_in_hugo_it_does() -> None:
    assert "## Part" in html('<span id="x" />\n## Part', "goldmark")
    assert "<em>" not in html("<div>\n*x*\n</div>", "kramdown")


@pytest.mark.parametrize("dialect", ["kramdown", "python-markdown", "goldmark"])
def test_code_and_tildes_are_no_definitions(dialect: Dialect) -> None:
    shell = html("Look:\n\n    ~ anna% which psql\n    psql not found\n\n: x", dialect)
    assert "<pre><code>~ anna% which psql\npsql not found" in shell
    assert "<dl>" not in html("Term\n~ no definition\n\n    : code", dialect)
    assert "<dd>one</dd>" in html("Term\n: one\n\nOther\n\n    : code\n", dialect)


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("[FAQ](https://faq.example/)", "faqhttpsfaqexample"),
        ("A *b* `c_d` & e", "a-b-c_d--e"),
        ("Über **alles**", "über-alles"),
        ("_x_ y", "_x_-y"),
    ],
)
def test_ids_in_hugo_are_made_from_the_markdown(heading: str, name: str) -> None:
    assert f'id="user-content-{name}"' in html(f"## {heading}", "goldmark")


# Whole blogs.


Files = dict[str, str]


def blog(root: Path, files: Files) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return root


@dataclass
class Imported:
    report: ImportReport
    entries: dict[str, Entry]
    redirects: dict[str, str | None]

    @property
    def notes(self) -> list[tuple[str, str]]:
        return [(note.kind, note.text) for note in self.report.notes]


@pytest.fixture
def imported(sqlite_sites: ContentSites, tmp_path: Path) -> Callable[..., Imported]:
    """Return a function that imports files into the garden, whose time zone is UTC."""

    def run(files: Files, folder: str = ".") -> Imported:
        path = blog(tmp_path / "blog", files) / folder
        library = sqlite_sites.app.registry[MEDIA_LIBRARY]
        report = import_entries(sqlite_sites.engine, sqlite_sites.garden, [path], library_of=lambda: library)
        query = sa.select(Entry).options(selectinload(Entry.tags))
        with Session(sqlite_sites.engine, info={"site": sqlite_sites.garden}, expire_on_commit=False) as session:
            entries = {entry.slug: entry for entry in session.scalars(query)}
            redirects = {rule.path: rule.target for rule, _ in list_redirects(session)}
        return Imported(report, entries, redirects)

    return run


POST = "---\ntitle: One\ndate: {}\n---\nText."


@pytest.mark.parametrize(
    ("name", "configuration", "post", "text"),
    [
        ("pelicanconf.py", "TIMEZONE = 'America/New_York'", "content/one.md", "Title: One\nDate: {}\n\nText."),
        ("_config.yml", "timezone: America/New_York", "_posts/2020-01-02-one.md", POST),
        ("hugo.toml", "baseURL = '/'\ntimeZone = 'America/New_York'", "content/one.md", POST),
    ],
    ids=["pelican", "jekyll", "hugo"],
)
def test_dates_are_in_the_time_zone_of_the_configuration(
    imported: Callable[..., Imported], name: str, configuration: str, post: str, text: str
) -> None:
    for written, hour in (("2020-01-02 20:00", 1), ("2020-01-02 20:00:00 +0900", 11)):
        found = imported({name: configuration, post: text.format(written)})
        assert found.entries["one"].published.hour == hour
    found = imported({name: configuration.replace("New_York", "Nowhere"), post: text.format("2020-01-02 20:00")})
    assert found.entries["one"].published.hour == 20


def test_addresses_in_hugo_have_the_day_of_the_written_offset(imported: Callable[..., Imported]) -> None:
    found = imported(
        {
            "hugo.toml": "baseURL = 'https://old.example/'\n[permalinks]\nposts = '/:year/:month/:day/:filename/'",
            "content/posts/one.md": POST.format("2020-01-02T00:30:00+09:00"),
            "content/posts/two.md": "---\ntitle: Two\ndate: 2020-01-03\n---\n[one](https://old.example/2020/01/02/one/)",
        }
    )
    assert found.redirects["/2020/01/02/one"] == "/entries/one"
    assert 'href="/entries/one"' in found.entries["two"].body_html


README = "# The source of my blog\n\nMIT license.\n"
ARCHETYPE = "---\ntitle: {{ .Name }}\n---\n"


@pytest.mark.parametrize(
    ("files", "skipped"),
    [
        ({"hugo.toml": "baseURL = '/'", "content/one.md": POST.format("2020-01-02"), "archetypes/default.md": ARCHETYPE,
          "README.md": README, "content_backup/one.md": POST.format("2020-01-02")}, 3),
        ({"hugo.toml": "baseURL = '/'\ncontentDir = 'src'", "src/one.md": POST.format("2020-01-02"),
          "README.md": README}, 1),
        ({"config.toml": "base_url = '/'", "content/one.md": POST.format("2020-01-02"), "themes/a.md": README}, 1),
        ({"pelicanconf.py": "PATH = 'content'", "content/one.md": "Title: One\nDate: 2020-01-02\n\nText",
          "plugins/README.md": README}, 1),
        ({"_config.yml": "url: /", "_posts/2020-01-02-one.md": "---\ntitle: One\n---\nText", "README.md": README,
          "index.md": "---\nlayout: default\n---\n"}, 2),
    ],
    ids=["hugo", "contentDir", "zola", "pelican", "jekyll"],
)  # fmt: skip
def test_other_files_in_the_folder_of_a_blog_are_skipped(
    imported: Callable[..., Imported], files: Files, skipped: int
) -> None:
    found = imported(files)
    assert (list(found.entries), found.report.bad, len(found.report.skipped)) == (["one"], [], skipped)


def test_a_file_that_is_named_is_imported_from_any_folder(imported: Callable[..., Imported]) -> None:
    files = {"hugo.toml": "baseURL = '/'", "content/one.md": "", "two.md": POST.format("2020-01-02")}
    assert list(imported(files, "two.md").entries) == ["two"]


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("2020-01-02-Use .cache for my_plugins.md", "/use-cache-for-my-plugins"),
        ("2020-01-02_Vim über alles.md", "/vim-uber-alles"),
        ("Since 2020-01-02-now.md", "/since-2020-01-02-now"),
        ("Notes and More/A Post.md", "/notes-and-more/a-post"),
    ],
)
def test_zola_makes_addresses_from_the_names_of_files(
    imported: Callable[..., Imported], name: str, address: str
) -> None:
    found = imported(
        {"config.toml": "base_url = '/'", f"content/{name}": "+++\ntitle = 'One'\ndate = 2020-01-02\n+++\n"}
    )
    assert found.redirects[address].startswith("/entries/")


def test_zola_may_keep_the_names_of_files(imported: Callable[..., Imported]) -> None:
    config = "base_url = '/'\n[slugify]\npaths = 'safe'"
    found = imported({"config.toml": config, "content/A b.md": "+++\ntitle = 'One'\ndate = 2020-01-02\n+++\n"})
    assert found.redirects["/A b"] == "/entries/a-b"


def test_tags_that_are_not_text_are_left_out_and_listed(imported: Callable[..., Imported]) -> None:
    found = imported({"one.md": "---\ntitle: One\ndate: 2020-01-02\ntags: [{tag: a}, b, [c]]\n---\n"})
    assert [tag.name for tag in found.entries["one"].tags] == ["b"]
    assert found.notes == [("front matter", "tags that are not text")]


def test_relative_pictures_are_found_where_the_page_has_them(imported: Callable[..., Imported], tmp_path: Path) -> None:
    places = ["static/posts/one/a.png", "static/posts/b.png", "static/img/c.png", "assets/d.png", "content/posts/e.png"]
    for place in places:
        path = tmp_path / "blog" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    text = "![](a.png) ![](b.png) ![](../../img/c.png) ![](d.png) ![](e.png) ![](../../../../etc/f.png)"
    found = imported({"hugo.toml": "baseURL = '/'", "content/posts/one.md": POST.format("2020-01-02") + text})
    assert found.entries["one"].body_html.count("/media/") >= 5
    assert found.notes == [("file that is not imported", "../../../../etc/f.png")]


# Shortcodes.


@pytest.mark.parametrize(
    ("source", "expanded"),
    [
        ('{{ youtube(id="abcdefghijk", autoplay=true) }}', youtube_html("abcdefghijk")),
        ('{% figure(alt="A", url="a.png") %}B{% end %}', '<figure><img src="a.png" alt="A"></figure>B'),
        ('{{ vimeo(id="123") }}', "[Vimeo](https://vimeo.com/123)"),
        ('{{ video(alt="a, b", url="a.webm") }}', '<video src="a.webm" controls></video>'),
        ('{{< imgh src="a.webp" alt="A" hint="image" figcaption="B" >}}',
         '<figure><img src="a.webp" alt="A"><figcaption>B</figcaption></figure>'),
        ('{{<image src="a.png" width="100%">}}', '<figure><img src="a.png" alt=""></figure>'),
        ('{{< img "a.jpg" >}}', '<img src="a.jpg" alt="">'),
        ('{{< picture "a.jpg" "Two words" >}}',
         '<figure><img src="a.jpg" alt="Two words"><figcaption>Two words</figcaption></figure>'),
        ("{{< rawhtml >}}<b>x</b>{{< /rawhtml >}}", "\n\n<b>x</b>\n\n"),
        ('{{< admonition type="tip" title="A < b" open=true >}}\n*x*\n{{< /admonition >}}',
         "<blockquote>\n<p><strong>A &lt; b</strong></p>\n\n\n*x*\n\n\n</blockquote>"),
        ("{{% notice warning %}}\nx\n{{% /notice %}}",
         "<blockquote>\n<p><strong>Warning</strong></p>\n\n\nx\n\n\n</blockquote>"),
        ("{% blockquote Ann Example %}\nx\n{% endblockquote %}",
         "<blockquote>\n\n\nx\n\n\n<p>— Ann Example</p>\n</blockquote>"),
        ('{% alert(title="T") %}x{% end %}', "<blockquote>\n<p><strong>T</strong></p>\n\nx\n\n</blockquote>"),
        ('{{< details "More" >}}x{{< /details >}}', "<details><summary>More</summary>\n\nx\n\n</details>"),
        ("{{< mermaid >}}\ngraph\n{{< /mermaid >}}", "```mermaid\ngraph\n```"),
    ],
    ids=range(15),
)  # fmt: skip
def test_shortcodes_of_themes(source: str, expanded: str) -> None:
    reported: list[tuple[int, str, str]] = []
    assert expand_shortcodes(source, lambda _: None, lambda *each: reported.append(each)) == expanded
    assert reported == []


@pytest.mark.parametrize(
    "source",
    ["{{< notice >}} never closed", "{{ add(1, 2) }}", "{% end %}", "{{< /notice >}}", "{{< chart src=data.csv >}}"],
)
def test_other_shortcodes_are_reported(source: str) -> None:
    reported: list[tuple[int, str, str]] = []
    assert expand_shortcodes(source, lambda _: None, lambda *each: reported.append(each)) == source
    assert len(reported) == 1


def test_the_text_in_a_note_is_markdown() -> None:
    source = "Before\n\n{{< notice tip >}}\n- *a*\n- b\n{{< /notice >}}\n\n## After\n"
    expanded = expand_shortcodes(source, lambda _: None, lambda *_: None)
    found = html(expanded, "goldmark")
    assert "<li><em>a</em></li>" in found
    assert found.index("<strong>Tip</strong>") < found.index("<li>") < found.index("</blockquote>") < found.index("<h2")


# Pelican's addresses.


@pytest.mark.parametrize(
    ("text", "settings", "slug"),
    [
        ("Über Äpfel & Öl", {}, "uber-apfel-ol"),
        ("Straße Œuvre Łódź ½ …“x”–y", {}, "strasse-oeuvre-lodz-12-xy"),
        ("a_b - c 2.0!", {}, "a_b-c-20"),
        ("日本 x", {}, None),
        ("5 €", {}, None),
        ("Über X", {"slugify_use_unicode": True, "slugify_preserve_case": True}, "Über-X"),
        ("C++ .NET", {"slug_regex_substitutions": [("C\\+\\+", "cpp"), ["\\.net", "net"], (r"[-\s]+", "")]}, "cpp-net"),
        ("Aaaa", {"slug_regex_substitutions": [("(a+)+$", "b")]}, None),
        ("x", {"slug_regex_substitutions": "x"}, "x"),
        ("!", {}, None),
        ("aaaa", {"slug_regex_substitutions": [("a", "aa")] * 99}, None),
    ],
    ids=range(11),
)  # fmt: skip
def test_slugs_of_pelican(text: str, settings: dict[str, object], slug: str | None) -> None:
    assert pelican_slug(text, settings, "article") == slug


ARTICLE = "Title: {}\nDate: 2020-01-02\nAuthor: {}\nCategory: Über uns\nTags: C++\n\nText."


def test_lists_of_pelican_redirect(imported: Callable[..., Imported]) -> None:
    files = {
        "pelicanconf.py": "PATH = 'content'\nTAG_SAVE_AS = ''\n"
        "CATEGORY_URL = 'c/{slug}/'\nSLUG_REGEX_SUBSTITUTIONS = [('ü', 'ue')]\nAUTHOR_URL = 'by/{slug}/'\n",
        "content/one.md": ARTICLE.format("One", "Ann Example"),
        "content/two.md": ARTICLE.format("西游记", "Ann Example"),
    }
    found = imported(files)
    assert found.redirects["/c/ueber-uns"] == "/tags/%C3%BCber-uns"
    assert found.redirects["/by/ann-example"] == "/"
    assert not [path for path in found.redirects if path.startswith("/tag/")]
    assert [kind for kind, _ in found.notes] == ["redirect"]
    assert "/.html" not in found.redirects
    with_two_authors = imported(files | {"content/three.md": ARTICLE.format("Three", "Ben")})
    assert "/by/ben" not in with_two_authors.redirects


@pytest.mark.parametrize("dialect", ["kramdown", "python-markdown"])
def test_a_space_may_be_before_the_name_of_a_link(dialect: Dialect) -> None:
    source = "[Ann] [one] and [Ben] [two] `[c] [one]`\n\n    [d] [one]\n\n[One]: https://e.example/\n"
    found = html(source, dialect)
    assert '<a href="https://e.example/">Ann</a> and [Ben] [two] <code>[c] [one]</code>' in found
    assert "<code>[d] [one]" in found


# Code with a language.


def test_the_language_below_a_block_of_kramdown_is_used() -> None:
    for block in ("    puts 1", "~~~\nputs 1\n~~~"):
        found = html(f"{block}\n{{: .language-ruby}}\n\ntext", "kramdown")
        assert found.startswith('<pre><code class="language-ruby"><span class="nb">puts</span>')
        assert "{:" not in found
    assert "language-" not in html("    puts 1\n{: .note}\n", "kramdown")
    assert html("text\n\n{: .language-ruby}\n", "kramdown") == "<p>text</p>"


@pytest.mark.parametrize("dialect", ["kramdown", "python-markdown", "goldmark", "commonmark"])
def test_code_in_html_is_highlighted(dialect: Dialect) -> None:
    source = '<pre><code class="language-python hljs">if a &lt; 1:\n\n    b("é")\n</code></pre>\n\n*after*'
    found = html(source, dialect)
    assert '<code class="language-python"><span class="k">if</span> a <span class="o">&lt;</span>' in found
    assert plain_text(found).split() == ["if", "a", "<", "1:", 'b("é")', "after"]
    for other in ("<pre><code>if a</code></pre>", '<pre><code class="language-nope">if a</code></pre>'):
        assert "span" not in html(other, dialect)
    marked = '<pre><code class="language-python">if <b>a</b><script>x</script></code></pre>'
    assert "span" not in html(marked, dialect)
    assert "<script" not in html(marked, dialect)


# Links to the old site.


def test_paths_of_the_old_site_lead_to_the_entries(imported: Callable[..., Imported], tmp_path: Path) -> None:
    picture = tmp_path / "blog" / "images" / "a.png"
    picture.parent.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(picture)
    links = '[two](/b/2020/two/#x) <a href="/b/2020/two.html">html</a> [gone](/b/2020/gone/) [feed](/feed.xml) '
    links += "![](/b/images/a.png)"
    front = "---\ntitle: One\nimage: https://www.old.example/b/images/a.png\n---\n"
    files = {
        "_config.yml": "url: https://old.example\nbaseurl: /b\npermalink: /:year/:title/\n",
        "_posts/2020-01-01-one.md": front + links,
        "_posts/2020-01-02-two.md": "---\ntitle: Two\nredirect_from: /2020/two.html\n---\n# x\n",
    }
    found = imported(files)
    entry = found.entries["one"]
    assert 'href="/entries/two#user-content-x">two' in entry.body_html
    assert 'href="/entries/two">html' in entry.body_html
    assert 'href="/b/2020/gone/">gone' in entry.body_html
    assert entry.picture is not None
    assert entry.picture.startswith("/media/")
    assert found.notes == []
    assert "/entries/two" in entry.body


def test_shortcodes_with_links_and_pictures_outlive_an_edit(
    sqlite_sites: ContentSites, imported: Callable[..., Imported], tmp_path: Path
) -> None:
    for name in "cde":
        picture = tmp_path / "blog" / "content" / f"{name}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), "red" if name == "c" else "blue").save(picture)
    text = (
        '[b]({{< ref "b.md" >}}) [x]({{% relref "b#x" %}}) {{< figure src="c.png" >}} {{ picture(url="d.png") }} '
        '{{< img "e.png" >}} [n]({{< ref "nowhere.md" >}}) `{{< ref "b.md" >}}`\n\n'
        '{{< highlight go >}}\n{{< ref "b.md" >}}\n{{< /highlight >}}\n'
    )
    front = "---\ntitle: {}\ndate: 2020-01-02\n---\n"
    found = imported({"content/a.md": front.format("A") + text, "content/b.md": front.format("B") + "# x"})
    body, before = found.entries["a"].body, found.entries["a"].body_html
    assert body.count("/entries/b") == before.count("/entries/b") == 2
    after = render_stored(body, "goldmark").html
    assert after.count('href="/entries/b') == 2
    assert after.count('src="/media/') == before.count('src="/media/') == 3
    assert after.count("nowhere.md") == 1
    assert body.count('{{< ref "b.md" >}}') == 2


def test_hugo_links_addresses_that_begin_with_www() -> None:
    found = html("See www.e.example/a?b=c. Or **www.e.example**, `www.no.example`, [x](www.e.example)", "goldmark")
    assert '<a href="https://www.e.example/a?b=c">www.e.example/a?b=c</a>. Or' in found
    assert '<strong><a href="https://www.e.example">www.e.example</a></strong>' in found
    assert found.count("<a ") == 3
    for text in ("awww.no.example", "www.", "www.x", "content.py"):
        assert "<a" not in html(text, "goldmark")
    assert "<a" not in html("www.e.example", "kramdown")
