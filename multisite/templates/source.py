"""The text of a template, as whoever writes the file leaves it, and not as it is while it is being written.

A program that writes a file in place empties it first. A server that looks just then would show half a page, or keep
it for long where templates are not reloaded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from mako.exceptions import TemplateLookupException

from multisite.templates.overlay import ResolvedTemplate

__all__ = ["MAX_TEMPLATE_BYTES", "stable_reads"]

MAX_TEMPLATE_BYTES = 2_000_000
"""Larger files are refused: Mako would compile for minutes, and nobody wrote them."""

FRESH_SECONDS = 0.5
"""A file that changed less than this ago may be in the middle of being written."""

PAUSE_SECONDS = 0.005
"""How long after a first look a file is looked at again, to see whether it is still changing."""

CHANGING_TIMEOUT_SECONDS = 1.0
"""How long one is waited for that goes on changing."""


def stable_reads(found: ResolvedTemplate) -> Iterator[bytes]:
    """Yield the content of the file and, to who asks again because it makes no sense, what it becomes a moment later.

    A file that was changed just now is read until two readings agree, an empty one until it is not that any more, or
    no longer fresh. Raises `OSError`, and `TemplateLookupException` for a file that is too large, or whose path by now
    leads out of its layer.
    """
    source, is_fresh = _read(found)
    give_up_at = time.monotonic() + CHANGING_TIMEOUT_SECONDS
    while is_fresh and time.monotonic() < give_up_at:
        before = source
        time.sleep(PAUSE_SECONDS)
        source, is_fresh = _read(found)
        if source == before and source:
            break
    yield source
    before = source
    while is_fresh and time.monotonic() < give_up_at:
        time.sleep(PAUSE_SECONDS)
        newer, is_fresh = _read(found)
        if newer and newer == before != source:
            source = newer
            yield source
        before = newer


def _read(found: ResolvedTemplate) -> tuple[bytes, bool]:
    """Return the content of the file, and whether it was changed just now."""
    opened = found.open()
    with opened.file as file:  # Closed by C, which the limit of recursion does not stop.
        source = file.read(MAX_TEMPLATE_BYTES + 1)
    if len(source) > MAX_TEMPLATE_BYTES:
        raise TemplateLookupException(f"the template {found.path} is larger than {MAX_TEMPLATE_BYTES} bytes")
    # One that is to be changed in the future, by the clock of another machine, would be fresh for ever.
    age_seconds = time.time() - max(opened.status.st_mtime, opened.status.st_ctime)
    return source, abs(age_seconds) < FRESH_SECONDS
