"""The exception for an upload that is refused."""

from __future__ import annotations

from multisite.errors import MultisiteError

__all__ = ["MediaRefused"]


class MediaRefused(MultisiteError):
    """The upload is not accepted; nothing of it was kept. The message is a clause such as `it is empty`.

    Args:
        text: The message, as a format.
        values: Its values. A page can translate `text`, and format it with `values`.
    """

    def __init__(self, text: str, **values: object) -> None:
        self.text = text
        self.values = values
        super().__init__(text.format(**values))
