"""SQL as text, and tables under hidden names: a statement that cannot be limited is refused."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from scoped_models import Author, Book, Country
from sqlalchemy import Integer, String, column, func, literal, literal_column, select, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import quoted_name
from sqlalchemy.sql.functions import Function

from attack_catalogue import Context, add, refused
from multisite import scoped_text

books, authors, countries = Book.__table__, Author.__table__, Country.__table__


class Smuggled(sa.sql.expression.ColumnElement[str]):
    """A custom construct that renders a query."""

    inherit_cache = True
    type = String()


@compiles(Smuggled)
def _smuggle(element: Smuggled, compiler: Any, **kw: Any) -> str:
    return "(SELECT max(secret) FROM books)"


class NamedType(sa.types.UserDefinedType[str]):
    """A custom type whose name in SQL is the given text."""

    cache_ok = True

    def __init__(self, name_in_sql: str) -> None:
        self.name_in_sql = name_in_sql

    def get_col_spec(self, **kw: Any) -> str:
        return self.name_in_sql


class Written(sa.types.TypeDecorator[int]):
    """A custom type whose literals render as the given SQL."""

    impl = Integer
    cache_ok = True

    def __init__(self, literal: str) -> None:
        super().__init__()
        self.literal = literal

    def literal_processor(self, dialect: Any) -> Any:
        return lambda value: self.literal


def _literal(sql: str) -> Any:
    return sa.bindparam("written", 1, type_=Written(sql), literal_execute=True)


class SmuggledView(sa.sql.expression.ColumnElement[str]):
    """A custom construct that renders a query on a view: the statement contains neither text nor a table."""

    inherit_cache = True
    type = String()


@compiles(SmuggledView)
def _smuggle_view(element: SmuggledView, compiler: Any, **kw: Any) -> str:
    return "(SELECT max(secret) FROM books_view)"


class MakeCopy(sa.schema.ExecutableDDLElement):
    """Custom DDL, as in recipes for views."""


@compiles(MakeCopy)
def _make_copy(element: MakeCopy, compiler: Any, **kw: Any) -> str:
    return "CREATE TABLE copied AS SELECT * FROM books"


def unquoted(sql: str) -> quoted_name:
    return quoted_name(sql, False)


def driver(ctx: Context, sql: str, *args: Any) -> Any:
    result = ctx.session.connection().exec_driver_sql(sql, *args)
    return result.all() if result.returns_rows else None


def sql(ctx: Context, sql: str, *args: Any) -> Any:
    result = ctx.session.execute(text(sql), *args)
    return [tuple(row) for row in result] if result.returns_rows else None


def _foreign_table(ctx: Context) -> Any:
    ctx.session.connection().connection.cursor().execute(
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
        "CREATE FOREIGN TABLE far (x text) SERVER s"
    )
    return sql(ctx, "SELECT x FROM far")


add(
    "text",
    refused(),
    {
        # -- whole statements
        "text": lambda ctx: sql(ctx, "SELECT * FROM books"),
        "text in another letter case": lambda ctx: sql(ctx, "SELECT * FROM Books"),
        "text with a quoted name": lambda ctx: sql(ctx, 'SELECT * FROM "books"'),
        "text with a schema": lambda ctx: sql(ctx, f"SELECT * FROM {'main' if ctx.is_sqlite else 'public'}.books"),
        "text with a comment in between": lambda ctx: sql(ctx, "SELECT * FROM/**/books"),
        "text with a where": lambda ctx: sql(ctx, "SELECT secret FROM books WHERE site_id = 2"),
        "text with a parameter": lambda ctx: sql(
            ctx, "SELECT secret FROM books WHERE site_id = :x", {"x": ctx.other.id}
        ),
        "text with its own site_id parameter": lambda ctx: sql(
            ctx, "SELECT secret FROM books WHERE site_id = :site_id", {"site_id": 2}
        ),
        "text as entity": lambda ctx: [
            b.secret for b in ctx.scalars(select(Book).from_statement(text("SELECT * FROM books")))
        ],
        "text with columns": lambda ctx: ctx.rows(text("SELECT secret FROM books").columns(column("secret"))),
        "text with columns as subquery": lambda ctx: ctx.rows(
            select(text("SELECT secret FROM books").columns(column("secret")).subquery().c.secret)
        ),
        "text with columns as cte": lambda ctx: ctx.rows(
            select(text("SELECT secret FROM books").columns(column("secret")).cte().c.secret)
        ),
        "text with columns in a union": lambda ctx: ctx.rows(
            sa.union_all(
                select(Country.name), text("SELECT secret FROM books").columns(column("secret")).subquery().select()
            )
        ),
        "text WITH": lambda ctx: sql(ctx, "WITH c AS (SELECT secret FROM books) SELECT * FROM c"),
        "text join": lambda ctx: sql(ctx, "SELECT b.secret FROM countries c JOIN books b ON 1=1"),
        "text union": lambda ctx: sql(ctx, "SELECT name FROM countries UNION SELECT secret FROM books"),
        "text update": lambda ctx: sql(ctx, "UPDATE books SET stock = 0"),
        "text delete": lambda ctx: sql(ctx, "DELETE FROM margin_notes"),
        "text insert": lambda ctx: sql(ctx, "INSERT INTO shelves (id, slug, secret, site_id) VALUES (91, 'x', 'x', 2)"),
        "text insert from select": lambda ctx: sql(
            ctx, "INSERT INTO countries (id, name) SELECT id + 100, secret FROM books"
        ),
        "text by the connection": lambda ctx: ctx.session.connection().execute(text("SELECT secret FROM books")).all(),
        "text by a lambda": lambda ctx: ctx.rows(sa.lambda_stmt(lambda: text("SELECT secret FROM books"))),
        "legacy text": lambda ctx: ctx.session.query(Book).from_statement(text("SELECT * FROM books")).all()[-1].secret,
        "text subquery": lambda ctx: ctx.rows(select(text("(SELECT max(secret) FROM books)"))),
        "literal subquery": lambda ctx: ctx.rows(select(literal_column("(SELECT max(secret) FROM books)"))),
        "postgresql: text TABLE": lambda ctx: sql(ctx, "TABLE books"),
        "postgresql: text MERGE": lambda ctx: sql(
            ctx, "MERGE INTO books b USING authors a ON a.id = b.author_id WHEN MATCHED THEN UPDATE SET stock = 7"
        ),
        "postgresql: text COPY": lambda ctx: sql(ctx, "COPY books TO '/dev/null'"),
        "postgresql: text TRUNCATE": lambda ctx: sql(ctx, "TRUNCATE margin_notes"),
        "postgresql: text LOCK": lambda ctx: sql(ctx, "LOCK TABLE books IN ACCESS EXCLUSIVE MODE"),
        "postgresql: text PREPARE": lambda ctx: (
            sql(ctx, "PREPARE p AS SELECT secret FROM books"),
            sql(ctx, "EXECUTE p"),
        )[1],
        "postgresql: text DECLARE": lambda ctx: (
            sql(ctx, "DECLARE c CURSOR FOR SELECT secret FROM books"),
            sql(ctx, "FETCH ALL FROM c"),
        )[1],
        "postgresql: text EXPLAIN": lambda ctx: sql(ctx, "EXPLAIN ANALYZE DELETE FROM margin_notes"),
        "postgresql: text function": lambda ctx: (
            sql(ctx, "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT max(secret) FROM books'"),
            sql(ctx, "SELECT f()"),
        )[1],
        "postgresql: dynamic SQL": lambda ctx: sql(ctx, "DO $$ BEGIN EXECUTE 'DELETE FROM margin_' || 'notes'; END $$"),
        "postgresql: dynamic SQL with a whole name": lambda ctx: sql(
            ctx, "DO $$ BEGIN DELETE FROM margin_notes; END $$"
        ),
        "postgresql: dynamic SQL behind a query": lambda ctx: sql(
            ctx, "SELECT 1; DO $$ BEGIN EXECUTE 'DELETE FROM margin_' || 'notes'; END $$"
        ),
        "postgresql: cascade of a global table": lambda ctx: sql(ctx, "TRUNCATE sites CASCADE"),
        "postgresql: text on statistics": lambda ctx: sql(
            ctx, "SELECT most_common_vals::text FROM pg_catalog.pg_stats"
        ),
        "postgresql: function that runs SQL, in text": lambda ctx: str(
            sql(ctx, "SELECT schema_to_xml('public', true, false, '')")
        ),
        "postgresql: quoted function that runs SQL": lambda ctx: sql(
            ctx, """SELECT "query_to_xml"('select secret from bo' || 'oks', true, false, '')::text"""
        ),
        "postgresql: unicode escapes": lambda ctx: sql(ctx, 'SELECT secret FROM U&"b\\006f\\006fks"'),
        "postgresql: unicode escapes behind a schema": lambda ctx: sql(ctx, 'SELECT secret FROM public.U&"b\\006foks"'),
        "postgresql: function of a schema that runs SQL, in FROM": lambda ctx: sql(
            ctx, "SELECT x::text FROM pg_catalog.query_to_xml('select secret from bo' || 'oks', true, false, '') AS x"
        ),
        "postgresql: text update behind a column called key": lambda ctx: sql(
            ctx, "WITH x AS (SELECT id AS key FROM countries) UPDATE books SET stock = 0"
        ),
        "postgresql: unicode escapes, driver": lambda ctx: driver(ctx, 'SELECT secret FROM U&"b\\006f\\006fks"'),
        # -- strings for the driver
        "driver string": lambda ctx: driver(ctx, "SELECT * FROM books"),
        "driver string with parameters": lambda ctx: driver(
            ctx, f"SELECT secret FROM books WHERE id > {'?' if ctx.is_sqlite else '%s'}", (0,)
        ),
        "driver string update": lambda ctx: driver(ctx, "UPDATE books SET stock = 0"),
        "driver string on a view": lambda ctx: driver(ctx, "SELECT secret FROM books_view"),
        "driver string on an undeclared table": lambda ctx: driver(ctx, "SELECT note FROM unmapped"),
        # -- undeclared views and tables
        "text on a view": lambda ctx: sql(ctx, "SELECT secret FROM books_view"),
        "text on a table whose model is not imported": lambda ctx: sql(ctx, "SELECT note FROM unmapped"),
        "text joining a view": lambda ctx: sql(ctx, "SELECT v.secret FROM countries c LEFT JOIN books_view v ON 1=1"),
        "postgresql: text writing to a view": lambda ctx: sql(ctx, "UPDATE books_view SET stock = 3"),
        "postgresql: text TABLE of a view": lambda ctx: sql(ctx, "TABLE books_view"),
        "text with a nested CTE named like a view": lambda ctx: sql(
            ctx, "WITH x AS (WITH books_view AS (SELECT 1) SELECT 1) SELECT secret FROM books_view"
        ),
        "text with a window named like a view": lambda ctx: sql(
            ctx, "SELECT secret FROM books_view WINDOW books_view AS (ORDER BY id)"
        ),
        "postgresql: text on a foreign table": lambda ctx: _foreign_table(ctx),
        "postgresql: only the existence of rows": lambda ctx: [
            ctx.other_secret for row in sql(ctx, "SELECT DISTINCT FROM books_view")
        ],
        "unknown view": lambda ctx: ctx.rows(select(column("secret")).select_from(sa.table("books_view"))),
        "postgresql: insert into a view": lambda ctx: ctx.execute(
            sa.table(
                "books_view", column("id"), column("slug"), column("secret"), column("stock"), column("site_id")
            ).insert(),
            {"id": 98, "slug": "x", "secret": "x", "stock": 1, "site_id": 2},
        ),
        # -- fragments
        "statement hint": lambda ctx: ctx.rows(
            select(Country.name).with_statement_hint("UNION SELECT secret FROM books")
        ),
        "statement hint, view": lambda ctx: ctx.rows(
            select(Country.name).with_statement_hint("UNION SELECT secret FROM books_view")
        ),
        "suffix": lambda ctx: ctx.rows(select(Country.name).suffix_with("UNION SELECT secret FROM books")),
        "suffix in two parts": lambda ctx: ctx.rows(
            select(Country.name).suffix_with("UNION SELECT secret FROM").suffix_with("books")
        ),
        "prefix": lambda ctx: ctx.rows(select(Country.name).prefix_with("secret FROM books UNION SELECT")),
        "operator and column": lambda ctx: ctx.rows(
            select(literal_column("'x'").op("UNION SELECT secret FROM")(column("books")))
        ),
        "text as FROM": lambda ctx: ctx.rows(select(text("secret")).select_from(text("books"))),
        "text as FROM, aliased": lambda ctx: ctx.rows(select(text("b.secret")).select_from(text("books b"))),
        "text as FROM, second": lambda ctx: ctx.rows(
            select(text("b.secret")).select_from(countries, text("countries c, books b"))
        ),
        "text as FROM, view": lambda ctx: ctx.rows(select(text("secret")).select_from(text("books_view"))),
        "text as column with FROM": lambda ctx: ctx.rows(select(text("secret FROM books"))),
        "text criterion with a query": lambda ctx: [
            ctx.other_secret
            for _ in ctx.rows(
                select(Country).where(text(f"EXISTS (SELECT 1 FROM books WHERE secret = '{ctx.other_secret}')"))
            )
        ],
        "text criterion that closes the parentheses": lambda ctx: ctx.rows(
            select(Book.secret).where(text("1=1) OR (1=1"))
        ),
        "text criterion with a comment": lambda ctx: ctx.rows(select(Book.secret).where(text("1=1) --"))),
        "parentheses within quotes": lambda ctx: ctx.rows(
            select(Book.secret).where(text("""'"' = '"') OR (1=1 OR '"' = '"'"""))
        ),
        "comment that spans the limit": lambda ctx: ctx.rows(
            select(Book.secret).where(text("1=1 /*")).order_by(text("*/ 1"))
        ),
        "sqlite: table written as a string": lambda ctx: ctx.rows(
            select(literal_column("(SELECT max(secret) FROM 'books')"))
        ),
        "sqlite: textual subquery on a string": lambda ctx: ctx.rows(
            select(text("SELECT secret FROM 'books'").columns(column("secret")).subquery())
        ),
        "sqlite: table in square brackets": lambda ctx: sql(ctx, "SELECT secret FROM [books]"),
        "sqlite: table in backticks": lambda ctx: sql(ctx, "SELECT secret FROM `books`"),
        "quotes within quotes": lambda ctx: ctx.rows(
            select(literal_column("""(SELECT max(secret) AS "'" FROM books AS "'")"""))
        ),
        "postgresql: unicode escapes, fragment": lambda ctx: ctx.rows(
            select(literal_column('(SELECT max(secret) FROM U&"b\\006f\\006fks")'))
        ),
        "postgresql: extract": lambda ctx: ctx.rows(
            select(sa.extract("epoch FROM now()), (SELECT max(secret) FROM books), extract(epoch", func.now()))
        ),
        "sqlite: row in a table": lambda ctx: [
            ctx.other_secret for (found,) in ctx.rows(select(text("(2, 21, 21) IN shelf_books"))) if found
        ],
        "sqlite: row in an undeclared table": lambda ctx: [
            ctx.other_secret for (found,) in sql(ctx, f"SELECT ('{ctx.other_secret}', 2) IN unmapped") if found
        ],
        "sqlite: row in a table, operator": lambda ctx: [
            ctx.other_secret
            for (found,) in ctx.rows(select(literal_column("(2, 21, 21)").op("IN")(column("shelf_books"))))
            if found
        ],
        # -- SQL instead of names
        "unquoted table": lambda ctx: ctx.rows(
            select(column("secret")).select_from(
                sa.Table(unquoted("books AS x"), sa.MetaData(), sa.Column("secret", String))
            )
        ),
        "unquoted schema": lambda ctx: ctx.rows(
            select(literal_column("books.secret")).select_from(
                sa.Table(
                    "countries", sa.MetaData(), schema=unquoted("books, main" if ctx.is_sqlite else "books, public")
                )
            )
        ),
        "unquoted label": lambda ctx: ctx.rows(
            select(literal("1").label(unquoted("x UNION SELECT secret FROM books")))
        ),
        "unquoted function": lambda ctx: ctx.rows(
            select(Function(unquoted("(SELECT max(secret) FROM books)||lower"), literal("x")))
        ),
        "unquoted alias": lambda ctx: ctx.rows(
            select(text("'x'")).select_from(countries.alias(unquoted("c UNION SELECT secret FROM books")))
        ),
        "unquoted cte": lambda ctx: ctx.rows(
            select(select(Country.name).cte(unquoted("c AS (SELECT secret AS name FROM books), d")).c.name)
        ),
        "unquoted label, view": lambda ctx: ctx.rows(
            select(literal("1").label(unquoted("x, (SELECT max(secret) FROM books_view)")))
        ),
        "unquoted function, view": lambda ctx: ctx.rows(
            select(Function(unquoted("(SELECT max(secret) FROM books_view)||lower"), literal("x")))
        ),
        "unquoted names with a string that spans the limit": lambda ctx: ctx.rows(
            select(Book.secret.label(unquoted("x FROM books WHERE '' <> '"))).order_by(
                sa.collate(literal_column("1"), unquoted("x'"))
            )
        ),
        "unquoted collation": lambda ctx: ctx.rows(
            select(sa.collate(literal("x"), unquoted("nocase UNION SELECT secret FROM books")))
        ),
        # -- constructs and functions
        "custom construct": lambda ctx: ctx.rows(select(Smuggled())),
        "custom construct on a view": lambda ctx: ctx.rows(select(SmuggledView())),
        "postgresql: custom types with a string that spans the limit": lambda ctx: ctx.rows(
            select(sa.cast(Book.secret, NamedType("text) FROM books WHERE ('' <> '"))).order_by(
                sa.cast(literal_column("1"), NamedType("')--"))
            )
        ),
        "custom literal that adds a query": lambda ctx: ctx.rows(
            select(Country.name).where(Country.id == _literal("1 UNION SELECT secret FROM books"))
        ),
        "custom literal that closes the parentheses": lambda ctx: ctx.rows(
            select(Book.secret).where(Book.id == _literal("0 OR 1=1) OR (1=1"))
        ),
        "custom type on a view": lambda ctx: ctx.rows(
            select(sa.cast(literal("x"), NamedType("TEXT) || (SELECT max(secret) FROM books_view) || CAST('' AS TEXT")))
        ),
        "custom construct as a criterion": lambda ctx: [
            ctx.other_secret for _ in ctx.rows(select(Country.id).where(Smuggled() == ctx.other_secret))
        ],
        "postgresql: function that runs SQL": lambda ctx: str(
            ctx.rows(select(func.query_to_xml("select secret from books", True, False, "")))
        ),
        "postgresql: function that reads a table": lambda ctx: str(
            ctx.rows(select(func.table_to_xml(sa.cast("books", sa.Text).op("::")(text("regclass")), True, False, "")))
        ),
        "postgresql: statistics of words": lambda ctx: str(
            ctx.rows(select(func.ts_stat("select to_tsvector(secret) from books")))
        ),
        "postgresql: statistics of columns": lambda ctx: ctx.rows(
            select(sa.cast(column("most_common_vals"), sa.Text)).select_from(sa.table("pg_stats"))
        ),
        # -- parameters
        "parameter with the reserved name": lambda ctx: ctx.rows(
            select(Book.secret).order_by(sa.bindparam("multisite_site", 2, type_=Integer) + 0)
        ),
        "parameter with the reserved name, in text": lambda ctx: ctx.rows(
            select(Book.secret).order_by(text(":multisite_site + 0")), {"multisite_site": 2}
        ),
        # -- DDL
        "DDL with a query": lambda ctx: ctx.execute(sa.DDL("CREATE TABLE copied AS SELECT * FROM books")),
        "DDL on a view": lambda ctx: ctx.execute(sa.DDL("CREATE TABLE copied AS SELECT * FROM books_view")),
        "custom DDL": lambda ctx: ctx.execute(MakeCopy()),
        "DDL of a view": lambda ctx: ctx.execute(sa.DDL("CREATE VIEW seen AS SELECT * FROM books")),
        "DDL of a trigger": lambda ctx: ctx.execute(
            sa.DDL("CREATE TRIGGER t AFTER INSERT ON countries BEGIN DELETE FROM books; END")
        ),
        "statement into a table": lambda ctx: ctx.execute(select(Book).into("copied")),
        "construct of a view": lambda ctx: ctx.execute(sa.schema.CreateView(select(Book), "seen")),
        "construct of a table": lambda ctx: ctx.execute(sa.schema.CreateTableAs(select(books), "copied")),
    },
)

add(
    "text",
    refused(ValueError),
    {
        "scoped text without its parameter": lambda ctx: ctx.rows(scoped_text("SELECT secret FROM books")),
        "scoped text with another parameter": lambda ctx: ctx.rows(
            scoped_text("SELECT secret FROM books WHERE site_id = :x")
        ),
        "scoped text, bound to another site": lambda ctx: ctx.rows(
            scoped_text("SELECT secret FROM books WHERE site_id = :site_id").bindparams(site_id=2)
        ),
        "scoped text, reserved parameter bound": lambda ctx: ctx.rows(
            scoped_text("SELECT secret FROM books WHERE site_id = :site_id").bindparams(
                sa.bindparam("multisite_site", 2, type_=Integer)
            )
        ),
    },
    without_site=(ValueError,),
)
