"""Fork safety: locks and state that are reset in a forked child.

Only the thread that forks continues in the child. Whatever the others were doing is never completed there: a lock that
one of them held stays locked, and a slot that one of them had acquired is never released. Both processes also share
every open connection, so that each could read the other's results.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar

__all__ = ["fork_safe_lock", "run_in_forked_child", "unlock_after_fork"]

AnyLock = TypeVar("AnyLock")
Inherited = TypeVar("Inherited")

_locks: weakref.WeakSet[Any] = weakref.WeakSet()
_callbacks: weakref.WeakKeyDictionary[Any, Callable[[Any], object]] = weakref.WeakKeyDictionary()


def fork_safe_lock() -> Lock:
    """Return a new lock that is unlocked in every forked child."""
    return unlock_after_fork(Lock())


def unlock_after_fork(lock: AnyLock) -> AnyLock:
    """Unlock `lock`, a `Lock` or an `RLock`, in every forked child; return it."""
    _locks.add(lock)
    return lock


def run_in_forked_child(owner: Inherited, callback: Callable[[Inherited], object]) -> None:
    """Call `callback(owner)` in every child forked from this process, for as long as `owner` lives.

    `callback` must be a function: a bound method of `owner` would keep it alive. The child has one thread at that time.
    """
    _callbacks[owner] = callback


def _after_fork() -> None:
    for lock in list(_locks):
        # The standard library resets its own locks in this way: only the thread that held a lock could release it.
        lock._at_fork_reinit()
    for owner, callback in list(_callbacks.items()):
        callback(owner)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
