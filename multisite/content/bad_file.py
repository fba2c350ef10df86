"""The exceptions that end one file, and not the import."""

from __future__ import annotations

__all__ = ["BadFile", "NotAnEntry"]


class BadFile(ValueError):
    """A file that cannot become an entry; the text is the reason."""


class NotAnEntry(ValueError):
    """A file that is no entry by the rules of the tool that it was written for; the text is the reason."""
