"""The texts of the editor, as written in its templates and its code."""

from __future__ import annotations

import ast
import re

from paths import ROOT

__all__ = ["editor_texts"]

EDITOR = ROOT / "multisite" / "content" / "editor"
MEDIA = ROOT / "multisite" / "media"

_CALLS = {"translate", "N_", "MediaRefused"}
"""Functions whose first constant is a text; the reasons why an upload is refused are shown by the editor."""

_IN_TEMPLATE = re.compile(r"""\bt\(("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""")


def editor_texts() -> set[str]:
    """Return the English texts that the editor translates."""
    found = set()
    for path in EDITOR.rglob("*.mako"):
        found |= {ast.literal_eval(text) for text in _IN_TEMPLATE.findall(path.read_text("utf-8"))}
    for path in (*EDITOR.rglob("*.py"), *MEDIA.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            # Constants are passed by name to `translate`, so texts are those of calls and of `N_("...")`.
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS:
                found |= {
                    arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
                }
    return found
