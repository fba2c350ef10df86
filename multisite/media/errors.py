"""The exception for an upload that is refused."""

from __future__ import annotations

from multisite.errors import MultisiteError

__all__ = ["MediaRefused"]


class MediaRefused(MultisiteError):
    """The upload is not accepted; nothing of it was kept. The message is a clause such as `it is empty`."""
