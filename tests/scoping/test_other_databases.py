"""Databases of unsupported dialects, and databases without the tables of multisite in the same process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine, fresh_database, make_own_tables
from pyramid.config import Configurator
from scoped_models import ONE, Base, Book
from sqlalchemy import select, text
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Session
from unsupported_dialect import UnsupportedDialect

from multisite import MultisiteError, UnscopedStatement, all_sites, check, using_site
from multisite.alembic.migrate import first_site, upgrade_own
from multisite.core.dialects import SUPPORTED, dialect_error
from multisite.directory import Directory
from multisite.directory.models import metadata
from multisite.scoping import catalog

SENTENCE = (
    "multisite supports SQLite and PostgreSQL, but this database is unsupported: statements on scoped tables cannot be "
    "limited to a site there"
)
OTHERS = sa.Table("books", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("title", sa.String))
"""A table of another application that is called like a scoped one of this process."""


@pytest.fixture
def unsupported(tmp_path: Path) -> Iterator[sa.Engine]:
    with closing_engine(f"unsupported:///{tmp_path}/unsupported.db") as engine:
        assert isinstance(engine.dialect, UnsupportedDialect)
        yield engine


def test_every_other_dialect_than_the_supported_ones_is_a_fault() -> None:
    assert [name for name in ("sqlite", "postgresql", "mysql", "mariadb", "oracle", "") if dialect_error(name)] == [
        "mysql",
        "mariadb",
        "oracle",
        "",
    ]
    assert dialect_error("unsupported") == SENTENCE
    assert set(SUPPORTED) == {"sqlite", "postgresql"}


SCOPES: dict[str, Callable[[], Any]] = {"a site": lambda: using_site(ONE), "all sites": lambda: all_sites("test")}
STATEMENTS: dict[str, Any] = {
    "entity": select(Book.secret),
    "table": select(Book.__table__.c.secret),
    "insert": sa.insert(Book).values(id=1, slug="x", secret="x"),
    "update": sa.update(Book).values(secret="x"),
    "delete": sa.delete(Book),
    "text in a criterion": select(Book.secret).where(text("1=1 /*! ) OR (1=1 */")),
}


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize("scope", SCOPES)
def test_a_statement_on_a_scoped_table_is_refused(unsupported: sa.Engine, statement: str, scope: str) -> None:
    Base.metadata.create_all(unsupported, [Book.__table__])
    with SCOPES[scope](), Session(unsupported) as session, pytest.raises(UnscopedStatement) as caught:
        session.execute(STATEMENTS[statement])
    assert str(caught.value) == SENTENCE


def test_negative_control_without_the_refusal_the_statements_run(
    unsupported: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multisite.scoping.execution.dialect_error", lambda name: None)
    Base.metadata.create_all(unsupported, [Book.__table__])
    with using_site(ONE), Session(unsupported) as session:
        assert session.execute(STATEMENTS["entity"]).all() == []


NAMING: dict[str, Any] = {
    "text": text("SELECT * FROM books"),
    "text in a comment that it may execute": text("SELECT 1 /*! UNION SELECT id FROM books */"),
    "a fragment in a comment": select(text("1 /*! FROM books */")),
    "a table of the same name": select(OTHERS),
    "a lightweight table": select(sa.table("books", sa.column("id"))),
    "text on a table that nobody declares": text("SELECT * FROM nobodys"),
}


def create_own_tables(unsupported: sa.Engine | sa.Connection) -> None:
    """Create multisite's own tables, except those with AUTOINCREMENT, which only SQLite's own dialect can create."""
    tables = [each for each in metadata.sorted_tables if not each.dialect_options["sqlite"]["autoincrement"]]
    metadata.create_all(unsupported, tables)


@pytest.fixture
def by_hand(unsupported: sa.Engine) -> sa.Engine:
    """A database of an unsupported dialect, in which the tables were created manually."""
    create_own_tables(unsupported)
    Base.metadata.create_all(unsupported)
    with unsupported.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE nobodys (id INTEGER)")
    return unsupported


@pytest.mark.parametrize("statement", NAMING)
@pytest.mark.parametrize("scope", SCOPES)
def test_what_names_a_scoped_table_is_refused_where_there_are_sites(
    by_hand: sa.Engine, statement: str, scope: str
) -> None:
    with SCOPES[scope](), by_hand.connect() as connection, pytest.raises(UnscopedStatement) as caught:
        connection.execute(NAMING[statement])
    assert str(caught.value) == SENTENCE


def test_a_string_for_the_driver_is_refused_where_there_are_sites(by_hand: sa.Engine) -> None:
    with using_site(ONE), by_hand.connect() as connection, pytest.raises(UnscopedStatement) as caught:
        connection.exec_driver_sql("SELECT 1 /*! UNION SELECT id FROM books */")
    assert str(caught.value) == SENTENCE


@pytest.mark.parametrize("statement", NAMING)
def test_a_database_without_sites_is_left_alone(unsupported: sa.Engine, statement: str) -> None:
    OTHERS.create(unsupported)
    with unsupported.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE nobodys (id INTEGER)")
        connection.execute(NAMING[statement])
        connection.exec_driver_sql("SELECT * FROM books")


def test_what_a_statement_looks_like_can_be_printed_for_any_dialect() -> None:
    """Compiling a statement raises no error; only its execution is refused."""
    assert "FROM books" in str(select(Book.secret).compile(dialect=mysql.dialect()))
    printed: list[str] = []
    mock = sa.create_mock_engine("mysql+pymysql://", lambda sql, *args, **kw: printed.append(str(sql)))
    mock_books = sa.Table("mock_books", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
    mock_books.create(mock, checkfirst=False)
    assert "CREATE TABLE mock_books" in printed[0]


# -- the start and the check ------------------------------------------------------------------------------------------


def test_a_directory_and_its_tables_are_refused(unsupported: sa.Engine) -> None:
    refused: list[Callable[[], Any]] = [
        lambda: Directory(unsupported),
        lambda: upgrade_own(unsupported),
        lambda: _first_site(unsupported),
    ]
    for act in refused:
        with pytest.raises(MultisiteError) as caught:
            act()
        assert str(caught.value) == SENTENCE
    with unsupported.connect() as connection:
        assert sa.inspect(connection).get_table_names() == []


def _first_site(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        first_site(connection, "one.example")


def test_the_start_says_it(unsupported: sa.Engine) -> None:
    with pytest.raises(MultisiteError) as caught, Configurator(settings={"sqlalchemy.url": unsupported.url}) as config:
        config.include("multisite")
    assert str(caught.value) == SENTENCE


@pytest.mark.parametrize("model", [Book.__table__, OTHERS], ids=["scoped", "unscoped"])
def test_the_check_says_it_of_a_second_database_with_scoped_tables(
    unsupported: sa.Engine, sqlite_database_url: str, model: sa.Table
) -> None:
    with closing_engine(sqlite_database_url) as engine, Configurator() as config:
        make_own_tables(engine)
        config.include("multisite")
        config.set_multisite_engine(engine)
        config.add_request_method(lambda request: Session(unsupported), "dbsession", reify=True)
        config.commit()
        found = check.run(config.make_wsgi_app(), metadata=[model.metadata])
    said = [(each.subject, each.message) for each in found if each.kind == "database-unsupported"]
    assert said == ([(str(unsupported.url), SENTENCE)] if model is Book.__table__ else [])


# -- databases without sites ------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(catalog, "monotonic", made)
    return made


@pytest.fixture(params=["sqlite", "postgresql", "unsupported"])
def second_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of another application's database; one of its tables has the name of a scoped table."""
    if request.param == "unsupported":
        url = f"unsupported:///{tmp_path_factory.mktemp('second')}/second.db"
        _make_second(url)
        yield url
    else:
        with fresh_database(request, tmp_path_factory) as url:
            _make_second(url)
            yield url


