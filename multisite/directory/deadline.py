"""Run a database call in its own thread with a deadline, so that a hung server cannot hang the caller."""

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

CANCEL_TIMEOUT_SECONDS = 1.0
"""How long to wait for the server to accept a cancel request before the socket is shut down regardless."""


class _CancellableConnection:
    """The connection that a call is using, which is aborted when the call times out.

    Otherwise each attempt would leave a thread and a pooled connection hanging until the pool is empty, and a query
    that waits for a lock would occupy a server process until it gets the lock.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._connection: Any = None
        self._is_aborted = False

    def attach(self, connection: Any) -> None:
        with self._lock:
            if self._is_aborted:
                raise TimeoutError
            self._connection = connection

    def release(self) -> None:
        with self._lock:
            self._connection = None

    def abort(self) -> None:
        # The lock keeps the connection from being returned to the pool, and used by somebody else, in the meantime.
        with self._lock:
            self._is_aborted = True
            if not hasattr(self._connection, "fileno"):
                return  # Not connected yet, or SQLite: both have a timeout of their own.
            with suppress(Exception):
                _cancel(self._connection)
            with suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as duplicate:
                duplicate.shutdown(socket.SHUT_RDWR)


def _cancel(connection: Any) -> None:
    """Ask the server to cancel the query of `connection`, if the driver can do so without blocking other threads.

    The `cancel` of psycopg2, and of psycopg with a libpq before 17, holds the GIL until the server answers.
    """
    if hasattr(connection, "cancel_safe"):
        from psycopg import capabilities

        if capabilities.has_cancel_safe():
            connection.cancel_safe(timeout=CANCEL_TIMEOUT_SECONDS)


_call = threading.local()


@contextmanager
def cancellable(connection: Connection) -> Iterator[None]:
    """Let `run_with_timeout` abort `connection` if this thread's call times out inside the block.

    Raises:
        TimeoutError: If the call has timed out already.
    """
    current: _CancellableConnection | None = getattr(_call, "connection", None)
    if current is None:
        yield
        return
    current.attach(connection.connection.dbapi_connection)
    try:
        yield
    finally:
        current.release()


def run_with_timeout(work: Callable[[], Result], timeout_seconds: float) -> Result:
    """Call `work` in a thread, and wait for it at most `timeout_seconds`.

    A driver that waits for a dead database cannot be interrupted, so on a timeout the `cancellable` connection is
    aborted and any result is discarded. The thread costs about a quarter of a millisecond, as much as the query itself.

    Returns:
        The result of `work`. An exception of `work` is raised here.

    Raises:
        TimeoutError: If `work` takes longer than `timeout_seconds`.
    """
    results: list[Result] = []
    errors: list[BaseException] = []
    connection = _CancellableConnection()

    def run() -> None:
        _call.connection = connection
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run, name="multisite-directory", daemon=True)
    thread.start()
    thread.join(timeout_seconds)
    if errors:
        raise errors.pop()
    if not results:
        Thread(target=connection.abort, name="multisite-directory-abort", daemon=True).start()
        raise TimeoutError
    return results[0]
