"""The texts of errors, which may contain what a client has sent."""

from __future__ import annotations

import pickle

import pytest

from multisite import UnknownSite


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (UnknownSite("un\nknown.example"), r"no site is known as 'un\nknown.example'"),
        (UnknownSite("x" * 10_000), "no site is known as 'xxx"),
        (UnknownSite("a.example", "this path is open"), "this path is open"),
    ],
)
def test_an_unknown_site_has_its_text_also_in_another_process(error: UnknownSite, text: str) -> None:
    again = pickle.loads(pickle.dumps(error))

    assert str(error).startswith(text)
    assert len(str(error)) < 1_000
    assert (str(again), again.name) == (str(error), error.name)
