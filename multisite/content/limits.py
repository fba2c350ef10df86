"""How long things may be: the importer refuses what the tables could not hold, or what would take minutes to read."""

from __future__ import annotations

__all__ = ["MAX_DEPTH", "MAX_FRONT_MATTER", "MAX_MARKUP", "MAX_TAGS", "SLUG_LENGTH", "SOURCE_LENGTH", "TITLE_LENGTH"]

SLUG_LENGTH = 200
"""Characters of a slug, of an entry and of a tag alike."""

TITLE_LENGTH = 300
"""Characters of a title and of a tag's name."""

SOURCE_LENGTH = 500
"""Characters of the path that an entry was imported from; a longer one is not kept."""

MAX_TAGS = 100
"""Tags of an entry: the tags of a whole batch are parameters of one statement, of which databases take some 32,000."""

MAX_FRONT_MATTER = 65_536
"""Characters of a front matter: the parser that cannot be crashed by its input is a slow one."""

MAX_MARKUP = 100_000
"""Lines, and signs that Markdown may give a meaning, in one text: each costs up to 3 kB of memory and 60 µs."""

MAX_DEPTH = 1000
"""How deep HTML may be nested: cleaning takes time with the square of the depth (200,000 open tags: three minutes)."""
