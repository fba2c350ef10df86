"""The doors through which what belongs to a site can get out, each with somebody who looks at what comes through.

Only while a `Detector` is on: the doors are the cursors of the drivers, Pyramid's router (in
`multisite.testing.responses`), the factory of log records, and the regions of dogpile.cache.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from multisite.current import Scope, current_scope
from multisite.models import OWN_ACCESS
from multisite.scoping.pin import known_scope_of
from multisite.testing.responses import watch_responses

if TYPE_CHECKING:
    from multisite.testing.leaks import Detector

__all__ = ["install_watchers"]


def install_watchers(detector: Detector) -> Callable[[], None]:
    """Let `detector` look at every door; return what ends that."""
    with ExitStack() as stack:
        for install in (_watch_cursors, watch_responses, _watch_logs, _watch_regions):
            install(detector, stack)
        return stack.pop_all().close


# SQL


def _watch_cursors(detector: Detector, stack: ExitStack) -> None:
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
            cursor.scope, cursor.statement = known_scope_of(connection), statement
            # What names no scoped table belongs to nobody, such as what the directory asks about every site.
            concerns_sites = getattr(getattr(context, "compiled", None), "concerns_sites", True)
            # The directory reads the rows of any site, by connections of its own.
            cursor.is_nobodys = not concerns_sites or context.execution_options.get(OWN_ACCESS, False)

    for target, name, listener in (
        (Engine, "do_connect", prepare),
        (Pool, "connect", connected),
        (Engine, "before_cursor_execute", about_to_execute),
    ):
        event.listen(target, name, listener)
        stack.callback(event.remove, target, name, listener)


class _WatchedCursor:
    """Mixed in front of a driver's cursor: each row that is fetched is looked at.

    `scope` and `statement` are those of SQLAlchemy; a cursor that code has made itself has neither.
    """

    detector: Detector
    scope: Scope | None = None
    statement: str | None = None
    is_nobodys = False

    def _inspect(self, rows: Iterable[Any]) -> None:
        if self.is_nobodys or self.detector.allows(self.scope or current_scope()):
            return
        detail = self.statement or "a cursor of the database driver, which no wall limits"
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
    """A cursor of SQLite whose rows are looked at."""

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
    detector: Detector

    def cursor(self, factory: Any = _SqliteCursor) -> Any:
        return super().cursor(factory)


def _text_of(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}"
    return bytes(value).decode("latin-1") if isinstance(value, (bytes, memoryview)) else str(value)


# Logs


def _watch_logs(detector: Detector, stack: ExitStack) -> None:
    plain = logging.getLogRecordFactory()

    def make(*args: Any, **kw: Any) -> logging.LogRecord:
        record = plain(*args, **kw)
        if not detector.allows(current_scope()):
            with suppress(Exception):  # A record whose arguments do not fit: whoever formats it will say so.
                text = record.getMessage()
                if record.exc_info and record.exc_info[1] is not None:
                    text += f"\n{record.exc_info[1]}"
                detector.inspect("log", text, f"{record.levelname} of {record.name}")
        return record

    logging.setLogRecordFactory(make)
    stack.callback(logging.setLogRecordFactory, plain)


# Caches


def _watch_regions(detector: Detector, stack: ExitStack) -> None:
    """Look at keys and values of dogpile.cache, if the environment has it."""
    try:
        from dogpile.cache.region import CacheRegion
    except ModuleNotFoundError:
        return

    def watch(name: str, look: Callable[[Any, Any, tuple[Any, ...]], None]) -> None:
        plain = getattr(CacheRegion, name)

        def call(region: Any, *args: Any, **kw: Any) -> Any:
            found = plain(region, *args, **kw)
            if not detector.allows(current_scope()):
                look(region, found, args)
            return found

        setattr(CacheRegion, name, call)
        stack.callback(setattr, CacheRegion, name, plain)

    def got(region: Any, found: Any, args: tuple[Any, ...]) -> None:
        keys = args[0] if isinstance(args[0], (list, tuple)) else [args[0]]
        values = found if isinstance(args[0], (list, tuple)) else [found]
        for key, value in zip(keys, values, strict=False):
            detector.inspect("cache key", str(key), f"the key {key}")
            detector.inspect("cache value", str(value), f"what is cached as {key}")

    def put(region: Any, found: Any, args: tuple[Any, ...]) -> None:
        detector.inspect("cache key", str(args[0]), f"the key {args[0]}")

    watch("_get_from_backend", got)
    watch("_get_multi_from_backend", got)
    watch("_set_cached_value_to_backend", put)
