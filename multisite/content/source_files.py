"""What the tool of a blog makes of its files: which of them are pages, and the dialect of their Markdown."""

from __future__ import annotations

from pathlib import Path

from multisite.content.dialects import Dialect
from multisite.content.errors import NotAnEntry
from multisite.content.files import read_text
from multisite.content.metadata import Notation, has_front_matter
from multisite.content.old_site import OldSite

__all__ = ["dialect_of", "read_source"]


def read_source(path: Path, base: Path, old_site: OldSite, *, is_named: bool) -> str:
    """Return the text of a file to import.

    Args:
        path: The file.
        base: Its path without the language in its name.
        old_site: The site that it comes from.
        is_named: Whether it is to be imported by its name, whatever its folder.

    Raises:
        InvalidArticle: It cannot be read.
        NotAnEntry: The tool of the site makes no page of it.
    """
    if base.stem == "_index":
        raise NotAnEntry("a section page, which is not an entry")
    if is_named or not old_site.tool:
        return read_text(path)
    if (reason := old_site.reason_to_skip(path.absolute())) is not None:
        raise NotAnEntry(reason)
    text = read_text(path)
    if old_site.tool == "jekyll" and not has_front_matter(text) and not {"_posts", "_drafts"} & {*path.parts}:
        raise NotAnEntry("without front matter, so that Jekyll does not render it")
    return text


def dialect_of(notation: Notation, path: Path) -> Dialect:
    """Return the dialect of the file's tool: YAML with a dated name, or in Jekyll's folders, means Jekyll."""
    if notation == "lines":
        return "python-markdown"
    is_post = path.name[:4].isdigit() or {"_posts", "_drafts"} & set(path.parts)
    return "kramdown" if notation == "yaml" and is_post else "goldmark"
