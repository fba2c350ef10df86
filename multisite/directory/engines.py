"""Create the engine of the directory, and check one that the application provides."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Engine, make_url

from multisite.core import fork_safety
from multisite.core.dialects import dialect_error
from multisite.errors import MultisiteError

__all__ = ["check_engine", "dispose_after_fork", "engine_from_settings", "engine_from_url"]

CONNECT_SECONDS = 10
"""How long to wait for a connection. By default psycopg waits for two minutes, psycopg2 for ever."""

_LIBPQ = {"postgresql", "postgresql+psycopg", "postgresql+psycopg2"}
"""The drivers that support `connect_timeout`."""


def engine_from_url(url: str | sa.URL, **options: Any) -> Engine:
    """Return a new engine for `url`; `options` are those of `sqlalchemy.create_engine`.

    Its connections enforce foreign keys on SQLite. On PostgreSQL, connecting times out after ten seconds, unless the
    URL or `PGCONNECT_TIMEOUT` sets `connect_timeout`.
    """
    url = make_url(url)
    options["connect_args"] = {**_connect_args(url), **options.get("connect_args", {})}
    return _prepared(sa.create_engine(url, **options))


def engine_from_settings(settings: Mapping[str, Any], prefix: str = "sqlalchemy.") -> Engine:
    """Return a new engine from the settings below `prefix`, as `sqlalchemy.engine_from_config` reads them.

    Foreign keys and timeouts are those of `engine_from_url`.
    """
    options = {f"{prefix}connect_args": _connect_args(make_url(settings[f"{prefix}url"])), **settings}
    return _prepared(sa.engine_from_config(options, prefix))


def _connect_args(url: sa.URL) -> dict[str, Any]:
    """Return the connect arguments that limit how long the driver waits for the server of `url`."""
    if url.drivername not in _LIBPQ or "connect_timeout" in url.query or "PGCONNECT_TIMEOUT" in os.environ:
        return {}
    return {"connect_timeout": CONNECT_SECONDS}


def dispose_after_fork(engine: Engine) -> None:
    """Give `engine` a new pool in every forked child.

    The pooled connections belong to the parent: if both processes used one, each could receive the other's results,
    which may be another site's rows.
    """
    fork_safety.run_in_forked_child(engine, _replace_pool)


_inherited_pools: list[sa.Pool] = []
"""Kept alive: drivers warn about open connections that are garbage-collected, and some close the parent's as well."""


def _replace_pool(engine: Engine) -> None:
    _inherited_pools.append(engine.pool)
    engine.dispose(close=False)


def _prepared(engine: Engine) -> Engine:
    if engine.dialect.is_async:
        raise MultisiteError(
            f"the driver of {engine.url!r} is asynchronous, but the directory of sites is read synchronously: set "
            "multisite.database_url to a URL with another driver, such as postgresql+psycopg://"
        )
    if engine.dialect.name == "sqlite":
        # An event of the pool, because events of the engine cost something at every statement.
        event.listen(engine.pool, "connect", _enforce_foreign_keys)
    dispose_after_fork(engine)
    return engine


def _enforce_foreign_keys(dbapi_connection: Any, _record: object) -> None:
    cursor = dbapi_connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def check_engine(engine: Engine) -> None:
    """Check that the database of `engine` can hold the directory.

    Raises:
        MultisiteError: If the database is not supported, or is an in-memory SQLite database.
    """
    if error := dialect_error(engine.dialect.name):
        raise MultisiteError(error)
    if engine.dialect.name == "sqlite" and _is_memory(engine.url):
        raise MultisiteError(
            f"the directory of sites cannot be in an in-memory database ({engine.url!r}): each connection would "
            "open another, empty one. Use a file, such as sqlite:////srv/app/app.db; tests that roll back "
            "use multisite.testing.plant_site()"
        )


def _is_memory(url: sa.URL) -> bool:
    database = url.database or ""
    return database in {"", ":memory:"} or (
        database.startswith("file:")
        and (database.startswith("file::memory:") or "mode=memory" in database or url.query.get("mode") == "memory")
    )
