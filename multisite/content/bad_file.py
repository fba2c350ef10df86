"""The exception that ends one file, and not the import."""

from __future__ import annotations

__all__ = ["BadFile"]


class BadFile(ValueError):
    """A file that cannot become an entry; the text is the reason."""
