"""Single statements: with hand-written sites in one process, and limited by multisite in the other.

python -m benchmarks.statements hand|scoped URL
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session, joinedload, selectinload

from benchmarks.library import POSTS, make_models
from benchmarks.measured import Measured

__all__ = ["FIRST_DAY", "OPERATIONS", "Statements", "values_of"]

OPERATIONS = {
    "begin": "a session: begin, close",
    "row": "one row by its key",
    "list": "a list of 20",
    "prepared": "a list of 20, prepared statement",
    "join": "a list of 20 by a join",
    "selectin": "a list of 20, eager load by selectinload",
    "joined": "a list of 20, eager load by joinedload",
    "get": "session.get, not in the identity map",
    "get_warm": "session.get, in the identity map",
    "lazy_one": "lazy load of a many-to-one",
    "lazy_many": "lazy load of a one-to-many",
    "insert": "flush of one INSERT",
    "update": "flush of one UPDATE",
    "delete": "flush of one DELETE",
    "update_by": "UPDATE … WHERE, one row",
    "delete_by": "DELETE … WHERE, one row",
    "bulk": "INSERT of 20 rows at once",
}
"""The methods of `Statements` with their titles. By hand, statements without a WHERE in the application's code (get,
lazy and eager loads, flushes) are not limited to a site."""

SITE_ID = 1
FIRST_DAY = datetime(2020, 1, 1)  # noqa: DTZ001 - SQLite keeps no zone.
_LIST = 20


def values_of(number: int, author_id: int) -> dict[str, Any]:
    """Return the columns of the post with this number."""
    return {
        "title": f"Notes & queries, part {number}",
        "body": f"What the {number}th day brought: rain in the morning, and a walk along the river. " * 2,
        "published": FIRST_DAY + timedelta(hours=number),
        "author_id": author_id,
    }


class Statements(Measured):
    """Statements on posts; each method of `OPERATIONS` takes the number of repetitions, and returns the last result."""

    def __init__(self, url: str, *, by_hand: bool) -> None:
        super().__init__()
        self.base, self.author, self.post, self.comment = make_models(by_hand=by_hand)
        self.url = url
        self.engine = sa.create_engine(url)
        self.by_hand = by_hand
        self.info = {} if by_hand else {"site": _site(SITE_ID)}
        self.given = {"site_id": SITE_ID} if by_hand else {}
        self.numbers = itertools.count(POSTS)
        self.keys = itertools.cycle(range(1, POSTS // 2))
        self.prepared_list = self._newest()
        self.work = {name: getattr(self, name) for name in OPERATIONS}

    def result(self, name: str) -> str:
        """Run this work twice and return its result, for comparison."""
        return str(self.work[name](2))

    def _limited(self, statement: Any, *models: Any) -> Any:
        if not self.by_hand:
            return statement
        return statement.where(*(model.site_id == SITE_ID for model in models or (self.post,)))

    def _newest(self) -> Any:
        return self._limited(sa.select(self.post)).order_by(self.post.published.desc()).limit(_LIST)

    def _new(self) -> dict[str, Any]:
        return {**values_of(next(self.numbers), 1), **self.given}

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with Session(self.engine, info=dict(self.info)) as session:
            session.connection()
            yield session

    def _repeat(self, count: int, work: Callable[[Session], Any]) -> Any:
        result = None
        with self._session() as session:
            for _ in range(count):
                result = work(session)
                session.expunge_all()
        return result

    def begin(self, count: int) -> None:
        """Open a session, let it use a connection, and close it."""
        for _ in range(count):
            with self._session():
                pass

    def row(self, count: int) -> str:
        """Select one object by its key."""

        def select_one(session: Session) -> str:
            statement = self._limited(sa.select(self.post).where(self.post.id == next(self.keys)))
            return session.scalars(statement).one().title

        return self._repeat(count, select_one)

    def list(self, count: int) -> int:
        """Select twenty objects."""
        return self._repeat(count, lambda session: len(session.scalars(self._newest()).all()))

    def prepared(self, count: int) -> int:
        """Select twenty objects with a prepared statement, which hides the cost of writing the limit by hand."""
        return self._repeat(count, lambda session: len(session.scalars(self.prepared_list).all()))

    def join(self, count: int) -> int:
        """Select twenty objects with a join; by hand, both tables are limited."""

        def select_joined(session: Session) -> int:
            statement = sa.select(self.post).join(self.post.author).where(self.author.name == "Author 1")
            return len(session.scalars(self._limited(statement, self.post, self.author).limit(_LIST)).all())

        return self._repeat(count, select_joined)

    def selectin(self, count: int) -> int:
        """Select twenty objects with those that refer to them, by a second statement."""
        return self._eager(count, selectinload(self.post.comments))

    def joined(self, count: int) -> int:
        """Select twenty objects with the one that each refers to, by an outer join."""
        return self._eager(count, joinedload(self.post.author))

    def _eager(self, count: int, option: Any) -> int:
        def select_eagerly(session: Session) -> int:
            statement = self._limited(sa.select(self.post)).order_by(self.post.published).limit(_LIST).options(option)
            posts = session.scalars(statement).all()
            return sum("comments" not in sa.inspect(post).unloaded for post in posts) + len(posts)

        return self._repeat(count, select_eagerly)

    def get(self, count: int) -> str:
        """Get an object that the session does not have."""
        return self._repeat(count, lambda session: session.get(self.post, next(self.keys)).title)

    def get_warm(self, count: int) -> str:
        """Get an object that the session has, a hundred times each."""
        with self._session() as session:
            post = session.get(self.post, 1)
            for _ in range(count * 100):
                session.get(self.post, 1)
            return post.title

    def lazy_one(self, count: int) -> str:
        """Lazily load the object that another one refers to."""
        return self._lazily(count, "author", lambda author: author.name)

    def lazy_many(self, count: int) -> int:
        """Lazily load the objects that refer to another one."""
        return self._lazily(count, "comments", len)

    def _lazily(self, count: int, attribute: str, look: Callable[[Any], Any]) -> Any:
        result = None
        with self._session() as session:
            post = session.get(self.post, 1)
            for _ in range(count):
                # The session holds weak references, so this is a new statement every time.
                session.expire(post, [attribute])
                result = look(getattr(post, attribute))
        return result

    def insert(self, count: int) -> None:
        """Flush a new object; as with all changes, the transaction is rolled back at the end."""

        def insert_one(session: Session) -> None:
            session.add(self.post(**self._new()))
            session.flush()

        self._repeat(count, insert_one)

    def update(self, count: int) -> None:
        """Flush a change of an object."""
        with self._session() as session:
            post = session.get(self.post, 1)
            for number in range(count):
                post.title = f"title {number}"
                session.flush()

    def delete(self, count: int) -> None:
        """Flush the deletion of an object; includes loading all of them before, at once."""
        with self._session() as session:
            last = self._limited(sa.select(self.post)).where(self.post.id > POSTS // 2)
            for post in session.scalars(last.order_by(self.post.id.desc()).limit(count)).all():
                session.delete(post)
                session.flush()

    def update_by(self, count: int) -> int:
        """Execute an UPDATE with a condition."""

        def update_one(session: Session) -> Any:
            statement = sa.update(self.post).where(self.post.id == next(self.keys)).values(title="other")
            return session.execute(self._limited(statement), execution_options=_UNSEEN).rowcount

        return self._repeat(count, update_one)

    def delete_by(self, count: int) -> int:
        """Execute a DELETE with a condition."""
        keys = itertools.count(POSTS, -1)

        def delete_one(session: Session) -> Any:
            statement = sa.delete(self.post).where(self.post.id == next(keys))
            return session.execute(self._limited(statement), execution_options=_UNSEEN).rowcount

        return self._repeat(count, delete_one)

    def bulk(self, count: int) -> int:
        """Execute an INSERT of many rows."""

        def insert_many(session: Session) -> int:
            rows = [self._new() for _ in range(_LIST)]
            session.execute(sa.insert(self.post), rows)
            return len(rows)

        return self._repeat(count, insert_many)

    def sites(self, count: int) -> dict[str, int]:
        """Run a few statements for each of several sites, and return the hits and misses of the compiled cache.

        Uses a separate engine, because event listeners slow down each statement.
        """
        engine = sa.create_engine(self.url)
        found: Counter[str] = Counter()

        def note(_conn: Any, _cursor: Any, _sql: str, _values: Any, context: Any, _many: bool) -> None:
            found["hits" if context.cache_hit.name == "CACHE_HIT" else "compiled"] += 1

        event.listen(engine, "after_cursor_execute", note)
        for number in range(1, count + 1):
            with Session(engine, info={"site": _site(number)}) as session:
                session.scalars(sa.select(self.post).where(self.post.id == number)).all()
                newest = sa.select(self.post).order_by(self.post.published.desc()).limit(_LIST)
                session.scalars(newest.options(joinedload(self.post.author), selectinload(self.post.comments))).all()
                session.get(self.post, number)
                author = self.author(name="new")
                session.add(author)
                session.flush()
                session.execute(sa.update(self.post).values(title="other"), execution_options=_UNSEEN)
        engine.dispose()
        return dict(found)


_UNSEEN = {"synchronize_session": False}


def _site(number: int) -> Any:
    from multisite import Site

    return Site(number, f"site{number}.bench.example", f"Site {number}", f"site{number}.bench.example")


def main() -> None:
    """Run the statements of the kind given on the command line until standard input ends."""
    kind, url = sys.argv[1:]
    Statements(url, by_hand=kind == "hand").serve()


if __name__ == "__main__":
    main()
