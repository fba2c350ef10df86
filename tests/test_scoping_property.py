"""The wall against an oracle: as site ONE on a shared database, or without a wall on one that holds ONE alone.

Hypothesis makes statements: selects with joins of every kind, aliases, subqueries, unions, CTEs and aggregates, and
updates, deletes and inserts. Each is executed on both databases, and rows, counts and what the tables then hold must
be the same. The shared database also holds poison: rows of TWO whose references point at rows of ONE, and the other
way round, as raw SQL might leave them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import closing_engine, fresh_database
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column

from multisite import all_sites
from multisite.models import DirectoryVersion, SiteRow, metadata
from multisite.scoping import SiteScoped
from multisite.scoping.compiler import ScopedCompiler
from multisite.site import Site

EXAMPLES = 10_000 if os.environ.get("MULTISITE_SOAK") else 200
ONE, TWO = Site(1, "one.example", "One", "one"), Site(2, "two.example", "Two", "two")

pytestmark = pytest.mark.filterwarnings("ignore:.* has a cartesian product:sqlalchemy.exc.SAWarning")


class Base(DeclarativeBase):
    pass


class Root(SiteScoped, Base):
    __tablename__ = "property_roots"

    id: Mapped[int] = mapped_column(primary_key=True)
    n: Mapped[int]
    ref: Mapped[int | None]


class Leaf(SiteScoped, Base):
    __tablename__ = "property_leaves"

    id: Mapped[int] = mapped_column(primary_key=True)
    n: Mapped[int]
    ref: Mapped[int | None]


class Shared(Base):
    """A table that belongs to no site."""

    __tablename__ = "property_shared"

    id: Mapped[int] = mapped_column(primary_key=True)
    n: Mapped[int]
    ref: Mapped[int | None]


MODELS = (Root, Leaf, Shared)


@dataclass
class Failure:
    """What the database complains about; `message` is for the reader, since it may name what only one of them has."""

    kind: str
    message: str = field(compare=False)


@dataclass
class Pair:
    """The shared database, and the one that holds ONE alone."""

    shared: sa.Engine
    alone: sa.Engine


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with ExitStack() as stack:
        engines = []
        for name in ("shared", "alone"):
            url = stack.enter_context(fresh_database(request, tmp_path_factory))
            engine = stack.enter_context(closing_engine(url))
            plant(engine, alone=name == "alone")
            engines.append(engine)
        yield Pair(*engines)


def plant(engine: sa.Engine, *, alone: bool) -> None:
    metadata.create_all(engine)
    Base.metadata.create_all(engine)
    with all_sites("plant the rows of a test"), Session(engine) as session:
        session.add(DirectoryVersion(id=1, version=0))
        for site in (ONE,) if alone else (ONE, TWO):
            session.add(SiteRow(id=site.id, name=site.name, folder=site.folder))
            session.flush()
            # TWO has twice as many rows, with the numbers of ONE and others, and references to rows of either.
            for i in range(1, 5 * site.id):
                key = site.id * 100 + i
                session.add(Root(id=key, site_id=site.id, n=i % 4 * site.id, ref=key if i % 3 else None))
                session.add(Leaf(id=key, site_id=site.id, n=i % 3, ref=(i % 3) * 100 + i if i % 4 else None))
        for i in range(1, 4):
            session.add(Shared(id=i, n=i, ref=100 * i + 1))
        session.commit()


# -- statements -------------------------------------------------------------------------------------------------------
#
# Both databases get the same object.


@st.composite
def columns_of(draw: st.DrawFn, source: Any) -> Any:
    """One number of `source`, sometimes wrapped in a function."""
    column = getattr(getattr(source, "c", source), draw(st.sampled_from(["id", "n", "ref"])))
    wrap: Callable[[Any], Any] = draw(
        st.sampled_from([lambda c: c, lambda c: sa.func.coalesce(c, 0), lambda c: sa.case((c > 2, c), else_=-c)])
    )
    return wrap(column)


@st.composite
def sources(draw: st.DrawFn, depth: int = 2) -> Any:  # noqa: PLR0911  # One for each kind.
    """Something to select from, with the columns id, n and ref."""
    kind = draw(
        st.sampled_from(
            ["model", "table", "alias", "core alias", "light", *(["subquery", "cte", "union"] * (depth > 0))]
        )
    )
    model = draw(st.sampled_from(MODELS))
    table = model.__table__
    if kind == "model":
        return aliased(model) if draw(st.booleans()) else model
    if kind == "table":
        return table.alias()
    if kind == "alias":
        return aliased(aliased(model))
    if kind == "core alias":
        return table.alias().alias()
    if kind == "light":
        return sa.table(table.name, *(sa.column(name, sa.Integer) for name in ("id", "n", "ref"))).alias()
    if kind == "union":
        parts = [draw(plain_selects(depth - 1)), draw(plain_selects(depth - 1))]
        combine = draw(st.sampled_from([sa.union, sa.union_all, sa.except_, sa.intersect]))
        return combine(*parts).subquery()
    inner = draw(plain_selects(depth - 1))
    return inner.cte() if kind == "cte" else inner.subquery()


@st.composite
def plain_selects(draw: st.DrawFn, depth: int) -> Any:
    """A select of id, n and ref from one source, with or without a criterion."""
    source = draw(sources(depth))
    columns = getattr(source, "c", source)
    statement = sa.select(columns.id, columns.n, columns.ref)
    return statement.where(draw(criteria([source], depth))) if draw(st.booleans()) else statement


@st.composite
def criteria(draw: st.DrawFn, available: list[Any], depth: int) -> Any:  # noqa: PLR0911  # One for each kind.
    """A condition on what is available: comparisons, IN, EXISTS, scalar subqueries, text, and combinations by OR."""
    source = draw(st.sampled_from(available))
    left = draw(columns_of(source))
    kinds = ["number", "column", "null", "or", "text", *(["in", "exists", "scalar", "not"] * (depth > 0))]
    kind = draw(st.sampled_from(kinds))
    if kind == "number":
        return left >= draw(st.sampled_from([0, 1, 2, 3, 101, 150, 201]))
    if kind == "column":
        return left == draw(columns_of(draw(st.sampled_from(available))))
    if kind == "null":
        return left.is_(None)
    if kind == "text":
        return sa.text(draw(st.sampled_from(["1 = 1 OR 1 = 1", "1 = 0 OR (1 = 1)", "1 = 0"])))
    if kind == "or":
        return sa.or_(draw(criteria(available, depth - 1)), draw(criteria(available, depth - 1)))
    if kind == "not":
        positive = draw(criteria(available, depth - 1))
        return positive if isinstance(positive, sa.TextClause) else sa.not_(positive)
    inner = draw(sources(depth - 1))
    # An alias, or SQLAlchemy would take the table for the one of the enclosing statement.
    inner = aliased(inner) if inner in MODELS else inner
    columns = getattr(inner, "c", inner)
    if kind == "in":
        return left.in_(sa.select(columns.n))
    if kind == "scalar":
        return left <= sa.select(sa.func.max(columns.n)).scalar_subquery()
    return sa.exists(sa.select(columns.id).where(columns.n == left))


def joinable() -> st.SearchStrategy[Any]:
    """A source under a name of its own: SQLite also takes one name twice, as long as no column of it is named."""
    return sources(1).map(lambda source: aliased(source) if source in MODELS else source)


@st.composite
def selects(draw: st.DrawFn) -> Any:
    """A select over joins of one to four sources."""
    first = draw(sources())
    available, joined = [first], first
    for _ in range(draw(st.integers(0, 3))):
        nested = draw(st.booleans())
        right = draw(joinable())
        available.append(right)
        if nested:
            inner = draw(joinable())
            available.append(inner)
            right = sa.orm.join(right, inner, draw(criteria([right, inner], 0)), isouter=draw(st.booleans()))
        kind = draw(st.sampled_from(["inner", "left", "full", "cross"]))
        # PostgreSQL joins both sides in full only on conditions that it can hash or merge.
        onclause = (
            getattr(first, "c", first).id == getattr(available[-1], "c", available[-1]).id
            if kind == "full"
            else sa.true()
            if kind == "cross"
            else draw(criteria(available, 1))
        )
        joined = sa.orm.join(joined, right, onclause, isouter=kind == "left", full=kind == "full")
    columns = [draw(columns_of(each)).label(f"c{number}") for number, each in enumerate(available)]
    shape = draw(st.sampled_from(["rows", "distinct", "count", "group", "window"]))
    if shape == "count":
        statement = sa.select(sa.func.count(), sa.func.sum(columns[0]), sa.func.max(columns[-1]))
    elif shape == "group":
        statement = sa.select(columns[0], sa.func.count()).group_by(columns[0])
        if draw(st.booleans()):
            statement = statement.having(sa.func.count() > 1)
    elif shape == "window":
        statement = sa.select(*columns, sa.func.count().over(partition_by=columns[0]))
    else:
        statement = sa.select(*columns)
        if shape == "distinct":
            statement = statement.distinct()
    statement = statement.select_from(joined)
    if draw(st.booleans()):
        statement = statement.where(draw(criteria(available, 1)))
    return statement


@st.composite
def changes(draw: st.DrawFn) -> Any:
    """An update, delete or insert, with subqueries and further tables in it."""
    model = draw(st.sampled_from([Root, Leaf]))
    kind = draw(st.sampled_from(["update", "update from", "delete", "insert"]))
    if kind == "insert":
        source = draw(plain_selects(1)).subquery()
        return sa.insert(model).from_select(
            ["id", "n", "ref"], sa.select(source.c.id + 10_000, source.c.n, source.c.ref)
        )
    if kind == "delete":
        return sa.delete(model).where(draw(criteria([model], 2)))
    if kind == "update":
        value = sa.select(sa.func.max(sa.column("n"))).select_from(draw(plain_selects(1)).subquery())
        return sa.update(model).where(draw(criteria([model], 2))).values(ref=value.scalar_subquery())
    # One row of the second table for each of the first, or which of them wins would be the database's choice.
    second = aliased(draw(st.sampled_from(MODELS)))
    return sa.update(model).where(model.id == second.id, draw(criteria([model, second], 1))).values(ref=second.n)


def outcome(engine: sa.Engine, statement: Any, info: dict[str, Any], site_id: int | None) -> Any:
    """Return what `statement` gives and leaves behind, or the database's error; all of it is rolled back."""
    with Session(engine, info=info) as session:
        try:
            result = session.execute(statement, execution_options={"synchronize_session": False})
        except sa.exc.DBAPIError as error:
            return Failure(type(error.orig).__name__, str(error.orig))
        if isinstance(statement, sa.Select):
            return sorted(map(repr, map(tuple, result)))
        left = [result.rowcount]
        for table in ("property_roots", "property_leaves"):
            where = f" WHERE site_id = {site_id}" if site_id is not None else ""
            cursor = session.connection().connection.cursor()
            cursor.execute(f"SELECT id, n, ref, site_id FROM {table}{where} ORDER BY id")
            left.append(cursor.fetchall())
        return left


