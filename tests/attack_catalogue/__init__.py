"""The catalogue of ways to touch a row: one table, which tests and pages are made of.

A *way* is one small function that uses a database as an application might, at a `Place`: for one site, with rows of
another in reach. What it has to end in stands beside it. `run_way` does it and looks at what came out, at all rows of
both sites, and at what came to nothing; whether a wall stood in between is not its business, so the same table serves
with one wall, with the other, and with none.

`python -m attack_catalogue`, in tests/, prints the table.
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

from attack_catalogue.models import foreign_keys_of, position_of_key, tables_to_watch
from multisite import CrossSiteError, NoCurrentSite, UnscopedStatement, using_site
from multisite.core.site import Site

__all__ = [
    "WAYS", "Expected", "Outcome", "Place", "Way", "add", "all_ways", "exactly", "gone", "limit", "nothing", "own",
    "refused", "rows_of_both", "run_way", "secrets", "way",
]  # fmt: skip

BOTH = ("sqlite", "postgresql")
GROUPS = {
    "reads": "Reads",
    "objects": "Reads: objects, relationships and inheritance",
    "text": "SQL that comes as text",
    "writes": "Writes",
    "links": "Writes: objects and links",
    "side": "Around SQLAlchemy's statements",
    "cache": "The SQL compilation cache",
}


# -- what a way has to end in -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """What a way has to end in. `errors` are those of which one has to be raised, none where it is empty.

    `result`, where `exact`, is what has to come out; otherwise a secret of the own site, and none of another's.
    `limit` says what to do where nothing in this process can close the way: it then *has* to leak.
    """

    words: str
    errors: tuple[type[Exception], ...] = ()
    exact: bool = False
    result: Any = None
    limit: str | None = None


own = Expected("own rows only")


def exactly(result: Any) -> Expected:
    """Expect that the way returns `result`, which is different if rows of another site take part."""
    return Expected("own rows only", exact=True, result=result)


nothing = exactly(None)
"""For what changes rows: what it changes is looked at anyway."""


def refused(*errors: type[Exception]) -> Expected:
    """Expect one of these errors; without any `UnscopedStatement`."""
    errors = errors or (UnscopedStatement,)
    return Expected("refused: " + " or ".join(error.__name__ for error in errors), errors)


def gone(*errors: type[Exception]) -> Expected:
    """Expect what SQLAlchemy or the database say of a row that is not there."""
    return Expected("as if there were no such row: " + " or ".join(error.__name__ for error in errors), errors)


def limit(advice: str) -> Expected:
    """Expect that it leaks, as documented; `advice` says what to do."""
    return Expected("limit", limit=advice)


# -- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """One way: `act` is given a `Place`, and its result is judged by `expected`.

    `without_site` are the errors of which one has to come where there is no site; None where that says nothing.
    `commits` says that rows may be changed for good, `changes` that rows of the own site have to be others afterwards.
    `apart` says that it is gone in a process of its own, which has the whole wall whatever is taken away here.
    """

    name: str
    group: str
    act: Callable[[Place], Any]
    expected: Expected
    databases: tuple[str, ...] = BOTH
    without_site: tuple[type[Exception], ...] | None = (NoCurrentSite,)
    commits: bool = False
    changes: bool = False
    apart: bool = False

    @property
    def id(self) -> str:
        return f"{self.group}: {self.name}"

    @property
    def exists(self) -> bool:
        """Whether the SQLAlchemy at hand has the API that it uses."""
        return SQLALCHEMY >= (2, 1) or self.id not in SINCE_2_1


SINCE_2_1 = {
    "links: foreign objects merged": "Session.merge_all",
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
"""The ways that use an API which SQLAlchemy has since 2.1, by group and name."""

WAYS: dict[str, Way] = {}
"""All ways, by group and name."""


def add(group: str, expected: Expected, rows: dict[str, Callable[[Place], Any]], **options: Any) -> None:
    """Enter ways into the table. A name that begins with a database's ("sqlite: …") is for that one alone."""
    if group not in GROUPS:
        raise ValueError(group)
    if expected.errors and "without_site" not in options:
        options["without_site"] = (NoCurrentSite, UnscopedStatement, CrossSiteError)
    if expected.limit:
        options.setdefault("without_site", None)
    for name, act in rows.items():
        database, colon, rest = name.partition(": ")
        only = {"databases": (database,)} if colon and database in BOTH else {}
        made = Way(rest if only else name, group, act, expected, **(options | only))
        if made.id in WAYS:
            raise ValueError(f"there is a way '{made.id}' already")
        WAYS[made.id] = made


