"""Limits: the importer rejects what the tables cannot store, or what would take minutes to process."""

from __future__ import annotations

__all__ = [
    "MAX_DEPTH",
    "MAX_FRONT_MATTER",
    "MAX_MARKUP",
    "MAX_TAGS",
    "PATH_LENGTH",
    "PICTURE_LENGTH",
    "SLUG_LENGTH",
    "SOURCE_LENGTH",
    "TARGET_LENGTH",
    "TITLE_LENGTH",
]

SLUG_LENGTH = 200
"""Characters of a slug, of entries and tags alike."""

TITLE_LENGTH = 300
"""Characters of a title and of a tag's name."""

SOURCE_LENGTH = 500
"""Characters of the path that an entry was imported from; a longer one is not stored."""

PATH_LENGTH = 500
"""Characters of a redirected path with its query: a key of PostgreSQL's index has at most 2,704 bytes."""

PICTURE_LENGTH = 200
"""Characters of the path of a picture: the longest name of a file has 100."""

TARGET_LENGTH = 2000
"""Characters of the target of a redirect, escaped."""

MAX_TAGS = 100
"""Tags of an entry: all tags of a batch are parameters of one statement, and databases accept about 32,000."""

MAX_FRONT_MATTER = 65_536
"""Characters of a front matter: the YAML parser that no input can crash is slow."""

MAX_MARKUP = 100_000
"""Lines, and characters with a meaning in Markdown, in one text: each costs up to 3 kB of memory and 60 µs."""

MAX_DEPTH = 1000
"""Nesting depth of HTML: sanitizing takes quadratic time in the depth (200,000 open tags: three minutes)."""
