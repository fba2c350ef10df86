"""Regular expressions that are compiled on first use."""

from __future__ import annotations

import re

import pytest

from multisite.core import lazy
from multisite.core.lazy import lazy_pattern


def test_a_lazy_pattern_does_what_a_compiled_one_does() -> None:
    pattern, flags = r"(a+)b", re.IGNORECASE
    found, compiled = lazy_pattern(pattern, flags), re.compile(pattern, flags)
    text = "xAAb ab c"
    for _ in range(2):
        assert found.sub("-", text) == compiled.sub("-", text) == "x- - c"
        assert found.findall(text) == compiled.findall(text)
        assert [match.groups() for match in found.finditer(text)] == [("AA",), ("a",)]
        assert (found.fullmatch("AB") is None) == (compiled.fullmatch("AB") is None) is False
        assert (found.pattern, found.flags) == (compiled.pattern, compiled.flags)


def test_it_is_compiled_once_when_it_is_first_used(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def compile_pattern(pattern: str, flags: re.RegexFlag) -> re.Pattern[str]:
        compiled.append(pattern)
        return re.compile(pattern, flags)

    found = lazy_pattern("a")
    monkeypatch.setattr(lazy, "re", type("re", (), {"compile": staticmethod(compile_pattern)}))
    assert compiled == []
    assert found.search("ba")
    assert found.search("ab")
    assert compiled == ["a"]


def test_an_invalid_pattern_is_an_error_when_it_is_used() -> None:
    with pytest.raises(re.error):
        lazy_pattern("(").match("")
