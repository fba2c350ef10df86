"""docs/words.py finds banned words and ignores examples, and `dev.py lint` runs it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from snippets import ROOT

_SPEC = importlib.util.spec_from_file_location("words", ROOT / "docs" / "words.py")
assert _SPEC is not None
assert _SPEC.loader is not None
words = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(words)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for folder in ("docs/decisions", "multisite/room"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("README.md", "CONTRIBUTING.md"):
        (tmp_path / name).write_text("# A page\n", "utf-8")
    return tmp_path


def test_banned_words_are_found_with_line_and_right_word(clone: Path) -> None:
    (clone / "docs" / "decisions" / "why.md").write_text("# Why\n\nThe Wall is read anew.\n", "utf-8")
    (clone / "multisite" / "room" / "code.py").write_text('"""It begins anew at the wall."""\n', "utf-8")
    assert words.check(clone) == [
        "docs/decisions/why.md:3: 'Wall': write scoping layer, row-level security",
        "docs/decisions/why.md:3: 'anew': write again, afresh",
        "multisite/room/code.py:1: 'anew': write again, afresh",
        "multisite/room/code.py:1: 'wall': write scoping layer, row-level security",
    ]


def test_examples_and_generated_lists_are_left_alone(clone: Path) -> None:
    page = "A `wall` and\n\n```text\nanew\n```\n\n<!-- list -->\nwall\n<!-- /list -->\nWallpaper.\n"
    (clone / "README.md").write_text(page, "utf-8")
    assert words.check(clone) == []
    (clone / "README.md").write_text(page + "anew\n", "utf-8")
    assert words.check(clone) == ["README.md:11: 'anew': write again, afresh"]


def test_the_pages_and_the_code_have_none_of_them() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs" / "words.py"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "No banned words\n")
    assert '"docs/words.py"' in (ROOT / "dev.py").read_text("utf-8")
