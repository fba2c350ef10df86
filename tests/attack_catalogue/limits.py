"""What nothing in this process can close: each is shown to leak, and says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import sqlalchemy as sa
from scoped_models import Book, Country, Shelf
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from attack_catalogue import Place, add, limit, way
from attack_catalogue.connections import another_engine, on_connection
from attack_catalogue.models import Crate, Note, Slip
from attack_catalogue.requests import cached_book
from attack_catalogue.sessions import plain_read
from multisite import all_sites, scoped_text, using_site
from multisite.scoping.tables import tables


def by_driver(connection: Any, statement: str = "SELECT secret FROM books") -> Any:
    cursor = connection.cursor()
    try:
        cursor.execute(statement)
        return cursor.fetchall()
    finally:
        cursor.close()


def _raw(p: Place) -> Any:
    with closing(p.engine.raw_connection()) as connection:
        return by_driver(connection)


def _by_another_program(p: Place) -> Any:
    arguments, options = p.engine.dialect.create_connect_args(p.engine.url)
    with closing(p.engine.dialect.connect(*arguments, **options)) as connection:
        return by_driver(connection)


NO_DRIVER = (
    "do not use the driver for scoped tables; on PostgreSQL row-level security limits what SQLAlchemy's session began"
)

add(
    "side",
    limit(NO_DRIVER),
    {
        "cursor of the driver, from a session": lambda p: by_driver(p.s.connection().connection),
        "cursor of the driver, from a connection": on_connection(lambda c, p: by_driver(c.connection)),
        "connection of the driver": lambda p: by_driver(p.s.connection().connection.driver_connection),
        "raw connection of the engine": _raw,
        "connection past SQLAlchemy, as psql has": _by_another_program,
        "event of the pool": lambda p: _pool_event(p),
    },
)


def _pool_event(p: Place) -> Any:
    found: list[Any] = []

    def read(connection: Any, record: Any) -> None:
        try:
            found.extend(by_driver(connection))
        except Exception:
            connection.close()  # SQLAlchemy 2.0.40 leaves it open, and the driver warns of it later, in another test.
            raise

    with another_engine(p) as engine:
        sa.event.listen(engine, "connect", read)
        engine.connect().close()
    return found


REWRITTEN = "rewrite statements in before_execute, which runs before compilation; row-level security applies here too"


@way("side", limit(REWRITTEN))
def statement_rewritten_in_before_cursor_execute(p: Place) -> Any:
    def rewrite(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> Any:
        return "SELECT secret FROM books", ()

    connection = p.s.connection()
    sa.event.listen(connection, "before_cursor_execute", rewrite, retval=True)
    return connection.scalars(select(Country.name)).all()


@way("side", limit(REWRITTEN))
def statement_rewritten_in_do_execute(p: Place) -> Any:
    def rewrite(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
        cursor.execute("SELECT secret FROM books")
        return True

    with another_engine(p) as engine:
        engine.connect().close()
        sa.event.listen(engine, "do_execute", rewrite)
        with p.within(), engine.connect() as connection:
            return connection.scalars(select(Country.name)).all()


@way("side", limit("review the text of `scoped_text`, and how it uses :site_id; row-level security applies here too"))
def scoped_text_that_does_not_use_its_parameter(p: Place) -> Any:
    return p.rows(scoped_text("SELECT secret FROM books WHERE site_id = :site_id OR 1 = 1"))


@way(
    "side",
    limit("give the view `site_id_column()`, or make it `security_invoker` and use row-level security"),
)
def view_declared_as_a_table(p: Place) -> Any:
    view = sa.Table("books_view", sa.MetaData(), sa.Column("secret", sa.String))
    try:
        return p.rows(select(view.c.secret))
    finally:
        tables.declared.discard("books_view")


@way(
    "side",
    limit("declare no search index of all sites, or give it `site_id_column()`, an UNINDEXED column in FTS5"),
    databases=("sqlite",),
)
def virtual_table_declared_as_a_table(p: Place) -> Any:
    by_driver_only(p, "CREATE VIRTUAL TABLE books_index USING fts5(secret)")
    with closing(p.s.connection().connection.cursor()) as cursor:
        cursor.execute("INSERT INTO books_index SELECT secret FROM books")
    index = sa.Table("books_index", sa.MetaData(), sa.Column("secret", sa.String))
    try:
        return p.rows(select(index.c.secret))
    finally:
        tables.declared.discard("books_index")


@way(
    "side",
    limit("let a scoped table inherit by `postgresql_inherits=` only, or give its parent `site_id_column()`"),
    databases=("postgresql",),
)
def parent_declared_and_inherited_from_by_SQL(p: Place) -> Any:  # noqa: N802  # Its name is shown.
    by_driver_only(p, "CREATE TABLE base_of_books (secret VARCHAR NOT NULL); ALTER TABLE books INHERIT base_of_books")
    parent = sa.Table("base_of_books", sa.MetaData(), sa.Column("secret", sa.String))
    try:
        return p.rows(select(parent.c.secret))
    finally:
        tables.declared.discard("base_of_books")


@way(
    "side",
    limit("do not list views of scoped tables in `multisite.global_tables`, or make them `security_invoker`"),
)
def view_listed_as_global(p: Place) -> Any:
    tables.global_tables.add("books_view")
    p.engine.clear_compiled_cache()
    try:
        return p.rows(select(sa.column("secret")).select_from(sa.table("books_view")))
    finally:
        tables.global_tables.discard("books_view")
        p.engine.clear_compiled_cache()


@way(
    "side",
    limit("pass the site as an argument; row-level security applies to functions without SECURITY DEFINER"),
    databases=("postgresql",),
)
def function_in_the_database(p: Place) -> Any:
    by_driver_only(p, "CREATE FUNCTION all_secrets() RETURNS text LANGUAGE sql AS 'SELECT max(secret) FROM books'")
    return p.rows(select(func.all_secrets()))


def by_driver_only(p: Place, statement: str) -> None:
    """Run what changes the schema, as a migration has done, in the transaction of the session."""
    p.do(sa.update(Country).values(name="begun"), execution_options={"synchronize_session": False})
    with closing(p.s.connection().connection.cursor()) as cursor:
        cursor.execute(statement)


@way(
    "side",
    limit("compare site_id in the trigger, or use none: triggers are code in the database"),
    databases=("sqlite",),
)
def trigger_in_the_database(p: Place) -> Any:
    by_driver_only(
        p,
        "CREATE TRIGGER tidy AFTER INSERT ON countries BEGIN DELETE FROM slips; END",
    )
    p.do(sa.insert(Country).values(id=77, name="x"))


@way(
    "side",
    limit("leave DDL to migrations, with a database role that the application does not have"),
)
def table_dropped(p: Place) -> Any:
    by_driver_only(p, "SELECT 1")
    Slip.__table__.drop(p.s.connection())
    there = sa.inspect(p.s.connection()).has_table("slips")
    p.s.rollback()
    return None if there else p.foreign


REPORT = "CREATE TEMPORARY TABLE report AS SELECT secret FROM books WHERE site_id = CAST(:site_id AS bigint)"


@way("side", limit("use a connection for one site; the pool does not reuse one with leftover state"))
def temporary_table_of_a_connection_used_for_two_sites(p: Place) -> Any:
    with p.engine.connect() as connection:
        with using_site(p.other):
            connection.execute(scoped_text(REPORT))
        try:
            with p.within():
                return connection.scalars(text("SELECT secret FROM report")).all()
        finally:
            connection.execute(text("DROP TABLE report"))


@way(
    "side",
    limit("store a site's data in a column of a scoped table: large objects belong to no table, and have no policies"),
    databases=("postgresql",),
)
def large_object(p: Place) -> Any:
    with p.engine.connect() as connection:
        with using_site(p.other):
            number = connection.scalar(select(func.lo_from_bytea(0, p.foreign.encode())))
        with p.within():
            return connection.scalar(select(func.convert_from(func.lo_get(number), "UTF8")))


@way("side", limit("this is the purpose of `all_sites`: search the log for its reasons"))
def all_sites_with_a_reason(p: Place) -> Any:
    with all_sites("a report over all sites"):
        return plain_read(p)


@way(
    "side",
    limit("add `SiteScoped` to every model whose rows belong to a site: `multisite check` lists the tables without it"),
    commits=True,
)
def table_without_a_site(p: Place) -> Any:
    with Session(p.engine, info={"site": p.other}) as session:
        session.add(Country(id=9, name=p.foreign))
        session.commit()
    return p.rows(select(Country.name))


@way("side", limit("review the statements of a revision: migrations must replay unchanged"))
def statement_of_a_migration(p: Place) -> Any:
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    connection = p.s.connection()
    with Operations.context(MigrationContext.configure(connection)):
        return connection.scalars(text("SELECT secret FROM books")).all()


@way("side", limit("add site_id to every unique constraint, and use keys that cannot be guessed"))
def key_that_another_site_has(p: Place) -> Any:
    try:
        with p.s.begin_nested():
            p.do(sa.insert(Shelf).values(id=p.their(), slug="x", secret="x"))
    except sa.exc.IntegrityError:
        return f"there is {p.foreign}"


@way("side", limit("declare references by `scoped_reference`: the database then refuses them"))
def reference_without_a_constraint(p: Place) -> Any:
    p.s.get_one(Note, p.own()).book_id = p.their()


@way(
    "side",
    limit("declare references by `scoped_reference`: with site_id in it, no row of another site can refer to one"),
)
def cascade_along_a_reference_without_site_id(p: Place) -> Any:
    p.s.delete(p.s.get_one(Crate, p.own()))


@way("side", limit("add the site's id to every cache key"))
def cached_object_of_another_site(p: Place) -> Any:
    return cached_book(p).secret


@way("side", limit("do not keep objects longer than a session: loaded attributes stay readable"))
def object_kept_from_another_site(p: Place) -> Any:
    return p.theirs(Book).secret


@way("side", limit("collect the rows first: a generator does not leave the block when it yields"))
def generator_that_yields_within_a_block(p: Place) -> Any:
    def rows() -> Iterator[Any]:
        with using_site(p.other):
            yield None

    left = rows()
    next(left)
    try:
        return plain_read(p)
    finally:
        left.close()
