"""Exceptions that reject one file or one export; their message is the reason."""

from __future__ import annotations

from multisite.errors import MultisiteError

__all__ = ["InvalidArticle", "InvalidExport", "NotAnEntry", "quote_value"]


class InvalidArticle(ValueError):
    """The file cannot become an entry; the others are imported."""


class NotAnEntry(ValueError):
    """The file is not an entry by the rules of the tool that it was written for."""


class InvalidExport(MultisiteError):
    """The export cannot be read, and nothing of it is imported. The message begins with the file and the line."""


def quote_value(text: str) -> str:
    """Return `text` in quotes for a message, truncated to 80 characters."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
