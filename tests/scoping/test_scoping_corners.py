"""Edge cases of the scoping layer beyond the attack catalogue: accepted statements, and the scanning of SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from databases import closing_engine, fresh_database
from scoped_models import ONE, TWO, Author, BigId, Book, Country, Library, Shelf, build_library, shelf_books
from sqlalchemy import column, func, literal_column, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased, load_only

from multisite import CrossSiteError, NoCurrentSite, UnscopedStatement, all_sites, using_site
from multisite.scoping import SiteId, site_id_column
from multisite.scoping.column import has_site_id
from multisite.scoping.fragments import is_self_contained
from multisite.scoping.sql_scanner import scan_sql
from multisite.scoping.tables import tables

pytestmark = pytest.mark.filterwarnings(
    "ignore:.* has a cartesian product:sqlalchemy.exc.SAWarning",
    "ignore:Additional column names:sqlalchemy.exc.SAWarning",
)

books, authors, countries = Book.__table__, Author.__table__, Country.__table__


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """One library for all tests, which roll back their changes; it has views on a scoped table."""
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        library = build_library(engine)
        with all_sites("set up a test"), engine.begin() as connection:
            connection.execute(text("CREATE TABLE scratch (note TEXT)"))
            connection.execute(text("CREATE TABLE unmapped (note TEXT, site_id INTEGER)"))
            connection.execute(text("CREATE VIEW books_view AS SELECT * FROM books"))
            connection.execute(text("CREATE VIEW books_seen AS SELECT * FROM books"))
            connection.execute(text("ANALYZE"))
        yield library


def held(library: Library, *options: Any) -> Book:
    """Return a book of site TWO, loaded with `options` and then expunged from its session."""
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
    """A session that is pinned later would find the object in its identity map."""
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
    "name of a table as a constant": text("SELECT name FROM countries WHERE name = 'books'"),
    "name of a table as a label": text("SELECT count(*) AS books FROM countries"),
    "name of a table as an alias": text("SELECT books.name FROM countries AS books"),
    "name of a table in a comment": text("SELECT 1 /* books */ -- and authors"),
    "name of a table as a column": text("SELECT c.books FROM (SELECT 1 AS books) AS c"),
    "criterion with a comment": select(Book.id).where(text("stock > 0 -- on stock")).where(text("id > 0")),
    "sqlite: ANALYZE": text("ANALYZE books"),
    "postgresql: name of a table as a function's alias": text(
        "SELECT name FROM countries WHERE EXISTS (SELECT 1 FROM generate_series(1, 2) books)"
    ),
    "postgresql: ANALYZE": text("ANALYZE books"),
    "postgresql: LISTEN": text("LISTEN books"),
    "postgresql: NOTIFY": text("NOTIFY books, 'authors'"),
    "postgresql: lock by the hash of a name": text("SELECT pg_advisory_xact_lock(hashtext('books'))"),
    "postgresql: sequence": text("SELECT setval(pg_get_serial_sequence('books', 'id'), 100)"),
    "postgresql: size": text("SELECT pg_total_relation_size('books')"),
    "insert in text": text("INSERT INTO countries (id, name) VALUES (77, 'x')"),
    "update in text": text("UPDATE countries SET name = 'z', id = 5 WHERE id = 77"),
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
    "postgresql: position": select(Book.id).where(text("position('b' in slug) > 0")),
}


@pytest.mark.parametrize("way", HARMLESS)
def test_does_not_refuse_the_harmless(library: Library, way: str) -> None:
    with library.session(ONE) as session:
        session.execute(HARMLESS[way])
        session.rollback()


def test_default_stays_a_keyword(library: Library) -> None:
    assert "stock=DEFAULT" in str(sa.update(books).values(stock=text("DEFAULT")).compile(library.engine))


def test_a_statement_can_be_printed_with_its_values(library: Library) -> None:
    statement = select(Book).where(Book.site_id == 1, Book.slug == "x")
    assert "site_id = 1" in str(statement.compile(library.engine, compile_kwargs={"literal_binds": True}))


RUN_SQL = (
    "query_to_xml", "QUERY_TO_XML_AND_XMLSCHEMA", "table_to_xml", "cursor_to_xmlschema", "database_to_xml", "ts_stat",
    "ts_rewrite", "dblink", "dblink_exec", "crosstab", "crosstab2", "connectby", "xpath_table", "get_raw_page",
    "heap_page_items", "bt_page_items", "pg_logical_slot_get_changes", "pg_get_wal_records_info", "ST_EstimatedExtent",
    "st_findextent", "run_command_on_workers", "pg_background_launch", "pg_read_binary_file", "load_extension", "eval",
)  # fmt: skip


@pytest.mark.parametrize("name", RUN_SQL)
def test_functions_that_run_sql_or_read_past_it_are_refused_in_every_form(library: Library, name: str) -> None:
    """They are refused even if the database lacks them: an extension may be installed later."""
    call = getattr(func, name)("x")
    for statement in (
        select(call),
        select(sa.column("x")).select_from(call),
        select(Book.id).where(call == 1),
        text(f"SELECT {name}('x')"),
        text(f"SELECT * FROM {name} ('x') AS t(a text)"),
        text(f"SELECT * FROM public.{name} ('x') AS t(a text)"),
        select(getattr(func.public, name)("x").table_valued("a")),
        select(literal_column(f"pg_catalog.{name}('x')")),
    ):
        with library.session(ONE) as session, pytest.raises(UnscopedStatement, match=f"(?i)function {name}"):
            session.execute(statement)


@pytest.mark.parametrize("name", ["ts_status", "query_to_xml_of_mine", "evaluate", "crosstab_report", "connectby2"])
def test_functions_whose_names_begin_alike_are_not_refused(library: Library, name: str) -> None:
    compiled: Any = select(getattr(func, name)(1)).compile(library.engine)
    assert compiled.unsupported_reason is None


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT max(secret) FROM books'",
        "PREPARE p AS SELECT 1; EXECUTE p('books')",
        "SELECT 1; CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT max(secret) FROM books'",
        "SET standard_conforming_strings = off",
        "SELECT set_config('standard_conforming_strings', 'off', true)",
    ],
)
def test_what_may_hold_sql_in_a_string_must_not_mention_a_scoped_table(library: Library, sql: str) -> None:
    with library.session(ONE) as session:
        for execute in (lambda: session.execute(text(sql)), lambda: session.connection().exec_driver_sql(sql)):
            with pytest.raises(UnscopedStatement):
                execute()


def test_an_upsert_in_a_cte_can_be_printed() -> None:
    for dialect in (postgresql, sqlite):
        insert = dialect.insert(Shelf).values(id=1, slug="x", secret="x")
        for upsert in (
            insert.on_conflict_do_nothing(),
            insert.on_conflict_do_update(index_elements=["id"], set_={"secret": "y"}),
        ):
            assert "ON CONFLICT" in str(select(upsert.returning(Shelf.id).cte().c.id))


@pytest.mark.parametrize("library", ["postgresql"], indirect=True)
def test_an_exists_in_a_change_in_a_cte_is_about_the_row_that_changes(library: Library) -> None:
    """Delete the one book of an author; alone, SQLAlchemy before 2.0.42 writes an EXISTS that holds for each book."""
    by_one_author = sa.delete(Book).where(Book.author.has(Author.id == 12)).returning(Book.id).cte()
    with library.session(ONE) as session:
        session.execute(sa.delete(shelf_books))
        assert session.scalars(select(by_one_author.c.id)).all() == [12]
        assert session.scalars(select(Book.id).order_by(Book.id)).all() == [11, 13]


def test_a_literal_that_writes_more_than_a_value_can_be_printed() -> None:
    """Print it as SQLAlchemy does; only executing such a statement is refused."""
    statement = select(sa.literal([["one", "two"], ["thr'ee", "x"]], sa.ARRAY(sa.String, dimensions=2)))
    assert "['one', 'two']" in str(statement.compile(compile_kwargs={"literal_binds": True}))


def test_messages_name_the_compiler_of_the_dialect(library: Library) -> None:
    class Strange(sa.sql.expression.ColumnElement[Any]):
        __visit_name__ = "strange"
        inherit_cache = True

    own = library.engine.dialect.statement_compiler
    with pytest.raises(sa.exc.UnsupportedCompilationError) as raised:
        select(Strange()).compile(library.engine)
    assert f"Compiler <{own.__module__}.{own.__qualname__} object" in str(raised.value)
    assert "Scoped" not in str(raised.value)


@pytest.mark.parametrize("library", ["postgresql"], indirect=True)  # Its catalogue is read by text with such aliases.
def test_alembic_compares_tables_that_are_called_like_its_aliases(library: Library) -> None:
    declared = sa.MetaData()
    names = ["a", "c", "d", "t"]
    for name in names:
        sa.Table(name, declared, sa.Column("id", BigId, primary_key=True), site_id_column())
    try:
        with library.engine.connect() as connection:
            found = compare_metadata(MigrationContext.configure(connection), declared)
        assert {change[1].name for change in found if change[0] == "add_table"} == set(names)
    finally:
        tables.scoped.difference_update(names)
        tables.declared.difference_update(names)
        tables.changed()


def test_a_view_that_is_declared_with_its_site_is_limited(library: Library) -> None:
    """A documented limit: a view that is declared without `site_id` is treated as an unscoped table."""
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


def test_sessions_of_two_sites_take_turns_on_the_connection_of_a_test(library: Library) -> None:
    """A test fixture binds the sessions to one connection, whose transaction it rolls back."""
    with library.engine.connect() as connection, connection.begin() as transaction:
        sessions = [
            Session(connection, info={"site": site}, join_transaction_mode="create_savepoint") for site in (ONE, TWO)
        ]
        for _ in range(2):
            for number, session in enumerate(sessions, 1):
                assert set(session.scalars(select(Book.secret))) == {f"secret-{number}"}
                session.add(Shelf(slug="new", secret=f"secret-{number}"))
                session.commit()
        sessions[0].execute(select(Book.id))
        with pytest.raises(CrossSiteError, match="two sessions share this connection"):
            sessions[1].execute(select(Book.id))
        sessions[1].rollback()
        sessions[0].rollback()
        assert sessions[1].scalars(select(Shelf.site_id).where(Shelf.slug == "new")).all() == [2, 2]
        for session in sessions:
            session.close()
        transaction.rollback()


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
    "COPY (SELECT * FROM books) TO STDOUT": "books",
    "COPY books (a) FROM STDIN": "books",
    "MERGE INTO books USING authors ON true WHEN MATCHED THEN DO NOTHING": "books authors",
    "SELECT 1 /* FROM x */ FROM t -- FROM y": "t",
    'SELECT \' FROM x \' FROM "a.b", "c""d"': 'a.b c"d',
}


@pytest.mark.parametrize("sql", READ)
def test_reads_the_tables_of_a_statement(sql: str) -> None:
    for dialect in ("postgresql", "sqlite"):
        assert scan_sql(sql, dialect).tables == READ[sql].split()


def test_reads_by_the_rules_of_each_database() -> None:
    calls = "SELECT * FROM f(1, 2) AS x, ROWS FROM (g(1), h(2)) JOIN json_each(a) ON true"
    assert scan_sql(calls, "postgresql").tables == []
    assert scan_sql(calls, "sqlite").tables == ["f", "g", "h"]
    assert scan_sql(r"SELECT E'\' FROM x' FROM t", "postgresql").tables == ["t"]
    assert scan_sql("SELECT $$ FROM x $$ FROM t", "postgresql").tables == ["t"]
    assert scan_sql("SELECT a[1] FROM t", "postgresql").tables == ["t"]
    assert scan_sql("SELECT [ FROM ] FROM [t], `u`, 'v'", "sqlite").tables == ["t", "u", "v"]


CUT: dict[str, Any] = {
    "text in ON": select(Book.secret).join(Author, text("1=1 \0")),
    "literal column in ON": select(Book.secret).join(Author, literal_column("1=1 \0") == literal_column("1")),
    "string in ON": select(Book.secret).join(Author, text("1=1 -- '\0'")),
    "quoted name in ON": select(Book.secret).join(books.alias("b"), text('1=1 OR "\0" IS NULL')),
    "literal in ON": select(Book.secret).join(Author, sa.literal("1\0", literal_execute=True) == "1"),
    "text of its own": text("SELECT name FROM countries \0"),
    "prefix": sa.update(Book).values(stock=7).prefix_with("/* \0 */"),
}
"""Statements with a NUL: a driver may pass the SQL on as a C string, which ends there, before its WHERE."""


@pytest.mark.parametrize("way", CUT)
def test_sql_that_a_driver_may_cut_short_is_refused(library: Library, way: str) -> None:
    with library.session(ONE) as session, pytest.raises(UnscopedStatement):
        session.execute(CUT[way])


@pytest.mark.parametrize("sql", ["a", "(a) AND (b)", "')'", '")"', "/* ) */ 1", "''';'''", "a - b"])
def test_whole_fragments(sql: str) -> None:
    assert is_self_contained(sql, "sqlite")
    assert is_self_contained(sql, "postgresql")


@pytest.mark.parametrize("sql", ["a) OR (b", "(a", "a --", "/* a", "'a", '"a', "a; b", "'a' '", "a \0", "'\0'"])
def test_broken_fragments(sql: str) -> None:
    assert not is_self_contained(sql, "sqlite")
    assert not is_self_contained(sql, "postgresql")


def test_a_query_as_a_default_is_one_value(library: Library) -> None:
    """A default that ends its row or sets a second column is refused; a query in brackets is not."""
    table = sa.Table(
        "shelves",
        sa.MetaData(),
        sa.Column("id", BigId, primary_key=True),
        sa.Column(
            "slug", sa.String, default=sa.select(sa.func.max(Book.slug)), onupdate=sa.select(sa.func.min(Book.slug))
        ),
        sa.Column("secret", sa.String),
        site_id_column(),
    )
    with library.session(ONE) as session:
        session.execute(table.insert().values(id=99, secret="x"))
        assert session.scalar(sa.select(Shelf.slug).where(Shelf.id == 99)) == "book-3"
        session.execute(table.update().where(table.c.id == 99).values(secret="y"))
        assert session.scalar(sa.select(Shelf.slug).where(Shelf.id == 99)) == "book-1"


# -- values of another site -------------------------------------------------------------------------------------------

FAILING: dict[str, Callable[[Any, Any], Any]] = {
    "criterion": lambda number, book: select(book.id).where(number(book) > 0),
    "criterion beside another": lambda number, book: select(book.id).where(book.stock > 0, number(book) > 0),
    "column": lambda number, book: select(number(book)),
    "order": lambda number, book: select(book.id).order_by(number(book)),
    "group": lambda number, book: select(func.count()).select_from(book).group_by(number(book)),
    "aggregate": lambda number, book: select(func.sum(number(book))),
    "inner join": lambda number, book: select(Author.id).join(book, sa.and_(book.id == Author.id, number(book) > 0)),
    "outer join": lambda number, book: select(Author.id).outerjoin(book, number(book) == Author.id),
    "full join": lambda number, book: select(Author.id).outerjoin(book, number(book) == Author.id, full=True),
    "subquery": lambda number, book: select(Author.id).where(Author.id.in_(select(number(book)))),
    "exists": lambda number, book: select(Author.id).where(select(book.id).where(number(book) > 0).exists()),
    "derived table": lambda number, book: select(book.id).where(number(book) > 0).suffix_with("-- derived"),
    "update": lambda number, book: sa.update(book).values(stock=2).where(number(book) > 0),
    "update to it": lambda number, book: sa.update(book).values(stock=number(book)),
    "delete": lambda number, book: sa.delete(book).where(number(book) < 0),
}


@pytest.mark.parametrize("way", FAILING)
def test_a_malformed_value_of_another_site_fails_no_statement(library: Library, way: str) -> None:
    """The limit is evaluated first: an error would reveal the value, and let one site break another's statements."""
    with all_sites("set up a test"), library.engine.connect() as connection:
        connection.execute(sa.update(Book).values(secret="11"))
        connection.execute(sa.update(Book).values(secret="{").where(Book.id == 22))
        number = _number_of_sqlite if library.engine.dialect.name == "sqlite" else _number_of_postgresql
        with pytest.raises(sa.exc.DBAPIError), connection.begin_nested():
            connection.execute(select(number(Book)).order_by(number(Book))).all()
        statement = FAILING[way](number, Book)
        options = {"synchronize_session": False} if statement.is_dml else {}
        with Session(connection, info={"site": ONE}) as session:
            session.execute(statement, execution_options=options)


def _number_of_sqlite(book: Any) -> Any:
    return func.json_extract(book.secret, "$", type_=sa.Integer)


def _number_of_postgresql(book: Any) -> Any:
    return sa.cast(book.secret, sa.Integer)


@pytest.mark.parametrize("kind", ["model", "text"])
def test_a_query_as_the_default_of_a_key(library: Library, kind: str) -> None:
    """SQLAlchemy executes the default before the INSERT: limited, or refused if it is a string for the server."""
    if kind == "model":
        key = sa.Column("id", BigId, primary_key=True, default=select(func.max(Book.id) + 80).scalar_subquery())
    elif library.engine.dialect.name == "sqlite":
        return  # SQLite does not execute defaults in advance.
    else:
        default = text("(SELECT max(id) FROM books)")
        key = sa.Column("id", BigId, primary_key=True, autoincrement=True, server_default=default)
    table = sa.Table("countries", sa.MetaData(), key, sa.Column("name", sa.String), implicit_returning=False)
    with library.session(ONE) as session:
        if kind == "model":
            assert session.execute(table.insert().values(name="x")).inserted_primary_key == (93,)
        else:
            with pytest.raises(UnscopedStatement, match="'books'"):
                session.execute(table.insert().values(name="x"))