def way(group: str, expected: Expected, **options: Any) -> Callable[[Callable[[Place], Any]], Callable[[Place], Any]]:
    """Enter the decorated function, whose name is that of the way."""

    def enter(act: Callable[[Place], Any]) -> Callable[[Place], Any]:
        add(group, expected, {act.__name__.strip("_").replace("_", " "): act}, **options)
        return act

    return enter


def all_ways() -> dict[str, Way]:
    """Return the whole table."""
    from attack_catalogue import (  # noqa: F401  # They enter their ways.
        cache,
        connections,
        limits,
        links,
        objects,
        reads,
        requests,
        sessions,
        tails,
        tasks,
        text,
        writes,
    )

    return WAYS


# -- doing one --------------------------------------------------------------------------------------------------------


@dataclass
class Place:
    """Where a way is gone: an engine, the site to work for (None: none), and another whose rows are in reach."""

    engine: sa.Engine
    site: Site | None
    other: Site
    stack: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def s(self) -> Session:
        """The session of the site."""
        return self.stack.enter_context(Session(self.engine, info={"site": self.site}))

    def opened(self, **info: Any) -> Session:
        """Return a session of its own, which is closed when the way has been gone, however that ends."""
        return self.stack.enter_context(Session(self.engine, info=info))

    @property
    def sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @property
    def foreign(self) -> str:
        """The canary in each row of the other site."""
        return f"secret-{self.other.id}"

    def within(self) -> AbstractContextManager[Any]:
        """Make the site current for a block."""
        return using_site(self.site) if self.site else nullcontext()

    def own(self, number: int = 1) -> int:
        """Return the key of the own rows of that number, also where there is no site."""
        return (ONE if self.other == TWO else TWO).id * 10 + number

    def their(self, number: int = 1) -> int:
        """Return the key of the other site's rows of that number."""
        return self.other.id * 10 + number

    def all(self, statement: Any, *args: Any, **kw: Any) -> list[Any]:
        """Return the first column of what the session's `execute` gives."""
        return list(self.s.execute(statement, *args, **kw).scalars())

    def rows(self, statement: Any, *args: Any, **kw: Any) -> list[Any]:
        """Return the rows that the session's `execute` gives."""
        return [tuple(row) for row in self.s.execute(statement, *args, **kw)]

    def do(self, statement: Any, *args: Any, **kw: Any) -> None:
        """Execute a statement by the session, without a result."""
        self.s.execute(statement, *args, **kw)

    def insert(self, target: Any) -> Any:
        """Return the INSERT of the dialect, which knows ON CONFLICT."""
        return (sqlite if self.sqlite else postgresql).insert(target)

    def theirs(self, model: Any, number: int = 1) -> Any:
        """Return an object of the other site as an application may hold one: loaded by a session that is closed."""
        with Session(self.engine, info={"site": self.other}) as session:
            found = session.get_one(model, self.their(number))
            session.expunge(found)
        return found


def secrets(objects: Iterable[Any]) -> list[Any]:
    """Return the canaries of objects; None for each that is None."""
    return [None if each is None else each.secret for each in objects]


@dataclass
class Outcome:
    """What came of a way. `leaks` are rows of another site that came out, were changed or were linked;
    `faults` all that was expected otherwise, leaks among it."""

    result: Any = None
    error: BaseException | None = None
    leaks: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        ended = f"{type(self.error).__name__}: {self.error}" if self.error else repr(self.result)
        return "; ".join(self.faults) + f" (ended in {ended[:300]})"


