"""Errand: something that may hang, done in a thread of its own, so that who waits for it can stop waiting."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import TypeVar

__all__ = ["in_time"]

Result = TypeVar("Result")


def in_time(work: Callable[[], Result], patience_seconds: float) -> Result:
    """Return what `work` returns, or raise what it raises; raise `TimeoutError` if that takes too long.

    A driver that waits for a dead database cannot be interrupted, but it can be left alone: the work then goes on,
    and its result is thrown away. The thread costs about as much as the question itself, a quarter of a millisecond,
    and only where a database is asked anyway.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run, name="multisite-directory", daemon=True)
    thread.start()
    thread.join(patience_seconds)
    if errors:
        raise errors.pop()
    if not results:
        raise TimeoutError
    return results[0]
