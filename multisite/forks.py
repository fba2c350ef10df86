"""Forks: what a process that was forked cannot go on with, and begins anew; pure.

Only the thread that forks goes on in the new process. What the others were at is never finished there: a lock that one
of them held stays locked, and a place that one of them took is not given back. And a connection is one and the same in
both processes, so that each would read the other's answers.
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
_inherited: weakref.WeakKeyDictionary[Any, Callable[[Any], object]] = weakref.WeakKeyDictionary()


def fork_safe_lock() -> Lock:
    """Return a lock that is free again in a process that was forked, whoever held it."""
    return unlock_after_fork(Lock())


def unlock_after_fork(lock: AnyLock) -> AnyLock:
    """Let `lock`, a `Lock` or an `RLock`, be free again in a process that was forked; return it."""
    _locks.add(lock)
    return lock


def run_in_forked_child(what: Inherited, begin: Callable[[Inherited], object]) -> None:
    """Call `begin` with `what` in each process that is forked from this one, for as long as `what` lives.

    `begin` is a function, not a method of `what`, which would keep it alive. It is called where there is one thread.
    """
    _inherited[what] = begin


def _after_fork() -> None:
    for lock in list(_locks):
        # The standard library does the same with its own: nobody but who held it could release it.
        lock._at_fork_reinit()
    for what, begin in list(_inherited.items()):
        begin(what)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
