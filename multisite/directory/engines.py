"""Engines: made the way multisite needs them, and refused where a directory cannot work with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Engine, make_url

from multisite.errors import MultisiteError

__all__ = ["engine_from_settings", "engine_from_url", "refuse_memory"]


def engine_from_url(url: str | sa.URL, **options: Any) -> Engine:
    """Return a new engine for `url`; `options` are those of `sqlalchemy.create_engine`.

    SQLite enforces foreign keys only where every connection asks for it, which those of this engine do.
    """
    return _enforcing(sa.create_engine(make_url(url), **options))


def engine_from_settings(settings: Mapping[str, Any], prefix: str = "sqlalchemy.") -> Engine:
    """Return a new engine from the settings below `prefix`, as `sqlalchemy.engine_from_config` reads them.

    References are enforced on SQLite, as by `engine_from_url`.
    """
    return _enforcing(sa.engine_from_config(dict(settings), prefix))


def _enforcing(engine: Engine) -> Engine:
    if engine.dialect.name == "sqlite":
        # An event of the pool, not of the engine: those of the engine cost something at every statement.
        event.listen(engine.pool, "connect", _enforce_foreign_keys)
    return engine


def _enforce_foreign_keys(dbapi_connection: Any, _record: object) -> None:
    cursor = dbapi_connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def refuse_memory(engine: Engine) -> None:
    """Raise `MultisiteError` if `engine` is on an in-memory SQLite database."""
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
