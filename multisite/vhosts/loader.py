"""Load applications, possibly several of one process at the same time.

Imports are thread-safe with one exception: if two threads import modules that import each other, Python resolves the
deadlock by handing one of them a partially initialized module, whose import may then fail. Therefore, a load that
failed while another one was running is repeated alone.
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

from multisite.core import fork_safety

__all__ = ["LoadResult", "load", "resident_bytes"]

WAIT_TIMEOUT_SECONDS = 60.0
"""How long a repeated load waits for others to finish; without a limit, a load that hangs would block it forever."""

Loaded = TypeVar("Loaded")

_condition = Condition(fork_safety.fork_safe_lock())
_loads_by_thread: Counter[int] = Counter()
"""Number of loads in progress by thread; nested loads count as part of the outer one."""
_begun = 0


@dataclass(frozen=True)
class LoadResult(Generic[Loaded]):
    """The result of a load: `value`, or `error` (then `value` is None).

    `seconds` is the duration; `grown_bytes` the growth of the process, None where the system does not report it (only
    Linux does); `modules` are the names of newly imported modules. Concurrent loads are included in these numbers.
    """

    value: Loaded | None
    error: BaseException | None
    seconds: float
    grown_bytes: int | None
    modules: frozenset[str]


def load(make: Callable[[], Loaded]) -> LoadResult[Loaded]:
    """Call `make` and return the result. Returns errors too, including an attempt to exit the process."""
    before, known, started = resident_bytes(), set(sys.modules), time.perf_counter()
    value, error, was_alone = _attempt(make)
    if error is not None and not was_alone:
        _wait_for_others()
        value, error, _ = _attempt(make)
    after = resident_bytes()
    grown = None if before is None or after is None else after - before
    return LoadResult(value, error, time.perf_counter() - started, grown, frozenset(set(sys.modules) - known))


def _attempt(make: Callable[[], Loaded]) -> tuple[Loaded | None, BaseException | None, bool]:
    """Call `make`; return its value or error, and whether no other thread loaded anything meanwhile."""
    global _begun  # noqa: PLW0603  # Imports are the process's, and so is who is at them.
    thread = get_ident()
    with _condition:
        _begun += not _loads_by_thread[thread]
        _loads_by_thread[thread] += 1
        mine, alone = _begun, len(_loads_by_thread) == 1
    try:
        return make(), None, True
    except (Exception, SystemExit) as error:
        return None, error, alone and _begun == mine
    finally:
        with _condition:
            _loads_by_thread[thread] -= 1
            _forget_idle(thread)


def _wait_for_others() -> None:
    """Wait until no other thread is loading. The calling thread does not count while it waits."""
    thread = get_ident()
    with _condition:
        outer = _loads_by_thread.pop(thread, 0)
        _condition.notify_all()
        _condition.wait_for(lambda: not _loads_by_thread, timeout=WAIT_TIMEOUT_SECONDS)
        _loads_by_thread[thread] = outer
        _forget_idle(thread)


def _forget_idle(thread: int) -> None:
    if not _loads_by_thread[thread]:
        del _loads_by_thread[thread]
    _condition.notify_all()


def resident_bytes() -> int | None:
    """Return the resident memory of this process, or None where the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    import resource  # Missing on Windows, which has no /proc either.

    return pages * resource.getpagesize()
