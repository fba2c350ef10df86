"""LRUCache: a bounded mapping that keeps what was used most recently."""

from __future__ import annotations

from typing import Generic, TypeVar

from multisite import forks

__all__ = ["LRUCache"]

Key = TypeVar("Key")
Value = TypeVar("Value")


class LRUCache(Generic[Key, Value]):
    """A mapping of at most `size` values (at least 2), safe in threads, whose reads ordinarily write nothing.

    It is two dictionaries. New values go into the young one; when that holds half of `size` it becomes the old one,
    and what the old one held is forgotten. A value found in the old one moves to the young one, under a lock that is
    never held while anything is waited for. An `OrderedDict` would have to be written, under a lock, at every read.
    """

    def __init__(self, size: int) -> None:
        self._half = max(1, size // 2)
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}
        self._lock = forks.fork_safe_lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._young.keys() | self._old.keys())

    def items(self) -> dict[Key, Value]:
        """Return a copy of everything, what was used last at the end."""
        with self._lock:
            return {**{key: value for key, value in self._old.items() if key not in self._young}, **self._young}

    def get(self, key: Key) -> Value | None:
        """Return the value of `key`, or None if there is none (any more)."""
        value = self._young.get(key)
        if value is None and key in self._old:
            return self._rescue(key)
        return value

    def _rescue(self, key: Key) -> Value | None:
        with self._lock:
            # Another thread may have put a newer value, which must not be overwritten by the old one.
            value = self._young.get(key) or self._old.get(key)
            if value is not None:
                self._store(key, value)
            return value

    def put(self, key: Key, value: Value) -> None:
        """Keep `value`, which must be true, for `key`."""
        with self._lock:
            self._store(key, value)

    def _store(self, key: Key, value: Value) -> None:
        if len(self._young) >= self._half and key not in self._young:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def drop(self, key: Key) -> None:
        """Forget `key`, if it is there."""
        with self._lock:
            self._young.pop(key, None)
            self._old.pop(key, None)
