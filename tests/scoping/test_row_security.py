"""Row-level security in transactions: how the site is set, and what it prevents without the scoping layer."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from databases import closing_engine, fresh_postgresql
from row_security import SCOPED, Secured, raw, raw_after, raw_command, secrets, secured, setting, without_scoping_layer
from scoped_models import ONE, TWO, Author, Book, Country, Library, build_library, clear_rows, plant_rows, rows_of
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from multisite import SettingError, Site, UnscopedStatement, all_sites, scoped_text, using_site
from multisite.directory import engine_from_url
from multisite.scoping import row_security
from multisite.scoping.row_security import ROW_SECURITY

SITE = "SET LOCAL multisite.site_id = '{}'".format

VIEWS = """
    CREATE VIEW book_view WITH (security_invoker) AS SELECT * FROM books;
    CREATE VIEW open_view AS SELECT * FROM books;
    CREATE FUNCTION all_secrets() RETURNS SETOF varchar LANGUAGE sql AS 'SELECT secret FROM books';
    CREATE FUNCTION open_secrets() RETURNS SETOF varchar LANGUAGE sql SECURITY DEFINER SET search_path = public
        AS 'SELECT secret FROM books';
    GRANT SELECT ON book_view, open_view TO PUBLIC;
"""


@pytest.fixture(scope="module")
def untouched(postgresql_url: str) -> Iterator[Secured]:
    """The library with row-level security, for all tests that leave its rows unchanged."""
    with fresh_postgresql(postgresql_url) as url, closing_engine(url) as admin:
        build_library(admin)
        with secured(admin, SCOPED) as made:
            with admin.begin() as connection:
                connection.connection.cursor().execute(VIEWS)
            yield made


@pytest.fixture
def library(untouched: Secured) -> Iterator[Secured]:
    """The library for a test that changes rows; they are planted again after the test."""
    yield untouched
    clear_rows(untouched.admin)
    plant_rows(untouched.admin)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """Return a function that returns the settings of transactions that were logged since its last call."""
    caplog.set_level(logging.DEBUG, row_security.__name__)

    def since() -> list[str]:
        found = [record.getMessage() for record in caplog.records if record.name == row_security.__name__]
        caplog.clear()
        return found

    return since


Told = Callable[[], list[str]]


def session_of(made: Secured, site: Site | None) -> Session:
    return Session(made.engine, info={"site": site})


# Setting the site of a transaction


def test_a_session_tells_its_site_once_in_each_transaction(untouched: Secured, told: Told) -> None:
    with session_of(untouched, ONE) as session:
        assert secrets(session) == raw(session) == {"secret-1"}
        session.scalars(sa.select(Author)).all()
        session.get(Book, 12)
        assert told() == [SITE(1)]
        session.commit()
        assert secrets(session) == {"secret-1"}
        session.rollback()
        assert session.get(Book, 21) is None
        assert told() == [SITE(1), SITE(1)]


def test_nothing_is_told_where_no_site_is_known(untouched: Secured, told: Told) -> None:
    with session_of(untouched, None) as session:
        assert session.scalars(sa.select(Country.name)).all() == ["Utopia"]
        assert told() == []
        with pytest.raises(DBAPIError, match=r"multisite.site_id|bigint"):
            session.scalars(sa.func.all_secrets()).all()


def test_a_statement_without_scoped_tables_tells_the_site_too(untouched: Secured, told: Told) -> None:
    """A function or a view of the database may read scoped tables."""
    with session_of(untouched, TWO) as session:
        assert set(session.scalars(sa.func.all_secrets())) == {"secret-2"}
    with using_site(ONE), untouched.engine.connect() as connection:
        assert {row[0] for row in connection.exec_driver_sql("SELECT all_secrets()")} == {"secret-1"}
    assert told() == [SITE(2), SITE(1)]


def test_what_was_told_inside_a_savepoint_is_told_again_after_it(untouched: Secured, told: Told) -> None:
    with session_of(untouched, ONE) as session:
        for end in ("rollback", "commit"):
            savepoint = session.begin_nested()
            assert raw_after(session) == {"secret-1"}
            getattr(savepoint, end)()
            assert raw_after(session) == {"secret-1"}
            session.rollback()
        assert told() == [SITE(1)] * 4


def test_what_was_told_before_a_savepoint_outlives_it(untouched: Secured, told: Told) -> None:
    with session_of(untouched, ONE) as session:
        secrets(session)
        for _ in range(3):
            with session.begin_nested() as savepoint:
                secrets(session)
                savepoint.rollback()
            assert secrets(session) == raw(session) == {"secret-1"}
        assert told() == [SITE(1)]


@pytest.mark.filterwarnings("ignore:nested transaction already deassociated")
def test_a_savepoint_that_takes_an_inner_one_along(untouched: Secured) -> None:
    with untouched.engine.connect() as connection:
        with using_site(ONE):
            secrets(connection)
        outer = connection.begin_nested()
        inner = connection.begin_nested()
        with using_site(TWO):
            assert secrets(connection) == {"secret-2"}
        outer.rollback()
        assert inner.is_active  # SQLAlchemy does not notice that it has ended.
        connection._nested_transaction = None  # Otherwise, SQLAlchemy refuses further statements.
        assert setting(connection)[0] == "1"
        with using_site(TWO):
            assert secrets(connection) == raw(connection) == {"secret-2"}


@pytest.mark.parametrize("way", ["exec_driver_sql", "text"])
def test_savepoints_and_transactions_in_raw_sql_are_noticed(untouched: Secured, way: str) -> None:
    with untouched.engine.connect() as connection:

        def run(sql: str) -> None:
            connection.exec_driver_sql(sql) if way == "exec_driver_sql" else connection.execute(sa.text(sql))

        with using_site(ONE):
            secrets(connection)
        run("SAVEPOINT here")
        with using_site(TWO):
            assert secrets(connection) == {"secret-2"}
            run("/* back */ ROLLBACK TO SAVEPOINT here")
            assert secrets(connection) == raw(connection) == {"secret-2"}
            run("COMMIT")
            assert secrets(connection) == raw(connection) == {"secret-2"}
            run("SELECT set_config('multisite.site_id', '1', true)")
            assert secrets(connection) == raw(connection) == {"secret-2"}


def test_a_failed_transaction_goes_back_to_its_savepoint(untouched: Secured) -> None:
    with untouched.engine.connect() as connection:
        with using_site(ONE):
            secrets(connection)
            savepoint = connection.begin_nested()
        with using_site(TWO):
            secrets(connection)
            with pytest.raises(DBAPIError, match="division"):
                connection.exec_driver_sql("SELECT 1 / 0")
        with using_site(ONE):
            # The site cannot be set in a failed transaction, and need not be.
            savepoint.rollback()
            assert secrets(connection) == raw(connection) == {"secret-1"}


def test_raw_sql_that_has_to_come_first_does(untouched: Secured) -> None:
    with closing_engine(untouched.url(untouched.app_role)) as engine, engine.connect() as connection:
        with using_site(ONE):
            # No query may precede this statement, as one otherwise precedes the first statement of an engine.
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            assert raw(connection, "SHOW transaction_isolation") == {"serializable"}
            secrets(connection)
            connection.exec_driver_sql("SAVEPOINT here")
        with using_site(TWO):
            secrets(connection)
            with pytest.raises(DBAPIError, match="division"):
                connection.exec_driver_sql("SELECT 1 / 0")
        with using_site(ONE):
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT here")
            assert secrets(connection) == raw(connection) == {"secret-1"}


def test_a_plain_connection_follows_the_scope_from_statement_to_statement(untouched: Secured, told: Told) -> None:
    both = {"secret-1", "secret-2"}
    with untouched.engine.connect() as connection:
        with using_site(ONE):
            assert secrets(connection) == raw(connection) == {"secret-1"}
        with using_site(TWO):
            assert secrets(connection) == raw(connection) == {"secret-2"}
            with all_sites("a test"):
                assert secrets(connection) == raw(connection) == both
            assert secrets(connection) == raw(connection) == {"secret-2"}
        with all_sites("a test"):
            assert secrets(connection) == raw(connection) == both
        # Without a site, any statement resets the site of the previous one.
        connection.execute(sa.select(Country))
        assert setting(connection) == ("", untouched.app_role)
    role = f"SET LOCAL ROLE {untouched.all_sites_role}"
    back = "SET LOCAL ROLE NONE"
    assert told() == [SITE(1), SITE(2), role, back, SITE(2), role, back, SITE("")]


def test_all_sites_is_taken_back_with_its_savepoint(untouched: Secured) -> None:
    with using_site(ONE), untouched.engine.connect() as connection:
        with all_sites("a test"):
            secrets(connection)
        with connection.begin_nested() as savepoint:
            assert secrets(connection) == {"secret-1"}
            savepoint.rollback()
        # The rollback restores the role for all sites, until the next statement.
        assert setting(connection)[1] == untouched.all_sites_role
        assert secrets(connection) == raw(connection) == {"secret-1"}


def test_scoped_text_is_told_its_site(untouched: Secured) -> None:
    with session_of(untouched, TWO) as session:
        text = scoped_text("SELECT secret FROM books WHERE site_id = :site_id")
        assert set(session.scalars(text)) == {"secret-2"}
        assert setting(session)[0] == "2"


def test_a_failure_to_tell_is_the_drivers_own_error(untouched: Secured) -> None:
    with closing_engine(untouched.url(untouched.app_role)) as engine, Session(engine, info={"site": ONE}) as session:
        secrets(session)
        session.commit()
        with untouched.admin.connect() as connection:
            # The pooled connection is lost while it is idle.
            raw(connection, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = {pid_of(engine)}")
        with pytest.raises(sa.exc.OperationalError) as caught:
            secrets(session)
        assert caught.value.connection_invalidated
        session.rollback()
        assert secrets(session) == {"secret-1"}


def pid_of(engine: sa.Engine) -> int:
    connection = engine.raw_connection()
    try:
        return int(connection.driver_connection.info.backend_pid)
    finally:
        connection.close()


# All sites


def test_all_sites_sees_and_writes_every_site(library: Secured, told: Told) -> None:
    with all_sites("a test"), Session(library.engine) as session:
        assert secrets(session) == raw(session) == {"secret-1", "secret-2"}
        session.add(Book(slug="new", secret="new", site_id=2))
        session.execute(sa.update(Book).where(Book.id == 11).values(stock=5))
        session.commit()
    assert told() == [f"SET LOCAL ROLE {library.all_sites_role}"] * 1
    assert len([row for row in rows_of(Library(library.admin), 2)[1] if "new" in row]) == 1


def test_all_sites_without_its_role_is_an_error(untouched: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    for known in (set(), {"somebody"}):
        monkeypatch.setattr(row_security, "all_sites_roles", known)
        with all_sites("a test"), Session(untouched.engine) as session:
            assert session.scalars(sa.select(Country.name)).all() == ["Utopia"]
            with pytest.raises(SettingError, match="multisite.all_sites_role = .*row-level security") as caught:
                secrets(session)
            assert untouched.all_sites_role in str(caught.value)
            session.rollback()


def test_a_role_that_is_added_later_is_found(untouched: Secured) -> None:
    with closing_engine(untouched.url(untouched.app_role)) as engine:
        with untouched.operations() as op:
            op.execute("DROP POLICY multisite_all_sites ON books")
        with Session(engine, info={"site": ONE}) as session:
            assert secrets(session) == {"secret-1"}
        engine.dialect.__dict__[ROW_SECURITY] = engine.dialect.__dict__[ROW_SECURITY]._replace(roles=frozenset())
        with untouched.operations() as op:
            op.enable_row_security("books", all_sites_role=untouched.all_sites_role)
        with all_sites("a test"), Session(engine) as session:
            assert secrets(session) == {"secret-1", "secret-2"}


def test_a_role_that_was_set_on_connect_comes_back_after_all_sites(untouched: Secured) -> None:
    """An application may log in as one role and work as another."""
    with closing_engine(untouched.admin.url.render_as_string(hide_password=False)) as engine:
        sa.event.listen(engine, "connect", lambda dbapi, _: set_role(dbapi, untouched.app_role))
        with engine.connect() as connection:
            with all_sites("a test"):
                assert secrets(connection) == {"secret-1", "secret-2"}
            with using_site(ONE):
                assert secrets(connection) == raw(connection) == {"secret-1"}
            assert setting(connection) == ("1", untouched.app_role)


def set_role(dbapi: Any, role: str) -> None:
    with dbapi.cursor() as cursor:
        cursor.execute(f"SET ROLE {role}")
    dbapi.commit()


# Special kinds of transactions


def test_autocommit_is_refused_for_scoped_tables(untouched: Secured) -> None:
    with untouched.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection, using_site(ONE):
        assert connection.scalars(sa.select(Country.name)).all() == ["Utopia"]
        with pytest.raises(UnscopedStatement, match="AUTOCOMMIT"):
            secrets(connection)
        with pytest.raises(psycopg.Error, match=r"multisite.site_id|bigint"):
            raw(connection)


def test_a_two_phase_transaction_is_told(untouched: Secured) -> None:
    with untouched.engine.connect() as connection, using_site(ONE):
        with connection.begin_twophase():
            assert secrets(connection) == raw(connection) == {"secret-1"}
        with connection.begin_twophase():
            assert secrets(connection) == {"secret-1"}


def test_an_async_session_is_told(untouched: Secured) -> None:
    async def work() -> set[str]:
        engine = create_async_engine(untouched.url(untouched.app_role))
        try:
            async with AsyncSession(engine, info={"site": TWO}) as session:
                await session.scalars(sa.select(Book))
                await session.commit()
                found = set(await session.scalars(sa.select(Book.secret)))
                # The scoping layer would refuse text with the table's name, so execute it on the driver's connection.
                connection = await (await session.connection()).get_raw_connection()
                cursor = await connection.driver_connection.execute("SELECT secret FROM books")
                return found | {row[0] for row in await cursor.fetchall()}
        finally:
            await engine.dispose()

    assert asyncio.run(work()) == {"secret-2"}


def test_streams_pipelines_and_prepared_statements(untouched: Secured) -> None:
    with session_of(untouched, ONE) as session:
        found = session.execute(sa.select(Book.secret).execution_options(yield_per=1, stream_results=True))
        assert {row[0] for row in found} == {"secret-1"}
        with session.connection().connection.driver_connection.pipeline():
            session.commit()
            # SQLAlchemy cannot fetch rows in a pipeline.
            session.execute(sa.update(Book).values(stock=1))
            assert raw(session) == {"secret-1"}
    engine = sa.create_engine(untouched.url(untouched.app_role), connect_args={"prepare_threshold": 0})
    try:
        with engine.connect() as connection:
            for _ in range(6):
                for site in (ONE, TWO):
                    with using_site(site):
                        assert secrets(connection) == {f"secret-{site.id}"}
            assert not [
                text for text in raw(connection, "SELECT statement FROM pg_prepared_statements") if "SET" in text
            ]
    finally:
        engine.dispose()


def test_streams_of_two_sites_on_one_connection_keep_apart(untouched: Secured) -> None:
    with untouched.engine.connect() as connection:
        streams = []
        for site in (ONE, TWO):
            with using_site(site):
                options = {"stream_results": True, "max_row_buffer": 1}
                streams.append(connection.execute(sa.select(Book.secret), execution_options=options))
        for one, two in zip(*streams, strict=True):
            assert (one[0], two[0]) == ("secret-1", "secret-2")


def test_nothing_survives_the_return_to_the_pool(untouched: Secured) -> None:
    engine = sa.create_engine(untouched.url(untouched.app_role), pool_size=1, max_overflow=0)
    try:
        for scope in (using_site(ONE), all_sites("a test")):
            with scope, engine.connect() as connection:
                secrets(connection)
                connection.commit()
            with engine.connect() as connection:
                with pytest.raises(psycopg.Error, match="bigint"):
                    connection.connection.cursor().execute("SELECT * FROM books")
                connection.connection.rollback()
                assert setting(connection) == ("", untouched.app_role)
    finally:
        engine.dispose()


def test_sessions_in_many_threads_keep_apart(untouched: Secured) -> None:
    engine = sa.create_engine(untouched.url(untouched.app_role), pool_size=2, max_overflow=0)
    wrong = []

    def work(number: int) -> None:
        for turn in range(12):
            site = (ONE, TWO)[(number + turn) % 2]
            with Session(engine, info={"site": site}) as session:
                if raw_after(session) != {f"secret-{site.id}"}:
                    wrong.append(number)
            if turn % 4 == 0:
                with all_sites("a test"), Session(engine) as session:
                    if len(raw_after(session)) != 2:
                        wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.dispose()
    assert wrong == []


# Databases without row-level security, and enabling it later


def test_where_it_is_off_nobody_is_told_anything(untouched: Secured, tmp_path: Any, told: Told) -> None:
    with closing_engine(f"sqlite:///{tmp_path}/one.db") as sqlite:
        build_library(sqlite)
        for engine in (sqlite, untouched.admin):
            with Session(engine, info={"site": ONE}) as session:
                assert secrets(session) == {"secret-1"}
            with all_sites("a test"), Session(engine) as session:
                assert secrets(session) == {"secret-1", "secret-2"}
            assert engine.dialect.__dict__[ROW_SECURITY] is False
    assert told() == []


def test_the_database_is_asked_once_for_each_engine(untouched: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    ask = row_security._detect
    monkeypatch.setattr(row_security, "_detect", lambda *arguments: asked.append(1) or ask(*arguments))
    for url in (untouched.url(untouched.app_role), untouched.admin.url.render_as_string(hide_password=False)):
        with closing_engine(url) as engine:
            for _ in range(3):
                with Session(engine, info={"site": ONE}) as session:
                    secrets(session)
            with engine.connect() as connection:
                connection.execute(sa.select(Country))
    assert len(asked) == 2


def test_switched_on_in_a_running_system_it_fails_closed_and_then_works(library: Secured) -> None:
    with library.operations() as op:
        for table in SCOPED:
            op.disable_row_security(table.name)
    with closing_engine(library.url(library.app_role)) as engine:
        with Session(engine, info={"site": ONE}) as session:
            assert secrets(session) == {"secret-1"}
        with library.operations() as op:
            for table in SCOPED:
                op.enable_row_security(table.name, all_sites_role=library.all_sites_role)
        with Session(engine, info={"site": ONE}) as session:
            with pytest.raises(DBAPIError, match="multisite.site_id"):
                secrets(session)
            session.rollback()
            assert secrets(session) == raw(session) == {"secret-1"}


def test_a_connection_that_was_told_before_fails_closed_too(library: Secured) -> None:
    """After the first transaction, the setting is no longer unknown but empty."""
    with closing_engine(library.url(library.app_role)) as engine:
        with Session(engine, info={"site": ONE}) as session:
            secrets(session)
        engine.dialect.__dict__[ROW_SECURITY] = False  # As if it had been disabled when it was queried.
        with Session(engine, info={"site": ONE}) as session:
            with pytest.raises(DBAPIError, match="bigint"):
                secrets(session)
            session.rollback()
            assert secrets(session) == {"secret-1"}


# Without the scoping layer; test_row_security_alone.py runs the attack catalogue


def copied(session: Session, sql: str) -> set[str]:
    session.scalar(sa.select(1))
    with session.connection().connection.cursor() as cursor, cursor.copy(sql) as copy:
        return {row[0] for row in copy.rows()}


def prepared(session: Session) -> set[Any]:
    session.scalar(sa.select(1))
    with session.connection().connection.cursor() as cursor:
        cursor.execute("PREPARE reading AS SELECT secret FROM books")
    try:
        return raw(session, "EXECUTE reading")
    finally:
        with session.connection().connection.cursor() as cursor:
            cursor.execute("DEALLOCATE reading")


def unsecured(session: Session) -> set[Any]:
    """Show that `row_security = off` does not bypass the policies, but raises an error."""
    session.scalar(sa.select(1))
    with session.connection().connection.cursor() as cursor:
        cursor.execute("SET LOCAL row_security = off")
    with pytest.raises(Exception, match="would be affected by row-level security"):
        raw(session)
    return {"secret-1"}


RAW: dict[str, Callable[[Session], set[Any]]] = {
    "text": lambda s: set(s.scalars(sa.text("SELECT secret FROM books"))),
    "exec_driver_sql": lambda s: set(s.connection().exec_driver_sql("SELECT secret FROM books").scalars()),
    "a cursor of the driver": lambda s: raw(s) if s.connection().execute(sa.select(1)) else set(),
    "another cursor, in a savepoint": lambda s: raw(s) if s.begin_nested() and s.scalar(sa.select(1)) else set(),
    "copy": lambda s: copied(s, "COPY books (secret) TO STDOUT"),
    "copy a query": lambda s: copied(s, "COPY (SELECT secret FROM books ORDER BY id DESC) TO STDOUT"),
    "a function": lambda s: set(s.scalars(sa.func.all_secrets())),
    "a view with security_invoker": lambda s: set(s.scalars(sa.text("SELECT secret FROM book_view"))),
    "a sample": lambda s: set(s.scalars(sa.text("SELECT secret FROM books TABLESAMPLE SYSTEM (100)"))),
    "for update": lambda s: set(s.scalars(sa.text("SELECT secret FROM books FOR UPDATE"))),
    "a prepared statement": prepared,
    "row_security off": unsecured,
}


@pytest.mark.parametrize("way", RAW)
def test_row_security_alone_limits_raw_sql(untouched: Secured, way: str) -> None:
    with without_scoping_layer(untouched.engine), session_of(untouched, ONE) as session:
        assert RAW[way](session) == {"secret-1"}


@pytest.mark.parametrize("way", [way for way in RAW if way != "row_security off"])
def test_negative_control_as_the_superuser_raw_sql_leaks(untouched: Secured, way: str) -> None:
    with without_scoping_layer(untouched.admin), Session(untouched.admin, info={"site": ONE}) as session:
        assert RAW[way](session) == {"secret-1", "secret-2"}


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE books SET stock = 9",
        "UPDATE books SET stock = 9 WHERE id = 21",
        "DELETE FROM shelf_books",
        "UPDATE books SET site_id = 2 WHERE id = 11",
        "INSERT INTO books (slug, secret, stock, site_id) VALUES ('x', 'x', 1, 2)",
        (
            "INSERT INTO books (id, slug, secret, stock, site_id) VALUES (21, 'x', 'x', 1, 1) "
            "ON CONFLICT (id) DO UPDATE SET secret = 'x'"
        ),
        (
            "MERGE INTO books USING (VALUES (21)) AS v (id) ON books.id = v.id WHEN MATCHED THEN UPDATE SET stock = 9 "
            "WHEN NOT MATCHED THEN INSERT (slug, secret, stock, site_id) VALUES ('x', 'x', 1, 2)"
        ),
        "TRUNCATE books CASCADE",
        "COPY books (slug, secret, stock, site_id) FROM STDIN",
        "ALTER TABLE books DISABLE ROW LEVEL SECURITY",
        "SET ROLE {owner}",
    ],
)
def test_raw_changes_leave_the_other_site_alone(library: Secured, sql: str) -> None:
    past = Library(library.admin)
    theirs, ours = rows_of(past, 2), rows_of(past, 1)
    with without_scoping_layer(library.engine), session_of(library, ONE) as session:
        session.scalar(sa.select(1))
        with suppress(psycopg.Error), session.connection().connection.cursor() as cursor:
            cursor.execute(sql.format(owner=library.owner_role))
            session.commit()
    assert rows_of(past, 2) == theirs
    # None of the site's own rows was moved to the other site.
    assert [len(rows) for rows in rows_of(past, 1)[:3]] == [len(rows) for rows in ours[:3]]


# Limits of row-level security


def test_a_reference_reaches_a_row_of_another_site_unless_it_holds_site_id(library: Secured) -> None:
    """The database checks references with the rights of the table's owner. `scoped_reference` prevents this."""
    with library.operations() as op:
        op.execute(
            "CREATE TABLE notes (id bigint PRIMARY KEY, site_id bigint NOT NULL, book_id bigint REFERENCES books (id))"
        )
        op.execute("ALTER TABLE notes ADD FOREIGN KEY (site_id) REFERENCES sites")
        op.enable_row_security("notes")
    try:
        with session_of(library, ONE) as session:
            session.scalar(sa.select(1))
            with session.connection().connection.cursor() as cursor:
                cursor.execute("INSERT INTO notes VALUES (1, 1, 21)")
        with library.operations() as op:
            op.execute("ALTER TABLE notes ADD FOREIGN KEY (site_id, book_id) REFERENCES books (site_id, id)")
        with session_of(library, ONE) as session, pytest.raises(Exception, match="violates foreign key"):
            session.scalar(sa.select(1))
            with session.connection().connection.cursor() as cursor:
                cursor.execute("INSERT INTO notes VALUES (1, 1, 21)")
    finally:
        with library.operations() as op:
            op.execute("DROP TABLE notes")


