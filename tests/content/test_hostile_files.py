"""Files crafted to stop an import: each is rejected or imported in a bounded number of steps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePath
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from content_sites import ContentSites
from databases import POSTGRESQL_IN_THE_LONG_RUN
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from multisite.content import slugs
from multisite.content.imports import front_matter
from multisite.content.imports.files import MAX_FILE_BYTES, read_text
from multisite.content.imports.front_matter import Article, InvalidArticle, parse_article
from multisite.content.imports.importing import import_entries
from multisite.content.limits import MAX_DEPTH, MAX_FRONT_MATTER, MAX_MARKUP, MAX_TAGS, SLUG_LENGTH
from multisite.content.markup.markdown import NestingTooDeep, render
from multisite.content.models import Entry, Tag
from multisite.content.slugs import slugify

UTC = ZoneInfo("UTC")


def article(text: str) -> Article:
    return parse_article(text, PurePath("posts/a-post.md"), UTC)


ESCAPES = {
    "a timestamp that is none": "---\ntitle: !!timestamp soon\n---\n",
    "a day that is not in the calendar": "---\ntitle: x\ndate: !!timestamp 2024-02-31\n---\n",
    "an offset of four days": "---\ntitle: x\ndate: !!timestamp 2024-02-01 00:00:00 +99:00\n---\n",
    "a truth that is none": "---\ntitle: x\ndraft: !!bool perhaps\n---\n",
    "an empty whole number": '---\ntitle: !!int ""\n---\n',
    "a sign alone": "---\ntitle: !!int '-'\n---\n",
    "an empty number": '---\ntitle: !!float ""\n---\n',
    "a list as a number": "---\ntitle: !!int [1]\n---\n",
    "a mapping as a time": "---\ntitle: !!timestamp {a: b}\n---\n",
    "a number to the base of sixty": "---\ntitle: !!int " + "59:" * 3000 + "1\n---\n",
    "a fraction to the base of sixty": "---\ntitle: !!float " + "59:" * 3000 + "1\n---\n",
    "a number of 5,000 digits in YAML": "---\ntitle: !!int " + "9" * 5000 + "\n---\n",
    "a number of 5,000 digits in TOML": "+++\ntitle = " + "9" * 5000 + "\n+++\n",
    "one in hexadecimal notation": "+++\ntitle = 0x" + "f" * 5000 + "\n+++\n",
    "one in a list of tags": "+++\ntitle = 'x'\ndate = 2024-01-01\ntags = [0o" + "7" * 6000 + "]\n+++\n",
    "one as a truth": "+++\ntitle = 'x'\ndate = 2024-01-01\ndraft = 0b" + "1" * 20_000 + "\n+++\n",
    "one as a date": "+++\ntitle = 'x'\ndate = 0x" + "f" * 5000 + "\n+++\n",
}


@pytest.mark.parametrize("text", ESCAPES.values(), ids=ESCAPES.keys())
def test_an_invalid_value_is_rejected(text: str) -> None:
    with pytest.raises(InvalidArticle):
        article(text)


def test_values_with_an_explicit_type_are_read() -> None:
    found = article(
        "---\ntitle: !!int 2024\ndate: !!timestamp 2024-02-01\ndraft: !!bool yes\ntags: [!!float 1.5]\n---\n"
    )
    assert (found.title, found.draft, found.tags) == ("2024", True, ("1.5",))
    assert found.published is not None
    assert found.published.date().isoformat() == "2024-02-01"


SLOW = {
    "a dotted key": "+++\n" + "a." * 30_000 + "a = 1\n+++\n",
    "a dotted key of quoted parts": "+++\n" + r'"\"".' * 12_000 + "a = 1\n+++\n",
    "a dotted key with spaces": "+++\n" + "a . " * 15_000 + "a = 1\n+++\n",
    "a dotted name of a table": "+++\n[" + "'a'." * 15_000 + "a]\n+++\n",
    "a dotted key in a table of one line": "+++\na = {" + "a." * 30_000 + "a = 1}\n+++\n",
    "a list of 120,000 tags": "Title: x\nDate: 2024-01-01\nTags: " + "a," * 120_000 + "\n\nText",
    "a value of 30,000 lines": "Title: x\nDate: 2024-01-01\n" + "    more\n" * 30_000 + "\nText",
    "a field of 2 MB": "Title: x\nDate: 2024-01-01\nSummary: " + "x" * 2_000_000 + "\n\nText",
    "marks that are composed in a tag": "Title: x\nDate: 2024-01-01\nTags: a" + "\u0316\u0301" * 25_000 + "\n\nText",
    "one tag many times": "---\ntitle: x\ndate: 2024-01-01\na: &a '"
    + "x " * 5000
    + "'\ntags: ["
    + "*a," * 9000
    + "]\n---\n",
}


@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW.keys())
def test_what_would_take_minutes_is_rejected(text: str) -> None:
    with pytest.raises(InvalidArticle):
        article(text)


def test_dots_in_text_are_not_a_dotted_key() -> None:
    dots = "See www.a.b.c.d.example. It is 1.2.3. " * 60 + "." * 500
    assert article(f"+++\ntitle = 'x'\ndate = 2024-01-01\nsummary = '{dots}'\n+++\n").summary == dots
    assert article("+++\ntitle = 'x'\ndate = 2024-01-01\na.b.c.'d'.\"e\" = 1\n+++\n").title == "x"


def test_a_slug_is_truncated_before_its_marks_are_composed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    normalize = slugs.unicodedata.normalize

    def count(form: str, text: str) -> str:
        seen.append(len(text))
        return normalize(form, text)

    monkeypatch.setattr(slugs.unicodedata, "normalize", count)
    assert slugs.slugify("ä" + "\u0316\u0301" * 200_000).startswith("ä")
    assert max(seen) <= 1000


def test_an_entry_has_a_bounded_number_of_tags() -> None:
    front = "Title: x\nDate: 2024-01-01\nTags: {}\n\nText"
    assert len(article(front.format(",".join(f"t{n}" for n in range(MAX_TAGS)))).tags) == MAX_TAGS
    with pytest.raises(InvalidArticle, match=f"more than {MAX_TAGS} tags"):
        article(front.format(",".join(f"t{n}" for n in range(MAX_TAGS + 1))))


def test_the_first_of_several_merged_mappings_decides() -> None:
    maps = "a: &a {title: A, slug: a}\nb: &b {title: B, slug: b, date: 2024-05-05}\nc: &c {<<: *b, slug: c}\n"
    found = article(f"---\n{maps}<<: [*a, *b]\n---\n")
    assert (found.title, found.slug) == ("A", "a")
    found = article(f"---\n{maps}<<: [*c, *a]\ntitle: Own\n---\n")
    assert (found.title, found.slug) == ("Own", "c")
    with pytest.raises(InvalidArticle, match="merge"):
        article("---\na: &a [b]\n<<: *a\ntitle: x\n---\n")
    with pytest.raises(InvalidArticle):
        article("---\na: &a {<<: *a, title: x}\n<<: *a\n---\n")


# HTML.


@pytest.mark.parametrize(
    "payload",
    [
        "<div></x>",
        "<div><table><td></div>",
        "<div><script></div></script>",
        "<div><!-- </div> -->",
        "<div><a title='</div>'></a>",
        "<div><p></div x='>",
        "<q></ </q>",
        "<q><table><td></q></td>",
    ],
)
def test_a_closing_tag_that_closes_nothing_does_not_hide_the_depth(payload: str) -> None:
    source = payload * (MAX_DEPTH + 100)
    try:
        html = render(source).html
    except NestingTooDeep:
        return
    assert len(html) < 3 * len(source)


def test_elements_that_are_closed_are_not_deep() -> None:
    for source in ("<div><p>a</div>\n\n" * 5000, "<ul>" + "<li>a\n" * 5000, "<p>a\n" * 5000):
        assert render(source).html
    table = "<table>" + "<tr><td>a<td>b\n" * 3000 + "</table>"
    assert render(table).html.count("<tr>") == 3000


def test_an_open_element_is_not_repeated_in_each_following_block() -> None:
    bold = "".join(f"<b title={number}>" for number in range(900))
    for source in (f"<p>{bold}" + "<div>x</div>" * 2000, bold + "\n\n" + "a\n\n" * 2000):
        assert len(render(source).html) < 3 * len(source)
        assert "a" in render(source).html or "x" in render(source).html


def test_a_text_with_too_much_markup_is_rejected() -> None:
    for source in ("- a\n" * (MAX_MARKUP + 1), "*a*" * MAX_MARKUP, "[" * 1_000_000, "a\n" * 900_000):
        with pytest.raises(NestingTooDeep, match="markup characters"):
            render(source)
    assert render("word word word\n" * (MAX_MARKUP // 10)).html


@pytest.mark.parametrize(
    ("source", "html"),
    [
        ("<b>bold <i>both</b> plain", "<b>bold <i>both</i></b> plain"),
        ("<p>one<div>two</div>", "<p>one</p><div>two</div>"),
        ("<del cite='/why'>x</del>", '<del cite="/why">x</del>'),
        ("<del cite='javascript:alert(1)'>x</del>", "<del>x</del>"),
        ("<ins cite=' java\tscript:alert(1)'>x</ins>", "<ins>x</ins>"),
        ("<ins cite='jav&#97;script:alert(1)'>x</ins>", "<ins>x</ins>"),
        ("<ins cite='https://example.com/a:b'>x</ins>", '<ins cite="https://example.com/a:b">x</ins>'),
        ('<a title="&quot;b" href=/x?a&amp;b>x</a>', '<a title="&quot;b" href="/x?a&amp;b">x</a>'),
        ("<a title='say \"hi\"'>x</a>", '<a title="say &quot;hi&quot;">x</a>'),
        ("<IMG SRC=a.png ALT=b><br/>c", '<img src="a.png" alt="b" loading="lazy"><br>c'),
        ("<textarea><b>x</b></textarea>", "&lt;b&gt;x&lt;/b&gt;"),
        ("<!-- a > b -->c<!>d<?e?>f", "cdf"),
    ],
)  # fmt: skip
def test_html_is_balanced_and_cleaned(source: str, html: str) -> None:
    assert render(f"<div>{source}</div>").html.strip() == f"<div>{html}</div>"


def test_missing_cells_of_a_wide_table_are_filled_up_to_a_limit() -> None:
    columns = 1000
    source = "|" + "a|" * columns + "\n|" + "-|" * columns + "\n" + "|x|\n" * columns
    assert render(source).html.count("<td>") < 100_000


# Arbitrary bytes.

LINES = st.sampled_from(
    """
    ---|+++|title: x|Title: x|date: 2024-05-05|tags: [a, b]|tags:|  - a|title = 'x'|<<: *a|a: &a {b: c}|? [a]|!!int
    %YAML 1.1|draft: !!bool|a.b.c = 1|[a]|[[a]]|...|{|}|"|'''|<div>|</b>|<b><p>|```|- a|> b|[a]: <b|<!--|<a b='
    """.replace("\n    ", "|").split("|")
)
FILES = st.lists(st.one_of(LINES, st.text(max_size=20)), max_size=30).map("\n".join)
TAGS = st.text(alphabet="<>/abpdiv='\" !-\n", max_size=200).map("Title: x\nDate: 2024-01-01\n\n".__add__)
BYTES = st.one_of(st.binary(max_size=300), st.one_of(FILES, TAGS).map(lambda text: text.encode("utf-8", "replace")))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "2024-05-05-any.md"


@settings(max_examples=400, deadline=None)
@given(content=BYTES)
def test_any_bytes_are_an_entry_or_one_rejected_file(scratch: Path, content: bytes) -> None:
    scratch.write_bytes(content)
    try:
        found = parse_article(read_text(scratch), scratch, UTC)
        rendered = render(found.body)
    except (InvalidArticle, NestingTooDeep):
        return
    for text in (found.title, found.summary or "", found.slug, *found.tags, rendered.html, rendered.summary):
        assert "\0" not in text
        text.encode()


@POSTGRESQL_IN_THE_LONG_RUN
def test_bad_files_do_not_affect_good_ones(sites: ContentSites, tmp_path: Path) -> None:
    folder = tmp_path / "articles"
    folder.mkdir()
    for number, text in enumerate([*ESCAPES.values(), *SLOW.values()]):
        (folder / f"bad-{number:02}.md").write_text(text, "utf-8")
    (folder / "deep.md").write_text("Title: x\nDate: 2024-01-01\n\n" + "<div></x>" * 5000)
    for number in range(100):  # the tags of a batch are queried together
        tags = ", ".join(f"tag {number}-{tag}" for tag in range(MAX_TAGS))
        (folder / f"good-{number:02}.md").write_text(f"Title: x\nDate: 2024-01-01\nTags: {tags}\n\nText")
    report = import_entries(sites.engine, sites.garden, [folder])
    assert (report.added, len(report.bad)) == (100, len(ESCAPES) + len(SLOW) + 1)
    with Session(sites.engine, info={"site": sites.garden}) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Entry)) == 100
        assert session.scalar(sa.select(sa.func.count()).select_from(Tag)) == 100 * MAX_TAGS


def test_the_bounds_hold_in_a_process_with_little_memory(tmp_path: Path) -> None:
    """Attacks that used to exhaust memory run under a limit that they would exceed."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (900_000_000, 900_000_000))\n"
        "from multisite.content.markup.markdown import NestingTooDeep, render\n"
        "bold = ''.join(f'<b title={n}>' for n in range(900))\n"
        "assert render('<p>' + bold + '<div>x</div>' * 5000).html\n"
        "for text in ('- a\\n' * 500_000, '*a*' * 500_000):\n"
        "    try: render(text)\n"
        "    except NestingTooDeep: continue\n"
        "    raise SystemExit('not refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_front_matter_is_bounded_in_each_notation() -> None:
    long = "x" * (MAX_FRONT_MATTER + 1)
    for text in (f"---\na: {long}\n---\n", f"+++\na = '{long}'\n+++\n", f"Title: x\nA: {long}\n\n"):
        with pytest.raises(InvalidArticle, match="characters"):
            article(text)
    assert front_matter.parse_article(f"Title: x\nDate: 2024-01-01\n\n{long}", PurePath("x.md"), UTC).body == long


@pytest.mark.parametrize("length", [0, 16_383, 16_384, 16_385, MAX_FILE_BYTES])
def test_a_file_is_read_whole(tmp_path: Path, length: int) -> None:
    text = "0123456789" * (length // 10 + 1)
    (tmp_path / "post.md").write_text(text[:length])
    assert read_text(tmp_path / "post.md") == text[:length]


def test_a_file_of_one_byte_too_many_is_refused(tmp_path: Path) -> None:
    (tmp_path / "post.md").write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    with pytest.raises(InvalidArticle, match="longer than"):
        read_text(tmp_path / "post.md")


@given(st.text(alphabet="ab0Ü-_ é", max_size=12) | st.integers(195, 205).map(lambda length: "a-" * (length // 2) + "a"))
@settings(max_examples=100, deadline=None)
def test_a_text_that_is_its_own_slug_is_made_one_as_other_texts_are(text: str) -> None:
    slug = slugify(text)
    assert slug == slugify(f"{text} ")
    assert len(slug) <= SLUG_LENGTH
