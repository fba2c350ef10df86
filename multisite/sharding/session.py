"""Make the statements of migrations possible on a distributed database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from multisite.sharding.catalog import has_citus

__all__ = ["sequential_changes"]


@contextmanager
def sequential_changes(engine: Engine) -> Iterator[None]:
    """Let transactions in this process change several distributed tables, if the database has the extension citus.

    Citus changes the shards of a table over parallel connections, and then refuses to change another table, to which
    it has a reference, in the same transaction. Every connection that is opened within the block gets the setting,
    since an application's env.py opens its own. Elsewhere nothing is sent.
    """
    with engine.connect() as connection:
        is_needed = has_citus(connection)
    if not is_needed:
        yield
        return
    event.listen(Engine, "engine_connect", _set_sequential)
    try:
        yield
    finally:
        event.remove(Engine, "engine_connect", _set_sequential)


def _set_sequential(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        raw = connection.connection.dbapi_connection
        # With the driver, so that SQLAlchemy does not count it as the beginning of a transaction.
        with raw.cursor() as cursor:  # type: ignore[union-attr]
            cursor.execute("SET citus.multi_shard_modify_mode TO 'sequential'")
        raw.commit()  # type: ignore[union-attr]