def test_who_may_truncate_empties_every_site(library: Secured) -> None:
    """The recipe does not grant the TRUNCATE privilege, and `multisite check` reports it."""
    with session_of(library, ONE) as session, pytest.raises(DBAPIError, match="permission denied"):
        session.scalar(sa.select(1))
        session.connection().exec_driver_sql("TRUNCATE countries")
    with library.admin.begin() as connection:
        raw_command(connection, f"GRANT TRUNCATE ON shelf_books TO {library.app_role}")
    with session_of(library, ONE) as session:
        session.scalar(sa.select(1))
        with session.connection().connection.cursor() as cursor:
            cursor.execute("TRUNCATE shelf_books")
            session.commit()
    assert rows_of(Library(library.admin), 2)[3] == []
    with library.admin.begin() as connection:
        raw_command(connection, f"REVOKE TRUNCATE ON shelf_books FROM {library.app_role}")


def test_views_and_functions_with_rights_of_their_own_read_what_their_owner_may(untouched: Secured) -> None:
    """Here, a superuser owns the view and the function. `multisite check` reports them."""
    with session_of(untouched, ONE) as session:
        session.scalar(sa.select(1))
        assert raw(session, "SELECT secret FROM open_view") == {"secret-1", "secret-2"}
        assert raw(session, "SELECT open_secrets()") == {"secret-1", "secret-2"}


