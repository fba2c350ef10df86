"""Ghost's posts without HTML: documents of its editors, cards, and cards that only members were shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from content_sites import ContentSites
from ghost_export import post, write_ghost
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from multisite.content.errors import InvalidArticle
from multisite.content.exports.cards import drop_gated
from multisite.content.exports.documents import post_html
from multisite.content.exports.ghost import import_ghost
from multisite.content.markup.embeds import youtube_html
from multisite.content.models import Entry


def lexical(*children: dict[str, Any]) -> dict[str, Any]:
    return {"html": None, "lexical": json.dumps({"root": {"children": children, "type": "root", "version": 1}})}


def text(value: str, bits: int = 0) -> dict[str, Any]:
    return {"type": "extended-text", "text": value, "format": bits, "mode": "normal", "style": "", "version": 1}


def paragraph(*children: dict[str, Any]) -> dict[str, Any]:
    return {"type": "paragraph", "children": children, "direction": "ltr", "format": "", "indent": 0, "version": 1}


def mobiledoc(sections: list[Any], **parts: list[Any]) -> dict[str, Any]:
    document = {
        "version": "0.3.1",
        "ghostVersion": "4.0",
        "atoms": [],
        "cards": [],
        "markups": [],
        "sections": sections,
    }
    return {"html": None, "mobiledoc": json.dumps(document | parts), "lexical": None}


def html_of(row: dict[str, Any]) -> tuple[str, list[str]]:
    lost: list[str] = []
    return post_html(row, lost.append), lost


def item(*children: dict[str, Any]) -> dict[str, Any]:
    return {"type": "listitem", "children": children, "value": 1}


@pytest.mark.parametrize(
    ("nodes", "html"),
    [
        ([paragraph(text("a < b & "), text("c", 3), {"type": "linebreak"}, text("d", 16))],
         "<p>a &lt; b &amp; <strong><em>c</em></strong><br><code>d</code></p>"),
        ([paragraph({"type": "link", "url": 'https://e.example/?a="', "children": [text("x", 1)]})],
         '<p><a href="https://e.example/?a=&quot;"><strong>x</strong></a></p>'),
        ([{"type": "extended-heading", "tag": "h3", "children": [text("Über Müll, 2. Teil!")]}] * 2,
         '<h3 id="über-müll-2-teil">Über Müll, 2. Teil!</h3>\n<h3 id="über-müll-2-teil-1">Über Müll, 2. Teil!</h3>'),
        ([{"type": "heading", "tag": "script", "children": [text("x")]}], '<h2 id="x">x</h2>'),
        ([{"type": "extended-quote", "children": [text("q")]}], "<blockquote><p>q</p></blockquote>"),
        ([{"type": "list", "listType": "number", "start": 3, "children": [
            item(text("one")), item({"type": "list", "listType": "bullet", "children": [item(text("in"))]}),
            item(text("two"))]}],
         '<ol start="3"><li>one<ul><li>in</li></ul></li><li>two</li></ol>'),
        ([paragraph(text("end")), paragraph()], "<p>end</p>"),
        ([{"type": "horizontalrule"}, {"type": "codeblock", "code": "a<b", "language": "js", "caption": "C"}],
         '<hr>\n<figure><pre><code class="language-js">a&lt;b</code></pre><figcaption>C</figcaption></figure>'),
    ],
    ids=range(8),
)  # fmt: skip
def test_lexical_becomes_html(nodes: list[dict[str, Any]], html: str) -> None:
    assert html_of(lexical(*nodes)) == (html, [])


@pytest.mark.parametrize(
    ("kind", "fields", "html"),
    [
        ("image", {"src": "a.jpg", "alt": '"b"', "caption": "By <i>C</i>", "href": "/x"},
         '<figure><a href="/x"><img src="a.jpg" alt="&quot;b&quot;"></a><figcaption>By <i>C</i></figcaption></figure>'),
        ("gallery", {"images": [{"src": "a.jpg", "row": 0}, {"src": "b.jpg", "alt": "B"}, None], "caption": "Two"},
         '<p><img src="a.jpg" alt=""></p>\n<p><img src="b.jpg" alt="B"></p><p>Two</p>'),
        ("bookmark", {"url": "https://e.example/", "metadata": {"title": "A & B", "description": "D<"}, "caption": ""},
         '<p><a href="https://e.example/">A &amp; B</a></p><p>D&lt;</p>'),
        ("embed", {"url": "https://youtu.be/abcdefghijk", "html": "<iframe></iframe>"},
         f"<p>{youtube_html('abcdefghijk')}</p>"),
        ("embed", {"url": "https://e.example/1", "html": ""},
         '<p><a href="https://e.example/1">https://e.example/1</a></p>'),
        ("callout", {"calloutEmoji": "!", "calloutText": "Mind <b>it</b>"},
         "<blockquote><p>! Mind <b>it</b></p></blockquote>"),
        ("toggle", {"heading": "Q", "content": "<p>A</p>"}, "<h4>Q</h4>\n<div><p>A</p></div>"),
        ("button", {"buttonText": "Go", "buttonUrl": "/go/"}, '<p><a href="/go/">Go</a></p>'),
        ("audio", {"src": "a.mp3", "title": "A <song>"},
         '<figure><audio src="a.mp3" controls></audio><figcaption>A &lt;song&gt;</figcaption></figure>'),
        ("video", {"src": "a.mp4"}, '<video src="a.mp4" controls></video>'),
        ("file", {"src": "a.pdf", "fileTitle": "Plan", "fileCaption": "New"},
         '<p><a href="a.pdf">Plan</a></p><p>New</p>'),
        ("header", {"header": "H", "subheader": "S", "buttonEnabled": True, "buttonUrl": "/x", "buttonText": "B"},
         '<h2>H</h2><h3>S</h3><p><a href="/x">B</a></p>'),
        ("product", {"productTitle": "Spade", "productDescription": "<p>Steel</p>", "productImageSrc": "s.jpg"},
         '<p><img src="s.jpg" alt=""></p><h4>Spade</h4><div><p>Steel</p></div>'),
        ("call-to-action", {"textValue": "<p>Buy</p>", "buttonText": "Now", "buttonUrl": "/b"},
         '<div><p>Buy</p></div><p><a href="/b">Now</a></p>'),
        ("html", {"html": "<b>raw</b>"}, "<b>raw</b>"),
        ("markdown", {"markdown": "## A\n\nb[^1]\n\n[^1]: c"}, None),
        ("email", {"html": "<p>Dear</p>"}, ""),
        ("email-cta", {"html": "<p>Dear</p>"}, ""),
        ("paywall", {}, ""),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)  # fmt: skip
def test_a_card_is_the_same_in_both_formats(kind: str, fields: dict[str, Any], html: str | None) -> None:
    of_lexical = html_of(lexical({"type": kind, "version": 1, **fields}))
    of_mobiledoc = html_of(mobiledoc([[10, 0]], cards=[[kind, fields]]))
    assert of_lexical == of_mobiledoc
    assert of_lexical[1] == []
    if html is not None:
        assert of_lexical[0] == html
    else:
        assert '<h2 id="a">A</h2>' in of_lexical[0]
        assert "footnote" in of_lexical[0]


def test_mobiledoc_becomes_html() -> None:
    row = mobiledoc(
        [
            [1, "h2", [[0, [], 0, "T & t"]]],
            [1, "p", [[0, [], 0, "a "], [0, [0, 1], 1, "b"], [0, [], 1, "c"], [1, [], 0, 0], [0, [9], 5, "d"]]],
            [3, "ol", [[[0, [], 0, "one"]], [[0, [], 0, "two"]]]],
            [2, "a.jpg"],
            [1, "aside", [[0, [], 0, "note"]]],
            [10, 0],
            [1, "p", []],
            [7, "x"],
        ],
        markups=[["a", ["href", "https://e.example/", "rel", "x"]], ["em"]],
        atoms=[["soft-return", "", {}]],
        cards=[["card-markdown", {"cardName": "card-markdown", "markdown": "*m*"}]],
    )
    html = (
        '<h2>T &amp; t</h2>\n<p>a <a href="https://e.example/"><em>b</em>c</a><br>d</p>\n'
        '<ol><li>one</li><li>two</li></ol>\n<p><img src="a.jpg" alt=""></p>\n<blockquote><p>note</p></blockquote>\n'
        "<p><em>m</em></p>\n"
    )
    assert html_of(row) == (html, ["a section that is not of Mobiledoc 0.3"])


def test_what_is_not_known_is_named_and_the_rest_kept() -> None:
    assert html_of(lexical({"type": "signup", "header": "Join"}, paragraph(text("kept")))) == (
        "<p>kept</p>",
        ["a card of the kind 'signup'"],
    )
    assert html_of(lexical({"type": "table", "children": [paragraph(text("cell"))]})) == (
        "<p>cell</p>",
        ["an element of the kind 'table', except its text"],
    )


MEMBERS = {"web": {"nonMember": False, "memberSegment": "status:free,status:-free"}, "email": {"memberSegment": ""}}
NOBODY = {"web": {"nonMember": False, "memberSegment": ""}, "email": {"memberSegment": "status:free"}}
OLD = {"showOnEmail": True, "showOnWeb": False, "segment": ""}
PUBLIC = {"web": {"nonMember": True, "memberSegment": ""}, "email": {"memberSegment": ""}}


def test_cards_for_members_are_not_published() -> None:
    card = {"type": "html", "html": "secret"}
    assert html_of(lexical(card | {"visibility": MEMBERS})) == ("", ["a card that only members were shown"])
    assert html_of(lexical(card | {"visibility": NOBODY})) == ("", [])
    assert html_of(lexical(card | {"visibility": OLD})) == ("", [])
    assert html_of(lexical(card | {"visibility": PUBLIC})) == ("secret", [])


@pytest.mark.parametrize(
    ("html", "kept", "count"),
    [
        (
            'a<!--kg-gated-block:begin nonMember:false memberSegment:"x" -->\nsecret\n<!--kg-gated-block:end-->b',
            "a\n\nb",
            1,
        ),
        ('a<!--kg-gated-block:begin nonMember:true memberSegment:"" -->open<!--kg-gated-block:end-->b', "aopenb", 0),
        ("a<!--kg-gated-block:begin -->secret", "a", 1),
        ("a<!--kg-gated-block:begin nonMember:false-->secret<!--kg-gated-block:begin nonMember:false-->x", "a", 1),
    ],
    ids=range(4),
)
def test_html_for_members_is_left_out(html: str, kept: str, count: int) -> None:
    lost: list[str] = []
    assert (drop_gated(html, lost.append), len(lost)) == (kept, count)


def test_posts_without_html_become_entries(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    link = {"type": "link", "url": "__GHOST_URL__/post-2/", "children": [text("two")]}
    gated = "<p>For all.</p><!--kg-gated-block:begin nonMember:false --><p>Secret.</p><!--kg-gated-block:end-->"
    path = write_ghost(
        tmp_path / "ghost.json",
        post(1, **lexical(paragraph(text("See "), link), {"type": "signup"})),
        post(2, **mobiledoc([[1, "p", [[0, [], 0, "Old."]]]])),
        post(3, None, lexical=None, markdown="*Older*."),
        post(4, gated, title="Gated"),
        post(5, None, lexical="{"),
        post(6, None, lexical='{"x": 1}'),
        post(7, None, lexical=None),
    )
    report = import_ghost(sqlite_sites.engine, sqlite_sites.garden, path)
    with Session(sqlite_sites.engine, info={"site": sqlite_sites.garden}) as session:
        bodies = {row.slug: row.body for row in session.execute(sa.select(Entry.slug, Entry.body))}
    assert bodies == {
        "post-1": "See [two](/entries/post-2)",
        "post-2": "Old.",
        "post-3": "*Older*.",
        "post-4": "For all.",
        "post-7": "",
    }
    assert [note.text for note in report.lost] == [
        "'Post 1': a card of the kind 'signup'",
        "'Gated': a card that only members were shown",
    ]
    assert [bad.reason for bad in report.bad] == [
        "no html, and its lexical is not valid JSON",
        "no html, and its lexical is not a document of Ghost's editor",
    ]


def test_a_document_nested_too_deeply_is_refused() -> None:
    node = paragraph(text("x"))
    for _ in range(150):
        node = {"type": "quote", "children": [node]}
    with pytest.raises(InvalidArticle, match="nested more than 100 deep"):
        html_of(lexical(node))


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-2, 200), st.sampled_from(["", "a", "list", "text", "image", "html"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(
                ["type", "children", "text", "format", "url", "tag", "sections", "cards", "markups", "root"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=15,
)


@given(VALUES, st.sampled_from(["lexical", "mobiledoc"]))
@settings(max_examples=60, deadline=None)
def test_any_document_is_rendered_or_refused(value: Any, name: str) -> None:
    root = "root" if name == "lexical" else "sections"
    for document in (value, {root: value}, {root: {"children": [value]}}, {root: [value, [1, "p", [value]], [10, 0]]}):
        try:
            rendered, _lost = html_of({name: json.dumps(document)})
        except InvalidArticle:
            continue
        assert isinstance(rendered, str)
