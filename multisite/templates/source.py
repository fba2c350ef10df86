"""The text of a template, as whoever writes the file leaves it, and not as it is while it is being written.

A program that writes a file in place empties it first. A server that looks just then would show half a page, or keep
it for long where templates are not reloaded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from mako.exceptions import TemplateLookupException

__all__ = ["MAX_TEMPLATE_BYTES", "sources"]

MAX_TEMPLATE_BYTES = 2_000_000
"""Larger files are refused: Mako would compile for minutes, and nobody wrote them."""

FRESH_NS = 100_000_000
"""A file that changed less than this ago may be in the middle of being written."""

PAUSE_SECONDS = 0.002
"""How long after a first look a file is looked at again, to see whether it is still changing."""

MAX_LOOKS = 50
"""How often a file is looked at while it is changing, and how often if its text makes no sense."""


def sources(path: Path) -> Iterator[bytes]:
    """Yield the content of the file and, to who asks again because it makes no sense, what it becomes a moment later.

    There is nothing more if the file was not changed a moment ago, or does not change any more. Raises `OSError`, and
    `TemplateLookupException` for a file that is too large.
    """
    source, fresh = _read(path)
    for _ in range(MAX_LOOKS if fresh else 0):
        before = source
        time.sleep(PAUSE_SECONDS)
        source, _fresh = _read(path)
        if source == before and source:
            break
    yield source
    for _ in range(MAX_LOOKS if fresh else 0):
        time.sleep(PAUSE_SECONDS)
        newer, _fresh = _read(path)
        if newer != source:
            source = newer
            yield source


def _read(path: Path) -> tuple[bytes, bool]:
    """Return the content of the file, and whether it was changed just now."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        source = file.read(MAX_TEMPLATE_BYTES + 1)
    if len(source) > MAX_TEMPLATE_BYTES:
        raise TemplateLookupException(f"the template {path} is larger than {MAX_TEMPLATE_BYTES} bytes")
    return source, time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < FRESH_NS
