"""Let libraries repeat less when the thousands of applications of the tests start; their results stay the same.

In the process of a test, an application of the reference application starts in 25 ms, and its first page takes 30 ms,
most of it to compile the same templates.
"""

from __future__ import annotations

import functools
import re
import sys
import time
from traceback import FrameSummary
from types import CodeType, FrameType, SimpleNamespace
from typing import Any

import mako.template
import pyramid.config.actions
from paths import ROOT
from pyramid.util import TopologicalSorter

__all__ = ["shorten_starts"]


def shorten_starts() -> None:
    """Change Mako and Pyramid in this process; a second call changes nothing."""
    if not hasattr(mako.template._compile, "__wrapped__"):
        remember_templates()
        remember_orders()
        pyramid.config.actions.traceback = SimpleNamespace(extract_stack=extract_stack)  # type: ignore[attr-defined]


Names = tuple[str, str, float]
"""What differs between two sources of a template: the name of its file, its URI, and the time of the compilation."""


class Source(str):
    """The Python source of a template of the project; `key` is the same whatever its names are."""

    __slots__ = ("key", "names")
    key: tuple[Any, ...]
    names: Names


OPTIONS = (
    "buffer_filters", "default_filters", "enable_loop", "future_imports", "imports", "input_encoding", "reserved_names",
    "strict_undefined",
)  # fmt: skip
"""The attributes of a template that its Python source depends on, besides its text."""


@functools.cache
def project_templates() -> frozenset[bytes]:
    """Return the texts of all templates in the repository, which tests copy to other folders."""
    return frozenset(
        path.read_bytes() for folder in ("templates", "multisite", "sites") for path in (ROOT / folder).rglob("*.mako")
    )


def remember_templates() -> None:
    """Let Mako compile a template of the project once, whatever folder it is in."""
    translate = mako.template._compile
    sources: dict[tuple[Any, ...], tuple[Source, Any]] = {}
    codes: dict[tuple[Any, ...], tuple[CodeType, Names]] = {}

    @functools.wraps(translate)
    def remembered(template: Any, text: Any, filename: str, generate_magic_comment: bool) -> tuple[str, Any]:
        if text not in project_templates():
            return translate(template, text, filename, generate_magic_comment)
        options = (repr(getattr(template, name)) for name in OPTIONS)
        key = (text, generate_magic_comment, template.lexer_cls, template.preprocessor, *options)
        if key not in sources:
            translated, lexer = translate(template, text, filename, generate_magic_comment)
            compiled_at = re.search(r"^_modified_time = (.*)$", translated, re.MULTILINE)
            assert compiled_at is not None
            sources[key] = named(translated, key, (filename, template.uri, float(compiled_at[1]))), lexer
        source, lexer = sources[key]
        names = (filename, template.uri, time.time())
        changed = str(source)
        for known, own in zip(source.names, names, strict=True):
            changed = changed.replace(str(known), str(own))
        return named(changed, key, names), lexer

    def compile_source(source: str, filename: str, mode: str) -> CodeType:
        if not isinstance(source, Source):
            return compile(source, filename, mode)
        if source.key not in codes:
            codes[source.key] = compile(source, filename, mode), source.names
        code, names = codes[source.key]
        return renamed(code, filename, dict(zip(names, source.names, strict=True)))

    mako.template._compile = remembered
    mako.template.compile = compile_source  # type: ignore[attr-defined] # Instead of the built-in function.


def named(source: str, key: tuple[Any, ...], names: Names) -> Source:
    """Return the source with its key and names."""
    made = Source(source)
    made.key, made.names = key, names
    return made


def renamed(code: CodeType, filename: str, names: dict[Any, Any]) -> CodeType:
    """Return the code as if it were compiled from `filename`, with other constants in place of those in `names`."""
    constants = tuple(
        renamed(value, filename, names)
        if isinstance(value, CodeType)
        else (names.get(value, value) if isinstance(value, str | float) else value)
        for value in code.co_consts
    )
    return code.replace(co_filename=filename, co_consts=constants)


def remember_orders() -> None:
    """Let Pyramid sort predicates and view derivers again only if there are others: it sorts them for each view."""
    sort = TopologicalSorter.sorted

    def remembered(self: Any) -> list[tuple[Any, Any]]:
        state = (self.names, self.order)
        if "_sorted" not in vars(self) or self._sorted[0] != state:
            self._sorted = (list(self.names), list(self.order)), [name for name, _value in sort(self)]
        return [(name, self.name2val[name]) for name in self._sorted[1]]

    TopologicalSorter.sorted = remembered  # type: ignore[method-assign]


def extract_stack(limit: int) -> list[FrameSummary]:
    """Return the innermost frames of the caller, whose lines are read when an error shows them."""
    frames: list[FrameSummary] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(frames) < limit:
        code = frame.f_code
        frames.insert(0, FrameSummary(code.co_filename, frame.f_lineno, code.co_name, lookup_line=False))
        frame = frame.f_back
    return frames
