"""The catalogue of bypass attempts: one table, from which the tests and the page in the docs are made.

An *attempt* is a small function that uses a database as an application might: for one site, with rows of another in
reach (`Context`). The table says beside it what the outcome must be (`Expected`). `run_attempt` runs it and judges its
result, the rows of both sites afterwards, and its error. It does not know which layer is installed, so the same table
tests the scoping layer, row-level security, and a database with neither.

`PYTHONPATH=support python -m attack_catalogue`, in tests/, prints the table.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from releases import SQLALCHEMY
from scoped_models import ONE, TWO
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from attack_catalogue.models import index_of_key, index_of_site, keys_of, tables_to_watch
from multisite import CrossSiteError, NoCurrentSite, UnscopedStatement, using_site
from multisite.core.site import Site

__all__ = [
    "ATTEMPTS", "Attempt", "Context", "Expected", "Outcome", "add", "all_attempts", "attempt", "exactly", "no_result",
    "not_found", "own_rows", "refused", "rows_of_both", "run_attempt", "secrets", "succeeds",
]  # fmt: skip

BOTH = ("sqlite", "postgresql")
GROUPS = {
    "reads": "Reads",
    "objects": "Reads: objects, relationships and inheritance",
    "text": "SQL as text",
    "writes": "Writes",
    "links": "Writes: objects and links",
    "execution": "Connections, sessions, threads and requests",
    "cache": "The SQL compilation cache",
}


# -- the expected outcome ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """The outcome that an attempt must have.

    `errors`: one of them must be raised; empty if the attempt must not fail. `result`: what the attempt must return,
    if `exact`; otherwise it must return a secret of the own site, and none of another site. `advice`: the attempt is
    known to succeed, since nothing in this process can prevent it, and this is what to do instead. It then *must*
    succeed, so that the list stays true.
    """

    words: str
    errors: tuple[type[Exception], ...] = ()
    exact: bool = False
    result: Any = None
    advice: str | None = None


own_rows = Expected("own rows only")


def exactly(result: Any) -> Expected:
    """Expect that the attempt returns `result`, which would be different if rows of another site took part."""
    return Expected("own rows only", exact=True, result=result)


no_result = exactly(None)
"""For attempts that change rows: the changes are always compared."""


def refused(*errors: type[Exception]) -> Expected:
    """Expect one of these errors, or `UnscopedStatement` if none is given."""
    errors = errors or (UnscopedStatement,)
    return Expected("refused: " + " or ".join(error.__name__ for error in errors), errors)


def not_found(*errors: type[Exception]) -> Expected:
    """Expect one of the errors that SQLAlchemy or the database raises for a row that does not exist."""
    return Expected("as if there were no such row: " + " or ".join(error.__name__ for error in errors), errors)


def succeeds(advice: str) -> Expected:
    """Expect that the attempt succeeds, as documented; `advice` says what to do instead."""
    return Expected("succeeds", advice=advice)


# -- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attempt:
    """One attempt: `act` gets a `Context`, and `expected` judges its result.

    `without_site`: without a current site, one of these errors must be raised; None if that case says nothing.
    `commits`: the attempt may change rows permanently. `changes`: rows of the own site must be different afterwards.
    `in_subprocess`: it runs in a process of its own, where the whole layer is installed whatever a test removes here.
    """

    name: str
    group: str
    act: Callable[[Context], Any]
    expected: Expected
    databases: tuple[str, ...] = BOTH
    without_site: tuple[type[Exception], ...] | None = (NoCurrentSite,)
    commits: bool = False
    changes: bool = False
    in_subprocess: bool = False

    @property
    def id(self) -> str:
        return f"{self.group}: {self.name}"

    @property
    def exists(self) -> bool:
        """Whether the installed SQLAlchemy has the API that the attempt uses."""
        return SQLALCHEMY >= (2, 1) or self.id not in SINCE_2_1


SINCE_2_1 = {
    "links: another site's objects merged": "Session.merge_all",
    "reads: distinct on": "Select.ext",
    "reads: VALUES in a cte": "Values.cte",
    "text: statement into a table": "Select.into",
    "text: construct of a view": "CreateView",
    "text: construct of a table": "CreateTableAs",
    "text: extension behind WHERE": "Select.ext",
    "text: extension at the end": "Select.ext",
    "text: extension before the columns": "Select.ext",
    "text: delete with an extension": "Delete.ext",
    "text: update with an extension": "Update.ext",
}
"""The attempts that use an API of SQLAlchemy 2.1, by group and name."""

ATTEMPTS: dict[str, Attempt] = {}
"""All attempts, by group and name."""


def add(group: str, expected: Expected, attempts: dict[str, Callable[[Context], Any]], **options: Any) -> None:
    """Add attempts to the table. A name that begins with a database ("sqlite: …") is for that database alone."""
    if group not in GROUPS:
        raise ValueError(group)
    if expected.errors and "without_site" not in options:
        options["without_site"] = (NoCurrentSite, UnscopedStatement, CrossSiteError)
    if expected.advice:
        options.setdefault("without_site", None)
    for name, act in attempts.items():
        database, colon, rest = name.partition(": ")
        only = {"databases": (database,)} if colon and database in BOTH else {}
        made = Attempt(rest if only else name, group, act, expected, **(options | only))
        if made.id in ATTEMPTS:
            raise ValueError(f"the attempt '{made.id}' is already in the table")
        ATTEMPTS[made.id] = made


def attempt(
    group: str, expected: Expected, **options: Any
) -> Callable[[Callable[[Context], Any]], Callable[[Context], Any]]:
    """Add the decorated function, whose name is the name of the attempt."""

    def enter(act: Callable[[Context], Any]) -> Callable[[Context], Any]:
        add(group, expected, {act.__name__.strip("_").replace("_", " "): act}, **options)
        return act

    return enter


def all_attempts() -> dict[str, Attempt]:
    """Return the whole table."""
    from attack_catalogue import (  # noqa: F401  # Each adds its attempts.
        cache,
        connections,
        links,
        objects,
        reads,
        requests,
        searches,
        sessions,
        succeeding,
        tails,
        tasks,
        text,
        writes,
    )

    return ATTEMPTS


# -- running one ------------------------------------------------------------------------------------------------------


@dataclass
class Context:
    """What an attempt works with: an engine, the own site (None: no site is current), and another site."""

    engine: sa.Engine
    site: Site | None
    other: Site
    stack: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def session(self) -> Session:
        """The session of the own site."""
        return self.stack.enter_context(Session(self.engine, info={"site": self.site}))

    def open_session(self, **info: Any) -> Session:
        """Return a new session with this `info`, which is closed after the attempt, whatever its outcome."""
        return self.stack.enter_context(Session(self.engine, info=info))

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @property
    def other_secret(self) -> str:
        """The canary in each row of the other site."""
        return f"secret-{self.other.id}"

    def using_site(self) -> AbstractContextManager[Any]:
        """Make the own site, if any, current for a block."""
        return using_site(self.site) if self.site else nullcontext()

    def own_key(self, number: int = 1) -> int:
        """Return the key of the own site's rows of that number, even if no site is current."""
        return (ONE if self.other == TWO else TWO).id * 10 + number

    def other_key(self, number: int = 1) -> int:
        """Return the key of the other site's rows of that number."""
        return self.other.id * 10 + number

    def scalars(self, statement: Any, *args: Any, **kw: Any) -> list[Any]:
        """Execute a statement by the session; return its first column."""
        return list(self.session.execute(statement, *args, **kw).scalars())

    def rows(self, statement: Any, *args: Any, **kw: Any) -> list[Any]:
        """Execute a statement by the session; return its rows."""
        return [tuple(row) for row in self.session.execute(statement, *args, **kw)]

    def execute(self, statement: Any, *args: Any, **kw: Any) -> None:
        """Execute a statement by the session; ignore its result."""
        self.session.execute(statement, *args, **kw)

    def insert(self, target: Any) -> Any:
        """Return the dialect's INSERT, which has ON CONFLICT."""
        return (sqlite if self.is_sqlite else postgresql).insert(target)

    def other_object(self, model: Any, number: int = 1) -> Any:
        """Return an object of the other site, detached from the session that loaded it."""
        with Session(self.engine, info={"site": self.other}) as session:
            found = session.get_one(model, self.other_key(number))
            session.expunge(found)
        return found


