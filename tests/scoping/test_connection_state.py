"""Connection state that a statement leaves behind: the pool does not pass it to the next user of the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine
from row_security import SCOPED, Secured, raw, raw_command, secured, setting
from scoped_models import ONE, TWO, Book, build_library
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from multisite import all_sites, scoped_text, using_site
from multisite.scoping import connection_state
from multisite.scoping.connection_state import state_left_by

KEPT = [
    "CREATE TEMP TABLE report (id int)",
    "create temporary table report as select 1",
    "CREATE LOCAL TEMPORARY TABLE report (id int)",
    "CREATE OR REPLACE TEMP VIEW report AS SELECT 1",
    "CREATE TEMP SEQUENCE report",
    "SELECT 1 AS one INTO TEMP report",
    "CREATE TABLE pg_temp.report (id int)",
    'CREATE TABLE "temp".report (id int)',
    "CREATE TABLE temp.report AS SELECT 1",
    "CREATE TEMP TABLE one (id int) ON COMMIT DROP; CREATE TEMP TABLE two (id int)",
    "DECLARE kept CURSOR WITH HOLD FOR SELECT 1",
    "PREPARE kept AS SELECT 1",
    "SELECT 1; prepare kept AS SELECT 1",
    "SET ROLE app_all_sites",
    "set session role 'app_all_sites'",
    "/* why */ SET ROLE app_all_sites",
    "SET SESSION AUTHORIZATION somebody",
    "SET multisite.site_id = '2'",
    "RESET ROLE",
    "RESET ALL",
    "DISCARD ALL",
    "DO $$ BEGIN SET ROLE app_all_sites; END $$",
    "DO $$BEGIN EXECUTE 'SET ROLE app_all_sites'; END$$",
    "SELECT set_config('role', 'app_all_sites', false)",
    "SELECT set_config(%(name)s, %(value)s, %(is_local)s)",
    "SELECT set_config('a.b', 'x', true), pg_catalog.set_config('role', lower('X'), false)",
    "SET/**/ROLE app_all_sites",
    "SET -- why\n ROLE app_all_sites",
    "-- why\rSET ROLE app_all_sites",
    "SET/**/multisite.site_id = '2'",
    "SELECT set_config/**/('role', 'app_all_sites', false)",
    "SELECT set_config('role', 'app_all_sites', false /* , true) */)",
    "SELECT '--', set_config('role', 'app_all_sites', false)",
    "CREATE/**/TEMP/**/TABLE report (id int)",
    "DECLARE kept CURSOR WITH/**/HOLD FOR SELECT 1",
]
NOT_KEPT = [
    "SELECT temp FROM readings",
    "INSERT INTO temp (id) VALUES (1)",
    "CREATE TABLE temperatures (id int)",
    "CREATE TEMP TABLE report (id int) ON COMMIT DROP",
    "UPDATE users SET role = 'editor'",
    "SET TIME ZONE 'UTC'",
    "SET statement_timeout = '5s'",
    "SELECT set_config('request.jwt', lower('X'), true)",
    "DECLARE kept CURSOR FOR SELECT 1",
    "SELECT 1 -- with a hold, prepared",
]


@pytest.mark.parametrize("sql", KEPT)
def test_it_is_known_what_outlasts_a_transaction(sql: str) -> None:
    state = state_left_by(sql)
    assert state is not None
    assert state.outlasts


@pytest.mark.parametrize("sql", NOT_KEPT)
def test_what_does_not_costs_no_connection(sql: str) -> None:
    state = state_left_by(sql)
    assert state is None or not state.outlasts


def test_a_role_for_the_transaction_alone_is_noticed_too() -> None:
    state = state_left_by("SELECT set_config('role', 'x', true)")
    assert state is not None
    assert state.sets_role
    assert state_left_by("SELECT role FROM users") is None


# A pool of one connection: PostgreSQL with and without row-level security, and a SQLite file


@pytest.fixture(params=["sqlite", "postgresql", "row security"])
def engine(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[sa.Engine]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/one.db"
    else:
        url = request.getfixturevalue("postgresql_database_url")
    with closing_engine(url) as admin:
        build_library(admin)
        if request.param == "row security":
            with secured(admin, SCOPED) as made:
                yield from pool_of_one(made.url(made.app_role))
        else:
            yield from pool_of_one(url)


def pool_of_one(url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(url, pool_size=1, max_overflow=0)
    yield engine
    engine.dispose()


REPORT = scoped_text("CREATE TEMP TABLE report AS SELECT secret FROM books WHERE site_id = CAST(:site_id AS bigint)")


def test_a_temporary_table_is_gone_with_its_user(engine: sa.Engine) -> None:
    with Session(engine, info={"site": TWO}) as session:
        session.execute(REPORT)
        assert set(session.scalars(sa.text("SELECT secret FROM report"))) == {"secret-2"}
        session.commit()
    with Session(engine, info={"site": ONE}) as session, pytest.raises(DBAPIError, match="report"):
        session.execute(sa.text("SELECT secret FROM report"))


def test_so_it_is_where_it_was_made_by_ddl_or_as_a_string(engine: sa.Engine) -> None:
    table = sa.Table("report", sa.MetaData(), sa.Column("secret", sa.String), prefixes=["TEMPORARY"])
    for way in ("ddl", "string"):
        with Session(engine, info={"site": TWO}) as session:
            connection = session.connection()
            if way == "ddl":
                table.create(connection)
            else:
                connection.exec_driver_sql("CREATE TEMP TABLE report (secret varchar(20))")
            connection.execute(table.insert().values(secret="secret-2"))
            session.commit()
        with Session(engine, info={"site": ONE}) as session, pytest.raises(DBAPIError, match="report"):
            session.execute(sa.text("SELECT secret FROM report"))


def test_negative_control_without_it_the_next_site_reads_the_table(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_state, "discard_after_use", lambda connection: None)
    with Session(engine, info={"site": TWO}) as session:
        session.execute(REPORT)
        session.commit()
    with Session(engine, info={"site": ONE}) as session:
        assert set(session.scalars(sa.text("SELECT secret FROM report"))) == {"secret-2"}


def test_another_connection_is_made_only_then(engine: sa.Engine) -> None:
    made: list[int] = []
    sa.event.listen(engine, "connect", lambda *_: made.append(1))
    for _ in range(3):
        with Session(engine, info={"site": ONE}) as session:
            session.scalars(sa.select(Book)).all()
            session.execute(sa.update(Book).values(stock=2))
            session.commit()
    assert len(made) == 1
    for _ in range(2):
        with engine.connect() as connection:
            connection.execute(sa.text("CREATE TEMP TABLE report (id int)"))
            connection.commit()
    with engine.connect() as connection:
        connection.execute(sa.select(1))
    assert len(made) == 3


def test_a_database_in_memory_keeps_its_only_connection() -> None:
    for pool in (None, StaticPool):
        engine = sa.create_engine("sqlite://", poolclass=pool)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE things (id int)")
            connection.exec_driver_sql("CREATE TEMP TABLE report (id int)")
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM things").scalar() == 0
        engine.dispose()


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("DECLARE kept CURSOR WITH HOLD FOR SELECT secret FROM books", "FETCH ALL FROM kept"),
        ("PREPARE kept AS SELECT secret FROM books", "EXECUTE kept"),
    ],
)
def test_held_cursors_and_prepared_statements_are_gone_too(library: Secured, first: str, then: str) -> None:
    for url in (library.url(library.app_role), library.admin.url):
        for one in pool_of_one(url):  # type: ignore[arg-type]
            with Session(one, info={"all_sites": "a report"}) as session:
                session.execute(sa.text(first))
                session.commit()
            with Session(one, info={"site": ONE}) as session, pytest.raises(DBAPIError, match="kept"):
                session.execute(sa.text(then))


def test_an_asynchronous_engine_replaces_its_connection_too(library: Secured) -> None:
    async def both() -> None:
        engine = create_async_engine(library.url(library.app_role), pool_size=1, max_overflow=0)
        async with AsyncSession(engine, info={"site": TWO}) as session:
            await session.execute(REPORT)
            await session.commit()
        async with AsyncSession(engine, info={"site": ONE}) as session:
            with pytest.raises(DBAPIError, match="report"):
                await session.execute(sa.text("SELECT secret FROM report"))
        await engine.dispose()

    asyncio.run(both())


# Roles and sites that statements of the application set


@pytest.fixture
def library(postgresql_database_url: str) -> Iterator[Secured]:
    with closing_engine(postgresql_database_url) as admin:
        build_library(admin)
        with secured(admin, SCOPED) as made:
            yield made


SETS = {
    "text": lambda role: sa.text(f"SET ROLE {role}"),
    "a function": lambda role: sa.select(sa.func.set_config("role", role, False)),
    "text of a function": lambda role: sa.text("SELECT set_config('role', :role, false)").bindparams(role=role),
    "with a comment in it": lambda role: sa.text(f"SET/**/ROLE {role}"),
    "behind a comment": lambda role: sa.text(f"-- why\rSET ROLE {role}"),
    "for the transaction": lambda role: sa.text(f"SET LOCAL ROLE {role}"),
}


@pytest.mark.parametrize("way", SETS)
def test_a_role_that_was_set_is_not_the_next_ones(library: Secured, way: str) -> None:
    for engine in pool_of_one(library.url(library.app_role)):
        # This is the first statement of the engine, whose role is not known yet.
        with Session(engine, info={"site": TWO}) as session:
            session.execute(SETS[way](library.all_sites_role))
            session.execute(sa.select(1))
            assert setting(session) == ("2", library.app_role)
            assert raw(session) == {"secret-2"}
            session.commit()
        with Session(engine, info={"site": ONE}) as session:
            session.execute(sa.select(1))
            assert raw(session) == {"secret-1"}
        with engine.connect() as connection:
            assert raw(connection, "SELECT current_user::text") == {library.app_role}


def test_negative_control_without_it_the_next_one_works_under_that_role(
    library: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_state, "discard_after_use", lambda connection: None)
    monkeypatch.setattr(connection_state, "forget_transaction_site", lambda connection, dbapi: None)
    for engine in pool_of_one(library.url(library.app_role)):
        with Session(engine, info={"site": TWO}) as session:
            session.execute(sa.text(f"SET ROLE {library.all_sites_role}"))
            session.commit()
        with Session(engine, info={"site": ONE}) as session:
            session.execute(sa.select(1))
            assert raw(session) == {"secret-1", "secret-2"}


@pytest.mark.parametrize("way", SETS)
def test_nor_is_it_that_of_the_next_transaction_on_the_same_connection(library: Secured, way: str) -> None:
    with library.engine.connect() as connection:
        connection.execute(SETS[way](library.all_sites_role))
        connection.commit()
        # No site is current here.
        connection.execute(sa.select(1))
        assert setting(connection) == ("", library.app_role)
        connection.commit()
        with using_site(ONE):
            assert set(connection.scalars(sa.select(Book.secret))) == raw(connection) == {"secret-1"}
        with all_sites("a test"):
            assert set(connection.scalars(sa.select(Book.secret))) == raw(connection) == {"secret-1", "secret-2"}


@pytest.mark.parametrize("sql", ["SET multisite.site_id = '2'", "SELECT set_config('multisite.site_id', '2', false)"])
def test_a_site_that_was_set_is_not_the_next_ones(library: Secured, sql: str) -> None:
    for engine in pool_of_one(library.url(library.app_role)):
        with engine.connect() as connection:
            connection.execute(sa.text(sql))
            connection.commit()
            connection.execute(sa.select(1))
            assert setting(connection)[0] == ""
            connection.commit()
        with engine.connect() as connection:
            assert raw(connection, "SELECT current_setting('multisite.site_id', true)") == {None}


def test_a_role_that_was_set_on_connect_is_the_one_to_come_back_to(library: Secured) -> None:
    for engine in pool_of_one(library.admin.url.render_as_string(hide_password=False)):
        sa.event.listen(engine, "connect", lambda dbapi, _: on_connect(dbapi, library.app_role))
        with using_site(ONE), engine.connect() as connection:
            connection.execute(sa.text(f"SET ROLE {library.all_sites_role}"))
            connection.execute(sa.select(1))
            assert setting(connection) == ("1", library.app_role)
        with engine.connect() as connection:
            assert raw(connection, "SELECT current_user::text") == {library.app_role}


def on_connect(dbapi: Any, role: str) -> None:
    dbapi.cursor().execute(f"SET ROLE {role}")
    dbapi.commit()


# Documented limits


def test_what_a_cursor_of_the_driver_leaves_stays(library: Secured) -> None:
    """A limit: multisite does not see the statements of a cursor of the driver."""
    for engine in pool_of_one(library.url(library.app_role)):
        with Session(engine, info={"site": TWO}) as session:
            session.execute(sa.select(1))
            raw_command(session.connection(), "CREATE TEMP TABLE report AS SELECT secret FROM books")
            session.commit()
        with Session(engine, info={"site": ONE}) as session:
            assert set(session.scalars(sa.text("SELECT secret FROM report"))) == {"secret-2"}


def test_what_one_connection_made_it_goes_on_seeing(library: Secured) -> None:
    """A limit: a connection that is used for two sites keeps its temporary tables."""
    with library.engine.connect() as connection:
        with using_site(TWO):
            connection.execute(REPORT)
        with using_site(ONE):
            assert set(connection.scalars(sa.text("SELECT secret FROM report"))) == {"secret-2"}


def test_a_large_object_belongs_to_no_site(library: Secured) -> None:
    """A limit: PostgreSQL does not apply row-level security to large objects."""
    with Session(library.engine, info={"site": TWO}) as session:
        number = session.scalar(sa.select(sa.func.lo_from_bytea(0, b"secret-2")))
        session.commit()
    with Session(library.engine, info={"site": ONE}) as session:
        assert session.scalar(sa.select(sa.func.lo_get(number))) == b"secret-2"
        session.execute(sa.select(sa.func.lo_unlink(number)))
        session.commit()
