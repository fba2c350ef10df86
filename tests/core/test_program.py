"""The command that messages suggest can be run from the current directory."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from multisite.cli.commands import COMMANDS
from multisite.core import program

BIN = Path(sys.executable).parent


def names_missing_ini(command: list[str], folder: Path, path: str) -> str:
    """Run a command that suggests another one, and return the suggestion."""
    env = os.environ | {"PATH": path}
    done = subprocess.run(
        [*command, "migrate"], cwd=folder, env=env, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 1
    suggested = re.search(r"as in '(.+?)', or in", done.stderr)
    assert suggested is not None, done.stderr
    return suggested[1]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder whose `.venv/bin` has the script of this environment."""
    folder = tmp_path / "clone"
    (folder / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(BIN / "multisite", folder / ".venv" / "bin" / "multisite")
    return folder


def test_a_command_outside_the_path_is_suggested_as_it_was_started(clone: Path) -> None:
    suggested = names_missing_ini([".venv/bin/multisite"], clone, os.defpath)
    assert suggested == ".venv/bin/multisite -c production.ini"


def test_from_another_folder_it_is_suggested_by_its_absolute_path(clone: Path, tmp_path: Path) -> None:
    script = clone / ".venv" / "bin" / "multisite"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert names_missing_ini([str(script)], elsewhere, os.defpath) == f"{script} -c production.ini"


def test_on_the_path_it_has_its_plain_name(clone: Path) -> None:
    path = f"{clone / '.venv' / 'bin'}{os.pathsep}{os.defpath}"
    assert names_missing_ini(["multisite"], clone, path) == "multisite -c production.ini"
    assert names_missing_ini([".venv/bin/multisite"], clone, path) == "multisite -c production.ini"


def test_another_multisite_on_the_path_is_not_meant(clone: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(BIN / "multisite", other / "multisite")
    path = f"{other}{os.pathsep}{os.defpath}"
    assert names_missing_ini([".venv/bin/multisite"], clone, path) == ".venv/bin/multisite -c production.ini"


def test_python_m_multisite_is_suggested_if_it_was_started_so(tmp_path: Path) -> None:
    suggested = names_missing_ini([sys.executable, "-m", "multisite"], tmp_path, os.environ["PATH"])
    assert suggested == f"{sys.executable} -m multisite -c production.ini"


def test_a_server_names_the_script_of_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(BIN / "pserve"), "development.ini"])
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.chdir(BIN.parent)
    assert program.command("migrate") == "bin/multisite migrate"


def test_a_path_with_a_space_is_quoted(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = clone.rename(clone.with_name("my clone"))
    monkeypatch.setattr(sys, "argv", [str(folder / ".venv" / "bin" / "multisite")])
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.chdir(BIN)
    assert program.command("migrate") == f"'{folder}/.venv/bin/multisite' migrate"


def literals(tree: ast.AST) -> Iterator[Any]:
    """Yield the string literals of a module, without docstrings."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node


def test_every_message_uses_program_command() -> None:
    suggestion = re.compile(rf"\bmultisite (?:{'|'.join(COMMANDS)}|-c)(?![\w ]*\bsettings?\b)")
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value}"
        for path in (ROOT / "multisite").rglob("*.py")
        for node in literals(ast.parse(path.read_text("utf-8")))
        if suggestion.search(node.value) and node.value not in NO_SUGGESTIONS
    ]
    assert found == []


NO_SUGGESTIONS = {"multisite check", "multisite settings"}
"""The reason that `check` gives for reading the rows of all sites, and the category of an introspectable."""
