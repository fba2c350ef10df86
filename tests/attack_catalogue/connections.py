"""Attempts with connections without a session, engines of every kind, and events that rewrite statements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from scoped_models import Author, Book, shelf_books
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from attack_catalogue import Context, add, attempt, exactly, no_result, own_rows, refused, secrets
from attack_catalogue.models import Slip, note_authors
from multisite import CrossSiteError, UnscopedStatement, all_sites, scoped_text, using_site

secret = select(Book.secret)
books = Book.__table__


# -- connections, without a session -----------------------------------------------------------------------------------


def on_connection(act: Callable[[sa.Connection, Context], Any], **options: Any) -> Callable[[Context], Any]:
    """Run `act` on a plain connection, with the site as the current one."""

    def do(ctx: Context) -> Any:
        with ctx.using_site(), ctx.engine.connect().execution_options(**options) as connection:
            try:
                return act(connection, ctx)
            finally:
                connection.rollback()

    return do


def read(connection: sa.Connection, ctx: Context | None = None) -> Any:
    return connection.scalars(secret).all()


def within_savepoint(connection: sa.Connection, ctx: Context) -> Any:
    found = []
    with connection.begin_nested() as savepoint:
        found += read(connection)
        savepoint.rollback()
    return found + read(connection)


add(
    "execution",
    own_rows,
    {
        "plain connection": on_connection(read),
        "plain connection, table": on_connection(lambda c, ctx: c.scalars(select(books.c.secret)).all()),
        "plain connection, lightweight table": on_connection(
            lambda c, ctx: c.scalars(select(sa.column("secret")).select_from(sa.table("books"))).all()
        ),
        "plain connection, scoped text": on_connection(
            lambda c, ctx: c.scalars(scoped_text("SELECT secret FROM books WHERE site_id = :site_id")).all()
        ),
        "plain connection, savepoint": on_connection(within_savepoint),
        "plain connection, streamed": on_connection(read, stream_results=True),
        "plain connection, yield per": on_connection(read, yield_per=1),
        "plain connection, autocommit": on_connection(read, isolation_level="AUTOCOMMIT"),
        "plain connection, no compiled cache": on_connection(read, compiled_cache=None),
        "plain connection, its own compiled cache": on_connection(read, compiled_cache={}),
        "plain connection, two sites in turn": on_connection(lambda c, ctx: _in_turn(c, ctx)),
        "plain connection, after all sites": on_connection(lambda c, ctx: _after_all_sites(c, ctx)),
        "plain connection, detached from its pool": on_connection(lambda c, ctx: (c.detach(), read(c))[1]),
        "plain connection, invalidated": on_connection(
            lambda c, ctx: (read(c), c.invalidate(), c.rollback(), read(c))[3]
        ),
        "plain connection, after reflection": on_connection(
            lambda c, ctx: (sa.inspect(c).get_columns("books"), read(c))[1]
        ),
        "plain connection, scalar": on_connection(
            lambda c, ctx: [c.scalar(secret.order_by(Book.id.desc())), c.scalar(secret)]
        ),
        "plain connection, returning": on_connection(
            lambda c, ctx: c.scalars(books.update().values(stock=7).returning(books.c.secret)).all()
        ),
        "postgresql: plain connection, two-phase": lambda ctx: _two_phase_connection(ctx),
        "engine.begin": lambda ctx: _begun(ctx),
        "connection of a session": lambda ctx: read(ctx.session.connection()),
        "connection of a session, with options": lambda ctx: read(
            ctx.session.connection(execution_options={"stream_results": True})
        ),
        "connection of a session, savepoint": lambda ctx: within_savepoint(ctx.session.connection(), ctx),
        "connection of a session, table": lambda ctx: ctx.session.connection().execute(select(books)).all(),
        "connection of a session, for a mapper": lambda ctx: read(
            ctx.session.connection(bind_arguments={"mapper": Book})
        ),
        "execution options of the engine": lambda ctx: _with_engine(
            ctx, ctx.engine.execution_options(stream_results=True)
        ),
    },
)


def _in_turn(connection: sa.Connection, ctx: Context) -> Any:
    with using_site(ctx.other):
        assert set(read(connection)) == {ctx.other_secret}
    return read(connection)


def _after_all_sites(connection: sa.Connection, ctx: Context) -> Any:
    with all_sites("a test"):
        assert ctx.other_secret in read(connection)
    return read(connection)


def _two_phase_connection(ctx: Context) -> Any:
    with ctx.using_site(), ctx.engine.connect() as connection:
        transaction = connection.begin_twophase()
        found = read(connection)
        transaction.rollback()
        return found


def _begun(ctx: Context) -> Any:
    with ctx.using_site(), ctx.engine.begin() as connection:
        return read(connection)


add(
    "execution",
    refused(UnscopedStatement),
    {
        "plain connection, text": on_connection(lambda c, ctx: c.execute(text("SELECT secret FROM books")).all()),
        "plain connection, driver string": on_connection(
            lambda c, ctx: c.exec_driver_sql("SELECT secret FROM books").all()
        ),
        "plain connection, DDL": on_connection(
            lambda c, ctx: c.execute(sa.DDL("CREATE TABLE copied AS SELECT * FROM books"))
        ),
        "plain connection, text on a view": on_connection(
            lambda c, ctx: c.execute(text("SELECT * FROM books_view")).all()
        ),
    },
)

add(
    "execution",
    refused(CrossSiteError, UnscopedStatement),
    {
        "plain connection, insert for another site": on_connection(
            lambda c, ctx: c.execute(books.insert().values(slug="x", secret="x", stock=1, site_id=ctx.other.id))
        ),
        "plain connection, update of site_id": on_connection(
            lambda c, ctx: c.execute(Slip.__table__.update().values(site_id=ctx.other.id))
        ),
        "two sessions on one connection": on_connection(lambda c, ctx: _two_on_one(c, ctx)),
    },
)

add(
    "execution",
    exactly(3),
    {
        "plain connection, rows changed": on_connection(
            lambda c, ctx: c.execute(books.update().values(stock=8)).rowcount
        ),
        "plain connection, rows deleted": on_connection(lambda c, ctx: c.execute(note_authors.delete()).rowcount),
        "plain connection, count": on_connection(lambda c, ctx: c.scalar(select(func.count()).select_from(Book))),
    },
)


def _two_on_one(connection: sa.Connection, ctx: Context) -> Any:
    with Session(connection, info={"site": ctx.site}) as first, Session(connection, info={"site": ctx.other}) as second:
        first.scalars(secret).all()
        return second.scalars(secret).all()


# -- engines ----------------------------------------------------------------------------------------------------------


@contextmanager
def another_engine(ctx: Context, **options: Any) -> Iterator[sa.Engine]:
    engine = sa.create_engine(ctx.engine.url, **options)
    try:
        yield engine
    finally:
        engine.dispose()


def _with_engine(ctx: Context, engine: sa.Engine) -> Any:
    with ctx.using_site(), engine.connect() as connection, Session(engine, info={"site": ctx.site}) as session:
        return [read(connection), session.scalars(secret).all()]


def with_options(**options: Any) -> Callable[[Context], Any]:
    def act(ctx: Context) -> Any:
        with another_engine(ctx, **options) as engine:
            return _with_engine(ctx, engine)

    return act


add(
    "execution",
    own_rows,
    {
        "engine created by SQLAlchemy alone": with_options(),
        "engine with a NullPool": with_options(poolclass=sa.NullPool),
        "engine with a StaticPool": lambda ctx: _static(ctx),
        "engine without a compiled cache": with_options(query_cache_size=0),
        "engine with a cache of one": with_options(query_cache_size=1),
        "engine in autocommit mode": with_options(isolation_level="AUTOCOMMIT"),
        "engine with another paramstyle": lambda ctx: with_options(paramstyle="named" if ctx.is_sqlite else "format")(
            ctx
        ),
        "engine without insertmanyvalues": with_options(use_insertmanyvalues=False),
        "engine from a configuration": lambda ctx: _configured(ctx),
        "engine with a schema map": lambda ctx: with_options(
            execution_options={"schema_translate_map": {None: "main" if ctx.is_sqlite else "public"}}
        )(ctx),
        "postgresql: engine with prepared statements": with_options(connect_args={"prepare_threshold": 1}),
        "engine with a creator": lambda ctx: _creator(ctx),
        "session with two binds": lambda ctx: _two_binds(ctx),
        "session with binds by table": lambda ctx: _binds_by_table(ctx),
        "session with its own get_bind": lambda ctx: _choosing(ctx),
        "session on a connection": on_connection(
            lambda c, ctx: Session(c, info={"site": ctx.site}).scalars(secret).all()
        ),
        "session on a connection, with savepoints": on_connection(
            lambda c, ctx: (
                Session(c, info={"site": ctx.site}, join_transaction_mode="create_savepoint").scalars(secret).all()
            )
        ),
        "postgresql: two-phase session": lambda ctx: _two_phase_session(ctx),
        "session without autobegin": lambda ctx: _without_autobegin(ctx),
        "sessionmaker with its site": lambda ctx: _made(ctx),
        "scoped_session": lambda ctx: _scoped_session(ctx),
        "query property": lambda ctx: _query_property(ctx),
    },
)


def _static(ctx: Context) -> Any:
    with another_engine(ctx, poolclass=sa.StaticPool) as engine:
        with ctx.using_site(), engine.connect() as connection:
            found = read(connection)
        with Session(engine, info={"site": ctx.other}) as session:
            session.scalars(secret).all()
        with Session(engine, info={"site": ctx.site}) as session:
            return found + list(session.scalars(secret))


def _configured(ctx: Context) -> Any:
    engine = sa.engine_from_config({"db.url": ctx.engine.url.render_as_string(hide_password=False)}, "db.")
    try:
        return _with_engine(ctx, engine)
    finally:
        engine.dispose()


def _creator(ctx: Context) -> Any:
    with another_engine(
        ctx,
        creator=lambda: ctx.engine.dialect.connect(
            *ctx.engine.dialect.create_connect_args(ctx.engine.url)[0],
            **ctx.engine.dialect.create_connect_args(ctx.engine.url)[1],
        ),
    ) as engine:
        return _with_engine(ctx, engine)


def _two_binds(ctx: Context) -> Any:
    with (
        another_engine(ctx) as second,
        Session(binds={Book: ctx.engine, Author: second}, info={"site": ctx.site}) as session,
    ):
        return [session.scalars(secret).all(), session.scalars(select(Author.secret)).all()]


def _binds_by_table(ctx: Context) -> Any:
    with another_engine(ctx) as second, Session(ctx.engine, info={"site": ctx.site}) as session:
        session.bind_table(shelf_books, second)
        session.bind_mapper(Author, second)
        found = secrets(session.scalars(select(Author)))
        return [found, [secrets(author.books) for author in session.scalars(select(Author))]]


def _choosing(ctx: Context) -> Any:
    class Choosing(Session):
        def get_bind(self, *args: Any, **kw: Any) -> Any:
            return ctx.engine

    with Choosing(info={"site": ctx.site}) as session:
        return session.scalars(secret).all()


def _two_phase_session(ctx: Context) -> Any:
    with Session(ctx.engine, info={"site": ctx.site}, twophase=True) as session:
        return session.scalars(secret).all()


def _without_autobegin(ctx: Context) -> Any:
    with Session(ctx.engine, info={"site": ctx.site}, autobegin=False) as session, session.begin():
        return session.scalars(secret).all()


def _made(ctx: Context) -> Any:
    with sessionmaker(ctx.engine, info={"site": ctx.site})() as session:
        return session.scalars(secret).all()


def _scoped_session(ctx: Context) -> Any:
    registry = scoped_session(sessionmaker(ctx.engine))
    found = []
    for site in (ctx.other, ctx.site):
        with using_site(site) if site else ctx.using_site():
            found = registry.scalars(secret).all()
            registry.remove()
    return found


def _query_property(ctx: Context) -> Any:
    registry = scoped_session(sessionmaker(ctx.engine, info={"site": ctx.site}))
    try:
        return secrets(registry.query(Book))
    finally:
        registry.remove()


# -- events -----------------------------------------------------------------------------------------------------------


@attempt("execution", own_rows)
def event_that_rewrites_a_legacy_query(ctx: Context) -> Any:
    def rewrite(query: Any) -> Any:
        return query.with_entities(Author.secret)

    sa.event.listen(sa.orm.Query, "before_compile", rewrite, retval=True)
    try:
        return ctx.session.query(Book.secret).all()
    finally:
        sa.event.remove(sa.orm.Query, "before_compile", rewrite)


@attempt("execution", own_rows)
def event_that_changes_the_parameters(ctx: Context) -> Any:
    def rewrite(connection: Any, statement: Any, many: Any, one: Any, options: Any) -> Any:
        return statement, many, {**one, "multisite_site": ctx.other.id}

    connection = ctx.session.connection()
    sa.event.listen(connection, "before_execute", rewrite, retval=True)
    return read(connection)


@attempt("execution", refused(UnscopedStatement))
def event_that_rewrites_to_text(ctx: Context) -> Any:
    def rewrite(connection: Any, statement: Any, many: Any, one: Any, options: Any) -> Any:
        return text("SELECT secret FROM books"), many, {}

    connection = ctx.session.connection()
    sa.event.listen(connection, "before_execute", rewrite, retval=True)
    return read(connection)


@attempt("execution", no_result, changes=True, commits=True)
def commit_in_the_middle(ctx: Context) -> None:
    """The pin is kept in the second transaction."""
    for _ in range(2):
        ctx.execute(sa.update(Book).values(stock=Book.stock + 2))
        ctx.session.commit()


@attempt("execution", no_result, changes=True, commits=True)
def autocommit(ctx: Context) -> None:
    with ctx.using_site(), ctx.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(Slip.__table__.delete())


@attempt("execution", no_result, changes=True, commits=True)
def engine_begin_that_writes(ctx: Context) -> None:
    with ctx.using_site(), ctx.engine.begin() as connection:
        connection.execute(books.update().values(stock=6))
        connection.execute(note_authors.insert().values(note_id=ctx.own_key(3), author_id=ctx.own_key(3)))
