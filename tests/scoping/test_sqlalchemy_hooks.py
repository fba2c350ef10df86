"""docs/sqlalchemy-hooks.md lists the private names of other libraries that multisite uses, and each change is noticed.

For each name, the tests change SQLAlchemy so that the name is another one wherever it occurs, and import multisite with
it. test_scoping_upgrades.py tests other changes of SQLAlchemy.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import sqlalchemy as sa
from releases import SQLALCHEMY
from snippets import ROOT
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler

import multisite
from multisite.scoping.compiler import ScopedCompiler
from multisite.scoping.dml import ScopedDMLCompiler
from multisite.scoping.foreign_key import ScopedForeignKey

PAGE = ROOT / "docs" / "sqlalchemy-hooks.md"
SOURCES = Path(multisite.__file__).parent
_ROW = re.compile(r"^\| `(\w+)`(?: \((2\.0|2\.1)\))? \| (.+?) \| (.+?) \|$", re.MULTILINE)
_PRIVATE = re.compile(r"_[a-z]\w*")

_OTHER_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| .+? \| `(.+?)` \|$", re.MULTILINE)
_TEXT, _OTHERS_TEXT = PAGE.read_text("utf-8").split("## Other libraries")

LISTED = {name: (release, noticed) for name, release, _, noticed in _ROW.findall(_TEXT)}
"""For each name the releases that have it, "" for all, and what notices that it is gone."""

OTHERS = {(name, library): noticed for name, library, noticed in _OTHER_ROW.findall(_OTHERS_TEXT)}
"""For each name of another library what notices that it is gone."""

HERE = [name for name, (release, _) in LISTED.items() if release in ("", ".".join(map(str, SQLALCHEMY[:2])))]
AT_START = [name for name in HERE if LISTED[name][1] == "the start"]
DML = [
    "_values",
    "_ordered_values",
    "_multi_values",
    "_where_criteria",
    "_select_names",
    "_prefixes",
    "_emit_insert_table",
]
"""What is tried in each run; the others in the long one, since a release that has to be compiled takes a second."""

OWN = {
    "_asdict": "of named tuples",
    "_replace": "of named tuples",
    "_cache_key": "of WebOb's cookies",
    "_catalog": "of gettext's translations",
    "_constraint": "an argument of ForeignKey, which raises TypeError without it",
    "_selectable": "an argument of ColumnClause, which raises TypeError without it",
    "_cache": "of our own",
    "_getframe": "of sys",
    "_index": "of our own",
    "_inline": "of our own",
    "_mapping": "a documented attribute of rows",
    "_parent": "a part of a name",
    "_target": "a key of Hugo's files",
    "_url": "of our own",
    "_value": "of our own",
    "_context": "of our renderer",
    "_info": "of psycopg's errors",
    "_query": "of Pyramid's URLs",
}
"""Names that are also in SQLAlchemy's code, and which multisite uses of something else."""


OTHER_OWN = {
    "_replace": "of named tuples",
    "_cache": "of our own",
    "_getframe": "of sys",
    "_info": "of psycopg's errors",
    "_query": "a documented argument of Pyramid's URLs",
    "_parent": "a part of a name",
    "_alembic_tmp_": "how alembic's temporary tables begin in the database",
    "_value": "of our own",
}
"""Names that are also in the code of other libraries, and which multisite uses of something else."""


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def _used_in(path: Path) -> frozenset[str]:
    """Return the names that a module uses: attributes, imports, keyword arguments and strings."""
    return frozenset(_uses(_tree(path)))


