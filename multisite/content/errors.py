"""Exceptions that reject one file, but do not stop the import; their message is the reason."""

from __future__ import annotations

__all__ = ["InvalidArticle", "NotAnEntry", "quote_value"]


class InvalidArticle(ValueError):
    """The file cannot become an entry."""


class NotAnEntry(ValueError):
    """The file is not an entry by the rules of the tool that it was written for."""


def quote_value(text: str) -> str:
    """Return `text` in quotes for a message, truncated to 80 characters."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
