"""Names of files that come from elsewhere: relative paths that stay in their folder, and that every system allows."""

from __future__ import annotations

import re

__all__ = ["is_portable"]

MAX_NAME_CHARACTERS = 1000
MAX_SEGMENT_BYTES = 255

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')


def is_portable(name: str) -> bool:
    """Return whether `name`, with slashes, is a relative path below its folder that every system allows."""
    return (
        len(name) <= MAX_NAME_CHARACTERS
        and not _FORBIDDEN.search(name)
        and not any(
            segment in {"", ".", ".."} or segment.endswith((".", " ")) or _encoded_length(segment) > MAX_SEGMENT_BYTES
            for segment in name.split("/")
        )
    )


def _encoded_length(segment: str) -> int:
    return len(segment.encode("utf-8", "surrogatepass"))
