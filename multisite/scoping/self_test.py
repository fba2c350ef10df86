"""The self-test of scoping, which runs when scoping is installed.

With a release of SQLAlchemy that works differently, the application does not start, and sites stay isolated.
`check_hook` checks that SQLAlchemy still calls a method that scoping replaces, `check_compiled_sql` checks the SQL of
compiled statements, and `check_execution` executes statements on an in-memory database with one row for each of two
sites. Together they take a few milliseconds, half of which the application's first statement would otherwise need.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextvars import Context
from types import FunctionType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from multisite.core.current_site import Scope, using_site
from multisite.core.site import Site
from multisite.errors import NoCurrentSite, UnscopedStatement
from multisite.scoping import self_test_changes
from multisite.scoping.column import SITE_PARAMETER, SiteId

__all__ = [
    "SelfTestFailure",
    "check_attribute",
    "check_compiled_sql",
    "check_execution",
    "check_hook",
    "check_overrides",
]

_table = sa.table("multisite_self_test", sa.column("id", sa.Integer), sa.column("site_id", SiteId))
_rows = sa.select(_table.c.id).order_by(_table.c.id)
_CREATED = """
CREATE TABLE multisite_self_test (id INTEGER, site_id INTEGER);
INSERT INTO multisite_self_test VALUES (1, 1), (2, 2);
ANALYZE;
"""
_FORBIDDEN = "SELECT 1 FROM sqlite_stat1"
"""A query that is refused regardless of the models."""
_ddl: Any = sa.DDL(f"CREATE TABLE copied AS {_FORBIDDEN}")  # type: ignore[no-untyped-call]

_REFUSED: dict[str, tuple[type[Exception], Callable[[Session], Any]]] = {
    "a statement without a site": (NoCurrentSite, lambda session: session.execute(_rows)),
    "text": (UnscopedStatement, lambda session: session.execute(sa.text(_FORBIDDEN))),
    "a string for the driver": (UnscopedStatement, lambda session: session.connection().exec_driver_sql(_FORBIDDEN)),
    "DDL": (UnscopedStatement, lambda session: session.execute(_ddl)),
}


class SelfTestFailure(Exception):
    """The self-test failed; the message is the end of a sentence."""


def check_hook(owner: type, name: str) -> None:
    """Raise `SelfTestFailure` unless some method of the class `owner` calls its method `name`."""
    methods = [getattr(method, "__func__", method) for method in vars(owner).values()]
    own = [each for each in methods if isinstance(each, FunctionType) and each.__module__ == owner.__module__]
    if not any(name in method.__code__.co_names for method in own):
        raise SelfTestFailure(f"nothing in {owner.__name__} calls {name}")


def check_attribute(owner: type, name: str) -> None:
    """Raise `SelfTestFailure` if the class `owner` has no attribute `name`."""
    if not hasattr(owner, name):
        raise SelfTestFailure(f"{owner.__name__} has no {name}")


def check_overrides(mixin: type, compiler: type = SQLiteCompiler) -> None:
    """Raise `SelfTestFailure` if `mixin` has a public method that `compiler` does not have.

    SQLAlchemy would never call such a method. SQLite's compiler is the default since it supports ON CONFLICT.
    """
    for each in mixin.__mro__:
        for name, method in vars(each).items():
            if isinstance(method, FunctionType) and not name.startswith("_"):
                check_attribute(compiler, name)


def check_compiled_sql() -> None:
    """Compile one statement of each kind and raise `SelfTestFailure` if one lacks a limit."""
    table, other = _table, _table.alias()
    statements: list[tuple[Any, int]] = [
        (sa.select(table.c.id), 1),
        (sa.select(other.c.id), 1),
        (sa.select(table.c.id).outerjoin(other, other.c.id == table.c.id), 2),
        (sa.select(table.c.id).join(other, other.c.id == table.c.id, full=True), 2),
        (sa.select(sa.exists(sa.select(table.c.id)), sa.select(other.c.id).scalar_subquery()), 2),
        (sa.update(table).values(id=1), 1),
        (sa.delete(table), 1),
        (sqlite.insert(table).values(id=1).on_conflict_do_update(index_elements=["id"], set_={"id": 2}), 1),
    ]
    dialect = sqlite.dialect(paramstyle="named")
    for statement, times in statements:
        text = str(statement.compile(dialect=dialect))
        if text.count(f":{SITE_PARAMETER.key}") != times:
            raise SelfTestFailure(f"it makes this: {text}")


def check_execution() -> None:
    """Execute statements and raise `SelfTestFailure` if one reads or changes rows of another site."""
    # In a new context: the code that imports multisite may have a current site.
    Context().run(_execute)


def _execute() -> None:
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.executescript(_CREATED + self_test_changes.CREATED)
    engine = sa.create_engine("sqlite://", creator=lambda: database, poolclass=StaticPool)
    try:
        with using_site(Site(1, "one", "", "")), engine.connect() as connection:
            # First, while the state of row-level security in this database is not cached.
            found = list(connection.scalars(_rows))
        if found != [1]:
            raise SelfTestFailure(f"a connection without a session reads the rows {found}")
        for info, expected in (
            ({"site": Site(1, "one", "", "")}, [1]),
            ({"site": Site(2, "two", "", "")}, [2]),
            ({"all_sites": Scope(None, "self-test")}, [1, 2]),
        ):
            _check_rows(Session(engine, info=info), expected)
        with Session(engine) as session:
            for what, (error, execute) in _REFUSED.items():
                _check_refusal(session, what, (error,), execute)
        with self_test_changes.mapped_models(), Session(engine, info={"site": Site(1, "one", "", "")}) as session:
            for what, (errors, execute) in self_test_changes.REFUSED.items():
                _check_refusal(session, what, errors, execute)
            if fault := self_test_changes.reads_error(session) or self_test_changes.changes_error(session):
                raise SelfTestFailure(fault)
    finally:
        engine.dispose()
        database.close()


def _check_rows(session: Session, expected: list[int]) -> None:
    with session:
        objects = session.identity_map
        found = list(session.scalars(_rows))
    if found != expected:
        raise SelfTestFailure(f"it reads the rows {found} in place of {expected}")
    if session.identity_map is objects:
        # A pin detects by the identity map that its session was closed.
        raise SelfTestFailure("a session that is closed keeps its identity map")


def _check_refusal(
    session: Session, what: str, errors: tuple[type[Exception], ...], execute: Callable[[Session], Any]
) -> None:
    try:
        execute(session)
    except errors:
        return
    raise SelfTestFailure(f"{what} is not refused")
