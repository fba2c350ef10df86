"""Add the site, the template file and the line to exceptions that are raised during rendering."""

from __future__ import annotations

import traceback
from collections import Counter

from mako.exceptions import CompileException, RichTraceback, SyntaxException

from multisite.core.site import Site

__all__ = ["add_note"]

MIN_CYCLE_FRAMES = 20
"""Minimum number of frames of a template in the traceback of a RecursionError to be part of a cycle."""


def add_note(error: Exception, site: Site | None) -> None:
    """Add a note with site, file and line to `error`. `site` is None for pages without a site."""
    file, line = _template_position(error)
    note = f"multisite: site {'-' if site is None else site}"
    if file is not None:
        note += f", template {file}, line {line}"
    if note not in getattr(error, "__notes__", ()):  # A template that renders another one adds it twice.
        error.add_note(note)


def _template_position(error: Exception) -> tuple[str | None, int]:
    """Return the file and line of the template that raised `error`; None if no template did."""
    if isinstance(error, (SyntaxException, CompileException)):
        return error.filename, error.lineno
    if isinstance(error, RecursionError):
        _add_cycle_note(error)
    for record in reversed(RichTraceback(error=error, traceback=error.__traceback__).records):
        if record[4] is not None:
            return record[4], record[5]
    return None, 0


def _add_cycle_note(error: RecursionError) -> None:
    """Add a note that names templates which inherit from or include each other in a cycle, if there are any."""
    frames = Counter(
        frame.f_globals["_template_filename"]
        for frame, _line in traceback.walk_tb(error.__traceback__)
        if "_template_filename" in frame.f_globals
    )
    cycle = [file for file, count in frames.items() if count >= MIN_CYCLE_FRAMES]
    note = f"multisite: these templates inherit from or include each other without end: {', '.join(cycle)}"
    if cycle and note not in getattr(error, "__notes__", ()):
        error.add_note(note)