def secrets(objects: Iterable[Any]) -> list[Any]:
    """Return the canaries of objects, and None for each None."""
    return [None if each is None else each.secret for each in objects]


@dataclass
class Outcome:
    """The outcome of an attempt. `leaks`: rows of another site were returned, changed or linked. `faults`: all
    differences from what is expected, including the leaks."""

    result: Any = None
    error: BaseException | None = None
    leaks: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        ended = f"{type(self.error).__name__}: {self.error}" if self.error else repr(self.result)
        return "; ".join(self.faults) + f" (outcome: {ended[:300]})"


Rows = dict[int, dict[str, list[tuple[Any, ...]]]]
"""All rows of the two sites, by the site's id and the table."""


def rows_of_both(connection: Any) -> Rows:
    """Return all rows of scoped tables, read by a connection of the driver, which is not scoped."""
    sites = (ONE.id, TWO.id)
    statements = [f"SELECT * FROM {table} WHERE site_id IN {sites}" for table in tables_to_watch()]
    cursor = connection.cursor()
    found = list(_results(cursor, statements))
    cursor.close()
    rows: Rows = {site: {} for site in sites}
    for table, both in zip(tables_to_watch(), found, strict=True):
        index = index_of_site(table)
        for site in sites:
            rows[site][table] = sorted((tuple(row) for row in both if row[index] == site), key=repr)
    return rows