def others(engine: sa.Engine, statement: Any) -> list[Any]:
    """Return the rows of TWO after `statement`, executed as ONE and rolled back."""
    with Session(engine, info={"site": ONE}) as session:
        try:
            session.execute(statement, execution_options={"synchronize_session": False})
        except sa.exc.DBAPIError:
            return []
        cursor = session.connection().connection.cursor()
        cursor.execute("SELECT id, n, ref FROM property_roots WHERE site_id = 2 ORDER BY id")
        found = cursor.fetchall()
        cursor.execute("SELECT id, n, ref FROM property_leaves WHERE site_id = 2 ORDER BY id")
        return [found, cursor.fetchall()]


def check_agreement(pair: Pair, statement: Any) -> None:
    """Fail if ONE can tell the shared database from its own by `statement`."""
    # all_sites is "without the wall"; but without it nothing fills in the site of a new row.
    oracle = {"site": ONE} if isinstance(statement, sa.Insert) else {"all_sites": "the oracle of a test"}
    ours, theirs = outcome(pair.shared, statement, {"site": ONE}, 1), outcome(pair.alone, statement, oracle, None)
    assert ours == theirs, statement.compile(pair.shared)


thorough = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@thorough
@given(statement=selects())
def test_selects_cannot_tell_the_shared_database_from_ones_own(pair: Pair, statement: Any) -> None:
    check_agreement(pair, statement)


@thorough
@given(statement=changes())
def test_changes_are_the_same_and_leave_the_other_site_alone(pair: Pair, statement: Any) -> None:
    check_agreement(pair, statement)
    assert others(pair.shared, statement) in ([], others(pair.shared, sa.select(1))), statement


def test_negative_control_a_missing_limit_is_found(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """With claims that forget their criterion, the property does not hold for long."""
    honest = ScopedCompiler.visit_join

    def forgetful(self: Any, join: Any, *args: Any, **kw: Any) -> str:
        self._claims.on.pop(join, None)
        return honest(self, join, *args, **kw)

    monkeypatch.setattr(ScopedCompiler, "visit_join", forgetful)
    pair.shared.clear_compiled_cache()
    searching = settings(thorough, max_examples=400, phases=[Phase.generate], derandomize=True)
    try:
        with pytest.raises(AssertionError):
            searching(given(statement=selects())(lambda statement: check_agreement(pair, statement)))()
    finally:
        pair.shared.clear_compiled_cache()