Rows = dict[int, dict[str, list[tuple[Any, ...]]]]
"""All rows of the two sites: by the id of the site, and by the table."""


def rows_of_both(connection: Any) -> Rows:
    """Return all rows of scoped tables past the wall, by a connection of the driver."""
    rows: Rows = {ONE.id: {}, TWO.id: {}}
    cursor = connection.cursor()
    for table in tables_to_watch():
        for site_id, found in rows.items():
            cursor.execute(f"SELECT * FROM {table} WHERE site_id = {site_id}")
            found[table] = sorted(map(tuple, cursor.fetchall()), key=repr)
    cursor.close()
    return rows


def run_way(
    way: Way, engine: sa.Engine, site: Site | None, other: Site, planted: Rows,
    read: Callable[[Any], Rows] = rows_of_both,
) -> Outcome:  # fmt: skip
    """Do `way` and judge it. `planted` are the rows from before; `read` gives them by a connection of the driver.

    What it has changed is rolled back, unless it commits: then the caller plants the rows again.
    """
    outcome = Outcome()
    place = Place(engine, site, other)
    after = None
    with place.stack:
        try:
            outcome.result = way.act(place)
            if "s" in vars(place):
                place.s.flush()
                after = read(place.s.connection().connection)
        except Exception as error:
            outcome.error = error
            if "s" in vars(place):
                _roll_back(place.s)
    if way.commits:
        connection = engine.raw_connection()
        try:
            after = read(connection)
        finally:
            connection.close()
    _find_leaks(outcome, other, planted, after)
    _find_faults(outcome, way, site, planted, after)
    return outcome


def _roll_back(session: Session) -> None:
    try:
        session.rollback()
    except sa.exc.DBAPIError:
        # What was refused by nobody may leave the connection in the middle of something.
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
        return leaf in foreign_keys_of(other)
    return f"secret-{other.id}" in str(leaf)


def _find_leaks(outcome: Outcome, other: Site, planted: Rows, after: Rows | None) -> None:
    if any(_is_of(other, leaf) for leaf in _leaves(outcome.result)):
        outcome.leaks.append("rows of the other site came out")
    if after is None:
        return
    if after[other.id] != planted[other.id]:
        outcome.leaks.append("rows of the other site were changed")
    for site_id in after.keys() - {other.id}:
        if any(_is_of(other, value) for table in after[site_id] for value in _new(table, planted, after, site_id)):
            outcome.leaks.append("own rows hold values, or keys, of the other site")


def _new(table: str, planted: Rows, after: Rows, site_id: int) -> Iterator[Any]:
    """Yield the values of new and changed rows, without their own keys, which the database may have given."""
    key = position_of_key(table)
    before = {row[key]: row for row in planted[site_id][table]} if key is not None else {}
    for row in after[site_id][table]:
        if row not in planted[site_id][table]:
            old = before.get(row[key], ()) if key is not None else ()
            yield from (
                v for position, v in enumerate(row) if position != key and v not in old[position : position + 1]
            )


def _find_faults(outcome: Outcome, way: Way, site: Site | None, planted: Rows, after: Rows | None) -> None:
    expected = way.expected
    errors: Collection[type[Exception]] = expected.errors if site else way.without_site or ()
    found = [leaf for leaf in _leaves(outcome.result) if leaf is not None]
    if errors:
        if not isinstance(outcome.error, tuple(errors)):
            outcome.faults.append("was not refused" if outcome.error is None else "was refused otherwise")
    elif outcome.error is not None:
        outcome.faults.append("was refused")
    elif expected.exact and outcome.result != expected.result:
        outcome.leaks.append(f"gave something other than {expected.result!r}")
    elif not expected.exact and not any(f"secret-{site.id}" in str(leaf) for leaf in found if site):
        outcome.faults.append("own rows did not come out")
    elif way.changes and after is not None and site is not None and after[site.id] == planted[site.id]:
        outcome.faults.append("own rows were not changed")
    outcome.faults += outcome.leaks
