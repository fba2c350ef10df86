"""Recipes of SQLAlchemy's documentation that customize compilation, on scoped tables.

Sources: the pages "Custom SQL Constructs and Compilation Extension", "Custom Types", "SyntaxExtension" and the FAQ on
SQL expressions. Each must work as without multisite, on the site's own rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine, fresh_database
from releases import SQLALCHEMY
from scoped_models import ONE, Book, Country, Library, Shelf, build_library
from sqlalchemy import func, literal, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import base as sql_base
from sqlalchemy.sql.expression import ClauseElement, ColumnClause, ColumnElement, Executable, FunctionElement
from sqlalchemy.types import TypeDecorator, UserDefinedType

from multisite import UnscopedStatement

books, countries = Book.__table__, Country.__table__


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        yield build_library(engine)


class MyColumn(ColumnClause[Any]):
    inherit_cache = True


@compiles(MyColumn)
def _my_column(element: MyColumn, compiler: Any, **kw: Any) -> str:
    return f'"{element.name}"'


class InsertFromSelect(Executable, ClauseElement):
    inherit_cache = False

    def __init__(self, table: Any, query: Any) -> None:
        self.table, self.select = table, query


@compiles(InsertFromSelect)
def _insert_from_select(element: InsertFromSelect, compiler: Any, **kw: Any) -> str:
    table = compiler.process(element.table, asfrom=True, **kw)
    return f"INSERT INTO {table} {compiler.process(element.select, **kw)}"


class UtcNow(FunctionElement[Any]):
    type = sa.DateTime()
    inherit_cache = True


@compiles(UtcNow, "postgresql")
def _pg_utcnow(element: UtcNow, compiler: Any, **kw: Any) -> str:
    return "TIMEZONE('utc', CURRENT_TIMESTAMP)"


@compiles(UtcNow, "sqlite")
def _sqlite_utcnow(element: UtcNow, compiler: Any, **kw: Any) -> str:
    return "CURRENT_TIMESTAMP"


class Greatest(FunctionElement[Any]):
    type = sa.Integer()
    name = "greatest"
    inherit_cache = True


@compiles(Greatest)
def _default_greatest(element: Greatest, compiler: Any, **kw: Any) -> str:
    return compiler.visit_function(element, **kw)


@compiles(Greatest, "sqlite")
def _case_greatest(element: Greatest, compiler: Any, **kw: Any) -> str:
    first, second = list(element.clauses)
    return compiler.process(sa.case((first > second, first), else_=second), **kw)


class SqlFalse(ColumnElement[bool]):
    inherit_cache = True
    type = sa.Boolean()


@compiles(SqlFalse)
def _false(element: SqlFalse, compiler: Any, **kw: Any) -> str:
    return "1=0"


class Wrapped(TypeDecorator[str]):
    """A type like those of PostGIS and pgcrypto in "Applying SQL-level Bind/Result Processing"."""

    impl = sa.String
    cache_ok = True

    def bind_expression(self, bindparam: Any) -> Any:
        return func.lower(bindparam, type_=self)

    def column_expression(self, column: Any) -> Any:
        return func.upper(column, type_=self)


class Written(UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        return "VARCHAR(30)"


RECIPES: dict[str, Any] = {
    "a column of its own": lambda s: s.scalars(select(MyColumn("secret", sa.String)).select_from(Book)).all(),
    "utcnow as a column": lambda s: s.execute(select(Book.secret, UtcNow())).all(),
    "utcnow in a criterion": lambda s: s.scalars(select(Book.secret).where(UtcNow().is_not(None))).all(),
    "greatest": lambda s: s.scalars(select(Book.secret).where(Greatest(Book.stock, literal(5)) == 5)).all(),
    "greatest in the order": lambda s: s.scalars(select(Book.secret).order_by(Greatest(Book.stock, Book.id))).all(),
    "false of its own": lambda s: s.scalars(select(Book.secret).where(~SqlFalse())).all(),
    "type with SQL of its own": lambda s: s.scalars(select(sa.type_coerce(Book.secret, Wrapped()))).all(),
    "type with SQL of its own, in a criterion": lambda s: s.scalars(
        select(Book.secret).where(sa.type_coerce(Book.secret, Wrapped()) == "SECRET-1")
    ).all(),
    "type of its own in a cast": lambda s: s.scalars(select(sa.cast(Book.secret, Written()))).all(),
    "comment as prefix": lambda s: s.scalars(select(Book.secret).prefix_with("/* a prefix */")).all(),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_of_a_query_sees_the_sites_own_rows(library: Library, recipe: str) -> None:
    with library.session(ONE) as session:
        found = str(RECIPES[recipe](session)).lower()
    assert found.count("secret-1") == 3
    assert "secret-2" not in found


def test_insert_from_select_of_its_own(library: Library) -> None:
    with library.session(ONE) as session:
        session.execute(InsertFromSelect(countries, select(books.c.id + 100, books.c.secret)))
        assert session.scalars(select(Country.name).where(Country.id > 100)).all() == ["secret-1"] * 3
        with pytest.raises(sa.exc.DBAPIError):
            # The recipe compiles its target, a scoped table, like a table to be read: as a derived table, which cannot
            # be written to.
            session.execute(InsertFromSelect(books, select(books)))


def test_values_that_are_constructs_of_its_own(library: Library) -> None:
    with library.session(ONE) as session:
        session.execute(sa.insert(Shelf).values(id=91, slug="x", secret=sa.cast(UtcNow(), sa.String)))
        session.execute(sa.update(Book).values(stock=Greatest(Book.stock, literal(7))).where(~SqlFalse()))
        assert session.scalars(select(Book.stock)).all() == [7, 7, 7]
        assert session.execute(sa.delete(Shelf).where(UtcNow().is_not(None), Shelf.id == 91)).rowcount == 1


@pytest.fixture
def compile_inserts(library: Library) -> Iterator[Callable[[Callable[..., str]], None]]:
    """Compile each INSERT by a function, as in "Changing the default compilation of existing constructs"."""

    def by(function: Callable[..., str]) -> None:
        compiles(sa.sql.Insert)(function)
        library.engine.clear_compiled_cache()

    yield by
    sa.sql.Insert._compiler_dispatch = sa.sql.Insert._original_compiler_dispatch  # type: ignore[attr-defined]
    del sa.sql.Insert._compiler_dispatcher  # type: ignore[attr-defined]
    library.engine.clear_compiled_cache()


def test_each_insert_with_a_prefix(library: Library, compile_inserts: Any) -> None:
    compile_inserts(lambda insert, compiler, **kw: compiler.visit_insert(insert.prefix_with("/* an insert */"), **kw))
    with library.session(ONE) as session:
        session.execute(sa.insert(Shelf).values(id=92, slug="x", secret="x"))
        session.add(Shelf(id=93, slug="y", secret="y"))
        session.flush()
        assert session.scalars(select(Shelf.site_id).where(Shelf.id > 90)).all() == [1, 1]


def test_each_insert_with_or_replace_is_refused(library: Library, compile_inserts: Any) -> None:
    """INSERT OR REPLACE would delete a row of another site that has the same key."""
    compile_inserts(
        lambda insert, compiler, **kw: compiler.visit_insert(insert, **kw).replace("INSERT", "INSERT OR REPLACE", 1)
    )
    with library.session(ONE) as session:
        with pytest.raises(UnscopedStatement, match="OR REPLACE"):
            session.execute(sa.insert(Shelf).values(id=21, slug="x", secret="x"))
        session.rollback()
        with pytest.raises(UnscopedStatement, match="OR REPLACE"):
            session.execute(sa.insert(Shelf).values(id=92, slug="x", secret=func.replace("x", "x", "y")))


def test_stringification_with_values_in_place(library: Library) -> None:
    """A recipe of the FAQ: the site stays a parameter, since it is not known before the statement is executed."""
    statement = select(Book.id).where(Book.slug == "x", Book.id.in_([1, 2]))
    for options in ({"literal_binds": True}, {"render_postcompile": True}):
        sql = str(statement.compile(library.engine, compile_kwargs=options))
        assert "POSTCOMPILE" not in sql
        assert ("'x'" in sql) == ("literal_binds" in options)
    assert "multisite_site" in str(statement.compile(compile_kwargs={"literal_binds": True}))


@pytest.mark.skipif(SQLALCHEMY < (2, 1), reason="SyntaxExtension is of SQLAlchemy 2.1")
def test_a_clause_of_its_own_behind_where(library: Library) -> None:
    """The example of `SyntaxExtension` renders QUALIFY, which these databases lack; this test renders ORDER BY."""

    class Qualify(sql_base.SyntaxExtension, ClauseElement):  # type: ignore[misc]
        inherit_cache = False

        def __init__(self, predicate: Any) -> None:
            self.predicate = predicate

        def apply_to_select(self, statement: Any) -> None:
            statement.apply_syntax_extension_point(self.append_replacing_same_type, "post_criteria")

    @compiles(Qualify)
    def qualify(element: Qualify, compiler: Any, **kw: Any) -> str:
        return f"ORDER BY {compiler.process(element.predicate, **kw)}"

    with library.session(ONE) as session:
        assert session.scalars(select(Book.id).where(Book.stock > 0).ext(Qualify(Book.id.desc()))).all() == [13, 12, 11]
