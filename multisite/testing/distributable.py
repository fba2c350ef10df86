"""Refuse, in tests, the statements that a database distributed with Citus would refuse: `--multisite-distributable`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.sql.elements import ClauseElement

from multisite.errors import MultisiteError
from multisite.sharding.statements import find_undistributable

__all__ = ["refuse_undistributable"]


@contextmanager
def refuse_undistributable() -> Iterator[None]:
    """Refuse ON CONFLICT (id) and GROUP BY id on scoped tables within the block, on every engine of the process.

    They work until the database is distributed. A refused statement raises `MultisiteError` and is not executed.
    """

    def check(_connection: object, statement: object, *_: object) -> None:
        fault = find_undistributable(statement) if isinstance(statement, ClauseElement) else None
        if fault is not None:
            raise MultisiteError(f"a database that is distributed by site_id refuses {fault}")

    event.listen(Engine, "before_execute", check)
    try:
        yield
    finally:
        event.remove(Engine, "before_execute", check)
