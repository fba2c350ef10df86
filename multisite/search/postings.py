"""The contents of a segment: for each term, the numbers of the rows that have it, as text in buckets."""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from struct import pack
from typing import Any
from zlib import crc32

from multisite.search.tables import BUCKET_PREFIX, BUCKETS

__all__ = [
    "Posting",
    "bucket_of",
    "make_buckets",
    "pack_dates",
    "read_posting",
    "read_prefix",
    "sort_key",
    "unpack_dates",
]

Posting = tuple[Sequence[int], Sequence[int]]
"""The numbers of the rows with a term, and of those with it in the title; both are sorted."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_DATE = -(2**63)


def sort_key(when: Any) -> int:
    """Return a 64-bit integer by which dates, times or integers are ordered; None is before all others."""
    if when is None:
        return _NO_DATE
    if isinstance(when, datetime):
        return ((when if when.tzinfo else when.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)
    return when.toordinal() if isinstance(when, date) else int(when)


def pack_dates(keys: Sequence[int]) -> bytes:
    """Return sort keys as 64-bit integers."""
    return pack(f"<{len(keys)}q", *keys)


def unpack_dates(packed: bytes) -> Sequence[int]:
    """Return the sort keys of `pack_dates`."""
    return _array("q", packed)


def bucket_of(term: str) -> int:
    """Return the number of the bucket with the posting of `term`."""
    return crc32(term[:BUCKET_PREFIX].encode()) % BUCKETS


def make_buckets(terms: Iterable[str], titles: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield number and text of each bucket that is not empty.

    Args:
        terms: The terms of each row, between spaces, in the order of their numbers.
        titles: Those of its title.
    """
    everywhere, in_title = _numbers(terms), _numbers(titles)
    buckets: dict[int, list[str]] = {}
    for term, numbers in everywhere.items():
        title = in_title.get(term, ())
        buckets.setdefault(bucket_of(term), []).append(f"{term}:{_pack(numbers)}:{_pack(title)}")
    for bucket, postings in buckets.items():
        yield bucket, f" {' '.join(postings)} "


def read_posting(bucket: str, term: str) -> Posting:
    """Return the posting of `term` from the text of its bucket; it is empty if no row has the term."""
    start = bucket.find(f" {term}:") + len(term) + 2
    if start == len(term) + 1:
        return (), ()
    numbers, title = bucket[start : bucket.index(" ", start)].split(":")
    return _unpack(numbers), _unpack(title)


def read_prefix(bucket: str, prefix: str, shorter: Collection[str]) -> Posting:
    """Return the posting of all terms that begin with `prefix` or are in `shorter`, from the text of their bucket."""
    terms = "|".join([f"{re.escape(prefix)}[^ :]*", *map(re.escape, shorter)])
    found = re.findall(rf" (?:{terms}):([0-9a-f]*):([0-9a-f]*)(?= )", bucket)
    numbers: set[int] = set()
    in_title: set[int] = set()
    for digits, title_digits in found:
        numbers.update(_unpack(digits))
        in_title.update(_unpack(title_digits))
    return sorted(numbers), sorted(in_title)


def _numbers(texts: Iterable[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for number, text in enumerate(texts):
        for term in text.split():
            if term in found:
                found[term].append(number)
            else:
                found[term] = [number]
    return found


def _pack(numbers: Sequence[int]) -> str:
    return pack(f"<{len(numbers)}H", *numbers).hex()


def _unpack(digits: str) -> Sequence[int]:
    return _array("H", bytes.fromhex(digits))


def _array(code: str, packed: bytes) -> array[int]:
    """Return little-endian integers: an array, which copies them at once, unlike a tuple of Python's integers."""
    numbers = array(code, packed)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
