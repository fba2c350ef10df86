"""No package imports private names of another one, and no two public classes share a name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from snippets import ROOT

PACKAGE = ROOT / "multisite"

SAME_EXCEPTIONS = {"errors.py", "scoping/errors.py"}
"""The second module has subclasses of those in the first, by the same names, which SQLAlchemy does not wrap."""


def modules(package: Path) -> Iterator[tuple[str, str, ast.Module]]:
    """Yield the path of each module of `package`, its subpackage (room) and its syntax tree."""
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package)
        yield name.as_posix(), name.parts[0].removesuffix(".py"), ast.parse(path.read_text("utf-8"))


def private_imports(package: Path) -> list[str]:
    """Return the uses of private names of another room: imports, and attributes of imported modules."""
    found = []
    for path, room, tree in modules(package):
        others: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package.name:
                rooms = (node.module or "").split(".")[1:2]
                names = {alias.asname or alias.name for alias in node.names if (rooms or [alias.name]) != [room]}
                others |= names
                found += [f"{path}: {name}" for name in names if name.startswith("_")]
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in others
                and node.attr.startswith("_")
                and not node.attr.startswith("__")
            ):
                found.append(f"{path}: {node.value.id}.{node.attr}")
    return found


def test_no_room_uses_private_names_of_another() -> None:
    assert private_imports(PACKAGE) == []


def test_private_names_of_another_room_are_found(tmp_path: Path) -> None:
    files = {
        "__init__.py": "",
        "low/__init__.py": "",
        "low/one.py": "_secret = 1\nfrom package.low.two import _own",
        "low/two.py": "_own = 2\nfrom package.low import one\none._secret",
        "top.py": "from package.low.one import _secret",
        "high.py": "def f():\n    from package.low import one\n    return one._secret",
    }
    for name, text in files.items():
        path = tmp_path / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    assert private_imports(tmp_path / "package") == ["high.py: one._secret", "top.py: _secret"]


def test_no_two_public_classes_share_a_name() -> None:
    places: dict[str, set[str]] = {}
    for path, _room, tree in modules(PACKAGE):
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, set()).add(path)
    shared = {name: paths for name, paths in places.items() if len(paths) > 1}
    assert {name: paths for name, paths in shared.items() if paths != SAME_EXCEPTIONS} == {}
    assert "NoCurrentSite" in shared
