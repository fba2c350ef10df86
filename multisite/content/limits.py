"""How long things may be: the importer refuses what the tables could not hold."""

from __future__ import annotations

__all__ = ["SLUG_LENGTH", "TITLE_LENGTH"]

SLUG_LENGTH = 200
"""Characters of a slug, of an entry and of a tag alike."""

TITLE_LENGTH = 300
"""Characters of a title and of a tag's name."""
