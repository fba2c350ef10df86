"""Canaries: texts and numbers that stand in the rows of one site, so that nobody can mistake them for another's.

`Canaries` makes them and finds them again, in whatever a request brings forth; it knows neither databases nor Pyramid.
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
"""Canary numbers are as long as 32 bits allow: what an application counts to, and what it measures, is less."""

GAP = 10_000
"""How many numbers behind the canary of a key are none: SQLite counts on from the highest key that a table has, and
what it comes to is the application's own."""

_NUMBER = re.compile(r"(?<![0-9])[0-9]{10}(?![0-9])")
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")
"""What may be base64: the value of a signed cookie, for instance."""


class Canaries:
    """The canaries of one run of tests, and what each was planted as.

    Texts are letters and digits only, in lower case, so that neither HTML, JSON, URLs nor slugs change them; they begin
    with the same `word`, so that one that was cut short is still known.
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
        """Return the text that is planted at `place`, such as `books.title`: always the same one."""
        return f"{self.prefix}{self._index(place)}z"

    def number(self, place: str, *, is_key: bool = False) -> int:
        """Return the number that is planted at `place`, of 31 bits; always the same one.

        Behind that of a key (`is_key`), from which a database may count on, `GAP` numbers are nobody's.
        """
        if place not in self._numbers:
            self._numbers[place], self._numbered[self._next] = self._next, place
            self._next += GAP if is_key else 1
        return self._numbers[place]

    def uuid(self, place: str) -> UUID:
        """Return the UUID that is planted at `place`."""
        found = UUID(int=(self._base << 96) + (4 << 76) + (8 << 60) + self._index(place))
        self._uuids[str(found)] = self._uuids[found.hex] = place
        return found

    def find(self, text: str) -> list[str]:
        """Return the places of the canaries in `text`, each once; `?` for one that was cut short."""
        found = dict.fromkeys(self._found(text))
        return list(found)

    def find_encoded(self, text: str) -> list[str]:
        """Return the same for a text that may be escaped for URLs, or hold base64."""
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
