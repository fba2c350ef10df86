"""Files that an export refers to by URL, such as pictures.

This is the one place that decides what becomes of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Uploads"]


@dataclass(frozen=True, slots=True)
class Uploads:
    """The folder with the uploaded files of a blog; None if there is none."""

    folder: Path | None

    def place(self, name: str) -> str | None:
        """Return the new URL path of the uploaded file `name`, relative to the folder; None if it is not imported."""
        return None
