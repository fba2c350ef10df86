"""No pattern has possessive quantifiers or atomic groups: Python 3.11.2 of Debian 12 matches them wrongly."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import pytest
from paths import ROOT

SOURCES = sorted(
    path
    for folder in ("multisite", "benchmarks", "docs", "migrations", "sites", "templates", "tests", ".ci", ".")
    for path in (ROOT.glob("*.py") if folder == "." else (ROOT / folder).rglob("*.py"))
)
REFUSED = {"POSSESSIVE_REPEAT", "ATOMIC_GROUP"}
MAYBE = re.compile(r"[*+?}][+]|[(][?]>")
"""What each refused operation is written with. Other literals need not be parsed, which takes seconds for all."""
MAYBE_BYTES = re.compile(MAYBE.pattern.encode())


def operations(parsed: Any) -> Iterator[str]:
    """Yield the names of all operations of a parsed pattern, at every depth."""
    if isinstance(parsed, _parser.SubPattern):
        for operation, arguments in parsed:
            yield str(operation)
            yield from operations(arguments)
    elif isinstance(parsed, list | tuple):
        for part in parsed:
            yield from operations(part)


def refused_in(text: str | bytes) -> set[str]:
    """Return the refused operations in `text`; none if it is not a regular expression."""
    if isinstance(text, str):
        text = LOOKS_ALIKE.sub("", text)
    if not (MAYBE if isinstance(text, str) else MAYBE_BYTES).search(text):
        return set()
    try:
        with warnings.catch_warnings(action="ignore"):
            return REFUSED & set(operations(_parser.parse(text)))
    except (re.error, OverflowError, RecursionError):
        return set()


def texts_in(tree: ast.Module) -> Iterator[tuple[int, str | bytes]]:
    """Yield the line and the text of each literal; in f-strings, a letter replaces each expression.

    All literals are checked and not only arguments of functions of `re`, since patterns are composed of parts.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "x" for part in node.values)
            yield node.lineno, "".join(map(str, parts))


def faults_of(source: str) -> list[int]:
    """Return the lines of `source` with a literal that Python 3.11.2 would match wrongly."""
    tree = ast.parse(source)
    suspects = {line for line, text in texts_in(tree) if refused_in(text)}
    if not suspects:
        return []
    documentation = {
        node.body[0].lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and ast.get_docstring(node, clean=False) is not None
    }
    return sorted(suspects - documentation)


NO_PATTERNS = {"multisite/web/request.py": "_PATH_CHARACTERS"}
"""Literals that would parse as patterns but are none: the file, and a part of the line."""

LOOKS_ALIKE = re.compile(r"(?i)\bc[+]{2}|/[*][+]|[(][)][*][+],;=")
"""Uses of the same characters that are not patterns: the language, and a hint in SQL."""


def test_no_source_has_a_pattern_that_python_3_11_2_matches_wrongly() -> None:
    assert len(SOURCES) > 300
    faults = [
        f"{name}:{line}: {lines[line - 1].strip()}"
        for path in SOURCES
        if path != Path(__file__)
        for name in (path.relative_to(ROOT).as_posix(),)
        for lines in (path.read_text("utf-8").splitlines(),)
        for line in faults_of("\n".join(lines))
        if NO_PATTERNS.get(name, "\0") not in lines[line - 1]
    ]
    assert not faults


@pytest.mark.parametrize(
    "source",
    [
        r"""re.compile(r"a++b")""",
        r"""re.compile(r"a*+b")""",
        r"""re.compile(r"a?+b")""",
        r"""re.compile(r"a{1,63}+b")""",
        r"""re.compile(rf"(?:{LABEL}\.)*+")""",
        r"""re.compile(rb"(?>a|b)c")""",
        r"""PART = "(?:x(?>y))" """,
        r"""re.search("(?=(?!(?<=a++)))", text)""",
    ],
)
def test_each_form_of_such_a_pattern_is_found(source: str) -> None:
    assert faults_of(source) == [1]


@pytest.mark.parametrize(
    "source", [r"""re.compile(r"\++a+?b*?[*+]{2}\?+x")""", 'x = "a+b"', 'x = "[++]"', 'x = "in C++ and /*+ hints"']
)
def test_what_only_looks_alike_is_not(source: str) -> None:
    assert faults_of(source) == []


IMPORT_ALL = """
import pkgutil, re, sys, warnings
from importlib import import_module
from re import _compiler

sys.path[:0] = ["tests/system", "tests/support"]
from test_patterns import refused_in

warnings.simplefilter("ignore")
compiled, faults, compile_pattern = 0, [], _compiler.compile

def watched(pattern, flags=0):
    global compiled
    frame = sys._getframe(1)
    while "/re/" in frame.f_code.co_filename:
        frame = frame.f_back
    if frame.f_globals["__name__"].startswith("multisite") and isinstance(pattern, (str, bytes)):
        compiled += 1
        faults.extend([pattern] if refused_in(pattern) else [])
    return compile_pattern(pattern, flags)

_compiler.compile = watched
import multisite
for module in pkgutil.walk_packages(multisite.__path__, "multisite."):
    if not module.name.endswith("__main__"):
        import_module(module.name)
print(compiled, faults)
"""


def test_no_pattern_that_is_compiled_at_import_has_one_put_together_from_parts() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=True, cwd=ROOT)
    compiled, faults = done.stdout.split(" ", 1)
    assert int(compiled) > 30
    assert faults == "[]\n"
