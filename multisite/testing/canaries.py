"""Canaries: unmistakable texts and numbers in the rows of one site, which must never appear for another.

`Canaries` generates them and finds them in text. It does not depend on databases or Pyramid.
"""

from __future__ import annotations

import base64
import binascii
import random
import re
import string
from collections.abc import Iterator
from urllib.parse import unquote_plus
from uuid import UUID

__all__ = ["Canaries"]

FIRST_NUMBER = 1_900_000_000
"""Canary numbers are close to the limit of 32 bits, above what an application counts or measures."""

GAP = 10_000
"""How many numbers after the canary of a key are not canaries: SQLite numbers new rows from a table's highest key, and
those rows are the application's own."""

_NUMBER = re.compile(r"(?<![0-9])[0-9]{10}(?![0-9])")
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")
"""Matches what may be base64, such as the value of a signed cookie."""


class Canaries:
    """The canaries of one test run, and the place where each was planted.

    Texts consist of lower-case letters and digits, so that HTML, JSON, URLs and slugs leave them unchanged. They share
    a `prefix`, by which a truncated one is recognized.
    """

    def __init__(self, seed: int | None = None) -> None:
        chosen = random.Random(seed)  # noqa: S311  # It has to be unlikely, not secret.
        self.prefix = "q" + "".join(chosen.choices(string.ascii_lowercase, k=7)) + "canary"
        self._next = self._base = FIRST_NUMBER + chosen.randrange(1_000) * 100_000
        self._places: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._numbered: dict[int, str] = {}
        self._uuids: dict[str, str] = {}
        self._text = re.compile(rf"{self.prefix}(?:([0-9]+)z)?")

    def _index(self, place: str) -> int:
        return self._places.setdefault(place, len(self._places))

    def text(self, place: str) -> str:
        """Return the canary text for `place`, such as `books.title`: always the same one."""
        return f"{self.prefix}{self._index(place)}z"

    def number(self, place: str, *, is_key: bool = False) -> int:
        """Return the canary number for `place`, of 31 bits: always the same one.

        With `is_key`, the next `GAP` numbers are not used, since a database may number new rows from it.
        """
        if place not in self._numbers:
            self._numbers[place], self._numbered[self._next] = self._next, place
            self._next += GAP if is_key else 1
        return self._numbers[place]

    def uuid(self, place: str) -> UUID:
        """Return the canary UUID for `place`."""
        found = UUID(int=(self._base << 96) + (4 << 76) + (8 << 60) + self._index(place))
        self._uuids[str(found)] = self._uuids[found.hex] = place
        return found

    def find(self, text: str) -> list[str]:
        """Return the places of the canaries in `text`, each once; `?` stands for a truncated canary."""
        found = dict.fromkeys(self._found(text))
        return list(found)

    def find_encoded(self, text: str) -> list[str]:
        """Return the same for a text that may be URL-encoded or contain base64."""
        found = dict.fromkeys(self._found(text))
        found |= dict.fromkeys(self._found(unquote_plus(text)))
        for match in _ENCODED.finditer(text):
            for skipped in range(4):
                found |= dict.fromkeys(self._found(_decoded(match[0][skipped:])))
        return list(found)

    def _found(self, text: str) -> Iterator[str]:
        places = list(self._places)
        lowered = text.lower()
        for match in self._text.finditer(lowered):
            index = int(match[1] or -1)
            yield places[index] if 0 <= index < len(places) else "?"
        for match in _NUMBER.finditer(text):
            place = self._numbered.get(int(match[0]))
            if place is not None:
                yield place
        for spelling, place in self._uuids.items():
            if spelling in lowered:
                yield place


def _decoded(text: str) -> str:
    text = text.rstrip("=")
    text = text[: len(text) - (len(text) % 4 == 1)]
    try:
        return base64.urlsafe_b64decode(text.replace("+", "-").replace("/", "_") + "=" * (-len(text) % 4)).decode(
            "latin-1"
        )
    except binascii.Error:
        return ""
