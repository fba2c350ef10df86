"""Around SQLAlchemy's statements: connections without a session, engines of every kind, and rewriting events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from scoped_models import Author, Book, shelf_books
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from attack_catalogue import Place, add, exactly, nothing, own, refused, secrets, way
from attack_catalogue.models import Slip, note_authors
from multisite import CrossSiteError, UnscopedStatement, all_sites, scoped_text, using_site

secret = select(Book.secret)
books = Book.__table__


# -- connections, without a session -----------------------------------------------------------------------------------


def on_connection(act: Callable[[sa.Connection, Place], Any], **options: Any) -> Callable[[Place], Any]:
    """Do it on a plain connection, where the site is current."""

    def do(p: Place) -> Any:
        with p.within(), p.engine.connect().execution_options(**options) as connection:
            try:
                return act(connection, p)
            finally:
                connection.rollback()

    return do


def read(connection: sa.Connection, p: Place | None = None) -> Any:
    return connection.scalars(secret).all()


def within_savepoint(connection: sa.Connection, p: Place) -> Any:
    found = []
    with connection.begin_nested() as savepoint:
        found += read(connection)
        savepoint.rollback()
    return found + read(connection)


add(
    "side",
    own,
    {
        "plain connection": on_connection(read),
        "plain connection, table": on_connection(lambda c, p: c.scalars(select(books.c.secret)).all()),
        "plain connection, lightweight table": on_connection(
            lambda c, p: c.scalars(select(sa.column("secret")).select_from(sa.table("books"))).all()
        ),
        "plain connection, scoped text": on_connection(
            lambda c, p: c.scalars(scoped_text("SELECT secret FROM books WHERE site_id = :site_id")).all()
        ),
        "plain connection, savepoint": on_connection(within_savepoint),
        "plain connection, streamed": on_connection(read, stream_results=True),
        "plain connection, yield per": on_connection(read, yield_per=1),
        "plain connection, autocommit": on_connection(read, isolation_level="AUTOCOMMIT"),
        "plain connection, no compiled cache": on_connection(read, compiled_cache=None),
        "plain connection, its own compiled cache": on_connection(read, compiled_cache={}),
        "plain connection, two sites in turn": on_connection(lambda c, p: _in_turn(c, p)),
        "plain connection, after all sites": on_connection(lambda c, p: _after_all_sites(c, p)),
        "plain connection, detached from its pool": on_connection(lambda c, p: (c.detach(), read(c))[1]),
        "plain connection, invalidated": on_connection(
            lambda c, p: (read(c), c.invalidate(), c.rollback(), read(c))[3]
        ),
        "plain connection, after reflection": on_connection(
            lambda c, p: (sa.inspect(c).get_columns("books"), read(c))[1]
        ),
        "plain connection, scalar": on_connection(
            lambda c, p: [c.scalar(secret.order_by(Book.id.desc())), c.scalar(secret)]
        ),
        "plain connection, returning": on_connection(
            lambda c, p: c.scalars(books.update().values(stock=7).returning(books.c.secret)).all()
        ),
        "postgresql: plain connection, two-phase": lambda p: _two_phase_connection(p),
        "engine.begin": lambda p: _begun(p),
        "connection of a session": lambda p: read(p.s.connection()),
        "connection of a session, with options": lambda p: read(
            p.s.connection(execution_options={"stream_results": True})
        ),
        "connection of a session, savepoint": lambda p: within_savepoint(p.s.connection(), p),
        "connection of a session, table": lambda p: p.s.connection().execute(select(books)).all(),
        "connection of a session, for a mapper": lambda p: read(p.s.connection(bind_arguments={"mapper": Book})),
        "execution options of the engine": lambda p: _with_engine(p, p.engine.execution_options(stream_results=True)),
    },
)


def _in_turn(connection: sa.Connection, p: Place) -> Any:
    with using_site(p.other):
        assert set(read(connection)) == {p.foreign}
    return read(connection)


def _after_all_sites(connection: sa.Connection, p: Place) -> Any:
    with all_sites("a test"):
        assert p.foreign in read(connection)
    return read(connection)


def _two_phase_connection(p: Place) -> Any:
    with p.within(), p.engine.connect() as connection:
        transaction = connection.begin_twophase()
        found = read(connection)
        transaction.rollback()
        return found


def _begun(p: Place) -> Any:
    with p.within(), p.engine.begin() as connection:
        return read(connection)


add(
    "side",
    refused(UnscopedStatement),
    {
        "plain connection, text": on_connection(lambda c, p: c.execute(text("SELECT secret FROM books")).all()),
        "plain connection, driver string": on_connection(
            lambda c, p: c.exec_driver_sql("SELECT secret FROM books").all()
        ),
        "plain connection, DDL": on_connection(
            lambda c, p: c.execute(sa.DDL("CREATE TABLE copied AS SELECT * FROM books"))
        ),
        "plain connection, text on a view": on_connection(
            lambda c, p: c.execute(text("SELECT * FROM books_view")).all()
        ),
    },
)

add(
    "side",
    refused(CrossSiteError, UnscopedStatement),
    {
        "plain connection, insert for another site": on_connection(
            lambda c, p: c.execute(books.insert().values(slug="x", secret="x", stock=1, site_id=p.other.id))
        ),
        "plain connection, update of site_id": on_connection(
            lambda c, p: c.execute(Slip.__table__.update().values(site_id=p.other.id))
        ),
        "two sessions on one connection": on_connection(lambda c, p: _two_on_one(c, p)),
    },
)

add(
    "side",
    exactly(3),
    {
        "plain connection, rows changed": on_connection(
            lambda c, p: c.execute(books.update().values(stock=8)).rowcount
        ),
        "plain connection, rows deleted": on_connection(lambda c, p: c.execute(note_authors.delete()).rowcount),
        "plain connection, count": on_connection(lambda c, p: c.scalar(select(func.count()).select_from(Book))),
    },
)


def _two_on_one(connection: sa.Connection, p: Place) -> Any:
    with Session(connection, info={"site": p.site}) as first, Session(connection, info={"site": p.other}) as second:
        first.scalars(secret).all()
        return second.scalars(secret).all()


# -- engines ----------------------------------------------------------------------------------------------------------


@contextmanager
def another_engine(p: Place, **options: Any) -> Iterator[sa.Engine]:
    engine = sa.create_engine(p.engine.url, **options)
    try:
        yield engine
    finally:
        engine.dispose()


def _with_engine(p: Place, engine: sa.Engine) -> Any:
    with p.within(), engine.connect() as connection, Session(engine, info={"site": p.site}) as session:
        return [read(connection), session.scalars(secret).all()]


def with_options(**options: Any) -> Callable[[Place], Any]:
    def act(p: Place) -> Any:
        with another_engine(p, **options) as engine:
            return _with_engine(p, engine)

    return act


add(
    "side",
    own,
    {
        "engine made elsewhere": with_options(),
        "engine with a NullPool": with_options(poolclass=sa.NullPool),
        "engine with a StaticPool": lambda p: _static(p),
        "engine without a compiled cache": with_options(query_cache_size=0),
        "engine with a cache of one": with_options(query_cache_size=1),
        "engine in autocommit": with_options(isolation_level="AUTOCOMMIT"),
        "engine with another style of parameters": lambda p: with_options(paramstyle="named" if p.sqlite else "format")(
            p
        ),
        "engine without insertmanyvalues": with_options(use_insertmanyvalues=False),
        "engine from a configuration": lambda p: _configured(p),
        "engine with a schema map": lambda p: with_options(
            execution_options={"schema_translate_map": {None: "main" if p.sqlite else "public"}}
        )(p),
        "postgresql: engine with prepared statements": with_options(connect_args={"prepare_threshold": 1}),
        "engine with a connection of its own": lambda p: _creator(p),
        "session of two binds": lambda p: _two_binds(p),
        "session of binds by table": lambda p: _binds_by_table(p),
        "session that chooses its engine": lambda p: _choosing(p),
        "session on a connection": on_connection(lambda c, p: Session(c, info={"site": p.site}).scalars(secret).all()),
        "session on a connection, with savepoints": on_connection(
            lambda c, p: (
                Session(c, info={"site": p.site}, join_transaction_mode="create_savepoint").scalars(secret).all()
            )
        ),
        "postgresql: session in two phases": lambda p: _two_phase_session(p),
        "session in autobegin off": lambda p: _without_autobegin(p),
        "sessionmaker with its site": lambda p: _made(p),
        "scoped_session": lambda p: _scoped_session(p),
        "query property": lambda p: _query_property(p),
    },
)


def _static(p: Place) -> Any:
    with another_engine(p, poolclass=sa.StaticPool) as engine:
        with p.within(), engine.connect() as connection:
            found = read(connection)
        with Session(engine, info={"site": p.other}) as session:
            session.scalars(secret).all()
        with Session(engine, info={"site": p.site}) as session:
            return found + list(session.scalars(secret))


def _configured(p: Place) -> Any:
    engine = sa.engine_from_config({"db.url": p.engine.url.render_as_string(hide_password=False)}, "db.")
    try:
        return _with_engine(p, engine)
    finally:
        engine.dispose()


def _creator(p: Place) -> Any:
    with another_engine(
        p,
        creator=lambda: p.engine.dialect.connect(
            *p.engine.dialect.create_connect_args(p.engine.url)[0],
            **p.engine.dialect.create_connect_args(p.engine.url)[1],
        ),
    ) as engine:
        return _with_engine(p, engine)


def _two_binds(p: Place) -> Any:
    with (
        another_engine(p) as second,
        Session(binds={Book: p.engine, Author: second}, info={"site": p.site}) as session,
    ):
        return [session.scalars(secret).all(), session.scalars(select(Author.secret)).all()]


def _binds_by_table(p: Place) -> Any:
    with another_engine(p) as second, Session(p.engine, info={"site": p.site}) as session:
        session.bind_table(shelf_books, second)
        session.bind_mapper(Author, second)
        found = secrets(session.scalars(select(Author)))
        return [found, [secrets(author.books) for author in session.scalars(select(Author))]]


def _choosing(p: Place) -> Any:
    class Choosing(Session):
        def get_bind(self, *args: Any, **kw: Any) -> Any:
            return p.engine

    with Choosing(info={"site": p.site}) as session:
        return session.scalars(secret).all()


def _two_phase_session(p: Place) -> Any:
    with Session(p.engine, info={"site": p.site}, twophase=True) as session:
        return session.scalars(secret).all()


def _without_autobegin(p: Place) -> Any:
    with Session(p.engine, info={"site": p.site}, autobegin=False) as session, session.begin():
        return session.scalars(secret).all()


def _made(p: Place) -> Any:
    with sessionmaker(p.engine, info={"site": p.site})() as session:
        return session.scalars(secret).all()


def _scoped_session(p: Place) -> Any:
    registry = scoped_session(sessionmaker(p.engine))
    found = []
    for site in (p.other, p.site):
        with using_site(site) if site else p.within():
            found = registry.scalars(secret).all()
            registry.remove()
    return found


def _query_property(p: Place) -> Any:
    registry = scoped_session(sessionmaker(p.engine, info={"site": p.site}))
    try:
        return secrets(registry.query(Book))
    finally:
        registry.remove()


# -- events -----------------------------------------------------------------------------------------------------------


@way("side", own)
def event_that_rewrites_a_legacy_query(p: Place) -> Any:
    def rewrite(query: Any) -> Any:
        return query.with_entities(Author.secret)

    sa.event.listen(sa.orm.Query, "before_compile", rewrite, retval=True)
    try:
        return p.s.query(Book.secret).all()
    finally:
        sa.event.remove(sa.orm.Query, "before_compile", rewrite)


@way("side", own)
def event_that_changes_the_parameters(p: Place) -> Any:
    def rewrite(connection: Any, statement: Any, many: Any, one: Any, options: Any) -> Any:
        return statement, many, {**one, "multisite_site": p.other.id}

    connection = p.s.connection()
    sa.event.listen(connection, "before_execute", rewrite, retval=True)
    return read(connection)


@way("side", refused(UnscopedStatement))
def event_that_rewrites_to_text(p: Place) -> Any:
    def rewrite(connection: Any, statement: Any, many: Any, one: Any, options: Any) -> Any:
        return text("SELECT secret FROM books"), many, {}

    connection = p.s.connection()
    sa.event.listen(connection, "before_execute", rewrite, retval=True)
    return read(connection)


@way("side", nothing, changes=True, commits=True)
def commit_in_the_middle(p: Place) -> None:
    """The pin holds in the second transaction as in the first."""
    for _ in range(2):
        p.do(sa.update(Book).values(stock=Book.stock + 2))
        p.s.commit()


@way("side", nothing, changes=True, commits=True)
def autocommit(p: Place) -> None:
    with p.within(), p.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(Slip.__table__.delete())


@way("side", nothing, changes=True, commits=True)
def engine_begin_that_writes(p: Place) -> None:
    with p.within(), p.engine.begin() as connection:
        connection.execute(books.update().values(stock=6))
        connection.execute(note_authors.insert().values(note_id=p.own(3), author_id=p.own(3)))
