"""Simple YAML is read as the parser reads it, or left to the parser."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from multisite.content.imports.metadata import _FrontMatterLoader
from multisite.content.imports.simple_yaml import read_simple_yaml

PIECES = (
    "a|title|tags|: |:|\n|\n|\n| |  |[|]|, |,|-|- |'|\"|#| #|\\|http://x|2020-01-02 09:30|C++|ä|日本"
    "|~|<<|!!int|&a|*a|{|}|?|%|\t"
)
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(PIECES.split("|")),
        st.sampled_from(
            ["title: A b", "tags: [a, b c]", 'title: "A: b"', "date: 2020-01-02 09:30:00", "x:", "y: 'z'"]
        ).map("{}\n".format),
        st.text(max_size=3),
    ),
    max_size=14,
).map("".join)


@settings(max_examples=500, deadline=None)
@given(TEXTS)
def test_the_fields_are_those_of_the_parser(text: str) -> None:
    simple = read_simple_yaml(text)
    if simple is not None:
        assert simple == (yaml.load(text, Loader=_FrontMatterLoader) or {})


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (
            "title: What's new, C++ (a)  \ndate: 2020-01-02 09:30:00 +0100\nlayout: post\n",
            {"title": "What's new, C++ (a)"},
        ),
        ("tags: [soil, leaf mould]\nx: []\n", {"tags": ["soil", "leaf mould"], "x": []}),
        ('title: "A: b # c"\nempty:\n', {"title": "A: b # c", "empty": ""}),
        ("url: https://x.example/a?b", None),
        ("title: A: b\n", None),
        ("title: a # b\n", None),
        ("tags:\n- a\n", None),
        ("title: a\n  b\n", None),
        ('title: "a\\n"\n', None),
    ],
)
def test_most_files_are_simple(text: str, fields: dict[str, object] | None) -> None:
    found = read_simple_yaml(text)
    assert found is None if fields is None else found is not None and fields.items() <= found.items()
    if fields is not None:
        assert yaml.load(text, Loader=_FrontMatterLoader) == found