def _results(cursor: Any, statements: list[str]) -> Iterator[list[Any]]:
    """Yield the rows of each statement. PostgreSQL is asked once for all, since they are read for each attempt."""
    if not hasattr(cursor, "nextset"):
        for statement in statements:
            yield cursor.execute(statement).fetchall()
        return
    cursor.execute("; ".join(statements))
    for _statement in statements:
        yield cursor.fetchall()
        cursor.nextset()


def run_attempt(
    attempt: Attempt, engine: sa.Engine, site: Site | None, other: Site, before: Rows,
    read: Callable[[Any], Rows] = rows_of_both,
) -> Outcome:  # fmt: skip
    """Run `attempt` and judge it.

    Args:
        attempt: what to run. Its changes are rolled back, unless it commits: the caller then restores the rows.
        engine: the database.
        site: the own site, or None.
        other: the site whose rows are in reach.
        before: the rows as they were.
        read: reads all rows by a connection of the driver.
    """
    outcome = Outcome()
    ctx = Context(engine, site, other)
    after = None
    with ctx.stack:
        try:
            outcome.result = attempt.act(ctx)
            if "session" in vars(ctx):
                ctx.session.flush()
                after = read(ctx.session.connection().connection)
        except Exception as error:
            outcome.error = error
            if "session" in vars(ctx):
                _roll_back(ctx.session)
    if attempt.commits:
        connection = engine.raw_connection()
        try:
            after = read(connection)
        finally:
            connection.close()
    _find_leaks(outcome, other, before, after)
    _find_faults(outcome, attempt, site, before, after)
    return outcome


def _roll_back(session: Session) -> None:
    try:
        session.rollback()
    except sa.exc.DBAPIError:
        # An attempt that was not refused may leave the connection in a state in which it cannot roll back.
        session.invalidate()


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset, sa.Row)):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def _is_of(other: Site, leaf: Any) -> bool:
    if isinstance(leaf, int) and not isinstance(leaf, bool):
        return leaf in keys_of(other)
    return f"secret-{other.id}" in str(leaf)


def _find_leaks(outcome: Outcome, other: Site, before: Rows, after: Rows | None) -> None:
    if any(_is_of(other, leaf) for leaf in _leaves(outcome.result)):
        outcome.leaks.append("returned rows of the other site")
    if after is None:
        return
    if after[other.id] != before[other.id]:
        outcome.leaks.append("changed rows of the other site")
    for site_id in after.keys() - {other.id}:
        if any(_is_of(other, value) for table in after[site_id] for value in _new(table, before, after, site_id)):
            outcome.leaks.append("own rows hold values, or keys, of the other site")


def _new(table: str, before: Rows, after: Rows, site_id: int) -> Iterator[Any]:
    """Yield the values of new and changed rows, without their own keys, which the database may have generated."""
    key = index_of_key(table)
    earlier = {row[key]: row for row in before[site_id][table]} if key is not None else {}
    for row in after[site_id][table]:
        if row not in before[site_id][table]:
            old = earlier.get(row[key], ()) if key is not None else ()
            yield from (v for index, v in enumerate(row) if index != key and v not in old[index : index + 1])


def _find_faults(outcome: Outcome, attempt: Attempt, site: Site | None, before: Rows, after: Rows | None) -> None:
    expected = attempt.expected
    errors: Collection[type[Exception]] = expected.errors if site else attempt.without_site or ()
    found = [leaf for leaf in _leaves(outcome.result) if leaf is not None]
    if errors:
        if not isinstance(outcome.error, tuple(errors)):
            outcome.faults.append("was not refused" if outcome.error is None else "was refused by another error")
    elif outcome.error is not None:
        outcome.faults.append("was refused")
    elif expected.exact and outcome.result != expected.result:
        outcome.leaks.append(f"returned something other than {expected.result!r}")
    elif not expected.exact and not any(f"secret-{site.id}" in str(leaf) for leaf in found if site):
        outcome.faults.append("did not return own rows")
    elif attempt.changes and after is not None and site is not None and after[site.id] == before[site.id]:
        outcome.faults.append("did not change own rows")
    outcome.faults += outcome.leaks