def _make_second(url: str) -> None:
    with closing_engine(url) as engine, engine.begin() as connection:
        OTHERS.create(connection)
        connection.exec_driver_sql("CREATE TABLE nobodys (id INTEGER)")
        connection.exec_driver_sql("INSERT INTO books (id, title) VALUES (1, 'x')")


@pytest.fixture
def second(second_url: str) -> Iterator[sa.Engine]:
    with closing_engine(second_url) as engine:
        yield engine


def use(connection: sa.Connection) -> None:
    """Execute each kind of statement that queries the catalog."""
    assert connection.execute(select(OTHERS.c.title)).all() == [("x",)]
    assert connection.execute(text("SELECT title FROM books")).all() == [("x",)]
    assert connection.execute(text("SELECT id FROM nobodys")).all() == []
    assert connection.exec_driver_sql("SELECT title FROM books").all() == [("x",)]


USES = 4


def test_that_there_are_no_sites_is_remembered(second: sa.Engine, clock: Clock) -> None:
    executed: list[str] = []
    sa.event.listen(second, "before_cursor_execute", lambda *args: executed.append(args[2]))
    with second.connect() as connection:
        use(connection)
        assert len(executed) > USES
        executed.clear()
        for _ in range(3):
            use(connection)
        assert len(executed) == 3 * USES
    with second.connect() as connection:
        # The pool returns the same connection of the driver.
        use(connection)
        assert len(executed) == 4 * USES
        clock.now += catalog.NO_SITES_SECONDS
        use(connection)
        assert len(executed) > 5 * USES


