"""Errand: a question to a database that may hang, done in a thread of its own, so that who waits can stop waiting."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread
from typing import Any, TypeVar

from sqlalchemy.engine import Connection

__all__ = ["cancellable", "run_with_timeout"]

Result = TypeVar("Result")

CANCEL_SECONDS = 1.0
"""How long the server has to take a request to cancel, before the line to it is cut all the same."""


class _Line:
    """The connection that an errand is using, which is cut when nobody waits for it any more.

    Left alone, a thread and a connection of the pool would hang for each try until the pool is empty; and a question
    that waits for a lock would hold a process of the server, until the lock is given.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._connection: Any = None
        self._is_cut = False

    def hold(self, connection: Any) -> None:
        with self._lock:
            if self._is_cut:
                raise TimeoutError
            self._connection = connection

    def let_go(self) -> None:
        with self._lock:
            self._connection = None

    def cut(self) -> None:
        # Under the lock, or the connection might be back in the pool by now, and in use by somebody else.
        with self._lock:
            self._is_cut = True
            if not hasattr(self._connection, "fileno"):
                return  # Not connected yet, which the driver limits, or SQLite, which waits for five seconds.
            with suppress(Exception):
                _cancel(self._connection)
            with suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)


def _cancel(connection: Any) -> None:
    """Let the server give up what it does for `connection`, if the driver can say so without stopping everything.

    The `cancel` of psycopg2, and of psycopg on a libpq before 17, waits for the server while no other thread can run.
    """
    if hasattr(connection, "cancel_safe"):
        from psycopg import capabilities

        if capabilities.has_cancel_safe():
            connection.cancel_safe(timeout=CANCEL_SECONDS)


_errand = threading.local()


@contextmanager
def cancellable(connection: Connection) -> Iterator[None]:
    """Let `connection` be cut inside the block if this thread is on an errand that takes too long.

    Raises `TimeoutError` if that is so already.
    """
    line: _Line | None = getattr(_errand, "line", None)
    if line is None:
        yield
        return
    line.hold(connection.connection.dbapi_connection)
    try:
        yield
    finally:
        line.let_go()


def run_with_timeout(work: Callable[[], Result], patience_seconds: float) -> Result:
    """Return what `work` returns, or raise what it raises; raise `TimeoutError` if that takes too long.

    A driver that waits for a dead database cannot be interrupted, so on a timeout the `cancellable` connection is
    aborted and any result is discarded. The thread costs about a quarter of a millisecond, as much as the query itself.
    """
    results: list[Result] = []
    errors: list[BaseException] = []
    line = _Line()

    def run() -> None:
        _errand.line = line
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
        Thread(target=line.cut, name="multisite-directory-cut", daemon=True).start()
        raise TimeoutError
    return results[0]
