"""Say for which site, and in which file and line of a template, an exception was raised while a page was rendered."""

from __future__ import annotations

import traceback
from collections import Counter

from mako.exceptions import CompileException, RichTraceback, SyntaxException

from multisite.site import Site

__all__ = ["add_note"]

MIN_CYCLE_FRAMES = 20
"""A template that is met so often in the traceback of a RecursionError is what it is about."""


def add_note(error: Exception, site: Site | None) -> None:
    """Add a note with site, file and line to `error`; `site` is None for pages that have none."""
    file, line = _place(error)
    note = f"multisite: site {'-' if site is None else site}"
    if file is not None:
        note += f", template {file}, line {line}"
    if note not in getattr(error, "__notes__", ()):  # A template that renders another passes here twice.
        error.add_note(note)


def _place(error: Exception) -> tuple[str | None, int]:
    """Return file and line of the template in which `error` arose; None if it was in none."""
    if isinstance(error, (SyntaxException, CompileException)):
        return error.filename, error.lineno
    if isinstance(error, RecursionError):
        _add_cycle_note(error)
    for record in reversed(RichTraceback(error=error, traceback=error.__traceback__).records):
        if record[4] is not None:
            return record[4], record[5]
    return None, 0


def _add_cycle_note(error: RecursionError) -> None:
    """Add a note with the templates that inherit from or include each other without end, if that is what they do."""
    frames = Counter(
        frame.f_globals["_template_filename"]
        for frame, _line in traceback.walk_tb(error.__traceback__)
        if "_template_filename" in frame.f_globals
    )
    circle = [file for file, count in frames.items() if count >= MIN_CYCLE_FRAMES]
    note = f"multisite: these templates inherit from or include each other without end: {', '.join(circle)}"
    if circle and note not in getattr(error, "__notes__", ()):
        error.add_note(note)