def test_a_dialect_may_read_tables_when_it_connects_for_the_first_time(
    second_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At that time, SQLAlchemy has no pooled connection, in which the result could be cached."""
    with closing_engine(second_url) as engine:
        initialize = engine.dialect.initialize
        found: list[Any] = []

        def read_too(connection: sa.Connection) -> None:
            initialize(connection)
            found.extend(connection.exec_driver_sql("SELECT id FROM nobodys").all())
            found.extend(connection.exec_driver_sql("SELECT title FROM books").all())

        monkeypatch.setattr(engine.dialect, "initialize", read_too)
        engine.connect().close()
        assert found == [("x",)]


TEXTS = ("SELECT title FROM books", "SELECT id FROM books WHERE 1 = 1")


def is_left_alone(connection: sa.Connection) -> bool:
    """Return whether textual SQL on the table is accepted; text() and strings for the driver must agree."""
    ends = set()
    for execute in (lambda: connection.execute(text(TEXTS[0])), lambda: connection.exec_driver_sql(TEXTS[1])):
        try:
            execute()
            ends.add(True)
        except UnscopedStatement:
            ends.add(False)
    assert len(ends) == 1
    return ends.pop()


MAKING: dict[str, Callable[[sa.Connection], Any]] = {
    "constructs": create_own_tables,
    "text": lambda connection: connection.execute(text("CREATE TABLE multisite_version (id INTEGER)")),
    "a string for the driver": lambda connection: connection.exec_driver_sql(
        "CREATE TABLE multisite_version (id INTEGER)"
    ),
    "a table that is renamed": lambda connection: connection.execute(
        text("ALTER TABLE nobodys RENAME TO multisite_version")
    ),
    "text behind a comment": lambda connection: connection.execute(
        text("/* select */ CREATE TABLE multisite_version (id INTEGER)")
    ),
}


@pytest.mark.parametrize("making", MAKING)
def test_tables_that_this_process_makes_later_are_noticed_at_once(
    second: sa.Engine, second_url: str, clock: Clock, making: str
) -> None:
    with second.connect() as connection:
        assert is_left_alone(connection)
    with closing_engine(second_url) as another, another.begin() as connection:
        MAKING[making](connection)
    with second.connect() as connection:
        assert not is_left_alone(connection)


def test_tables_that_another_process_makes_are_noticed_within_a_second(
    second: sa.Engine, second_url: str, clock: Clock
) -> None:
    with second.connect() as connection:
        assert is_left_alone(connection)
    with closing_engine(second_url) as another:
        # Like statements of another process, those of a cursor of the driver are not seen by multisite.
        raw = another.raw_connection()
        raw.cursor().execute("CREATE TABLE multisite_version (id INTEGER)")
        raw.commit()
        raw.close()
    with second.connect() as connection:
        assert is_left_alone(connection)
        clock.now += catalog.NO_SITES_SECONDS
        assert not is_left_alone(connection)
    with second.connect() as connection, connection.begin():
        # A new connection of the driver queries the catalog itself, regardless of the time.
        assert not is_left_alone(connection)


def test_a_connection_of_its_own_asks_for_itself(second: sa.Engine, second_url: str, clock: Clock) -> None:
    """Each connection may have different attached files, or a different search path."""
    with second.connect() as connection, second.connect() as other:
        assert is_left_alone(connection)
        with closing_engine(second_url) as another:
            raw = another.raw_connection()
            raw.cursor().execute("CREATE TABLE multisite_version (id INTEGER)")
            raw.commit()
            raw.close()
        assert not is_left_alone(other)
        # The tables that one connection has found are known to all connections.
        assert not is_left_alone(connection)
