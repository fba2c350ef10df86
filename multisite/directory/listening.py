"""Listening: PostgreSQL says that the directory was changed, which is quicker than to ask it once a while.

`multisite.models.raise_version` notifies, and PostgreSQL passes that on when the change is committed. Listening takes a
connection of its own and a thread that sleeps. It only makes the directory look earlier than it would have anyway:
while the connection is lost, or where a pooler swallows what is told, changes are seen after `refresh_seconds`.
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

from multisite.errors import SettingError
from multisite.models import CHANNEL

__all__ = ["Listener"]

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 5.0
"""How long a lost connection is left alone before the next try."""

HEARTBEAT_SECONDS = 20.0
"""After how much silence the connection is tried: one that was cut on the way stays silent for ever."""


class Listener:
    """What tells `refresh_soon`, a method, of changes from the first `start` to `stop`, or while its object lives.

    The connection is made as those of `engine` are, but by psycopg 3 whatever that uses, and is none of its pool.
    Raises `SettingError` if `engine` is not on PostgreSQL, or psycopg is missing.
    """

    def __init__(self, engine: Engine, refresh_soon: Callable[[], None]) -> None:
        if engine.dialect.name != "postgresql":
            raise SettingError("multisite.notify", "true", f"false, since {engine.dialect.name} cannot notify anybody")
        if importlib.util.find_spec("psycopg") is None:
            raise SettingError(
                "multisite.notify", "true", "psycopg 3 to listen with: pip install 'pyramid-multisite[postgresql]'"
            )
        self._engine = engine
        self._hurry = weakref.WeakMethod(refresh_soon)
        self._stopped = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Listen, if this process does not yet: threads are not there any more in a process that was forked."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=self._run, name="multisite-directory-notify", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Let the thread end, at its next heartbeat at the latest, and never start again."""
        self._stopped.set()

    def tell(self) -> bool:
        """Let the directory look for changes; return False if there is no directory any more."""
        refresh_soon = self._hurry()
        if refresh_soon is None or self._stopped.is_set():
            return False
        refresh_soon()
        return True

    def _run(self) -> None:
        is_lost = False
        while self._hurry() is not None and not self._stopped.is_set():
            try:
                with _connect(self._engine) as connection:
                    if is_lost:
                        log.info("changes of the directory are told at once again")
                        is_lost = False
                    self._listen(connection)
            except Exception as error:
                # Whatever it is, changes are looked for as without this thread.
                if not is_lost and self._hurry() is not None and not self._stopped.is_set():
                    reason = str(error).partition("\n")[0]
                    log.warning("changes of the directory are not told at once, the connection is lost: %s", reason)
                is_lost = True
                self._stopped.wait(RECONNECT_SECONDS)

    def _listen(self, connection: Any) -> None:
        connection.add_notify_handler(lambda _notification: self.tell())
        connection.execute("SET application_name = 'multisite directory'")
        connection.execute(f"LISTEN {CHANNEL}")
        # What was changed before nobody has told.
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            is_wanted = self.tell()
            while is_wanted:
                selector.select(HEARTBEAT_SECONDS)
                # Any statement reads what has come, hands it over, and fails if the connection is dead.
                connection.execute("SELECT 1")
                is_wanted = self._hurry() is not None and not self._stopped.is_set()


def _connect(engine: Engine) -> Any:
    """Return a connection of psycopg that no pool knows, which commits by itself."""
    if engine.driver != "psycopg" or engine.dialect.is_async:
        engine = sa.create_engine(engine.url.set(drivername="postgresql+psycopg"), poolclass=sa.NullPool)
    pooled = engine.raw_connection()
    pooled.detach()
    connection: Any = pooled.dbapi_connection
    connection.autocommit = True
    return connection
