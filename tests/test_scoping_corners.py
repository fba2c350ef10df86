"""The corners of the wall: SQL that comes into a statement as text, names that hide, and sessions that stay behind."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import closing_engine, fresh_database
from scoped_models import ONE, TWO, Author, Base, Book, Country, Library, Shelf, build_library, shelf_books
from sqlalchemy import column, func, literal, literal_column, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Session, aliased, column_property, load_only, make_transient_to_detached, synonym
from sqlalchemy.sql.elements import quoted_name
from sqlalchemy.sql.functions import Function

from multisite import CrossSiteError, NoCurrentSite, UnscopedStatement, all_sites, scoped_text, using_site
from multisite.models import DomainRow
from multisite.scoping import SiteId, site_id_column
from multisite.scoping.compiler import ScopedCompiler
from multisite.scoping.reading import is_whole, read
from multisite.scoping.tables import has_site_id, tables
from multisite.site import enter_request, leave_request

pytestmark = pytest.mark.filterwarnings(
    "ignore:.* has a cartesian product:sqlalchemy.exc.SAWarning",
    "ignore:Additional column names:sqlalchemy.exc.SAWarning",
)

books, authors, countries = Book.__table__, Author.__table__, Country.__table__
other = books.alias("other")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """One library for all tests, which roll back what they change; with a view on a scoped table."""
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        library = build_library(engine)
        with all_sites("set up a test"), engine.begin() as connection:
            connection.execute(text("CREATE TABLE scratch (note TEXT)"))
            connection.execute(text("CREATE TABLE unmapped (note TEXT, site_id INTEGER)"))
            connection.execute(text("CREATE VIEW books_view AS SELECT * FROM books"))
            connection.execute(text("CREATE VIEW books_seen AS SELECT * FROM books"))
            connection.execute(text("ANALYZE"))
        yield library


class Renamed(Base):
    """Books once more, whose site_id goes by other names."""

    __table__ = books
    __mapper_args__ = {"include_properties": ["id", "slug", "secret", "site_id"]}

    same = synonym("site_id")

    @hybrid_property
    def moved(self) -> Any:
        return self.site_id

    @moved.update_expression
    def moved(cls, value: Any) -> Any:  # noqa: N805
        return [(cls.site_id, literal_column(str(value)))]


class Columned(Base):
    __table__ = books
    __mapper_args__ = {"include_properties": ["id", "slug", "secret"]}

    ident = column_property(books.c.site_id)


class Smuggled(sa.sql.expression.ColumnElement[str]):
    """A construct with a compiler of its own, which writes a query."""

    inherit_cache = True
    type = sa.String()


@compiles(Smuggled)
def _smuggle(element: Smuggled, compiler: Any, **kw: Any) -> str:
    return "(SELECT max(secret) FROM books)"


class Equal(int):
    """A number that says it is equal to any other."""

    __hash__ = int.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


def insert_for(session: Session) -> Any:
    return (sqlite if session.get_bind().dialect.name == "sqlite" else postgresql).insert


def unquoted(sql: str) -> quoted_name:
    return quoted_name(sql, False)


TWO_LITERAL = literal_column("2")
NEW = {"id": 98, "slug": "new", "secret": "new", "stock": 1, "author_id": None}

REFUSED: dict[str, Callable[[Session], Any]] = {
    "statement hint": lambda s: s.execute(
        select(Country.name).with_statement_hint("UNION SELECT secret FROM books")
    ).all(),
    "statement hint, view": lambda s: s.execute(
        select(Country.name).with_statement_hint("UNION SELECT secret FROM books_view")
    ).all(),
    "suffix in two parts": lambda s: s.execute(
        select(Country.name).suffix_with("UNION SELECT secret FROM").suffix_with("books")
    ).all(),
    "prefix": lambda s: s.execute(select(Country.name).prefix_with("secret FROM books UNION SELECT")).all(),
    "operator and column": lambda s: s.execute(
        select(literal_column("'x'").op("UNION SELECT secret FROM")(column("books")))
    ).all(),
    "text as FROM": lambda s: s.execute(select(text("secret")).select_from(text("books"))).all(),
    "text as FROM, aliased": lambda s: s.execute(select(text("b.secret")).select_from(text("books b"))).all(),
    "text as FROM, second": lambda s: s.execute(
        select(text("b.secret")).select_from(countries, text("countries c, books b"))
    ).all(),
    "text as FROM, view": lambda s: s.execute(select(text("secret")).select_from(text("books_view"))).all(),
    "text as column with FROM": lambda s: s.execute(select(text("secret FROM books"))).all(),
    "text on a view": lambda s: s.execute(text("SELECT secret FROM books_view")).all(),
    "text on a table whose model is not imported": lambda s: s.execute(text("SELECT note FROM unmapped")).all(),
    "text joining a view": lambda s: s.execute(
        text("SELECT v.secret FROM countries c LEFT JOIN books_view v ON 1=1")
    ).all(),
    "driver string on a view": lambda s: s.connection().exec_driver_sql("SELECT secret FROM books_view").all(),
    "text writing to a view": lambda s: s.execute(text("UPDATE books_view SET stock = 3")),
    "table written as a string": lambda s: s.execute(select(literal_column("(SELECT max(secret) FROM 'books')"))).all(),
    "textual subquery on a string": lambda s: s.execute(
        select(text("SELECT secret FROM 'books'").columns(column("secret")).subquery())
    ).all(),
    "quotes within quotes": lambda s: s.execute(
        select(literal_column("""(SELECT max(secret) AS "'" FROM books AS "'")"""))
    ).all(),
    "brackets within quotes": lambda s: s.execute(
        select(Book.secret).where(text("""'"' = '"') OR (1=1 OR '"' = '"'"""))
    ).all(),
    "unquoted table": lambda s: s.execute(
        select(column("secret")).select_from(
            sa.Table(unquoted("books AS x"), sa.MetaData(), sa.Column("secret", sa.String))
        )
    ).all(),
    "unquoted schema": lambda s: s.execute(
        select(literal_column("books.secret")).select_from(
            sa.Table("countries", sa.MetaData(), schema=unquoted("books, main"))
        )
    ).all(),
    "unquoted label": lambda s: s.execute(
        select(literal("1").label(unquoted("x UNION SELECT secret FROM books")))
    ).all(),
    "unquoted function": lambda s: s.execute(
        select(Function(unquoted("(SELECT max(secret) FROM books)||lower"), literal("x")))
    ).all(),
    "unquoted alias": lambda s: s.execute(
        select(text("'x'")).select_from(countries.alias(unquoted("c UNION SELECT secret FROM books")))
    ).all(),
    "unquoted column ends the brackets": lambda s: s.execute(
        select(Book.secret).where(column(unquoted("1) = 1 OR (1"), sa.Integer) == 1)
    ).all(),
    "unquoted alias with a comment": lambda s: s.execute(
        select(Book.secret).select_from(books, countries.alias(unquoted("c --")))
    ).all(),
    "construct of its own": lambda s: s.execute(select(Smuggled())).all(),
    "parameter of our name, ordering": lambda s: s.execute(
        select(Book.secret).order_by(sa.bindparam("multisite_site", 2, type_=sa.Integer) + 0)
    ).all(),
    "parameter of our name, in text": lambda s: s.execute(
        select(Book.secret).order_by(text(":multisite_site + 0")), {"multisite_site": 2}
    ).all(),
    "function that runs SQL": lambda s: s.execute(
        select(func.query_to_xml("select secret from books", True, False, ""))
    ).all(),
    "function that runs SQL, in text": lambda s: s.execute(text("SELECT schema_to_xml('public', true, false, '')")),
    "statistics of words": lambda s: s.execute(select(func.ts_stat("select to_tsvector(secret) from books"))).all(),
    "statistics of columns": lambda s: s.execute(text("SELECT most_common_vals FROM pg_catalog.pg_stats")).all(),
    "statistics of columns, table": lambda s: s.execute(
        select(sa.cast(column("most_common_vals"), sa.Text)).select_from(sa.table("pg_stats"))
    ).all(),
    "row in a table": lambda s: s.execute(select(text("(2, 21, 21) IN shelf_books"))).all(),
    "row in a table, operator": lambda s: s.execute(
        select(literal_column("(2, 21, 21)").op("IN")(column("shelf_books")))
    ).all(),
    "only the existence of rows": lambda s: s.execute(text("SELECT DISTINCT FROM books_view")).all(),
    "unicode escapes": lambda s: s.execute(text('SELECT secret FROM U&"b\\006f\\006fks"')).all(),
    "unicode escapes, driver": lambda s: s.connection().exec_driver_sql('SELECT secret FROM U&"b\\006f\\006fks"').all(),
    "unicode escapes, fragment": lambda s: s.execute(
        select(literal_column('(SELECT max(secret) FROM U&"b\\006f\\006fks")'))
    ).all(),
    "text TABLE": lambda s: s.execute(text("TABLE books_view")).all(),
    "postgresql: extract": lambda s: s.execute(
        select(sa.extract("epoch FROM now()), (SELECT max(secret) FROM books), extract(epoch", func.now()))
    ).all(),
    "comment over the limit": lambda s: s.execute(
        select(Book.secret).where(text("1=1 /*")).order_by(text("*/ 1"))
    ).all(),
    "insert into a view": lambda s: s.execute(
        sa.table("books_view", column("id"), column("slug"), column("secret"), column("site_id")).insert(),
        {"id": 98, "slug": "x", "secret": "x", "site_id": 2},
    ),
    "insert rows of expressions": lambda s: s.execute(
        sa.insert(books).values([tuple({**NEW, "site_id": TWO_LITERAL}[c.name] for c in books.c)])
    ),
    "insert a second row of an expression": lambda s: s.execute(
        sa.insert(books).values([{**NEW, "site_id": 1}, {**NEW, "id": 99, "site_id": TWO_LITERAL}])
    ),
    "insert a variant of our type": lambda s: s.execute(
        sa.insert(Book).values(
            **NEW, site_id=sa.bindparam("x", 2, SiteId().with_variant(sa.Integer(), "sqlite", "postgresql"))
        )
    ),
    "insert through a table without our default": lambda s: s.execute(
        sa.Table(
            "books",
            sa.MetaData(),
            sa.Column("site_id", SiteId(), server_default="2"),
            sa.Column("slug", sa.String),
            sa.Column("secret", sa.String),
        ).insert(),
        {"slug": "x", "secret": "x"},
    ),
    "update through a synonym": lambda s: s.execute(sa.update(Renamed).values({"same": TWO_LITERAL})),
    "update through a synonym's attribute": lambda s: s.execute(sa.update(Renamed).values({Renamed.same: TWO_LITERAL})),
    "update through a hybrid": lambda s: s.execute(
        sa.update(Renamed).where(Renamed.id == 13).values({Renamed.moved: 2}),
        execution_options={"synchronize_session": False},
    ),
    "update through a hybrid's name": lambda s: s.execute(
        sa.update(Renamed).where(Renamed.id == 13).values({"moved": 2}),
        execution_options={"synchronize_session": False},
    ),
    "update through a column property": lambda s: s.execute(sa.update(Columned).values({"ident": TWO_LITERAL})),
    "update in order": lambda s: s.execute(sa.update(Book).ordered_values((Book.site_id, TWO_LITERAL))),
    "insert through a column property": lambda s: s.execute(
        sa.insert(Columned).values(id=98, slug="x", secret="x", ident=TWO_LITERAL)
    ),
    "flush of an expression": lambda s: (setattr(s.get(Book, 13), "site_id", TWO_LITERAL), s.flush()),
    "update or replace": lambda s: s.execute(
        sa.update(Book).prefix_with("OR REPLACE").where(Book.id == 13).values(id=23),
        execution_options={"synchronize_session": False},
    ),
    "query as a default": lambda s: s.execute(
        sa.Table(
            "countries",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True, default=text("(select max(id) from books)")),
            sa.Column("name", sa.String),
            implicit_returning=False,
        )
        .insert()
        .values(name="x")
    ),
    "upsert an expression": lambda s: s.execute(
        insert_for(s)(Book)
        .values(id=13, slug="x", secret="x")
        .on_conflict_do_update(index_elements=["id"], set_={"site_id": TWO_LITERAL})
    ),
    "move by a table of the same name": lambda s: s.execute(
        sa.table("shelves", column("id"), column("site_id")).update().values(site_id=2)
    ),
    "move by a parameter": lambda s: s.execute(
        sa.table("shelves", column("id"), column("site_id")).update(), {"site_id": 2}
    ),
    "move by a column in other letters": lambda s: s.execute(
        sa.table("shelves", column("id"), column("Site_Id")).update(), {"Site_Id": 2}
    ),
    "move by a reflected table": lambda s: s.execute(
        sa.Table("shelves", sa.MetaData(), autoload_with=s.get_bind()).update().values(site_id=2)
    ),
    "move by an unquoted column": lambda s: s.execute(
        sa.update(sa.table("shelves", column(unquoted("slug = 'x', site_id")))), {"slug = 'x', site_id": 2}
    ),
    "upsert a column in other letters": lambda s: s.execute(
        insert_for(s)(Book)
        .values(id=13, slug="x", secret="x")
        .on_conflict_do_update(index_elements=["id"], set_={"SITE_ID": 2})
    ),
    "text on a view that WITH names too": lambda s: s.execute(
        text("WITH x AS (WITH books_view AS (SELECT 1) SELECT 1) SELECT secret FROM books_view")
    ).all(),
    "text on a view that WINDOW names too": lambda s: s.execute(
        text("SELECT secret FROM books_view WINDOW books_view AS (ORDER BY id)")
    ).all(),
    "DDL of its own": lambda s: s.execute(MakeCopy()),
    "DDL on a view": lambda s: s.execute(sa.DDL("CREATE TABLE copied AS SELECT * FROM books_view")),
    "statement into a table": lambda s: s.execute(select(Book).into("copied")),
    "cascade of a global table": lambda s: s.execute(text("TRUNCATE sites CASCADE")),
    "dynamic SQL": lambda s: s.execute(text("DO $$ BEGIN EXECUTE 'DELETE FROM shelf_' || 'bo' || 'oks'; END $$")),
}


class MakeCopy(sa.schema.ExecutableDDLElement):
    """DDL with a compiler of its own, as recipes for views have it."""


@compiles(MakeCopy)
def _make_copy(element: MakeCopy, compiler: Any, **kw: Any) -> str:
    return "CREATE TABLE copied AS SELECT * FROM books"


@pytest.mark.parametrize("way", REFUSED)
def test_refuses_what_could_reach_past_the_limit(library: Library, way: str) -> None:
    with library.session(ONE) as session, pytest.raises((UnscopedStatement, CrossSiteError)):
        print(REFUSED[way](session))


LIMITED: dict[str, Callable[[Session], Any]] = {
    "alias of an alias beside it": lambda s: s.execute(select(other.alias("again").c.secret).select_from(other)).all(),
    "alias of a subquery's alias": lambda s: s.execute(
        select(aliased(Book, select(Book).subquery().alias()).secret).select_from(Book)
    ).all(),
    "delete using": lambda s: (
        s.execute(
            sa.delete(Country).where(Book.secret == "secret-2"), execution_options={"synchronize_session": False}
        ).rowcount
        if s.get_bind().dialect.name == "postgresql"
        else 0
    ),
    "update from": lambda s: s.execute(sa.update(Country).where(Book.secret == "secret-2").values(name="x")).rowcount,
    "update from, copying": lambda s: (
        s.execute(sa.update(Country).where(Book.id > 0).values(name=Book.secret)),
        s.scalars(select(Country.name)).all(),
    )[1],
    "update of an alias": lambda s: s.execute(sa.update(other).values(stock=7)).rowcount - 3,
    "delete of an alias": lambda s: s.execute(sa.delete(shelf_books.alias("links"))).rowcount - 3,
    "with_only_columns": lambda s: s.execute(select(Country).with_only_columns(Book.secret)).all(),
    "get with an identity token": lambda s: s.get(Book, 21, identity_token="x"),
    "get anew": lambda s: s.get(Book, 21, populate_existing=True),
    "parameter that says it is ours": lambda s: (
        s.scalars(sa.insert(Book).values(**NEW, site_id=Equal(2)).returning(Book.site_id)).all() != [1]
    ),
    "pickled statement": lambda s: s.execute(
        pickle.loads(pickle.dumps(select(books.c.secret).where(books.c.id > 0)))
    ).all(),
    "table of a schema, full join": lambda s: s.execute(full_join_in_a_schema(s)).all(),
    "table of a schema, translated": lambda s: s.execute(
        select(books.c.secret).select_from(books.outerjoin(authors, sa.true(), full=False)),
        execution_options={"schema_translate_map": {None: "main" if is_sqlite(s) else "public"}},
    ).all(),
    "no compiled cache": lambda s: s.execute(select(Book.secret), execution_options={"compiled_cache": None}).all(),
    "lateral": lambda s: (
        s.execute(select(countries.c.name, select(Book.secret).where(Book.id > Country.id).lateral("l").c.secret)).all()
        if not is_sqlite(s)
        else []
    ),
    "change in a CTE": lambda s: (
        s.execute(select(sa.update(Book).values(stock=5).returning(Book.secret).cte().c.secret)).all()
        if not is_sqlite(s)
        else []
    ),
    "sample": lambda s: s.execute(select(sa.tablesample(books, 100).c.secret)).all() if not is_sqlite(s) else [],
    "sample of an alias": lambda s: s.execute(select(Book.secret).select_from(other)).all(),
    "rows as JSON": lambda s: s.execute(
        select(func.json_group_array(Book.secret) if is_sqlite(s) else func.json_agg(books.table_valued()))
    ).all(),
}


def is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def full_join_in_a_schema(session: Session) -> Any:
    columns = [sa.Column("id", sa.Integer), sa.Column("secret", sa.String)]
    own = sa.Table("books", sa.MetaData(), *columns, schema="main" if is_sqlite(session) else "public")
    return select(own.c.secret, authors.c.secret).select_from(own.join(authors, own.c.id == authors.c.id, full=True))


def test_an_object_attached_by_its_key_stays_empty(library: Library) -> None:
    with library.session(ONE) as session:
        book = Book(id=21)
        make_transient_to_detached(book)
        session.add(book)
        with pytest.raises(sa.exc.InvalidRequestError):
            session.refresh(book)
        with pytest.raises(sa.orm.exc.ObjectDeletedError):
            print(book.secret)


def held(library: Library, *options: Any) -> Book:
    """Return a book of site TWO, as loaded by `options` and held by an application after its session."""
    with library.session(TWO) as session:
        book = session.get_one(Book, 21, options=options)
        session.expunge(book)
        return book


HOLDING: dict[str, Callable[[Session, Book], Any]] = {
    "add": lambda s, book: s.add(book),
    "merge": lambda s, book: s.merge(book),
    "merge without loading": lambda s, book: s.merge(book, load=False),
    "link": lambda s, book: s.add(Author(slug="x", secret="x", books=[book])),
}


@pytest.mark.parametrize("way", HOLDING)
def test_an_object_of_a_site_is_not_taken_where_no_site_is_known(library: Library, way: str) -> None:
    """A session that is pinned later would find it in its identity map."""
    with Session(library.engine) as session:
        with pytest.raises(NoCurrentSite):
            HOLDING[way](session, held(library))
        session.expunge_all()
        with using_site(ONE):
            assert session.get(Book, 21) is None


@pytest.mark.parametrize("site", [ONE, None], ids=str)
@pytest.mark.parametrize("way", sorted(set(HOLDING) - {"merge"}))
def test_an_object_that_was_loaded_without_its_site_is_not_taken(library: Library, way: str, site: Any) -> None:
    with library.session(site) as session:
        with pytest.raises(CrossSiteError, match="loaded without its site_id"):
            HOLDING[way](session, held(library, load_only(Book.secret)))
        session.expunge_all()
        with using_site(ONE):
            assert session.get(Book, 21) is None


def test_an_own_object_that_has_expired_is_taken(library: Library) -> None:
    with library.session(ONE) as session:
        book = session.get_one(Book, 11)
        session.commit()
    book.secret = "changed"
    with library.session(ONE) as session:
        session.add(book)
        session.flush()
        assert (book.slug, book.secret, book.site_id) == ("book-1", "changed", 1)


@pytest.mark.parametrize("way", LIMITED)
def test_reaches_own_rows_only(library: Library, way: str) -> None:
    with library.session(ONE) as session:
        found = LIMITED[way](session)
    assert "secret-2" not in str(found)
    if isinstance(found, (int, bool)):
        assert not found


@pytest.mark.parametrize(
    "way",
    sorted(set(LIMITED) - {"delete using", "lateral", "change in a CTE", "sample", "parameter that says it is ours"}),
)
def test_needs_a_site_in_every_corner(library: Library, way: str) -> None:
    with library.session(None) as session, pytest.raises(NoCurrentSite):
        LIMITED[way](session)


HARMLESS: dict[str, Any] = {
    "order by text": select(Book.id).order_by(text("secret DESC, books.author_id DESC NULLS LAST, lower(books.slug)")),
    "order by CASE": select(Book.id).order_by(text("CASE WHEN books.stock > 1 THEN 1 ELSE 0 END, books.id")),
    "strings with brackets": select(Book.id).where(text("slug != 'it''s (' AND slug <> ';' AND slug <> '-- /*'")),
    "name of a table in a string": select(Book.id).where(text("books.slug IN ('book-1', 'books')")),
    "ESCAPE": select(Book.id).where(text(r"slug LIKE 'x\_%' ESCAPE '\'")),
    "IS DISTINCT FROM in text": select(Book.id).where(text("books.slug IS DISTINCT FROM books.secret")),
    "IS DISTINCT FROM": select(Book.id).where(Book.slug.is_distinct_from(Book.secret)),
    "several lines": select(Book.id).where(text("\n books.id > 1\n AND (stock > 0\n OR stock < 0)\n")),
    "arithmetic on site_id": select(func.coalesce(Book.site_id, 0), Book.site_id * 1000 + Book.id),
    "site_id above a number": select(Book.id).where(Book.site_id > 0, Book.site_id == 1, Book.site_id.in_([1])),
    "semicolon": text("SELECT name FROM countries; "),
    "semicolon and comment": text("SELECT name FROM countries -- all\n;").columns(column("name")),
    "comment at the start": text("-- name: all\nSELECT name FROM countries"),
    "WITH": text("WITH c AS (SELECT name FROM countries) SELECT * FROM c"),
    "WITH RECURSIVE": text("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n < 3) SELECT n FROM c"),
    "joins in text": text(
        "SELECT x.name FROM (SELECT name FROM countries) AS x, countries c JOIN countries d ON c.id = d.id"
        " WHERE x.name IN ('a', 'b') ORDER BY c.name, d.name"
    ),
    "text as FROM": select(text("name")).select_from(text("countries")),
    "EXISTS in text": select(Book.id).where(text("EXISTS (SELECT 1 FROM countries c WHERE c.id = books.stock)")),
    "lock": select(Book).with_for_update(),
    "comment as hint": select(Book.id).with_statement_hint("/* a comment */"),
    "comment as prefix": select(Book.id).prefix_with("/*+ SeqScan(books) */"),
    "operator": select(Book.id).where(Book.slug.op("LIKE")("book%")),
    "alias like another table": select(aliased(Author, name="books").id),
    "alias like itself": select(books.alias("books").c.id),
    "subquery like a table": select(select(Book.id).subquery("books").c.id),
    "CTE like another table": select(select(Book.id).cte("authors").c.id),
    "label like a table": select(Book.id.label("books"), func.count().label("authors")).group_by(Book.id),
    "group and having in text": select(func.count(Book.id)).group_by(text("books.stock")).having(text("count(*) > 0")),
    "ON in text": select(Book.id).join(Author, text("books.author_id = authors.id")),
    "window": select(func.max(Book.id).over(partition_by=Book.stock, order_by=Book.id)),
    "insert in text": text("INSERT INTO countries (id, name) VALUES (77, 'x')"),
    "update in text": text("UPDATE countries SET name = 'z', id = 5 WHERE id = 77"),
    "own expression on domains": sa.update(DomainRow).values(site_id=DomainRow.site_id + 0),
    "DDL of a table": sa.DDL("ALTER TABLE books ADD COLUMN note INTEGER"),
    "DDL of an index": sa.DDL("CREATE INDEX ix_note ON books (lower(slug))"),
    "sqlite: PRAGMA": text("PRAGMA table_info(books)"),
    "sqlite: catalog": text("SELECT name FROM sqlite_master WHERE type='table'"),
    "sqlite: or ignore": sa.insert(Book).prefix_with("OR IGNORE").values(id=11, slug="book-1", secret="x"),
    "sqlite: json_each": select(func.json_each('{"a": 1}').table_valued("key", "value").c.key, Book.id),
    "postgresql: VALUES": select(sa.values(column("a", sa.Integer), name="v").data([(1,), (2,)]), Book.id),
    "postgresql: EXTRACT": text(
        "SELECT EXTRACT(year FROM now()), trim(both from ' x '), substring('abc' from 1 for 2)"
    ),
    "postgresql: EXTRACT in a fragment": select(Book.id).order_by(text("trim(both from books.slug), books.id")),
    "postgresql: information_schema": text("SELECT table_name FROM information_schema.tables LIMIT 1"),
    "postgresql: catalog": text("SELECT relname FROM pg_catalog.pg_class LIMIT 1"),
    "postgresql: generate_series": select(func.generate_series(1, 3).table_valued(name="v").render_derived(), Book.id),
    "postgresql: generate_series in text": text("SELECT g FROM generate_series(1, 3) AS g"),
    "postgresql: unnest": select(func.unnest(postgresql.array([1, 2])).column_valued("x"), Book.id),
    "postgresql: lock of one table": select(Book).join(Book.author).with_for_update(of=Book, skip_locked=True),
    "postgresql: lock in text": select(Book.id).suffix_with("FOR UPDATE OF books"),
    "postgresql: ONLY": select(Book.id).with_hint(Book, "ONLY", "postgresql"),
    "postgresql: row as JSON": select(text("row_to_json(books)")).select_from(books),
    "postgresql: subscript": select(text("(ARRAY['a','b'])[1]"), text("'1'::int"), Book.id),
    "postgresql: interval": select(Book.id).where(text("now() - interval '1 day' < now()")),
    "postgresql: escaped quote": select(Book.id).where(text(r"slug ~ E'book\'?-\\d' OR true")),
    "postgresql: dollar quotes": select(Book.id).where(text("slug <> $$it's ($$")),
    "postgresql: SET": text("SET LOCAL statement_timeout = '5s'"),
    "postgresql: advisory lock": text("SELECT pg_advisory_xact_lock(1)"),
    "name of nobody": text("SELECT note FROM scratch"),
    "own tables in text": text("SELECT host FROM domains"),
    "postgresql: position": select(Book.id).where(text("position('b' in slug) > 0")),
}


@pytest.mark.parametrize("way", HARMLESS)
def test_does_not_refuse_the_harmless(library: Library, way: str) -> None:
    with library.session(ONE) as session:
        session.execute(HARMLESS[way])
        session.rollback()


VALUES_WITH_MORE: dict[str, Callable[[Session], Any]] = {
    "update": lambda s: sa.update(Shelf).values(slug=text("'x', site_id = 2")),
    "update, literal column": lambda s: sa.update(Shelf).values(slug=literal_column("'x', site_id = 2")),
    "update, operator": lambda s: sa.update(Shelf).values(slug=literal("x").op(", site_id =")(2)),
    "update in order": lambda s: sa.update(Shelf).ordered_values(("slug", text("'x', site_id = 2"))),
    "upsert": lambda s: (
        insert_for(s)(Shelf)
        .values(id=11, slug="x", secret="x")
        .on_conflict_do_update(index_elements=["id"], set_={"slug": text("'x', site_id = 2")})
    ),
}


@pytest.mark.parametrize("way", VALUES_WITH_MORE)
def test_a_value_cannot_set_another_column(library: Library, way: str) -> None:
    with library.session(ONE) as session:
        session.execute(sa.delete(shelf_books))  # It would keep the shelf where it is.
        try:
            session.execute(VALUES_WITH_MORE[way](session), execution_options={"synchronize_session": False})
        except sa.exc.DBAPIError:
            return
        assert session.scalars(select(Shelf.id)).all() == [11]


def test_default_stays_a_keyword(library: Library) -> None:
    assert "stock=DEFAULT" in str(sa.update(books).values(stock=text("DEFAULT")).compile(library.engine))


def test_upsert_of_all_that_was_to_be_inserted(library: Library) -> None:
    with library.session(ONE) as session:
        insert = insert_for(session)(Book).values(id=11, slug="book-1", secret="secret-1", stock=4)
        session.execute(insert.on_conflict_do_update(index_elements=["id"], set_=dict(insert.excluded)))
        assert session.get_one(Book, 11).stock == 4


def test_a_statement_can_be_printed_with_its_values(library: Library) -> None:
    statement = select(Book).where(Book.site_id == 1, Book.slug == "x")
    assert "site_id = 1" in str(statement.compile(library.engine, compile_kwargs={"literal_binds": True}))


def test_scoped_text_keeps_its_parameter(library: Library) -> None:
    statement = scoped_text("SELECT secret FROM books WHERE site_id = :site_id")
    with pytest.raises(ValueError):
        statement.bindparams(sa.bindparam("multisite_site", 2, type_=sa.Integer))
    with library.session(ONE) as session:
        found = select(Country.id).where(
            scoped_text("EXISTS (SELECT 1 FROM books WHERE site_id = :site_id AND secret = 'secret-1')")
        )
        assert session.scalars(found).all() == [1]


RUN_SQL = (
    "query_to_xml", "QUERY_TO_XML_AND_XMLSCHEMA", "table_to_xml", "cursor_to_xmlschema", "database_to_xml", "ts_stat",
    "ts_rewrite", "dblink", "dblink_exec", "crosstab", "crosstab2", "connectby", "xpath_table", "get_raw_page",
    "heap_page_items", "bt_page_items", "pg_logical_slot_get_changes", "pg_get_wal_records_info", "ST_EstimatedExtent",
    "st_findextent", "run_command_on_workers", "pg_background_launch", "pg_read_binary_file", "load_extension", "eval",
)  # fmt: skip


@pytest.mark.parametrize("name", RUN_SQL)
def test_functions_that_run_sql_or_read_past_it_are_refused_in_every_form(library: Library, name: str) -> None:
    """Whether the database has them or not: an extension may come later."""
    call = getattr(func, name)("x")
    for statement in (
        select(call),
        select(sa.column("x")).select_from(call),
        select(Book.id).where(call == 1),
        text(f"SELECT {name}('x')"),
        text(f"SELECT * FROM {name} ('x') AS t(a text)"),
        select(literal_column(f"pg_catalog.{name}('x')")),
    ):
        with library.session(ONE) as session, pytest.raises(UnscopedStatement, match=f"(?i)function {name}"):
            session.execute(statement)


def test_a_view_that_is_declared_with_its_site_is_limited(library: Library) -> None:
    """One that is declared without is taken for a table that belongs to no site, which is a documented limit."""
    view = sa.Table("books_seen", sa.MetaData(), site_id_column(), sa.Column("secret", sa.String))
    plain = sa.Table("books_seen", sa.MetaData(), sa.Column("secret", sa.String))
    try:
        with library.session(ONE) as session:
            for each in (view, plain):
                assert set(session.scalars(select(each.c.secret))) == {"secret-1"}
            with pytest.raises(UnscopedStatement):
                session.execute(text("SELECT secret FROM books_seen"))
    finally:
        tables.scoped.discard("books_seen")
        tables.changed()
    with library.session(ONE) as session:
        assert set(session.scalars(select(plain.c.secret))) == {"secret-1", "secret-2"}
    tables.declared.discard("books_seen")


# -- tables that become scoped ----------------------------------------------------------------------------------------


def test_statements_compiled_before_their_table_was_scoped_are_compiled_again(library: Library) -> None:
    early = sa.Table("latecomers", sa.MetaData(), sa.Column("id", sa.Integer), sa.Column("site_id", sa.BigInteger))
    statements: list[Any] = [select(early.c.site_id), text("SELECT site_id FROM latecomers")]
    early.create(library.engine)
    try:
        with library.engine.begin() as connection:
            connection.execute(early.insert(), [{"id": 1, "site_id": 1}, {"id": 2, "site_id": 2}])
            for statement in statements:
                assert len(connection.execute(statement).all()) == 2
        late = sa.Table("latecomers", sa.MetaData(), sa.Column("id", sa.Integer))
        late.append_column(site_id_column())
        with library.session(ONE) as session:
            assert session.scalars(statements[0]).all() == [1]
            with pytest.raises(UnscopedStatement):
                session.execute(statements[1])
    finally:
        tables.scoped.discard("latecomers")
        with all_sites("clean up"):
            early.drop(library.engine)


def test_a_variant_of_our_type_does_not_make_a_table_scoped() -> None:
    type_ = SiteId().with_variant(sa.Integer(), "sqlite")
    assert not has_site_id(sa.Table("variants", sa.MetaData(), sa.Column("site_id", type_)))


@pytest.mark.parametrize("library", ["sqlite"], indirect=True)  # PostgreSQL has no ON CONFLICT on keys.
def test_keys_that_replace_rows_are_refused(library: Library) -> None:
    table = sa.Table(
        "replacing",
        sa.MetaData(),
        site_id_column(),
        sa.Column("id", sa.Integer, primary_key=True, sqlite_on_conflict_primary_key="REPLACE"),
    )
    try:
        with library.session(ONE) as session, pytest.raises(UnscopedStatement, match="ON CONFLICT REPLACE"):
            session.execute(table.insert().values(id=21))
    finally:
        tables.scoped.discard("replacing")


def test_a_scoped_table_in_an_attached_file_is_not_foreign(library: Library, tmp_path: Any) -> None:
    if library.engine.dialect.name == "sqlite":
        engine = sa.create_engine(f"sqlite:///{tmp_path / 'other.db'}")
        enter, name = f"ATTACH '{library.engine.url.database}' AS app", "app.books"
    else:
        engine = sa.create_engine(library.engine.url)
        enter, name = "SET search_path = pg_temp", "public.books"
    with engine.connect() as connection:
        connection.exec_driver_sql(enter)
        with using_site(ONE), pytest.raises(UnscopedStatement):
            connection.execute(text(f"SELECT secret FROM {name}"))
    engine.dispose()


# -- sessions ---------------------------------------------------------------------------------------------------------


def test_a_session_that_was_never_closed_does_not_serve_the_next_request(library: Library) -> None:
    left_open = Session(library.engine)
    token = enter_request(ONE)
    try:
        assert left_open.scalars(select(Book.secret).distinct()).all() == ["secret-1"]
    finally:
        leave_request(token)
    token = enter_request(TWO)
    try:
        with pytest.raises(CrossSiteError, match="one.example.*two.example"):
            left_open.scalars(select(Book.secret)).all()
    finally:
        leave_request(token)
    left_open.close()


def test_asynchronous_sessions_are_limited_each(library: Library) -> None:
    url = library.engine.url
    if url.get_backend_name() == "sqlite":
        url = url.set(drivername="sqlite+aiosqlite")

    async def secrets(engine: Any, site: Any) -> set[str]:
        found: set[str] = set()
        with using_site(site):
            async with AsyncSession(engine) as session:
                for _ in range(5):
                    found |= set(await session.scalars(select(Book.secret)))
                    await asyncio.sleep(0)
                rows = await session.stream_scalars(select(Book.secret))
                found |= {secret async for secret in rows}
        return found

    async def main() -> list[set[str]]:
        engine = create_async_engine(url)
        try:
            return await asyncio.gather(*(secrets(engine, site) for site in (ONE, TWO) * 4))
        finally:
            await engine.dispose()

    assert asyncio.run(main()) == [{"secret-1"}, {"secret-2"}] * 4


def test_a_frozen_result_of_another_site_is_not_merged(library: Library) -> None:
    with library.session(TWO) as session:
        frozen = session.execute(select(Book)).freeze()
    with library.session(ONE) as session, pytest.raises(CrossSiteError):
        sa.orm.loading.merge_frozen_result(session, select(Book), frozen, load=False)().all()


def test_a_rewritten_statement_is_limited(library: Library) -> None:
    def rewrite(connection: Any, statement: Any, *args: Any) -> Any:
        return select(Book.secret), args[0], args[1]

    with library.session(ONE) as session:
        connection = session.connection()
        sa.event.listen(connection, "before_execute", rewrite, retval=True)
        assert set(connection.scalars(select(Country.name))) == {"secret-1"}


# -- the scanner ------------------------------------------------------------------------------------------------------

READ = {
    'SELECT a, b FROM books, (x c JOIN "Authors" ON a IS DISTINCT FROM b), s.z LEFT JOIN LATERAL (SELECT 1 FROM q) ON '
    "true, w WHERE a IN (1, 2) AND extract(year FROM made) > 1 ORDER BY a, b": "books x authors z q w",
    "WITH x AS (SELECT 1), y(a) AS NOT MATERIALIZED (DELETE FROM b USING c WHERE 1=1) SELECT * FROM x, y": "b c x y",
    "UPDATE OR REPLACE books SET a=1, b=2 FROM c, d WHERE 1": "books c d",
    "INSERT INTO b (x, y) SELECT x, y FROM t ON CONFLICT (x) DO UPDATE SET x=1, y=2 RETURNING x, y": "b t",
    "SELECT * FROM t FOR UPDATE OF books": "t",
    "TABLE books": "books",
    "TRUNCATE a, b": "a b",
    "SELECT DISTINCT FROM books": "books",
    "SELECT * FROM generate_series(1,2) AS g, unnest(a) x, ROWS FROM (f(1), g(2))": "",
    "COPY (SELECT * FROM books) TO STDOUT": "books",
    "COPY books (a) FROM STDIN": "books",
    "MERGE INTO books USING authors ON true WHEN MATCHED THEN DO NOTHING": "books authors",
    "SELECT 1 /* FROM x */ FROM t -- FROM y": "t",
    'SELECT \' FROM x \' FROM "a.b", "c""d"': 'a.b c"d',
}


@pytest.mark.parametrize("sql", READ)
def test_reads_the_tables_of_a_statement(sql: str) -> None:
    for dialect in ("postgresql", "sqlite"):
        assert read(sql, dialect).tables == READ[sql].split()


def test_reads_by_the_rules_of_each_database() -> None:
    assert read(r"SELECT E'\' FROM x' FROM t", "postgresql").tables == ["t"]
    assert read("SELECT $$ FROM x $$ FROM t", "postgresql").tables == ["t"]
    assert read("SELECT a[1] FROM t", "postgresql").tables == ["t"]
    assert read("SELECT [ FROM ] FROM [t], `u`, 'v'", "sqlite").tables == ["t", "u", "v"]


@pytest.mark.parametrize("sql", ["a", "(a) AND (b)", "')'", '")"', "/* ) */ 1", "''';'''", "a - b"])
def test_whole_fragments(sql: str) -> None:
    assert is_whole(sql, "sqlite")
    assert is_whole(sql, "postgresql")


@pytest.mark.parametrize("sql", ["a) OR (b", "(a", "a --", "/* a", "'a", '"a', "a; b", "'a' '"])
def test_broken_fragments(sql: str) -> None:
    assert not is_whole(sql, "sqlite")
    assert not is_whole(sql, "postgresql")


def test_negative_control_without_reading_the_finished_text_it_leaks(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Take the comparison of the finished text away, and see that what is refused above does reach foreign rows."""
    monkeypatch.setattr(ScopedCompiler, "_check_finished", lambda self, sql: None)
    library.engine.clear_compiled_cache()
    for way in ("statement hint", "suffix in two parts", "operator and column", "text as FROM", "construct of its own"):
        with library.session(ONE) as session:
            assert "secret-2" in str(REFUSED[way](session))
    library.engine.clear_compiled_cache()
