"""Attempts that succeed, since nothing in this process can prevent them: each says what to do instead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import sqlalchemy as sa
from scoped_models import Book, Country, Shelf
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from attack_catalogue import Context, add, attempt, succeeds
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


def _raw(ctx: Context) -> Any:
    with closing(ctx.engine.raw_connection()) as connection:
        return by_driver(connection)


def _by_another_program(ctx: Context) -> Any:
    arguments, options = ctx.engine.dialect.create_connect_args(ctx.engine.url)
    with closing(ctx.engine.dialect.connect(*arguments, **options)) as connection:
        return by_driver(connection)


NO_DRIVER = (
    "do not use the driver for scoped tables; on PostgreSQL row-level security limits what SQLAlchemy's session began"
)

add(
    "execution",
    succeeds(NO_DRIVER),
    {
        "cursor of the driver, from a session": lambda ctx: by_driver(ctx.session.connection().connection),
        "cursor of the driver, from a connection": on_connection(lambda c, ctx: by_driver(c.connection)),
        "connection of the driver": lambda ctx: by_driver(ctx.session.connection().connection.driver_connection),
        "raw connection of the engine": _raw,
        "connection outside SQLAlchemy, such as psql's": _by_another_program,
        "event of the pool": lambda ctx: _pool_event(ctx),
    },
)


def _pool_event(ctx: Context) -> Any:
    found: list[Any] = []

    def read(connection: Any, record: Any) -> None:
        try:
            found.extend(by_driver(connection))
        except Exception:
            connection.close()  # SQLAlchemy 2.0.40 does not close it, and the driver would warn in a later test.
            raise

    with another_engine(ctx) as engine:
        sa.event.listen(engine, "connect", read)
        engine.connect().close()
    return found


REWRITTEN = "rewrite statements in before_execute, which runs before compilation; row-level security applies here too"


@attempt("execution", succeeds(REWRITTEN))
def statement_rewritten_in_before_cursor_execute(ctx: Context) -> Any:
    def rewrite(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> Any:
        return "SELECT secret FROM books", ()

    connection = ctx.session.connection()
    sa.event.listen(connection, "before_cursor_execute", rewrite, retval=True)
    return connection.scalars(select(Country.name)).all()


@attempt("execution", succeeds(REWRITTEN))
def statement_rewritten_in_do_execute(ctx: Context) -> Any:
    def rewrite(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
        cursor.execute("SELECT secret FROM books")
        return True

    with another_engine(ctx) as engine:
        engine.connect().close()
        sa.event.listen(engine, "do_execute", rewrite)
        with ctx.using_site(), engine.connect() as connection:
            return connection.scalars(select(Country.name)).all()


@attempt(
    "execution",
    succeeds("review the text of `scoped_text`, and how it uses :site_id; row-level security applies here too"),
)
def scoped_text_that_does_not_use_its_parameter(ctx: Context) -> Any:
    return ctx.rows(scoped_text("SELECT secret FROM books WHERE site_id = :site_id OR 1 = 1"))


@attempt(
    "execution",
    succeeds("give the view `site_id_column()`, or make it `security_invoker` and use row-level security"),
)
def view_declared_as_a_table(ctx: Context) -> Any:
    view = sa.Table("books_view", sa.MetaData(), sa.Column("secret", sa.String))
    try:
        return ctx.rows(select(view.c.secret))
    finally:
        tables.declared.discard("books_view")


@attempt(
    "execution",
    succeeds("declare no search index of all sites, or give it `site_id_column()`, an UNINDEXED column in FTS5"),
    databases=("sqlite",),
)
def virtual_table_declared_as_a_table(ctx: Context) -> Any:
    by_driver_only(ctx, "CREATE VIRTUAL TABLE books_index USING fts5(secret)")
    with closing(ctx.session.connection().connection.cursor()) as cursor:
        cursor.execute("INSERT INTO books_index SELECT secret FROM books")
    index = sa.Table("books_index", sa.MetaData(), sa.Column("secret", sa.String))
    try:
        return ctx.rows(select(index.c.secret))
    finally:
        tables.declared.discard("books_index")


@attempt(
    "execution",
    succeeds("let a scoped table inherit by `postgresql_inherits=` only, or give its parent `site_id_column()`"),
    databases=("postgresql",),
)
def parent_declared_and_inherited_from_by_SQL(ctx: Context) -> Any:  # noqa: N802  # Its name is shown.
    by_driver_only(ctx, "CREATE TABLE base_of_books (secret VARCHAR NOT NULL); ALTER TABLE books INHERIT base_of_books")
    parent = sa.Table("base_of_books", sa.MetaData(), sa.Column("secret", sa.String))
    try:
        return ctx.rows(select(parent.c.secret))
    finally:
        tables.declared.discard("base_of_books")


@attempt(
    "execution",
    succeeds("do not list views of scoped tables in `multisite.global_tables`, or make them `security_invoker`"),
)
def view_listed_as_global(ctx: Context) -> Any:
    tables.global_tables.add("books_view")
    ctx.engine.clear_compiled_cache()
    try:
        return ctx.rows(select(sa.column("secret")).select_from(sa.table("books_view")))
    finally:
        tables.global_tables.discard("books_view")
        ctx.engine.clear_compiled_cache()


@attempt(
    "execution",
    succeeds("pass the site as an argument; row-level security applies to functions without SECURITY DEFINER"),
    databases=("postgresql",),
)
def function_in_the_database(ctx: Context) -> Any:
    by_driver_only(ctx, "CREATE FUNCTION all_secrets() RETURNS text LANGUAGE sql AS 'SELECT max(secret) FROM books'")
    return ctx.rows(select(func.all_secrets()))


def by_driver_only(ctx: Context, statement: str) -> None:
    """Run a statement that changes the schema, as a migration would, in the transaction of the session."""
    ctx.execute(sa.update(Country).values(name="begun"), execution_options={"synchronize_session": False})
    with closing(ctx.session.connection().connection.cursor()) as cursor:
        cursor.execute(statement)


@attempt(
    "execution",
    succeeds("compare site_id in the trigger, or use none: triggers are code in the database"),
    databases=("sqlite",),
)
def trigger_in_the_database(ctx: Context) -> Any:
    by_driver_only(
        ctx,
        "CREATE TRIGGER tidy AFTER INSERT ON countries BEGIN DELETE FROM slips; END",
    )
    ctx.execute(sa.insert(Country).values(id=77, name="x"))


@attempt(
    "execution",
    succeeds("leave DDL to migrations, with a database role that the application does not have"),
)
def table_dropped(ctx: Context) -> Any:
    by_driver_only(ctx, "SELECT 1")
    Slip.__table__.drop(ctx.session.connection())
    there = sa.inspect(ctx.session.connection()).has_table("slips")
    ctx.session.rollback()
    return None if there else ctx.other_secret


REPORT = "CREATE TEMPORARY TABLE report AS SELECT secret FROM books WHERE site_id = CAST(:site_id AS bigint)"


@attempt("execution", succeeds("use a connection for one site; the pool does not reuse one with leftover state"))
def temporary_table_of_a_connection_used_for_two_sites(ctx: Context) -> Any:
    with ctx.engine.connect() as connection:
        with using_site(ctx.other):
            connection.execute(scoped_text(REPORT))
        try:
            with ctx.using_site():
                return connection.scalars(text("SELECT secret FROM report")).all()
        finally:
            connection.execute(text("DROP TABLE report"))


@attempt(
    "execution",
    succeeds(
        "store a site's data in a column of a scoped table: large objects belong to no table, and have no policies"
    ),
    databases=("postgresql",),
)
def large_object(ctx: Context) -> Any:
    with ctx.engine.connect() as connection:
        with using_site(ctx.other):
            number = connection.scalar(select(func.lo_from_bytea(0, ctx.other_secret.encode())))
        with ctx.using_site():
            return connection.scalar(select(func.convert_from(func.lo_get(number), "UTF8")))


@attempt("execution", succeeds("this is the purpose of `all_sites`: search the log for its reasons"))
def all_sites_with_a_reason(ctx: Context) -> Any:
    with all_sites("a report over all sites"):
        return plain_read(ctx)


@attempt(
    "execution",
    succeeds(
        "add `SiteScoped` to every model whose rows belong to a site: `multisite check` lists the tables without it"
    ),
    commits=True,
)
def table_without_a_site(ctx: Context) -> Any:
    with Session(ctx.engine, info={"site": ctx.other}) as session:
        session.add(Country(id=9, name=ctx.other_secret))
        session.commit()
    return ctx.rows(select(Country.name))


@attempt("execution", succeeds("review the statements of a revision: migrations must replay unchanged"))
def statement_of_a_migration(ctx: Context) -> Any:
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    connection = ctx.session.connection()
    with Operations.context(MigrationContext.configure(connection)):
        return connection.scalars(text("SELECT secret FROM books")).all()


@attempt("execution", succeeds("add site_id to every unique constraint, and use keys that cannot be guessed"))
def existence_of_a_key_of_another_site(ctx: Context) -> Any:
    try:
        with ctx.session.begin_nested():
            ctx.execute(sa.insert(Shelf).values(id=ctx.other_key(), slug="x", secret="x"))
    except sa.exc.IntegrityError:
        return f"there is {ctx.other_secret}"


@attempt("execution", succeeds("declare references by `scoped_reference`: the database then refuses them"))
def reference_without_a_constraint(ctx: Context) -> Any:
    ctx.session.get_one(Note, ctx.own_key()).book_id = ctx.other_key()


@attempt(
    "execution",
    succeeds("declare references by `scoped_reference`: with site_id in it, no row of another site can refer to one"),
)
def cascade_along_a_reference_without_site_id(ctx: Context) -> Any:
    ctx.session.delete(ctx.session.get_one(Crate, ctx.own_key()))


@attempt("execution", succeeds("add the site's id to every cache key"))
def cached_object_of_another_site(ctx: Context) -> Any:
    return cached_book(ctx).secret


@attempt("execution", succeeds("do not keep objects longer than a session: loaded attributes stay readable"))
def object_kept_from_another_site(ctx: Context) -> Any:
    return ctx.other_object(Book).secret


@attempt("execution", succeeds("collect the rows first: a generator does not leave the block when it yields"))
def generator_that_yields_within_a_block(ctx: Context) -> Any:
    def rows() -> Iterator[Any]:
        with using_site(ctx.other):
            yield None

    left = rows()
    next(left)
    try:
        return plain_read(ctx)
    finally:
        left.close()
