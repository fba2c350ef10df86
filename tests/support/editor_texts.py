"""The texts of the editor and of the console, as written in their templates and their code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from paths import ROOT

__all__ = ["console_texts", "editor_texts"]

EDITOR = ROOT / "multisite" / "content" / "editor"
MEDIA = ROOT / "multisite" / "media"
CONSOLE = ROOT / "multisite" / "console"

_CALLS = {"translate", "N_", "MediaRefused"}
"""Functions whose first constant is a text; the reasons why an upload is refused are shown by the editor."""

_IN_TEMPLATE = re.compile(r"""\bt\(("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""")


def editor_texts() -> set[str]:
    """Return the English texts that the editor translates."""
    return _texts(EDITOR, MEDIA)


def console_texts() -> set[str]:
    """Return the English texts that the console translates."""
    return _texts(CONSOLE)


def _texts(folder: Path, *others: Path) -> set[str]:
    found = set()
    for path in folder.rglob("*.mako"):
        found |= {ast.literal_eval(text) for text in _IN_TEMPLATE.findall(path.read_text("utf-8"))}
    for path in (path for folder in (folder, *others) for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            # Constants are passed by name to `translate`, so texts are those of calls and of `N_("...")`.
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS:
                found |= {
                    arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
                }
    return found