def _uses(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith("multisite"):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@cache
def _defined_in(path: Path) -> frozenset[str]:
    """Return the names that a module gives to functions, classes, variables and attributes of `self`."""
    return frozenset(_definitions(_tree(path)))


def _definitions(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
            yield node.attr


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _overridden() -> set[str]:
    """Return the private methods of SQLAlchemy that a class of multisite overrides."""
    pairs = ((ScopedCompiler, SQLiteCompiler), (ScopedDMLCompiler, SQLiteCompiler), (ScopedForeignKey, sa.ForeignKey))
    return {name for ours, theirs in pairs for name in vars(ours) if _PRIVATE.fullmatch(name) and hasattr(theirs, name)}


@cache
def used() -> set[str]:
    """Return the private names of SQLAlchemy that multisite uses."""
    theirs = set()
    for path in Path(sa.__file__).parent.rglob("*.py"):
        theirs.update(re.findall(r"(?<!\w)_[a-z]\w*", path.read_text("utf-8")))
    found = _overridden()
    for path in SOURCES.rglob("*.py"):
        found |= {name for name in _used_in(path) - _defined_in(path) if _PRIVATE.fullmatch(name) and name in theirs}
    for path in (SOURCES / "scoping").rglob("*.py"):
        # A function of multisite may have the name of the SQLAlchemy function that it wraps.
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id[0].isupper():
                found |= {node.attr} & theirs if _PRIVATE.fullmatch(node.attr) else set()
    return found - set(OWN)


def test_every_private_name_that_is_used_is_listed() -> None:
    assert sorted(used() - set(LISTED)) == []


def test_every_name_that_is_listed_is_used() -> None:
    assert sorted(set(HERE) - used()) == []


@pytest.mark.parametrize("name", sorted(set(LISTED) - {name for name in LISTED if LISTED[name][1] == "the start"}))
def test_a_name_that_the_start_does_not_need_has_a_test(name: str) -> None:
    file, _, function = LISTED[name][1].strip("`").partition("::")
    assert re.search(rf"^(?:async )?def {function}\(", (ROOT / "tests" / file).read_text("utf-8"), re.MULTILINE)


def _names_of(library: str) -> set[str]:
    """Return the private names in the code of a library."""
    spec = importlib.util.find_spec(library)
    assert spec is not None
    found = set()
    for path in Path(next(iter(spec.submodule_search_locations or ()))).rglob("*.py"):
        if "tests" not in path.parts:
            found.update(re.findall(r"(?<!\w)_[a-z]\w*", path.read_text("utf-8")))
    return found


def used_of(library: str) -> set[str]:
    """Return the private names of a library that multisite uses, and the names that it imports from `pyramid.util`."""
    theirs = _names_of(library) - set(LISTED)
    found = set()
    for path in SOURCES.rglob("*.py"):
        # A method of multisite that calls the same method of `super()` overrides a method of the library.
        own = _defined_in(path) - _called_of_super(path)
        if library in _imported_by(path) | {text.partition(".")[0] for text in _used_in(path)}:
            found |= {name for name in _used_in(path) - own if _PRIVATE.fullmatch(name) and name in theirs}
        if library == "pyramid":
            found |= {name for name in _imported_by(path) if name.startswith("pyramid.util.")}
    return {name.removeprefix("pyramid.util.") for name in found} - set(OTHER_OWN)


@cache
def _called_of_super(path: Path) -> set[str]:
    """Return the names of the methods of `super()` that a module calls."""
    return {
        node.attr
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call) and ast.unparse(node.value) == "super()"
    }


@cache
def _imported_by(path: Path) -> set[str]:
    """Return the libraries and the full names that a module imports."""
    found = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found | {name.partition(".")[0] for name in found}


@pytest.mark.parametrize("library", ["pyramid", "mako", "alembic", "webob", "dogpile"])
def test_the_names_of_other_libraries_are_listed_and_used(library: str) -> None:
    assert {name for name, of in OTHERS if of == library} == used_of(library)


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_a_name_of_another_library_has_a_test(name: tuple[str, str]) -> None:
    file, _, function = OTHERS[name].partition("::")
    assert re.search(rf"^def {function}\(", (ROOT / "tests" / file).read_text("utf-8"), re.MULTILINE)


SCRIPT = r"""
import importlib.machinery, json, os, re, sys

class Renamed(importlib.machinery.SourceFileLoader):
    def get_code(self, module):
        return compile(NAME.sub(b"as_of_tomorrow", self.get_data(self.path)), self.path, "exec", dont_inherit=True)

class Finder:
    @staticmethod
    def find_spec(module, path=None, target=None):
        if not module.startswith("sqlalchemy"):
            return None
        spec = importlib.machinery.PathFinder.find_spec(module, path, target)
        if spec and spec.origin and spec.origin.endswith(".py"):
            with open(spec.origin, "rb") as file:
                if NAME.search(file.read()):
                    spec.loader = Renamed(module, spec.origin)
        return spec

def use_it():
    # Without multisite the release works, or it would be no release.
    import sqlalchemy as sa
    from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

    class Base(DeclarativeBase):
        pass

    class Whole(Base):
        __tablename__ = "whole"
        id: Mapped[int] = mapped_column(primary_key=True)
        note: Mapped[str]

    class Part(Whole):
        __tablename__ = "part"
        id: Mapped[int] = mapped_column(sa.ForeignKey("whole.id"), primary_key=True)
        extra: Mapped[str]

    engine = sa.create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.execute(sa.insert(Part), [{"id": 1, "note": "a", "extra": "b"}, {"id": 2, "note": "a", "extra": "b"}])
        session.execute(sa.update(Part), [{"id": 1, "note": "c", "extra": "d"}])
        session.execute(sa.update(Whole).ordered_values((Whole.note, "e")))
        session.execute(sa.insert(Whole).values([{"id": 3, "note": "f"}, {"id": 4, "note": "g"}]))
        session.execute(sa.insert(Whole).from_select(["id", "note"], sa.select(sa.literal(5), sa.literal("h"))))
        some = sa.select(Whole.note).where(Whole.id > 1).cte()
        assert session.scalars(sa.select(some).order_by(some.c.note)).all() == ["e", "f", "g", "h"]
        assert session.merge(Part(id=1)).extra == "d"
        with session.begin_nested():
            assert session.get(Part, 2).extra == "b"

def meet():
    sys.meta_path.insert(0, Finder)
    try:
        use_it()
    except Exception as error:
        return ["not a release", f"{type(error).__name__}: {error}"]
    try:
        import multisite.scoping
    except Exception as error:
        return [type(error).__name__, str(error)]

for name in json.load(sys.stdin):
    if (child := os.fork()) == 0:
        NAME = re.compile(rb"(?<!\w)" + name.encode() + rb"(?!\w)")
        print(json.dumps([name, meet()]), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def met(names: list[str], folder: Path) -> dict[str, list[str] | None]:
    """Return the error of multisite's import for each of `names`, with a SQLAlchemy in which that name is changed."""
    if not hasattr(os, "fork"):
        pytest.skip("each release is met in a fork of one process, which this system has not")
    script = folder / "meet.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script],
        input=json.dumps(names), cwd=folder, capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])},
    )  # fmt: skip
    return dict(json.loads(line) for line in done.stdout.splitlines())


def _noticed(names: list[str], folder: Path) -> None:
    said = met([*names, "_nobody_has_this"], folder)
    assert said.pop("_nobody_has_this") is None, "the negative control: nothing is renamed, and it starts"
    assert set(said) == set(names)
    missed = {name: saying for name, saying in said.items() if saying is None or saying[0] != "MultisiteError"}
    assert missed == {}
    for name, saying in said.items():
        assert saying is not None
        assert saying[1].startswith(f"SQLAlchemy {sa.__version__} "), name


def test_the_start_fails_if_a_name_is_another(tmp_path: Path) -> None:
    _noticed([name for name in DML if name in AT_START], tmp_path)


@pytest.mark.soak
@pytest.mark.skipif(os.environ.get("MULTISITE_SOAK") != "1", reason="a second for each name: MULTISITE_SOAK=1")
def test_the_start_fails_whichever_name_is_another(tmp_path: Path) -> None:
    _noticed(AT_START, tmp_path)