def test_who_can_run_any_sql_can_say_another_site(untouched: Secured) -> None:
    """Row-level security prevents mistakes; it does not prevent an attacker's own SQL."""
    with session_of(untouched, ONE) as session:
        session.scalar(sa.select(1))
        raw_command(session.connection(), SITE(2))
        assert raw(session) == {"secret-2"}


def test_a_unique_key_without_site_id_tells_that_another_site_has_it(library: Secured) -> None:
    with session_of(library, ONE) as session, pytest.raises(IntegrityError):
        session.add(Book(id=21, slug="x", secret="x"))
        session.flush()


def test_a_row_for_another_site_is_an_error_of_its_own(library: Secured) -> None:
    with (
        without_scoping_layer(library.engine),
        session_of(library, ONE) as session,
        pytest.raises(ProgrammingError, match="row-level security policy"),
    ):
        session.execute(sa.insert(Book).values(slug="x", secret="x", site_id=2))


def test_an_engine_of_a_superuser_is_left_alone(untouched: Secured) -> None:
    engine = engine_from_url(untouched.admin.url.render_as_string(hide_password=False))
    with Session(engine, info={"site": ONE}) as session:
        assert secrets(session) == {"secret-1"}
        assert raw(session) == {"secret-1", "secret-2"}
    engine.dispose()
