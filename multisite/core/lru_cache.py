"""A thread-safe LRU cache whose reads usually take no lock."""

from __future__ import annotations

from typing import Generic, TypeVar

from multisite.core import fork_safety

__all__ = ["LRUCache"]

Key = TypeVar("Key")
Value = TypeVar("Value")


class LRUCache(Generic[Key, Value]):
    """A thread-safe mapping that keeps the most recently used values, at most `size` (at least 2).

    It has two generations, each a dictionary. New values go into the young one; once that holds half of `size`, it
    becomes the old generation and the previous old one is discarded. A value found in the old generation is promoted to
    the young one under a lock, which is only ever held for a moment. This approximates LRU order, which an
    `OrderedDict` would keep exactly, but at the price of a write under a lock at every read.
    """

    def __init__(self, size: int) -> None:
        self._half = max(1, size // 2)
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}
        self._lock = fork_safety.fork_safe_lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._young.keys() | self._old.keys())

    def items(self) -> dict[Key, Value]:
        """Return a copy of all entries, the most recently used ones last."""
        with self._lock:
            return {**{key: value for key, value in self._old.items() if key not in self._young}, **self._young}

    def get(self, key: Key) -> Value | None:
        """Return the value of `key`, or None if it was never set or has been evicted."""
        value = self._young.get(key)
        if value is None and key in self._old:
            return self._promote(key)
        return value

    def _promote(self, key: Key) -> Value | None:
        with self._lock:
            # Another thread may have set a newer value, which the old one must not overwrite.
            value = self._young.get(key) or self._old.get(key)
            if value is not None:
                self._store(key, value)
            return value

    def set(self, key: Key, value: Value) -> None:
        """Set the value of `key`; `value` must be truthy."""
        with self._lock:
            self._store(key, value)

    def _store(self, key: Key, value: Value) -> None:
        if len(self._young) >= self._half and key not in self._young:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def discard(self, key: Key) -> None:
        """Remove `key` if it is present."""
        with self._lock:
            self._young.pop(key, None)
            self._old.pop(key, None)
