"""Single statements: with the site written by hand in one process, and limited by the wall in the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from benchmarks.page import ROWS, values_of

__all__ = ["OPERATIONS", "Statements"]

OPERATIONS = {
    "begin": "a session: begin, close",
    "get": "session.get, not in memory",
    "row": "one row by its key",
    "list": "a list of 20",
    "prepared": "a list of 20, statement made before",
    "insert": "flush of one INSERT",
    "update": "flush of one UPDATE",
}
"""The methods of `Statements` and what each is. By hand, `get` and `update` have no limit to a site: nobody writes
one there."""

SITE_ID = 1


class Statements:
    """Statements on `model`; each method of `OPERATIONS` takes how often it is done. `site` is None for by hand."""

    def __init__(self, model: Any, url: str, site: Any) -> None:
        self.model = model
        self.engine = sa.create_engine(url)
        self.info = {} if site is None else {"site": site}
        self.by_hand = site is None
        self.numbers = itertools.count(ROWS)
        self.keys = itertools.cycle(range(1, 1_000))
        self.prepared_list = self._newest()

    def _limited(self, statement: Any) -> Any:
        return statement.where(self.model.site_id == SITE_ID) if self.by_hand else statement

    def _newest(self) -> Any:
        return self._limited(sa.select(self.model)).order_by(self.model.published.desc()).limit(20)

    def _new(self) -> Any:
        return self.model(**values_of(next(self.numbers)), **({"site_id": SITE_ID} if self.by_hand else {}))

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with Session(self.engine, info=dict(self.info)) as session:
            session.connection()
            yield session

    def _repeat(self, count: int, work: Callable[[Session], Any]) -> None:
        with self._session() as session:
            for _ in range(count):
                work(session)
                session.expunge_all()

    def begin(self, count: int) -> None:
        """Open a session, let it have a connection, and close it."""
        for _ in range(count):
            with self._session():
                pass

    def get(self, count: int) -> None:
        """Get an object that the session does not have."""
        self._repeat(count, lambda session: session.get(self.model, next(self.keys)))

    def row(self, count: int) -> None:
        """Select one object by its key."""

        def select_one(session: Session) -> None:
            session.scalars(self._limited(sa.select(self.model).where(self.model.id == next(self.keys)))).one()

        self._repeat(count, select_one)

    def list(self, count: int) -> None:
        """Select twenty objects."""
        self._repeat(count, lambda session: session.scalars(self._newest()).all())

    def prepared(self, count: int) -> None:
        """Select twenty objects by a statement that is there: nothing is saved by not writing the limit."""
        self._repeat(count, lambda session: session.scalars(self.prepared_list).all())

    def insert(self, count: int) -> None:
        """Flush a new object; the transaction is rolled back in the end."""

        def insert_one(session: Session) -> None:
            session.add(self._new())
            session.flush()

        self._repeat(count, insert_one)

    def update(self, count: int) -> None:
        """Flush a change of an object; the transaction is rolled back in the end."""
        with self._session() as session:
            entry = session.get(self.model, 1)
            for number in range(count):
                entry.title = f"title {number}"
                session.flush()
