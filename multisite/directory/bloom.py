"""BloomFilter: a set of texts in a few bits each, which may seem to hold more than was put in, and never less."""

from __future__ import annotations

import secrets

__all__ = ["MAX_BYTES", "BloomFilter"]

BITS_PER_TEXT = 16
"""At least so many bits for each text, up to `MAX_BYTES`: then 1 text in 400 that was not put in seems to be there."""

PLACES = 4
"""How many bits are set for a text."""

MAX_BYTES = 8 * 2**20
"""However many texts there are. With four million of them there are still 16 bits for each."""


class BloomFilter:
    """A Bloom filter for about `capacity` texts. With more it still holds all of them, and seems to hold more others.

    The places of a text depend on a secret made here, so that nobody can think up texts that seem to be there. One
    thread may add while others ask.
    """

    __slots__ = ("_bits", "_mask", "_salt")

    def __init__(self, capacity: int) -> None:
        bits = 1 << max(10, (capacity * BITS_PER_TEXT - 1).bit_length())
        bits = min(bits, MAX_BYTES * 8)
        self._bits = bytearray(bits // 8)
        self._mask = bits - 1
        # Python's own hash of a text is keyed as well, but not where PYTHONHASHSEED is set.
        self._salt = secrets.randbits(61)

    def __len__(self) -> int:
        """Return how many bytes it takes."""
        return len(self._bits)

    def _start(self, text: str) -> tuple[int, int]:
        """Return a first place of `text`, still to be masked, and the step from each to the next.

        Four places by the steps of Kirsch and Mitzenmacher, out of one hash, are as good as four hashes.
        """
        place = hash((self._salt, text))
        return place, (place >> 32) | 1

    def add(self, text: str) -> None:
        """Put `text` in."""
        bits, mask = self._bits, self._mask
        place, step = self._start(text)
        for _ in range(PLACES):
            bits[(place & mask) >> 3] |= 1 << (place & 7)
            place += step

    def __contains__(self, text: str) -> bool:
        """Return False only if `text` was not put in."""
        bits, mask = self._bits, self._mask
        # What `_start` returns. Half of what was not put in ends at the first place.
        place = hash((self._salt, text))
        if not bits[(place & mask) >> 3] >> (place & 7) & 1:
            return False
        step = (place >> 32) | 1
        for _ in range(PLACES - 1):
            place += step
            if not bits[(place & mask) >> 3] >> (place & 7) & 1:
                return False
        return True
