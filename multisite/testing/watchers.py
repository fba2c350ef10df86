"""Watchers on every way data can leave a process: database cursors, responses, logs and caches.

They are installed while a `Detector` is active. `multisite.testing.response_watcher` watches responses.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from multisite.core.current_site import Scope, current_scope
from multisite.directory.tables import OWN_ACCESS
from multisite.scoping.pin import scope_of_unscoped_statement
from multisite.testing.leak import LeakDetector
from multisite.testing.response_watcher import watch_responses

__all__ = ["install_watchers"]


def install_watchers(detector: LeakDetector) -> Callable[[], None]:
    """Install every watcher, and return a function that removes them."""
    with ExitStack() as stack:
        for install in (_watch_cursors, watch_responses, _watch_logs, _watch_regions):
            install(detector, stack)
        return stack.pop_all().close


# SQL


def _watch_cursors(detector: LeakDetector, stack: ExitStack) -> None:
    def prepare(_dialect: Any, _record: Any, _cargs: Any, cparams: dict[str, Any]) -> None:
        if _dialect.driver == "pysqlite" and "factory" not in cparams:
            cparams["factory"] = type("WatchedConnection", (_SqliteConnection,), {"detector": detector})

    def connected(connection: Any, _record: Any) -> None:
        # psycopg and psycopg2: the class of the cursors is an attribute of the connection.
        for attribute in ("cursor_factory", "server_cursor_factory"):
            factory = getattr(connection, attribute, None)
            if isinstance(factory, type):
                watched = type("WatchedCursor", (_WatchedCursor, factory), {"detector": detector})
                setattr(connection, attribute, watched)

    def about_to_execute(
        connection: Any, cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool
    ) -> None:
        if isinstance(cursor, _WatchedCursor):
            cursor.scope, cursor.statement = scope_of_unscoped_statement(connection), statement
            # A statement without scoped tables returns no rows of a site.
            is_scoped_statement = getattr(getattr(context, "compiled", None), "is_scoped_statement", True)
            # The directory reads the rows of all sites.
            cursor.has_no_site = not is_scoped_statement or context.execution_options.get(OWN_ACCESS, False)

    for target, name, listener in (
        (Engine, "do_connect", prepare),
        (Pool, "connect", connected),
        (Engine, "before_cursor_execute", about_to_execute),
    ):
        event.listen(target, name, listener)
        stack.callback(event.remove, target, name, listener)


class _WatchedCursor:
    """Mixin for a driver's cursor that inspects each fetched row.

    `scope` and `statement` are set for cursors of SQLAlchemy; cursors that other code creates have neither.
    """

    detector: LeakDetector
    scope: Scope | None = None
    statement: str | None = None
    has_no_site = False

    def _inspect(self, rows: Iterable[Any]) -> None:
        if self.has_no_site or self.detector.allows(self.scope or current_scope()):
            return
        detail = self.statement or "a cursor of the database driver, which the scoping layer does not limit"
        for row in rows:
            if row is not None:
                values = row.values() if hasattr(row, "values") else row
                self.detector.inspect("SQL result", "\n".join(map(_text_of, values)), detail, scope=self.scope)

    def fetchone(self) -> Any:
        row = super().fetchone()  # type: ignore[misc]
        self._inspect([row])
        return row

    def fetchmany(self, *args: Any, **kw: Any) -> Any:
        rows = super().fetchmany(*args, **kw)  # type: ignore[misc]
        self._inspect(rows)
        return rows

    def fetchall(self) -> Any:
        rows = super().fetchall()  # type: ignore[misc]
        self._inspect(rows)
        return rows

    def __iter__(self) -> Iterator[Any]:
        while (row := self.fetchone()) is not None:
            yield row


class _SqliteCursor(_WatchedCursor, sqlite3.Cursor):
    """A SQLite cursor that inspects its rows."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self.detector = connection.detector

    def __next__(self) -> Any:
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    def __iter__(self) -> Any:
        return self


class _SqliteConnection(sqlite3.Connection):
    detector: LeakDetector

    def cursor(self, factory: Any = _SqliteCursor) -> Any:
        return super().cursor(factory)


def _text_of(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}"
    return bytes(value).decode("latin-1") if isinstance(value, (bytes, memoryview)) else str(value)


# Logs


def _watch_logs(detector: LeakDetector, stack: ExitStack) -> None:
    plain = logging.getLogRecordFactory()

    def make(*args: Any, **kw: Any) -> logging.LogRecord:
        record = plain(*args, **kw)
        if not detector.allows(current_scope()):
            with suppress(Exception):  # The arguments do not match the format; the handlers report that.
                text = record.getMessage()
                if record.exc_info and record.exc_info[1] is not None:
                    text += f"\n{record.exc_info[1]}"
                detector.inspect("log", text, f"{record.levelname} of {record.name}")
        return record

    logging.setLogRecordFactory(make)
    stack.callback(logging.setLogRecordFactory, plain)


# Caches


def _watch_regions(detector: LeakDetector, stack: ExitStack) -> None:
    """Watch keys and values of dogpile.cache, if it is installed."""
    try:
        from dogpile.cache.region import CacheRegion
    except ModuleNotFoundError:
        return

    def wrap(name: str, inspect_call: Callable[[Any, Any, tuple[Any, ...]], None]) -> None:
        plain = getattr(CacheRegion, name)

        def call(region: Any, *args: Any, **kw: Any) -> Any:
            found = plain(region, *args, **kw)
            if not detector.allows(current_scope()):
                inspect_call(region, found, args)
            return found

        setattr(CacheRegion, name, call)
        stack.callback(setattr, CacheRegion, name, plain)

    def on_get(region: Any, found: Any, args: tuple[Any, ...]) -> None:
        keys = args[0] if isinstance(args[0], (list, tuple)) else [args[0]]
        values = found if isinstance(args[0], (list, tuple)) else [found]
        for key, value in zip(keys, values, strict=False):
            detector.inspect("cache key", str(key), f"the key {key}")
            detector.inspect("cache value", str(value), f"the value cached as {key}")

    def on_set(region: Any, found: Any, args: tuple[Any, ...]) -> None:
        detector.inspect("cache key", str(args[0]), f"the key {args[0]}")

    wrap("_get_from_backend", on_get)
    wrap("_get_multi_from_backend", on_get)
    wrap("_set_cached_value_to_backend", on_set)
