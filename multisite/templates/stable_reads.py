"""Read a template that may be in the middle of a write.

A program that writes a file in place truncates it first. A server that reads it at that moment would render half a
page, and keep it if templates are not reloaded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from mako.exceptions import TemplateLookupException

from multisite.templates.overlay import ResolvedTemplate

__all__ = ["MAX_TEMPLATE_BYTES", "stable_reads"]

MAX_TEMPLATE_BYTES = 2_000_000
"""Larger files are rejected: Mako would compile them for minutes."""

FRESH_SECONDS = 0.5
"""A file that changed less than this ago may still be in the middle of a write."""

PAUSE_SECONDS = 0.005
"""The pause before a file is read again, to see whether it is still changing."""

CHANGING_TIMEOUT_SECONDS = 1.0
"""How long to wait for a file that keeps changing."""


def stable_reads(found: ResolvedTemplate) -> Iterator[bytes]:
    """Yield the content of the file, then each later version of it while it may still be in the middle of a write.

    The caller asks for the next version if it could not compile the previous one. A file that changed recently is read
    until two reads agree, and if it is empty, until it has content or its last change is no longer recent.

    Raises:
        OSError: The file is missing or cannot be read.
        TemplateLookupException: The file is too large, or its path now leads out of its layer.
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
    """Return the content of the file, and whether it changed recently."""
    opened = found.open()
    with opened.file as file:  # Closed in C, even at the recursion limit.
        source = file.read(MAX_TEMPLATE_BYTES + 1)
    if len(source) > MAX_TEMPLATE_BYTES:
        raise TemplateLookupException(f"the template {found.path} is larger than {MAX_TEMPLATE_BYTES} bytes")
    # abs(): with the clock of another machine, the change may be in the future, and the file recent forever.
    age_seconds = time.time() - max(opened.status.st_mtime, opened.status.st_ctime)
    return source, abs(age_seconds) < FRESH_SECONDS
