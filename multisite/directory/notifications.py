"""Notifications of PostgreSQL: the directory learns of a change immediately instead of at its next check.

`multisite.directory.tables.raise_version` sends a notification, which PostgreSQL delivers on commit. The listener takes
a connection of its own and a thread, which sleeps. It only makes the directory check earlier than it would anyway:
while the connection is lost, or if a pooler drops the notifications, changes are seen after `refresh_seconds`.
"""

from __future__ import annotations

import importlib.util
import logging
import selectors
import weakref
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite.directory.tables import CHANNEL
from multisite.errors import SettingError

__all__ = ["Listener"]

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 5.0
"""How long to wait before reconnecting."""

HEARTBEAT_SECONDS = 20.0
"""After how much silence the connection is tested: one that was cut off stays silent for ever."""


class Listener:
    """Calls `refresh_soon`, a method, after each notification, from `start` until `stop` or until its object is gone.

    The connection is made like those of `engine`, but always with psycopg 3, and does not belong to the pool.

    Raises:
        SettingError: If `engine` is not on PostgreSQL, or psycopg is missing.
    """

    def __init__(self, engine: Engine, refresh_soon: Callable[[], None]) -> None:
        if engine.dialect.name != "postgresql":
            raise SettingError("multisite.notify", "true", f"false, because {engine.dialect.name} has no notifications")
        if importlib.util.find_spec("psycopg") is None:
            raise SettingError(
                "multisite.notify", "true", "psycopg 3 to listen with: pip install 'pyramid-multisite[postgresql]'"
            )
        self._engine = engine
        self._refresh_soon = weakref.WeakMethod(refresh_soon)
        self._stopped = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Start the thread unless it is running; a forked child does not inherit it."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=self._run, name="multisite-directory-notify", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread at its next heartbeat at the latest; it cannot be started again."""
        self._stopped.set()

    def _is_wanted(self) -> bool:
        return self._refresh_soon() is not None and not self._stopped.is_set()

    def _notify(self) -> bool:
        """Make the directory check for changes; return False if it no longer exists or the listener was stopped."""
        refresh_soon = self._refresh_soon()
        if refresh_soon is None or self._stopped.is_set():
            return False
        refresh_soon()
        return True

    def _run(self) -> None:
        is_lost = False
        while self._is_wanted():
            try:
                with _connect(self._engine) as connection:
                    if is_lost:
                        log.info("the connection for directory notifications is restored")
                        is_lost = False
                    self._listen(connection)
            except Exception as error:
                # Whatever the error, the directory still checks for changes without notifications.
                if not is_lost and self._is_wanted():
                    reason = str(error).partition("\n")[0]
                    log.warning(
                        "the connection for directory notifications is lost, changes are seen with a delay: %s", reason
                    )
                is_lost = True
                self._stopped.wait(RECONNECT_SECONDS)

    def _listen(self, connection: Any) -> None:
        connection.add_notify_handler(lambda _notification: self._notify())
        connection.execute("SET application_name = 'multisite directory'")
        connection.execute(f"LISTEN {CHANNEL}")
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            # Earlier changes sent no notification to this connection.
            is_wanted = self._notify()
            while is_wanted:
                selector.select(HEARTBEAT_SECONDS)
                # Any statement receives the pending notifications, runs the handler, and fails on a dead connection.
                connection.execute("SELECT 1")
                is_wanted = self._is_wanted()


def _connect(engine: Engine) -> Any:
    """Return a psycopg connection outside of any pool, in autocommit mode."""
    if engine.driver != "psycopg" or engine.dialect.is_async:
        engine = sa.create_engine(engine.url.set(drivername="postgresql+psycopg"), poolclass=sa.NullPool)
    pooled = engine.raw_connection()
    pooled.detach()
    connection: Any = pooled.dbapi_connection
    connection.autocommit = True
    return connection
