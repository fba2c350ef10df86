"""SQL that comes as text, and names that hide: what cannot be limited is refused."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from scoped_models import Author, Book, Country
from sqlalchemy import Integer, String, column, func, literal, literal_column, select, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import quoted_name
from sqlalchemy.sql.functions import Function

from attack_catalogue import Place, add, refused
from multisite import scoped_text

books, authors, countries = Book.__table__, Author.__table__, Country.__table__


class Smuggled(sa.sql.expression.ColumnElement[str]):
    """A construct with a compiler of its own, which writes a query."""

    inherit_cache = True
    type = String()


@compiles(Smuggled)
def _smuggle(element: Smuggled, compiler: Any, **kw: Any) -> str:
    return "(SELECT max(secret) FROM books)"


class Spelt(sa.types.UserDefinedType[str]):
    """A type of its own, whose name in SQL is whatever is given."""

    cache_ok = True

    def __init__(self, spelling: str) -> None:
        self.spelling = spelling

    def get_col_spec(self, **kw: Any) -> str:
        return self.spelling


class Written(sa.types.TypeDecorator[int]):
    """A type of its own, whose literals are whatever is given."""

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
    """The same by a name that is not that of a scoped table: neither text nor a table is in the statement."""

    inherit_cache = True
    type = String()


@compiles(SmuggledView)
def _smuggle_view(element: SmuggledView, compiler: Any, **kw: Any) -> str:
    return "(SELECT max(secret) FROM books_view)"


class MakeCopy(sa.schema.ExecutableDDLElement):
    """DDL with a compiler of its own, as recipes for views have it."""


@compiles(MakeCopy)
def _make_copy(element: MakeCopy, compiler: Any, **kw: Any) -> str:
    return "CREATE TABLE copied AS SELECT * FROM books"


def unquoted(sql: str) -> quoted_name:
    return quoted_name(sql, False)


def driver(p: Place, sql: str, *args: Any) -> Any:
    result = p.s.connection().exec_driver_sql(sql, *args)
    return result.all() if result.returns_rows else None


def sql(p: Place, sql: str, *args: Any) -> Any:
    result = p.s.execute(text(sql), *args)
    return [tuple(row) for row in result] if result.returns_rows else None


def _foreign_table(p: Place) -> Any:
    p.s.connection().connection.cursor().execute(
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
        "CREATE FOREIGN TABLE far (x text) SERVER s"
    )
    return sql(p, "SELECT x FROM far")


add(
    "text",
    refused(),
    {
        # -- whole statements
        "text": lambda p: sql(p, "SELECT * FROM books"),
        "text in other letters": lambda p: sql(p, "SELECT * FROM Books"),
        "text with a quoted name": lambda p: sql(p, 'SELECT * FROM "books"'),
        "text with a schema": lambda p: sql(p, f"SELECT * FROM {'main' if p.sqlite else 'public'}.books"),
        "text with a comment in between": lambda p: sql(p, "SELECT * FROM/**/books"),
        "text with a where": lambda p: sql(p, "SELECT secret FROM books WHERE site_id = 2"),
        "text with a parameter": lambda p: sql(p, "SELECT secret FROM books WHERE site_id = :x", {"x": p.other.id}),
        "text with site_id of its own": lambda p: sql(
            p, "SELECT secret FROM books WHERE site_id = :site_id", {"site_id": 2}
        ),
        "text as entity": lambda p: [b.secret for b in p.all(select(Book).from_statement(text("SELECT * FROM books")))],
        "text with columns": lambda p: p.rows(text("SELECT secret FROM books").columns(column("secret"))),
        "text with columns as subquery": lambda p: p.rows(
            select(text("SELECT secret FROM books").columns(column("secret")).subquery().c.secret)
        ),
        "text with columns as cte": lambda p: p.rows(
            select(text("SELECT secret FROM books").columns(column("secret")).cte().c.secret)
        ),
        "text with columns in a union": lambda p: p.rows(
            sa.union_all(
                select(Country.name), text("SELECT secret FROM books").columns(column("secret")).subquery().select()
            )
        ),
        "text WITH": lambda p: sql(p, "WITH c AS (SELECT secret FROM books) SELECT * FROM c"),
        "text join": lambda p: sql(p, "SELECT b.secret FROM countries c JOIN books b ON 1=1"),
        "text union": lambda p: sql(p, "SELECT name FROM countries UNION SELECT secret FROM books"),
        "text update": lambda p: sql(p, "UPDATE books SET stock = 0"),
        "text delete": lambda p: sql(p, "DELETE FROM margin_notes"),
        "text insert": lambda p: sql(p, "INSERT INTO shelves (id, slug, secret, site_id) VALUES (91, 'x', 'x', 2)"),
        "text insert from select": lambda p: sql(
            p, "INSERT INTO countries (id, name) SELECT id + 100, secret FROM books"
        ),
        "text by the connection": lambda p: p.s.connection().execute(text("SELECT secret FROM books")).all(),
        "text by a lambda": lambda p: p.rows(sa.lambda_stmt(lambda: text("SELECT secret FROM books"))),
        "legacy text": lambda p: p.s.query(Book).from_statement(text("SELECT * FROM books")).all()[-1].secret,
        "text subquery": lambda p: p.rows(select(text("(SELECT max(secret) FROM books)"))),
        "literal subquery": lambda p: p.rows(select(literal_column("(SELECT max(secret) FROM books)"))),
        "postgresql: text TABLE": lambda p: sql(p, "TABLE books"),
        "postgresql: text MERGE": lambda p: sql(
            p, "MERGE INTO books b USING authors a ON a.id = b.author_id WHEN MATCHED THEN UPDATE SET stock = 7"
        ),
        "postgresql: text COPY": lambda p: sql(p, "COPY books TO '/dev/null'"),
        "postgresql: text TRUNCATE": lambda p: sql(p, "TRUNCATE margin_notes"),
        "postgresql: text LOCK": lambda p: sql(p, "LOCK TABLE books IN ACCESS EXCLUSIVE MODE"),
        "postgresql: text PREPARE": lambda p: (sql(p, "PREPARE p AS SELECT secret FROM books"), sql(p, "EXECUTE p"))[1],
        "postgresql: text DECLARE": lambda p: (
            sql(p, "DECLARE c CURSOR FOR SELECT secret FROM books"),
            sql(p, "FETCH ALL FROM c"),
        )[1],
        "postgresql: text EXPLAIN": lambda p: sql(p, "EXPLAIN ANALYZE DELETE FROM margin_notes"),
        "postgresql: text function": lambda p: (
            sql(p, "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT max(secret) FROM books'"),
            sql(p, "SELECT f()"),
        )[1],
        "postgresql: dynamic SQL": lambda p: sql(p, "DO $$ BEGIN EXECUTE 'DELETE FROM margin_' || 'notes'; END $$"),
        "postgresql: dynamic SQL that names it": lambda p: sql(p, "DO $$ BEGIN DELETE FROM margin_notes; END $$"),
        "postgresql: dynamic SQL behind a query": lambda p: sql(
            p, "SELECT 1; DO $$ BEGIN EXECUTE 'DELETE FROM margin_' || 'notes'; END $$"
        ),
        "postgresql: cascade of a global table": lambda p: sql(p, "TRUNCATE sites CASCADE"),
        "postgresql: text on statistics": lambda p: sql(p, "SELECT most_common_vals::text FROM pg_catalog.pg_stats"),
        "postgresql: function that runs SQL, in text": lambda p: str(
            sql(p, "SELECT schema_to_xml('public', true, false, '')")
        ),
        "postgresql: quoted function that runs SQL": lambda p: sql(
            p, """SELECT "query_to_xml"('select secret from bo' || 'oks', true, false, '')::text"""
        ),
        "postgresql: unicode escapes": lambda p: sql(p, 'SELECT secret FROM U&"b\\006f\\006fks"'),
        "postgresql: unicode escapes behind a schema": lambda p: sql(p, 'SELECT secret FROM public.U&"b\\006foks"'),
        "postgresql: function of a schema that runs SQL, in FROM": lambda p: sql(
            p, "SELECT x::text FROM pg_catalog.query_to_xml('select secret from bo' || 'oks', true, false, '') AS x"
        ),
        "postgresql: text update behind a column called key": lambda p: sql(
            p, "WITH x AS (SELECT id AS key FROM countries) UPDATE books SET stock = 0"
        ),
        "postgresql: unicode escapes, driver": lambda p: driver(p, 'SELECT secret FROM U&"b\\006f\\006fks"'),
        # -- strings for the driver
        "driver string": lambda p: driver(p, "SELECT * FROM books"),
        "driver string with parameters": lambda p: driver(
            p, f"SELECT secret FROM books WHERE id > {'?' if p.sqlite else '%s'}", (0,)
        ),
        "driver string update": lambda p: driver(p, "UPDATE books SET stock = 0"),
        "driver string on a view": lambda p: driver(p, "SELECT secret FROM books_view"),
        "driver string on a table of nobody": lambda p: driver(p, "SELECT note FROM unmapped"),
        # -- views and tables that nobody declares
        "text on a view": lambda p: sql(p, "SELECT secret FROM books_view"),
        "text on a table whose model is not imported": lambda p: sql(p, "SELECT note FROM unmapped"),
        "text joining a view": lambda p: sql(p, "SELECT v.secret FROM countries c LEFT JOIN books_view v ON 1=1"),
        "postgresql: text writing to a view": lambda p: sql(p, "UPDATE books_view SET stock = 3"),
        "postgresql: text TABLE of a view": lambda p: sql(p, "TABLE books_view"),
        "text that WITH names like a view": lambda p: sql(
            p, "WITH x AS (WITH books_view AS (SELECT 1) SELECT 1) SELECT secret FROM books_view"
        ),
        "text that WINDOW names like a view": lambda p: sql(
            p, "SELECT secret FROM books_view WINDOW books_view AS (ORDER BY id)"
        ),
        "postgresql: text on a foreign table": lambda p: _foreign_table(p),
        "postgresql: only the existence of rows": lambda p: [
            p.foreign for row in sql(p, "SELECT DISTINCT FROM books_view")
        ],
        "unknown view": lambda p: p.rows(select(column("secret")).select_from(sa.table("books_view"))),
        "postgresql: insert into a view": lambda p: p.do(
            sa.table(
                "books_view", column("id"), column("slug"), column("secret"), column("stock"), column("site_id")
            ).insert(),
            {"id": 98, "slug": "x", "secret": "x", "stock": 1, "site_id": 2},
        ),
        # -- fragments
        "statement hint": lambda p: p.rows(select(Country.name).with_statement_hint("UNION SELECT secret FROM books")),
        "statement hint, view": lambda p: p.rows(
            select(Country.name).with_statement_hint("UNION SELECT secret FROM books_view")
        ),
        "suffix": lambda p: p.rows(select(Country.name).suffix_with("UNION SELECT secret FROM books")),
        "suffix in two parts": lambda p: p.rows(
            select(Country.name).suffix_with("UNION SELECT secret FROM").suffix_with("books")
        ),
        "prefix": lambda p: p.rows(select(Country.name).prefix_with("secret FROM books UNION SELECT")),
        "operator and column": lambda p: p.rows(
            select(literal_column("'x'").op("UNION SELECT secret FROM")(column("books")))
        ),
        "text as FROM": lambda p: p.rows(select(text("secret")).select_from(text("books"))),
        "text as FROM, aliased": lambda p: p.rows(select(text("b.secret")).select_from(text("books b"))),
        "text as FROM, second": lambda p: p.rows(
            select(text("b.secret")).select_from(countries, text("countries c, books b"))
        ),
        "text as FROM, view": lambda p: p.rows(select(text("secret")).select_from(text("books_view"))),
        "text as column with FROM": lambda p: p.rows(select(text("secret FROM books"))),
        "text criterion with a query": lambda p: [
            p.foreign
            for _ in p.rows(select(Country).where(text(f"EXISTS (SELECT 1 FROM books WHERE secret = '{p.foreign}')")))
        ],
        "text criterion that ends the brackets": lambda p: p.rows(select(Book.secret).where(text("1=1) OR (1=1"))),
        "text criterion with a comment": lambda p: p.rows(select(Book.secret).where(text("1=1) --"))),
        "brackets within quotes": lambda p: p.rows(
            select(Book.secret).where(text("""'"' = '"') OR (1=1 OR '"' = '"'"""))
        ),
        "comment over the limit": lambda p: p.rows(select(Book.secret).where(text("1=1 /*")).order_by(text("*/ 1"))),
        "sqlite: table written as a string": lambda p: p.rows(
            select(literal_column("(SELECT max(secret) FROM 'books')"))
        ),
        "sqlite: textual subquery on a string": lambda p: p.rows(
            select(text("SELECT secret FROM 'books'").columns(column("secret")).subquery())
        ),
        "sqlite: table in square brackets": lambda p: sql(p, "SELECT secret FROM [books]"),
        "sqlite: table in backticks": lambda p: sql(p, "SELECT secret FROM `books`"),
        "quotes within quotes": lambda p: p.rows(
            select(literal_column("""(SELECT max(secret) AS "'" FROM books AS "'")"""))
        ),
        "postgresql: unicode escapes, fragment": lambda p: p.rows(
            select(literal_column('(SELECT max(secret) FROM U&"b\\006f\\006fks")'))
        ),
        "postgresql: extract": lambda p: p.rows(
            select(sa.extract("epoch FROM now()), (SELECT max(secret) FROM books), extract(epoch", func.now()))
        ),
        "sqlite: row in a table": lambda p: [
            p.foreign for (found,) in p.rows(select(text("(2, 21, 21) IN shelf_books"))) if found
        ],
        "sqlite: row in a table of nobody": lambda p: [
            p.foreign for (found,) in sql(p, f"SELECT ('{p.foreign}', 2) IN unmapped") if found
        ],
        "sqlite: row in a table, operator": lambda p: [
            p.foreign
            for (found,) in p.rows(select(literal_column("(2, 21, 21)").op("IN")(column("shelf_books"))))
            if found
        ],
        # -- SQL in place of names
        "unquoted table": lambda p: p.rows(
            select(column("secret")).select_from(
                sa.Table(unquoted("books AS x"), sa.MetaData(), sa.Column("secret", String))
            )
        ),
        "unquoted schema": lambda p: p.rows(
            select(literal_column("books.secret")).select_from(
                sa.Table("countries", sa.MetaData(), schema=unquoted("books, main" if p.sqlite else "books, public"))
            )
        ),
        "unquoted label": lambda p: p.rows(select(literal("1").label(unquoted("x UNION SELECT secret FROM books")))),
        "unquoted function": lambda p: p.rows(
            select(Function(unquoted("(SELECT max(secret) FROM books)||lower"), literal("x")))
        ),
        "unquoted alias": lambda p: p.rows(
            select(text("'x'")).select_from(countries.alias(unquoted("c UNION SELECT secret FROM books")))
        ),
        "unquoted cte": lambda p: p.rows(
            select(select(Country.name).cte(unquoted("c AS (SELECT secret AS name FROM books), d")).c.name)
        ),
        "unquoted label, view": lambda p: p.rows(
            select(literal("1").label(unquoted("x, (SELECT max(secret) FROM books_view)")))
        ),
        "unquoted function, view": lambda p: p.rows(
            select(Function(unquoted("(SELECT max(secret) FROM books_view)||lower"), literal("x")))
        ),
        "unquoted names with a string over the limit": lambda p: p.rows(
            select(Book.secret.label(unquoted("x FROM books WHERE '' <> '"))).order_by(
                sa.collate(literal_column("1"), unquoted("x'"))
            )
        ),
        "unquoted collation": lambda p: p.rows(
            select(sa.collate(literal("x"), unquoted("nocase UNION SELECT secret FROM books")))
        ),
        # -- constructs and functions
        "construct of its own": lambda p: p.rows(select(Smuggled())),
        "construct of its own on a view": lambda p: p.rows(select(SmuggledView())),
        "postgresql: types of its own with a string over the limit": lambda p: p.rows(
            select(sa.cast(Book.secret, Spelt("text) FROM books WHERE ('' <> '"))).order_by(
                sa.cast(literal_column("1"), Spelt("')--"))
            )
        ),
        "literal of its own that adds a query": lambda p: p.rows(
            select(Country.name).where(Country.id == _literal("1 UNION SELECT secret FROM books"))
        ),
        "literal of its own that ends the brackets": lambda p: p.rows(
            select(Book.secret).where(Book.id == _literal("0 OR 1=1) OR (1=1"))
        ),
        "type of its own on a view": lambda p: p.rows(
            select(sa.cast(literal("x"), Spelt("TEXT) || (SELECT max(secret) FROM books_view) || CAST('' AS TEXT")))
        ),
        "construct of its own as a criterion": lambda p: [
            p.foreign for _ in p.rows(select(Country.id).where(Smuggled() == p.foreign))
        ],
        "postgresql: function that runs SQL": lambda p: str(
            p.rows(select(func.query_to_xml("select secret from books", True, False, "")))
        ),
        "postgresql: function that reads a table": lambda p: str(
            p.rows(select(func.table_to_xml(sa.cast("books", sa.Text).op("::")(text("regclass")), True, False, "")))
        ),
        "postgresql: statistics of words": lambda p: str(
            p.rows(select(func.ts_stat("select to_tsvector(secret) from books")))
        ),
        "postgresql: statistics of columns": lambda p: p.rows(
            select(sa.cast(column("most_common_vals"), sa.Text)).select_from(sa.table("pg_stats"))
        ),
        # -- parameters
        "parameter of our name": lambda p: p.rows(
            select(Book.secret).order_by(sa.bindparam("multisite_site", 2, type_=Integer) + 0)
        ),
        "parameter of our name, in text": lambda p: p.rows(
            select(Book.secret).order_by(text(":multisite_site + 0")), {"multisite_site": 2}
        ),
        # -- DDL
        "DDL with a query": lambda p: p.do(sa.DDL("CREATE TABLE copied AS SELECT * FROM books")),
        "DDL on a view": lambda p: p.do(sa.DDL("CREATE TABLE copied AS SELECT * FROM books_view")),
        "DDL of its own": lambda p: p.do(MakeCopy()),
        "DDL of a view": lambda p: p.do(sa.DDL("CREATE VIEW seen AS SELECT * FROM books")),
        "DDL of a trigger": lambda p: p.do(
            sa.DDL("CREATE TRIGGER t AFTER INSERT ON countries BEGIN DELETE FROM books; END")
        ),
        "statement into a table": lambda p: p.do(select(Book).into("copied")),
        "construct of a view": lambda p: p.do(sa.schema.CreateView(select(Book), "seen")),
        "construct of a table": lambda p: p.do(sa.schema.CreateTableAs(select(books), "copied")),
    },
)

add(
    "text",
    refused(ValueError),
    {
        "scoped text without its parameter": lambda p: p.rows(scoped_text("SELECT secret FROM books")),
        "scoped text with another parameter": lambda p: p.rows(
            scoped_text("SELECT secret FROM books WHERE site_id = :x")
        ),
        "scoped text, bound to another site": lambda p: p.rows(
            scoped_text("SELECT secret FROM books WHERE site_id = :site_id").bindparams(site_id=2)
        ),
        "scoped text, our name bound": lambda p: p.rows(
            scoped_text("SELECT secret FROM books WHERE site_id = :site_id").bindparams(
                sa.bindparam("multisite_site", 2, type_=Integer)
            )
        ),
    },
    without_site=(ValueError,),
)
