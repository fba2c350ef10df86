"""Text that widens the limit without naming a scoped table: after WHERE, inside its parentheses, in names and types.

Each must return own rows only or be refused; which of both depends on the position of the text.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from scoped_models import Author, Book, Country, Shelf
from sqlalchemy import Integer, String, bindparam, column, delete, func, insert, literal, literal_column, select, text
from sqlalchemy import update as update_of
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import aliased, with_loader_criteria
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql import base as sql_base

from attack_catalogue import Context, Expected, add, own_rows, refused
from attack_catalogue.text import NamedType, unquoted
from multisite import scoped_text

EXTENSION: tuple[Any, ...] = tuple(filter(None, [getattr(sql_base, "SyntaxExtension", None), ClauseElement]))
"""The base classes of a syntax extension, which SQLAlchemy has since 2.1."""

books, countries = Book.__table__, Country.__table__

ALWAYS = "OR 1=1"
EVERY: Any = literal_column("stock > 99 OR 1=1", sa.Boolean)
OUT = "1=1) OR (1=1"
"""Closes the parentheses around it, and opens others."""


class Appended(*EXTENSION):
    """A syntax extension of SQLAlchemy 2.1 that renders the given SQL."""

    inherit_cache = False

    def __init__(self, sql: str, point: str = "post_criteria") -> None:
        self.sql, self.point = sql, point

    def _apply(self, statement: Any) -> None:
        statement.apply_syntax_extension_point(lambda existing: [*existing, self], self.point)

    apply_to_select = apply_to_update = apply_to_delete = apply_to_insert = _apply


@compiles(Appended)
def _append(element: Appended, compiler: Any, **kw: Any) -> str:
    return element.sql


class Written(sa.sql.expression.ColumnElement[Any]):
    """A custom construct that renders the given SQL."""

    inherit_cache = False

    def __init__(self, sql: str, type_: Any = None) -> None:
        self.sql, self.type = sql, type_ or String()


@compiles(Written)
def _write(element: Written, compiler: Any, **kw: Any) -> str:
    return element.sql


class Twice(sa.sql.expression.ColumnElement[str]):
    """A custom construct that compiles a select, whose table is counted, but renders the given SQL instead."""

    inherit_cache = False
    type = String()

    def __init__(self, sql: str = "(SELECT max(secret) FROM books)") -> None:
        self.sql = sql


@compiles(Twice)
def _write_twice(element: Twice, compiler: Any, **kw: Any) -> str:
    compiler.process(select(books.c.id), **kw)
    return element.sql


class Inner(sa.types.TypeDecorator[int]):
    """A custom type whose literals render as the given SQL."""

    impl = Integer
    cache_ok = True

    def __init__(self, literal: str) -> None:
        super().__init__()
        self.literal = literal

    def literal_processor(self, dialect: Any) -> Any:
        return lambda value: self.literal


class Cast(sa.types.UserDefinedType[str]):
    """A custom type to which psycopg casts each of its values."""

    cache_ok = True
    render_bind_cast = True

    def __init__(self, name_in_sql: str) -> None:
        self.name_in_sql = name_in_sql

    def get_col_spec(self, **kw: Any) -> str:
        return self.name_in_sql


def _literal_of(type_: Any, value: Any = 1) -> Any:
    return bindparam("written", value, type_=type_, literal_execute=True)


def _variant() -> Any:
    evil = Inner("0) OR (1=1")
    return Integer().with_variant(evil, "sqlite").with_variant(evil, "postgresql")


def _schema_map(ctx: Context, schema: str) -> Any:
    table = sa.Table("countries", sa.MetaData(), sa.Column("name", String), schema="other")
    return ctx.rows(select(table.c.name), execution_options={"schema_translate_map": {"other": unquoted(schema)}})


def _server_default(ctx: Context) -> Any:
    table = sa.Table(
        "countries",
        sa.MetaData(),
        sa.Column(
            "id", Integer, primary_key=True, autoincrement=True, server_default=text("(SELECT max(id) FROM books)")
        ),
        sa.Column("name", String),
        implicit_returning=False,
    )
    return [*ctx.session.execute(table.insert().values(name="x")).inserted_primary_key]


def _copied(ctx: Context, query: Any) -> list[str]:
    ctx.execute(insert(Author).from_select(["id", "slug", "secret"], query))
    return ctx.scalars(select(Author.secret))


CASES: dict[str, Any] = {
    # -- after WHERE
    "suffix OR": lambda ctx: ctx.rows(select(Book.secret).suffix_with(ALWAYS)),
    "suffix OR, of an alias": lambda ctx: ctx.rows(select(aliased(Book).secret).suffix_with(ALWAYS)),
    "suffix OR, entity": lambda ctx: [book.secret for book in ctx.scalars(select(Book).suffix_with(ALWAYS))],
    "suffix OR, join": lambda ctx: ctx.rows(select(Book.secret).join(Book.author).suffix_with(ALWAYS)),
    "suffix OR, outer join": lambda ctx: ctx.rows(select(Author.secret).outerjoin(Author.books).suffix_with(ALWAYS)),
    "suffix OR, outer join from an unscoped table": lambda ctx: ctx.rows(
        select(Book.secret).join_from(Country, Book, sa.true(), isouter=True).suffix_with(ALWAYS)
    ),
    "statement hint OR, outer join from an unscoped table": lambda ctx: ctx.rows(
        select(Book.secret).join_from(Country, Book, sa.true(), isouter=True).with_statement_hint(ALWAYS)
    ),
    "suffix OR with a criterion": lambda ctx: ctx.rows(
        select(Book.secret).where(Book.stock > 0).suffix_with("OR books.stock > 0")
    ),
    "suffix that negates": lambda ctx: ctx.rows(select(Book.secret).suffix_with("IS NOT NULL")),
    "suffix with an operator": lambda ctx: ctx.rows(select(Book.secret).suffix_with("+ 0 IS NOT NULL")),
    "suffix OR of a subquery": lambda ctx: ctx.rows(
        select(select(Book.secret).suffix_with(ALWAYS).subquery().c.secret)
    ),
    "suffix OR of a cte": lambda ctx: ctx.rows(select(select(Book.secret).suffix_with(ALWAYS).cte().c.secret)),
    "suffix OR of a scalar subquery": lambda ctx: ctx.rows(
        select(select(func.max(Book.secret)).suffix_with(ALWAYS).scalar_subquery())
    ),
    "suffix OR of a part of a union": lambda ctx: ctx.rows(
        sa.union_all(select(Book.secret).suffix_with(ALWAYS), select(Book.secret).suffix_with(ALWAYS))
    ),
    "suffix OR in a criterion": lambda ctx: ctx.rows(
        select(Book.secret).where(Book.id.in_(select(Book.id).suffix_with(ALWAYS)))
    ),
    "statement hint OR": lambda ctx: ctx.rows(select(Book.secret).with_statement_hint(ALWAYS)),
    "statement hint OR, legacy query": lambda ctx: [
        b.secret for b in ctx.session.query(Book).with_statement_hint(ALWAYS)
    ],
    "statement hint OR, beside a join": lambda ctx: ctx.rows(
        select(Book.secret, Author.secret).join(Book.author).with_statement_hint(ALWAYS)
    ),
    "extension behind WHERE": lambda ctx: ctx.rows(select(Book.secret).ext(Appended(ALWAYS))),
    "extension at the end": lambda ctx: ctx.rows(select(Book.secret).ext(Appended(ALWAYS, "post_body"))),
    "extension before the columns": lambda ctx: ctx.rows(
        select(Book.secret).ext(Appended("books.secret AS x,", "pre_columns"))
    ),
    "copy of a query with a suffix": lambda ctx: _copied(
        ctx, select(Book.id + 80, Book.slug + "-x", Book.secret).suffix_with(ALWAYS)
    ),
    "copy of a query with a hint": lambda ctx: _copied(
        ctx, select(Book.id + 80, Book.slug + "-x", Book.secret).with_statement_hint(ALWAYS)
    ),
    "update from a query with a suffix": lambda ctx: (
        ctx.execute(
            update_of(Book).values(secret=select(func.max(Author.secret)).suffix_with(ALWAYS).scalar_subquery()),
            execution_options={"synchronize_session": False},
        ),
        ctx.scalars(select(Book.secret).execution_options(populate_existing=True)),
    )[1],
    # -- inside parentheses
    "text that closes the parentheses": lambda ctx: ctx.rows(select(Book.secret).where(text(OUT))),
    "literal column that closes the parentheses": lambda ctx: ctx.rows(select(Book.secret).where(literal_column(OUT))),
    "operator that closes the parentheses": lambda ctx: ctx.rows(
        select(Book.secret).where(literal(1).op("= 1) OR (1 =")(literal(1)))
    ),
    "construct that closes the parentheses": lambda ctx: ctx.rows(
        select(Book.secret).where(Written(OUT, sa.Boolean()))
    ),
    "construct that closes the parentheses of an outer join": lambda ctx: ctx.rows(
        select(Author.secret, Book.secret).outerjoin(Book, Written("1=1) OR (1=1", sa.Boolean()))
    ),
    "construct that begins another outer join": lambda ctx: ctx.rows(
        select(Author.secret, Book.secret).outerjoin(Book, Written("1=1) LEFT JOIN countries c9 ON (1=1", sa.Boolean()))
    ),
    "text that begins another outer join": lambda ctx: ctx.rows(
        select(Author.secret, Book.secret).outerjoin(Book, text("1=1) LEFT JOIN countries c9 ON (1=1"))
    ),
    "type that closes the parentheses": lambda ctx: ctx.rows(
        select(Book.secret).where(sa.cast(Book.id, NamedType("INTEGER) = 1) OR (1 = CAST(1 AS INTEGER")) == 1)
    ),
    "string length that closes the parentheses": lambda ctx: ctx.rows(
        select(Book.secret).where(sa.cast(Book.slug, String("9)) = '1') OR ('1' = CAST('1' AS VARCHAR(9")) == "1")
    ),
    "unquoted column that closes the parentheses": lambda ctx: ctx.rows(
        select(Book.secret).where(column(unquoted("1) = 1 OR (1"), Integer) == 1)
    ),
    "unquoted alias with a comment": lambda ctx: ctx.rows(
        select(Book.secret).select_from(books, countries.alias(unquoted("c --")))
    ),
    "function that closes the parentheses": lambda ctx: ctx.rows(
        select(Book.secret).where(func.lower(Written("'x')) = 'x' OR ('x' = lower('x'")) == "x")
    ),
    "collation that closes the parentheses": lambda ctx: ctx.rows(
        select(Book.secret).where(
            sa.collate(
                Book.slug,
                unquoted("\"C\") = '1') OR ('1' = ('1'" if not ctx.is_sqlite else "NOCASE) = '1') OR ('1' = ('1'"),
            )
            == "1"
        )
    ),
    "order by with a comment": lambda ctx: ctx.rows(select(Book.secret).order_by(text("1 -- the secret"))),
    "criterion with a comment": lambda ctx: ctx.rows(select(Book.secret).where(text("stock > 0 -- on stock"))),
    "criterion with a comment that ends it": lambda ctx: ctx.rows(select(Book.secret).where(text("stock > 0) -- ("))),
    "text in GROUP BY and HAVING": lambda ctx: ctx.rows(
        select(Book.secret).group_by(text("secret")).having(text("1=1) OR (1=1"))
    ),
    "scoped text with a suffix": lambda ctx: ctx.rows(
        select(Book.secret)
        .where(scoped_text("EXISTS (SELECT 1 FROM books b WHERE b.site_id = :site_id)"))
        .suffix_with("ORDER BY 1")
    ),
    "literal of a number": lambda ctx: ctx.rows(select(Book.secret).where(Book.id != _literal_of(Integer()))),
    "postgresql: lock of text": lambda ctx: ctx.rows(select(Book.secret).with_for_update(of=literal_column("books"))),
    "postgresql: lock in a suffix": lambda ctx: ctx.rows(select(Book.secret).suffix_with("FOR UPDATE")),
    "postgresql: cast of a value that closes the parentheses": lambda ctx: ctx.rows(
        select(Book.secret).where(Book.slug == literal("x", Cast("text) OR ('x' = 'x'")))
    ),
    "postgresql: sample with text": lambda ctx: ctx.rows(
        select(sa.tablesample(books, func.bernoulli(literal_column("100) REPEATABLE (1"))).c.secret)
    ),
    # -- changes
    "delete with an extension": lambda ctx: ctx.execute(delete(Shelf).ext(Appended(ALWAYS))),
    "update with an extension": lambda ctx: ctx.execute(update_of(Shelf).values(slug="x").ext(Appended(ALWAYS))),
    "delete with text that closes the parentheses": lambda ctx: ctx.execute(delete(Book).where(text(OUT))),
    "delete with a construct that closes the parentheses": lambda ctx: ctx.execute(
        delete(Book).where(Written(OUT, sa.Boolean())), execution_options={"synchronize_session": False}
    ),
    "update with a construct that closes the parentheses": lambda ctx: ctx.execute(
        update_of(Book).values(stock=7).where(Written(OUT, sa.Boolean())),
        execution_options={"synchronize_session": False},
    ),
    "update with a construct that sets another column": lambda ctx: ctx.execute(
        update_of(Book).values(slug=Written("'x'), site_id = (2")),
        execution_options={"synchronize_session": False},
    ),
    "delete with a prefix": lambda ctx: ctx.execute(
        delete(Shelf).prefix_with("FROM shelves WHERE 1=1 OR EXISTS (SELECT 1")
    ),
    "update with a type that closes the parentheses": lambda ctx: ctx.execute(
        update_of(Book)
        .values(stock=7)
        .where(sa.cast(Book.id, NamedType("INTEGER) = 1) OR (1 = CAST(1 AS INTEGER")) == 1),
        execution_options={"synchronize_session": False},
    ),
    "insert with a construct that begins a row": lambda ctx: ctx.execute(
        insert(Shelf).values(id=98, slug="x", secret=Written("'x'), (97, 'x', ('secret-2'"))
    ),
    "upsert whose index has text": lambda ctx: ctx.execute(
        ctx.insert(Shelf)
        .values(id=ctx.other_key(), slug="x", secret="x")
        .on_conflict_do_nothing(index_elements=["id"], index_where=text("true DO UPDATE SET secret = 'x' --"))
    ),
    "upsert whose index has a construct": lambda ctx: ctx.execute(
        ctx.insert(Shelf)
        .values(id=ctx.other_key(), slug="x", secret="x")
        .on_conflict_do_nothing(index_elements=[Written("id) DO UPDATE SET secret = ('x'")])
    ),
    "upsert with a construct as its criterion": lambda ctx: ctx.execute(
        ctx.insert(Shelf)
        .values(id=ctx.other_key(), slug="x", secret="x")
        .on_conflict_do_update(index_elements=["id"], set_={"secret": "x"}, where=Written(OUT, sa.Boolean()))
    ),
    "upsert with a construct as a value": lambda ctx: ctx.execute(
        ctx.insert(Shelf)
        .values(id=ctx.other_key(), slug="x", secret="x")
        .on_conflict_do_update(index_elements=["id"], set_={"secret": Written("'x') WHERE 1=1 OR ('x' = 'x'")})
    ),
    "sqlite: insert with a construct as its prefix": lambda ctx: ctx.execute(
        insert(Shelf).prefix_with(Written("OR REPLACE")).values(id=ctx.other_key(), slug="x", secret="x")
    ),
    "sqlite: update with a construct as its prefix": lambda ctx: ctx.execute(
        update_of(Book)
        .prefix_with(Written("/**/ OR REPLACE"))
        .where(Book.id == ctx.own_key(3))
        .values(id=ctx.other_key(3)),
        execution_options={"synchronize_session": False},
    ),
    "copy of a query with a comment": lambda ctx: ctx.execute(
        insert(Shelf).from_select(["id", "slug", "secret"], select(literal(98), literal("x"), Written("'x', 2 --")))
    ),
    # -- tables and values that are rendered in another place
    "construct that writes a table and another": lambda ctx: ctx.rows(select(Twice())),
    "construct that writes a table and another, joined": lambda ctx: ctx.rows(
        select(Country.name, Twice()).where(Country.id == 1)
    ),
    "literal in a variant that closes the parentheses": lambda ctx: ctx.rows(
        select(Book.secret).where(Book.id == _literal_of(_variant()))
    ),
    "postgresql: literal in an array that closes the parentheses": lambda ctx: ctx.rows(
        select(Book.secret).where(
            postgresql.array([1]) == _literal_of(postgresql.ARRAY(Inner("1]) OR (ARRAY[1] = ARRAY[1")), [1])
        )
    ),
    "SQL in a translated schema": lambda ctx: _schema_map(
        ctx, ("main" if ctx.is_sqlite else "public") + ".countries UNION SELECT secret FROM books --"
    ),
    "postgresql: server default that is executed first": lambda ctx: _server_default(ctx),
    # -- elsewhere
    "sqlite: hint that begins another outer join": lambda ctx: ctx.rows(
        select(Author.secret, books.c.secret)
        .outerjoin_from(Author, books, literal(True))
        .with_hint(books, "ON 1=1 LEFT JOIN countries c9", "sqlite")
    ),
    "sqlite: hint of an index": lambda ctx: ctx.rows(
        select(books.c.secret).with_hint(books, "NOT INDEXED", "sqlite").where(text("stock > 0"))
    ),
    "update returning text": lambda ctx: ctx.rows(
        update_of(Shelf).values(slug="x").returning(text("(SELECT max(secret) FROM shelves)")),
        execution_options={"synchronize_session": False},
    ),
    "update returning text of its own row": lambda ctx: ctx.rows(
        update_of(Shelf).values(slug="x").returning(text("secret OR 1=1" if ctx.is_sqlite else "secret"), Shelf.secret),
        execution_options={"synchronize_session": False},
    ),
    "update with criteria of a loader": lambda ctx: ctx.execute(
        update_of(Book).values(stock=7).options(with_loader_criteria(Book, EVERY)),
        execution_options={"synchronize_session": False},
    ),
    "delete with criteria of a loader": lambda ctx: ctx.execute(
        delete(Book).options(with_loader_criteria(Book, EVERY)),
        execution_options={"synchronize_session": False},
    ),
    "select with criteria of a loader": lambda ctx: ctx.rows(
        select(Book.secret).options(with_loader_criteria(Book, EVERY))
    ),
    "postgresql: group by the key, with text": lambda ctx: ctx.rows(
        select(Book.id, Book.secret).group_by(Book.id).order_by(text("max(stock), secret")).suffix_with("LIMIT 9")
    ),
    "postgresql: lateral with a suffix": lambda ctx: ctx.rows(
        select(select(Book.secret).where(Book.id == Author.id).suffix_with("OR 2=1").lateral("l").c.secret).select_from(
            Author
        )
    ),
    "postgresql: values with text": lambda ctx: ctx.rows(
        select(
            sa.values(column("x", String), name="v").data([(literal_column("'x'), ((SELECT max(secret) FROM books)"),)])
        )
    ),
    "postgresql: within group with text": lambda ctx: ctx.rows(
        select(func.percentile_disc(0.5).within_group(literal_column("books.secret) OVER (ORDER BY 1"))).select_from(
            Book
        )
    ),
    "postgresql: name of a constraint": lambda ctx: ctx.execute(
        ctx.insert(Shelf)
        .values(id=ctx.other_key(), slug="x", secret="x")
        .on_conflict_do_nothing(constraint=unquoted("shelves_pkey DO UPDATE SET secret = 'x' --"))
    ),
}

SYNTAX_ERRORS = {
    "suffix OR", "suffix OR, of an alias", "suffix OR, entity", "suffix that negates", "suffix with an operator",
    "suffix OR of a subquery", "suffix OR of a cte", "suffix OR of a scalar subquery", "suffix OR of a part of a union",
    "suffix OR in a criterion", "statement hint OR", "statement hint OR, legacy query", "extension behind WHERE",
    "extension at the end", "construct that closes the parentheses", "type that closes the parentheses",
    "string length that closes the parentheses", "unquoted column that closes the parentheses",
    "construct that closes the parentheses of an outer join",
}  # fmt: skip
"""The database reports a syntax error, as it would without scoping, since there is no WHERE to widen."""

OWN_ROWS = {
    "suffix OR, outer join from an unscoped table",
    "statement hint OR, outer join from an unscoped table",
    "suffix OR, join", "suffix OR, outer join", "suffix OR with a criterion", "statement hint OR, beside a join",
    "extension before the columns", "order by with a comment", "criterion with a comment", "scoped text with a suffix",
    "literal of a number", "postgresql: lock of text", "postgresql: lock in a suffix",
    "postgresql: group by the key, with text", "sqlite: hint of an index",
    "sqlite: hint that begins another outer join", "unquoted alias with a comment", "select with criteria of a loader",
    "postgresql: lateral with a suffix", "update returning text of its own row",
}  # fmt: skip

syntax_error = Expected("a syntax error of the database: DBAPIError", (sa.exc.DBAPIError,))


def _only(names: Collection[str]) -> dict[str, Any]:
    return {name: act for name, act in CASES.items() if name in names}


add("text", own_rows, _only(OWN_ROWS))
add("text", syntax_error, _only(SYNTAX_ERRORS))
add("text", refused(), _only(CASES.keys() - OWN_ROWS - SYNTAX_ERRORS))
