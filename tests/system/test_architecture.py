"""The diagram of the packages in docs/architecture.md shows the imports of the code."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from snippets import ROOT

_SPEC = importlib.util.spec_from_file_location("architecture", ROOT / "docs" / "architecture.py")
assert _SPEC is not None
assert _SPEC.loader is not None
architecture = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(architecture)


def test_the_picture_is_current() -> None:
    drawn = architecture.draw(architecture.read_imports())
    assert architecture.PICTURE.read_text("utf-8") == drawn, "run: python3 dev.py architecture"
    assert f"({architecture.PICTURE.name})" in (ROOT / "docs" / "architecture.md").read_text("utf-8")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    files = {
        "__init__.py": "import package.top\n",
        "top.py": "from package.room import one\nfrom package import low\n",
        "room/__init__.py": "",
        "room/one.py": "def f():\n    import package.low.x\n",
        "low.py": "import typing\nif typing.TYPE_CHECKING:\n    import package.top\n",
    }
    for name, text in files.items():
        path = tmp_path / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return tmp_path / "package"


def test_imports_are_read_in_functions_too_and_not_for_type_checkers(package: Path) -> None:
    assert architecture.read_imports(package) == {"low": set(), "room": {"low"}, "top": {"room", "low"}}


def test_a_box_stands_above_what_it_imports_and_implied_arrows_are_left_out() -> None:
    graph = {"low": set(), "room": {"low"}, "top": {"room", "low"}}
    assert architecture.levels(graph) == [["low"], ["room"], ["top"]]
    assert architecture.without_implied(graph) == {"low": set(), "room": {"low"}, "top": {"room"}}


def test_a_cycle_is_drawn() -> None:
    graph = {"a": {"b"}, "b": {"a", "low"}, "low": set()}
    assert architecture.without_implied(graph)["a"] == {"b"}
    assert architecture.draw(graph).count("<line") == 3
