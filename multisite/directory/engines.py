"""Engines: made the way multisite needs them, and refused where a directory cannot work with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Engine, make_url

from multisite import forks
from multisite.dialects import dialect_error
from multisite.errors import MultisiteError

__all__ = ["check_engine", "dispose_after_fork", "engine_from_settings", "engine_from_url"]

CONNECT_SECONDS = 10
"""How long a server may take to let us in. psycopg waits for two minutes, psycopg2 for ever."""

_LIBPQ = {"postgresql", "postgresql+psycopg", "postgresql+psycopg2"}
"""The drivers that have `connect_timeout`."""


def engine_from_url(url: str | sa.URL, **options: Any) -> Engine:
    """Return a new engine for `url`; `options` are those of `sqlalchemy.create_engine`.

    SQLite enforces foreign keys only where every connection asks for it, which those of this engine do. A server that
    takes a connection and says nothing is given up after ten seconds, unless `connect_timeout` says otherwise.
    """
    url = make_url(url)
    options["connect_args"] = {**_connect_args(url), **options.get("connect_args", {})}
    return _enforcing(sa.create_engine(url, **options))


def engine_from_settings(settings: Mapping[str, Any], prefix: str = "sqlalchemy.") -> Engine:
    """Return a new engine from the settings below `prefix`, as `sqlalchemy.engine_from_config` reads them.

    References are enforced on SQLite and connections given up, as by `engine_from_url`.
    """
    options = {f"{prefix}connect_args": _connect_args(make_url(settings[f"{prefix}url"])), **settings}
    return _enforcing(sa.engine_from_config(options, prefix))


def _connect_args(url: sa.URL) -> dict[str, Any]:
    """Return what to connect to `url` with, so that it is given up in time where the driver would wait."""
    if url.drivername not in _LIBPQ or "connect_timeout" in url.query or "PGCONNECT_TIMEOUT" in os.environ:
        return {}
    return {"connect_timeout": CONNECT_SECONDS}


def dispose_after_fork(engine: Engine) -> None:
    """Let `engine` have connections of its own in each process that is forked from this one.

    Those that its pool holds are the parent's: what one process asked the other could get the answer to, which is the
    wrong site, or another site's rows.
    """
    forks.run_in_forked_child(engine, _leave_to_the_parent)


_inherited_pools: list[sa.Pool] = []
"""Kept: drivers complain of connections that are thrown away open, and some would end them for the parent too."""


def _leave_to_the_parent(engine: Engine) -> None:
    _inherited_pools.append(engine.pool)
    engine.dispose(close=False)


def _enforcing(engine: Engine) -> Engine:
    if engine.dialect.is_async:
        raise MultisiteError(
            f"the driver of {engine.url!r} is asynchronous, and the directory of sites is read synchronously: give it "
            "a URL with another driver, such as postgresql+psycopg://, as multisite.database_url"
        )
    if engine.dialect.name == "sqlite":
        # An event of the pool, not of the engine: those of the engine cost something at every statement.
        event.listen(engine.pool, "connect", _enforce_foreign_keys)
    dispose_after_fork(engine)
    return engine


def _enforce_foreign_keys(dbapi_connection: Any, _record: object) -> None:
    cursor = dbapi_connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def check_engine(engine: Engine) -> None:
    """Raise `MultisiteError` if the database of `engine` cannot hold the directory: in memory, or not supported."""
    if fault := dialect_error(engine.dialect.name):
        raise MultisiteError(fault)
    if engine.dialect.name == "sqlite" and _is_memory(engine.url):
        raise MultisiteError(
            f"the directory of sites cannot live in memory ({engine.url!r}): every connection of its own would open "
            "another, empty database. Use a file, such as sqlite:////srv/app/app.db; tests that roll back "
            "use multisite.testing.plant_site()"
        )


def _is_memory(url: sa.URL) -> bool:
    database = url.database or ""
    return database in {"", ":memory:"} or (
        database.startswith("file:")
        and (database.startswith("file::memory:") or "mode=memory" in database or url.query.get("mode") == "memory")
    )
