"""Textual SQL that is hard to scan: names that are keywords elsewhere, and comments and strings with unclear ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine, fresh_database
from scoped_models import ONE, Author, Book, Country, Library, build_library
from sqlalchemy import literal_column, select, text
from sqlalchemy.orm import Session

from multisite import UnscopedStatement
from multisite.scoping.compiler import ScopedCompiler
from multisite.scoping.fragments import is_self_contained
from multisite.scoping.sql_scanner import scan_sql
from multisite.scoping.tables import TableUse, tables


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """One library for all tests, which only read."""
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        yield build_library(engine)


def taken_from(tables: str) -> Callable[[Session], Any]:
    return lambda s: s.execute(select(text("b.secret")).select_from(text(tables))).all()


def second_result(session: Session, statements: str) -> Any:
    cursor: Any = session.execute(text(statements).columns(secret=sa.String)).cursor
    cursor.nextset()
    return cursor.fetchall()


ATTEMPTS: dict[str, Callable[[Session], Any]] = {
    "IN before a comma": taken_from("countries c JOIN countries d ON c.id IN (1), books b"),
    "alias copy": taken_from("countries copy, books b"),
    "postgresql: alias update": taken_from("countries AS update, books b"),
    "postgresql: alias set": taken_from("countries set, books b"),
    "postgresql: alias set with columns": taken_from("countries set (x, y), books b"),
    "postgresql: alias values": taken_from("countries AS values, books b"),
    "postgresql: alias values with columns": taken_from("countries values (x, y), books b"),
    "sqlite: alias offset": taken_from("countries offset, books b"),
    "sqlite: alias for": taken_from("countries AS for, books b"),
    "sqlite: alias window": taken_from("countries AS window, books b"),
    "sqlite: column for": taken_from("countries c JOIN (SELECT 1 AS for) d ON for = 1, books b"),
    "sqlite: column fetch": taken_from("countries c JOIN (SELECT 1 AS fetch) d ON fetch = 1, books b"),
    "sqlite: column offset": taken_from("countries c JOIN (SELECT 1 AS offset) d ON offset + 0 = 1, books b"),
    "sqlite: column window": taken_from("countries c JOIN (SELECT 1 AS window) d ON window = 1, books b"),
    "sqlite: alias fetch with a hint": taken_from("countries fetch NOT INDEXED, books b"),
    "postgresql: column named where": taken_from(
        'countries c JOIN (SELECT true AS "where") t ON t.where, books b WHERE b.id > 20 OR c.id > 20'
    ),
    "postgresql: delete of an alias update": lambda s: s.execute(
        select(
            text("DELETE FROM countries AS update USING books b WHERE b.id = 21 RETURNING b.secret")
            .columns(secret=sa.String)
            .cte()
        )
    ).all(),
    "postgresql: comment within a comment": lambda s: s.execute(
        select(text("/* /* */ ' */ (SELECT max(secret) FROM books) --'"))
    ).all(),
    "postgresql: comment that a carriage return ends": lambda s: s.execute(
        text("SELECT 'a' AS x -- \r UNION SELECT secret FROM books").columns(x=sa.String)
    ).all(),
    "postgresql: name with dollars": lambda s: s.scalars(
        select(Book.secret).where(text("EXISTS (SELECT 1 AS x$b$) ) OR ( EXISTS (SELECT 1 AS x$b$)"))
    ).all(),
    "postgresql: string that goes on in the next line": lambda s: s.execute(
        select(literal_column("E'a'\n'b\\'' || (SELECT max(secret) FROM books) --'"))
    ).all(),
    "postgresql: tags of a string in other letters": lambda s: s.execute(
        select(literal_column("concat($a$x$A$ $a$, (SELECT max(secret) FROM books), $a$ $A$ $a$)"))
    ).all(),
    "sqlite: byte order mark": lambda s: s.execute(
        select(literal_column("(SELECT max(secret) FROM \ufeffbooks)"))
    ).all(),
    "postgresql: alias with a dotless i": taken_from("countries l\u0131m\u0131t (x, y), books b"),
    "postgresql: alias with a long s": taken_from("countries off\u017fet (x, y), books b"),
    "postgresql: alias with a no-break space": taken_from("countries c\u00a0WHERE (x, y), books b"),
    "postgresql: alias with an ellipsis": taken_from("countries c\u2026LIMIT (x, y), books b"),
    "postgresql: string of two pieces of text": lambda s: s.execute(
        select(literal_column("$q$")).select_from(Book).order_by(text("$q$ || secret FROM books"))
    ).all(),
    "update behind a column that is called key": lambda s: s.execute(
        text(
            "WITH x AS (SELECT id AS key FROM countries ORDER BY key) UPDATE books SET stock = 2 RETURNING secret"
        ).columns(secret=sa.String)
    ).all(),
    "postgresql: second update behind a column that is called key": lambda s: second_result(
        s, "SELECT 1 AS key; UPDATE books SET stock = 2 RETURNING secret"
    ),
    "postgresql: table behind a column that is called drop": lambda s: s.execute(
        text("SELECT 1, '', '', 1, 1, 1 AS drop UNION TABLE books").columns(*Book.__table__.c)
    ).all(),
    "postgresql: table behind a query of a column called drop": lambda s: s.execute(
        text("WITH x AS (SELECT 1 AS drop) TABLE books").columns(*Book.__table__.c)
    ).all(),
    "postgresql: name with unicode escapes behind a schema": lambda s: s.execute(
        text('SELECT secret FROM public.U&"bo\\006Fks"').columns(secret=sa.String)
    ).all(),
    "postgresql: element that is written like a placeholder": lambda s: s.execute(
        select(
            text(
                "(SELECT __[POSTCOMPILE_+(SELECT count(*) FROM books WHERE id = 21)] "
                "FROM (SELECT ARRAY['', 'secret-2'] AS __, 1 AS postcompile_) AS it)"
            )
        )
    ).all(),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_refuses_text_that_is_hard_to_read(library: Library, attempt: str) -> None:
    with library.session(ONE) as session, pytest.raises(UnscopedStatement):
        print(ATTEMPTS[attempt](session))


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_negative_control_without_reading_it_leaks(
    library: Library, attempt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScopedCompiler, "_check_finished", lambda self: None)
    monkeypatch.setattr("multisite.scoping.fragment_compiler.is_self_contained", lambda text, dialect: True)
    monkeypatch.setattr("multisite.scoping.compiler.is_limited", lambda *args: True)
    library.engine.clear_compiled_cache()
    with library.session(ONE) as session:
        assert "secret-2" in str(ATTEMPTS[attempt](session))
    library.engine.clear_compiled_cache()


countries_and_books = select(Country.id, Book.secret).select_from(sa.outerjoin(Country, Book, sa.true()))

BEHIND_ON: dict[str, sa.Select[Any]] = {
    "suffix": countries_and_books.suffix_with("OR 1 = 1"),
    "suffix of a subquery": select(countries_and_books.suffix_with("OR 1 = 1").subquery()),
    "hint": countries_and_books.with_statement_hint("OR 1 = 1"),
    "suffix with a clause": countries_and_books.suffix_with("OR 1 = 1 ORDER BY 2"),
    "suffix with a criterion": countries_and_books.suffix_with("OR 1 = 1 WHERE 1 = 1"),
    "suffix behind two joins": select(Book.secret)
    .select_from(sa.outerjoin(sa.outerjoin(Country, Author, sa.true()), Book, sa.true()))
    .suffix_with("OR 1 = 1"),
}


@pytest.mark.parametrize("query", BEHIND_ON)
def test_text_behind_the_limit_of_an_outer_join_does_not_widen_it(library: Library, query: str) -> None:
    with library.session(ONE) as session:
        found = str(session.execute(BEHIND_ON[query]).all())
    assert "secret-1" in found
    assert "secret-2" not in found


@pytest.mark.parametrize("query", BEHIND_ON)
def test_negative_control_without_a_look_behind_on_it_leaks(
    library: Library, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multisite.scoping.compiler.is_limited_on", lambda *args: True)
    library.engine.clear_compiled_cache()
    with library.session(ONE) as session:
        assert "secret-2" in str(session.execute(BEHIND_ON[query]).all())
    library.engine.clear_compiled_cache()


def test_an_outer_join_without_text_is_no_derived_table(library: Library) -> None:
    query = countries_and_books.outerjoin(Author, sa.or_(Author.id == 1, Author.id == 11)).where(Country.id == 1)
    assert "(SELECT" not in str(query.compile(library.engine))


def test_refuses_a_parameter_in_tcls_way(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite parses `$x(')` as one parameter, so an apparent string after it is SQL."""
    if library.engine.dialect.name != "sqlite":
        return
    with library.session(ONE) as session:
        execute = session.connection().exec_driver_sql
        with pytest.raises(UnscopedStatement, match="the end is not clear"):
            execute("SELECT $x('), secret FROM books --')", ("a",))
        monkeypatch.setattr(tables, "table_use_of_string", lambda *args: TableUse())
        assert "secret-2" in str(execute("SELECT $x('), secret FROM books --')", ("a",)).all())


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT * FROM t WHERE a IN (1, 2) GROUP BY a, b LIMIT 1 OFFSET 2", "t"),
        ("SELECT * FROM a JOIN b ON a.x IN (1), c", "a b c"),
        ("SELECT * FROM (VALUES (a, b), (c, d)) AS v, t", "t"),
        ("SELECT * FROM a UNION VALUES (b, c), (d, e)", "a"),
        ("INSERT INTO b (x) SELECT x FROM t ON CONFLICT (x) DO UPDATE SET x = 1, y = 2", "b t"),
        ("UPDATE a SET x = 1, y = 2 FROM b, c WHERE x IN (1)", "a b c"),
        ("MERGE INTO a USING b ON true WHEN MATCHED THEN UPDATE SET x = 1, y = 2", "a b"),
        ("SELECT x FROM t WHERE x > 1FROM", "t"),
        ("SELECT 1e5FROM t", "t"),
        ("INSERT INTO a (cascade, truncate) VALUES (1, 2)", "a"),
        ("SELECT b.x AS truncate, b.y AS cascade FROM b", "b"),
        ("SELECT 1; TRUNCATE a, b", "a b"),
        ("SELECT 1.5E-5FROM t", "t"),
        ("SELECT sum(x) OVER w FROM t WINDOW w AS (ORDER BY x) LIMIT 1 OFFSET 2", "t"),
        ("SELECT a.from FROM b JOIN c ON c.where = b.limit, d", "b c d"),
        ("DELETE FROM a USING b update JOIN c ON true, d", "a b c d"),
    ],
)
def test_reads_what_comes_before_and_behind_a_comma(sql: str, names: str) -> None:
    for dialect in ("postgresql", "sqlite"):
        assert scan_sql(sql, dialect).tables == names.split()
        assert scan_sql(sql, dialect).fault is None


@pytest.mark.parametrize("sql", ["a$b + (c$d)", "/* ( */ (a)", "'$' || ('a$b$')"])
def test_dollars_and_comments_that_are_whole(sql: str) -> None:
    assert is_self_contained(sql, "postgresql")
    assert is_self_contained(sql, "sqlite")


def test_dollars_and_comments_that_are_not() -> None:
    for sql in ("$q$", "/* /* */", "/* /* */ */", "(1) /*"):
        assert not is_self_contained(sql, "postgresql")
    assert is_self_contained("$q$ || ( $q$", "postgresql")
    assert not is_self_contained("$q$ || ( $q$", "sqlite")
