"""Loading, when several applications are loaded at the same time in one process.

Importing is safe in threads, but for one thing: where two threads import modules that import each other, Python breaks
the deadlock by giving one of them a module that is not complete yet, and that import fails. So what has failed while
something else was being loaded is loaded once more, alone.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, get_ident
from typing import Generic, TypeVar

from multisite import forks

__all__ = ["Load", "load", "resident_bytes"]

PATIENCE_SECONDS = 60.0
"""For how long a second attempt waits for others to be done: for ever would be a deadlock, if one of them hangs."""

Loaded = TypeVar("Loaded")

_condition = Condition(forks.fork_safe_lock())
_at_it: Counter[int] = Counter()
"""How many loads each thread is in; one within another is part of that."""
_begun = 0


@dataclass(frozen=True)
class Load(Generic[Loaded]):
    """What came of loading: `value`, or `error` (then `value` is None).

    `seconds` it took on the clock; `grown_bytes` is by how much the process has grown meanwhile, None where the system
    does not say (only Linux does). `modules` are the names of those that were imported meanwhile. What others load at
    the same time counts here too.
    """

    value: Loaded | None
    error: BaseException | None
    seconds: float
    grown_bytes: int | None
    modules: frozenset[str]


def load(make: Callable[[], Loaded]) -> Load[Loaded]:
    """Call `make` and return what came of it. Errors are returned, also an attempt to end the process."""
    before, known, started = resident_bytes(), set(sys.modules), time.perf_counter()
    value, error, was_alone = _attempt(make)
    if error is not None and not was_alone:
        _wait_for_others()
        value, error, _ = _attempt(make)
    after = resident_bytes()
    grown = None if before is None or after is None else after - before
    return Load(value, error, time.perf_counter() - started, grown, frozenset(set(sys.modules) - known))


def _attempt(make: Callable[[], Loaded]) -> tuple[Loaded | None, BaseException | None, bool]:
    """Call `make`; return its value or its error, and whether no other thread has loaded anything meanwhile."""
    global _begun  # noqa: PLW0603  # Imports are the process's, and so is who is at them.
    thread = get_ident()
    with _condition:
        _begun += not _at_it[thread]
        _at_it[thread] += 1
        mine, alone = _begun, len(_at_it) == 1
    try:
        return make(), None, True
    except (Exception, SystemExit) as error:
        return None, error, alone and _begun == mine
    finally:
        with _condition:
            _at_it[thread] -= 1
            _forget_idle(thread)


def _wait_for_others() -> None:
    """Wait until no other thread loads anything; who waits here loads nothing."""
    thread = get_ident()
    with _condition:
        outer = _at_it.pop(thread, 0)
        _condition.notify_all()
        _condition.wait_for(lambda: not _at_it, timeout=PATIENCE_SECONDS)
        _at_it[thread] = outer
        _forget_idle(thread)


def _forget_idle(thread: int) -> None:
    if not _at_it[thread]:
        del _at_it[thread]
    _condition.notify_all()


def resident_bytes() -> int | None:
    """Return how much memory this process occupies, or None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    import resource  # Not on Windows, which has no /proc either.

    return pages * resource.getpagesize()
