"""A Bloom filter: a set of strings in a few bits each, with false positives and no false negatives.

A sorted array of hashes with `bisect` would be shorter, but it takes four times the memory (8 MB instead of 2 MB for a
million names), nearly doubles the time of a look-up, and its sort blocks all other threads for half a second.
"""

from __future__ import annotations

import secrets

__all__ = ["MAX_BYTES", "BloomFilter"]

BITS_PER_TEXT = 16
"""Bits per string, up to `MAX_BYTES` in total: one absent string in 400 is then a false positive."""

HASHES = 4
"""How many bits are set for each string."""

MAX_BYTES = 8 * 2**20
"""The largest filter. It leaves 16 bits for each of four million strings."""


class BloomFilter:
    """A Bloom filter for about `capacity` strings; with more of them it has more false positives.

    The positions of a string depend on a random salt, so that nobody can construct false positives. One thread may add
    strings while others test for them.
    """

    __slots__ = ("_bits", "_mask", "_salt")

    def __init__(self, capacity: int) -> None:
        bits = 1 << max(10, (capacity * BITS_PER_TEXT - 1).bit_length())
        bits = min(bits, MAX_BYTES * 8)
        self._bits = bytearray(bits // 8)
        self._mask = bits - 1
        # The hash of a str is keyed as well, but not if PYTHONHASHSEED is set.
        self._salt = secrets.randbits(61)

    @property
    def size_bytes(self) -> int:
        """The size of the bit array."""
        return len(self._bits)

    def _positions(self, text: str) -> tuple[int, int]:
        """Return the first position of `text`, still unmasked, and the step to the next one.

        Double hashing (Kirsch and Mitzenmacher, 2006): four positions from one hash are as good as four hashes.
        """
        position = hash((self._salt, text))
        return position, (position >> 32) | 1

    def add(self, text: str) -> None:
        """Add `text`."""
        bits, mask = self._bits, self._mask
        position, step = self._positions(text)
        for _ in range(HASHES):
            bits[(position & mask) >> 3] |= 1 << (position & 7)
            position += step

    def __contains__(self, text: str) -> bool:
        """Return False only if `text` was not added."""
        bits, mask = self._bits, self._mask
        # `_positions`, inlined: half of the absent strings are found at the first position.
        position = hash((self._salt, text))
        if not bits[(position & mask) >> 3] >> (position & 7) & 1:
            return False
        step = (position >> 32) | 1
        for _ in range(HASHES - 1):
            position += step
            if not bits[(position & mask) >> 3] >> (position & 7) & 1:
                return False
        return True
