"""What the tool of a blog makes of its files: which of them are pages, and the dialect of their Markdown."""

from __future__ import annotations

import os
from collections.abc import Set as AbstractSet
from pathlib import Path

from multisite.content.errors import NotAnEntry
from multisite.content.imports.files import read_text
from multisite.content.imports.metadata import Notation, has_front_matter
from multisite.content.imports.old_site import OldSite
from multisite.content.markup.dialects import Dialect

__all__ = ["Sources", "dialect_of"]


class Sources:
    """Reads the files of a blog that its tool makes pages of.

    Args:
        old_site: The site that they come from.
        named: Files to import by their names, whatever their folders.
    """

    def __init__(self, old_site: OldSite, named: AbstractSet[Path]) -> None:
        self._old_site = old_site
        self._named = named
        self._root = f"{old_site.root}{os.sep}"
        # Texts, since each of many files is compared with them.
        self._folders = tuple(f"{str(folder).rstrip(os.sep)}{os.sep}" for folder in old_site.content_folders())

    def read(self, path: Path, base: Path) -> str:
        """Return the text of the file `path`; `base` is the path without the language in its name.

        Raises:
            InvalidArticle: It cannot be read.
            NotAnEntry: The tool of the site makes no page of it.
        """
        if base.stem == "_index":
            raise NotAnEntry("a section page, which is not an entry")
        tool = self._old_site.tool
        if tool is None or path in self._named:
            return read_text(path)
        absolute = path.absolute()
        if self._folders and str(absolute).startswith(self._root) and not str(absolute).startswith(self._folders):
            raise NotAnEntry(f"outside of the folder of texts of {tool.capitalize()}")
        if (reason := self._old_site.reason_to_skip(absolute)) is not None:
            raise NotAnEntry(reason)
        text = read_text(path)
        if tool == "jekyll" and not has_front_matter(text) and not {"_posts", "_drafts"} & {*path.parts}:
            raise NotAnEntry("without front matter, so that Jekyll does not render it")
        return text


def dialect_of(notation: Notation, path: Path) -> Dialect:
    """Return the dialect of the file's tool: YAML with a dated name, or in Jekyll's folders, means Jekyll."""
    if notation == "lines":
        return "python-markdown"
    is_post = path.name[:4].isdigit() or {"_posts", "_drafts"} & set(path.parts)
    return "kramdown" if notation == "yaml" and is_post else "goldmark"
