"""Catalog queries for names that no model declares: views, virtual tables, parent tables and foreign databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine, fresh_database
from scoped_models import ONE, Library, build_library
from sqlalchemy import column, select, text

from multisite import UnscopedStatement
from multisite.scoping import site_id_column, tables


@pytest.fixture(params=["sqlite", "postgresql"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        yield build_library(engine)


def by_driver(engine: sa.Engine, *statements: str) -> None:
    """Execute statements without SQLAlchemy, as a migration in another process would."""
    with closing(engine.raw_connection()) as connection:
        for statement in statements:
            connection.cursor().execute(statement)
        connection.commit()


def rows(library: Library, statement: Any) -> list[Any]:
    with library.session(ONE) as session:
        return [tuple(row) for row in session.execute(statement)]


def test_a_name_is_asked_for_again_since_it_may_become_that_of_a_view(library: Library) -> None:
    recent = text("WITH recent AS (SELECT name AS secret FROM countries) SELECT secret FROM recent")
    assert rows(library, recent) == [("Utopia",)]
    by_driver(library.engine, "CREATE TABLE latest (secret TEXT)")
    assert rows(library, text("SELECT secret FROM latest")) == []
    by_driver(library.engine, "DROP TABLE latest", "CREATE VIEW latest AS SELECT secret FROM books")
    by_driver(library.engine, "CREATE VIEW recent AS SELECT secret FROM books")
    for name in ("latest", "recent"):
        with pytest.raises(UnscopedStatement, match=f"'{name}', a table or view"):
            rows(library, text(f"SELECT secret FROM {name}"))


def test_scoped_tables_are_found_without_our_own(library: Library) -> None:
    """A test may create only the tables of its models, and its first statement may be text."""
    by_driver(library.engine, "DROP TABLE multisite_version")
    with closing_engine(library.engine.url) as engine:
        again = Library(engine)
        with pytest.raises(UnscopedStatement, match="'books'"):
            rows(again, text("SELECT secret FROM books"))
        with again.session(ONE) as session, pytest.raises(UnscopedStatement, match="'books'"):
            session.connection().exec_driver_sql("SELECT secret FROM books")


def test_what_is_only_called_like_a_scoped_table_is_left_alone(
    request: pytest.FixtureRequest, tmp_path: Any, library: Library
) -> None:
    with closing_engine(f"sqlite:///{tmp_path / 'other.db'}") as engine:
        by_driver(engine, "CREATE TABLE books (secret TEXT)", "INSERT INTO books VALUES ('mine')")
        assert rows(Library(engine), text("SELECT secret FROM books")) == [("mine",)]


def test_a_lightweight_table_that_nobody_declares_is_one_if_the_database_says_so(library: Library) -> None:
    view = "CREATE VIEW shown_books AS SELECT secret FROM books"
    by_driver(library.engine, "CREATE TABLE legacy_log (note TEXT)", view)
    log = sa.table("legacy_log", column("note"))
    with library.session(ONE) as session:
        session.execute(log.insert().values(note="x"))
        assert session.scalars(select(log.c.note)).all() == ["x"]
        for name in ("shown_books", "SHOWN_BOOKS"):
            with pytest.raises(UnscopedStatement):
                session.execute(select(sa.table(name, column("secret")).c.secret))


@pytest.mark.parametrize("name", ["books_fts", "books_fts_content", "books_fts_vocabulary"])
def test_a_virtual_table_may_show_any_other(library: Library, name: str) -> None:
    """An FTS5 index contains the words or rows of a table, and has additional tables of its own."""
    if library.engine.dialect.name != "sqlite":
        return
    by_driver(
        library.engine,
        "CREATE VIRTUAL TABLE books_fts USING fts5(secret)",
        "INSERT INTO books_fts SELECT secret FROM books",
        "CREATE VIRTUAL TABLE books_fts_vocabulary USING fts5vocab(books_fts, 'row')",
    )
    with pytest.raises(UnscopedStatement, match=f"'{name}', a table or view"):
        rows(library, text(f"SELECT * FROM {name}"))


INDEX_CALLED_AS_A_FUNCTION: dict[str, Any] = {
    "text": text("SELECT secret FROM books_fts('secret')"),
    "text with its schema": text("SELECT secret FROM main.books_fts('secret')"),
    "text behind IN": text("SELECT id FROM countries WHERE name NOT IN books_fts('secret')"),
    "function": select(sa.func.books_fts("secret").table_valued("secret")),
}


@pytest.mark.parametrize("statement", INDEX_CALLED_AS_A_FUNCTION)
def test_a_virtual_table_is_one_also_where_it_is_called_as_a_function(library: Library, statement: str) -> None:
    if library.engine.dialect.name != "sqlite":
        return
    by_driver(library.engine, "CREATE VIRTUAL TABLE books_fts USING fts5(secret)")
    with pytest.raises(UnscopedStatement, match="'books_fts', a table or view"):
        rows(library, INDEX_CALLED_AS_A_FUNCTION[statement])


def test_a_view_is_found_by_a_name_that_the_database_shortens(library: Library) -> None:
    """PostgreSQL truncates a name to 63 bytes, without splitting a character."""
    name = "vi" + 40 * "\u00fc"
    by_driver(library.engine, f"CREATE VIEW {name} AS SELECT secret FROM books")
    for written in (name, f"{name}x") if library.engine.dialect.name == "postgresql" else (name,):
        for statement in (
            text(f"SELECT secret FROM {written}"),
            select(column("secret")).select_from(sa.table(written)),
        ):
            with pytest.raises(UnscopedStatement, match="a table or view"):
                rows(library, statement)


def test_a_parent_shows_the_rows_of_the_tables_that_inherit_from_it(library: Library) -> None:
    if library.engine.dialect.name != "postgresql":
        return
    by_driver(
        library.engine,
        "CREATE TABLE base_items (secret VARCHAR NOT NULL)",
        "CREATE TABLE base_of_none (secret VARCHAR NOT NULL)",
        "CREATE TABLE middle () INHERITS (base_items)",
        "ALTER TABLE books INHERIT middle",
    )
    for name in ("base_items", "middle"):
        with pytest.raises(UnscopedStatement, match=f"'{name}', a table or view"):
            rows(library, text(f"SELECT secret FROM {name}"))
    assert rows(library, text("SELECT secret FROM base_of_none")) == []


def test_a_declared_parent_without_site_id_is_refused(library: Library) -> None:
    if library.engine.dialect.name != "postgresql":
        return
    declared = sa.MetaData()
    parent = sa.Table("base_of_chapters", declared, sa.Column("secret", sa.String))
    with library.engine.begin() as connection:
        declared.create_all(connection)
    assert rows(library, select(parent.c.secret)) == []
    sa.Table("chapters", declared, site_id_column(), postgresql_inherits="base_of_chapters")
    try:
        with pytest.raises(UnscopedStatement, match="from which scoped tables inherit"):
            rows(library, select(parent.c.secret))
        with pytest.raises(UnscopedStatement, match="from which scoped tables inherit"):
            rows(library, text("SELECT secret FROM base_of_chapters"))
    finally:
        tables.parents.discard("base_of_chapters")
        tables.scoped.discard("chapters")
