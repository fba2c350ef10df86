"""Integrity errors: they contain the constraint, the table and the kind, but never values of another site."""

from __future__ import annotations

import asyncio
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import site_keys
import sqlalchemy as sa
from databases import closing_engine, fresh_database, make_own_tables
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from multisite import SiteScoped, all_sites, scoped_reference, using_site
from multisite.core.site import Site
from multisite.directory.models import SiteRow
from multisite.scoping import integrity_errors

ONE, TWO = Site(1, "one.example", "One", "one"), Site(2, "two.example", "Two", "two")


SECRET = "-".join(["secret", "2"])
"""Put together, so that a traceback does not show it in a line of this file."""


class Base(DeclarativeBase):
    pass


class Guest(SiteScoped, Base):
    __tablename__ = "guests"
    __table_args__ = (
        sa.UniqueConstraint("site_id", "nick", name="uq_nick"),
        sa.UniqueConstraint("email", name="uq_email"),
        sa.CheckConstraint("age > 0", name="ck_age"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    nick: Mapped[str | None]
    email: Mapped[str | None]
    phone: Mapped[str | None]
    room: Mapped[int | None]
    since: Mapped[int | None]
    until: Mapped[int | None]
    age: Mapped[int | None]


class Parcel(SiteScoped, Base):
    """A model whose references lack `site_id`, so that ON DELETE also changes rows of other sites."""

    __tablename__ = "parcels"
    __table_args__ = (sa.CheckConstraint("guest_id IS NOT NULL", name="ck_guest"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[str]
    guest_id: Mapped[int | None] = mapped_column(sa.ForeignKey("guests.id", ondelete="SET NULL"))
    friend_id: Mapped[int | None] = mapped_column(sa.ForeignKey("guests.id"))
    keeper_id: Mapped[int | None] = mapped_column(scoped_reference("guests.id"))


class Country(Base):
    __tablename__ = "lands"

    id: Mapped[int] = mapped_column(primary_key=True)


ONLY_POSTGRESQL = (
    "UNIQUE (phone) DEFERRABLE INITIALLY DEFERRED",
    "EXCLUDE USING gist (int4range(since, until) WITH &&) WHERE (room IS NOT NULL)",
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    """A database with guests of two sites; parcels of the second site refer to guests of both. Tests roll back."""
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        make_own_tables(engine)
        Base.metadata.create_all(engine)
        # A distributed table can have no such constraint.
        if engine.dialect.name == "postgresql" and site_keys.KEYS != "citus":
            with all_sites("set up a test"), engine.begin() as connection:
                for constraint in ONLY_POSTGRESQL:
                    connection.exec_driver_sql(f"ALTER TABLE guests ADD {constraint}")
        with all_sites("a test"), Session(engine) as session:
            session.add_all(SiteRow(id=site.id, name=site.name, folder=site.folder) for site in (ONE, TWO))
            session.add(Country(id=7))
            session.commit()
        for site in (ONE, TWO):
            with Session(engine, info={"site": site}) as session:
                own = f"secret-{site.id}"
                session.add_all(Guest(id=site.id * 10 + n, nick=f"nick-{n}") for n in (2, 3))
                session.add(
                    Guest(
                        id=site.id * 10,
                        nick="nick",
                        email=own,
                        phone=own,
                        room=site.id,
                        since=site.id * 100,
                        until=site.id * 100 + 11,
                    )
                )
                session.commit()
        with Session(engine, info={"site": TWO}) as session:
            session.add(Parcel(id=20, content="secret-2", guest_id=12))
            session.add(Parcel(id=21, content="secret-2", guest_id=20, friend_id=13))
            session.commit()
        yield engine


FOREIGN: dict[str, Callable[[Connection | Session], Any]] = {
    "unique": lambda s: s.execute(sa.insert(Guest).values(id=99, email=SECRET)),
    "unique, many rows": lambda s: s.execute(sa.insert(Guest), [{"id": 98, "email": "a"}, {"id": 99, "email": SECRET}]),
    "unique, update": lambda s: s.execute(sa.update(Guest).where(Guest.id == 12).values(email=SECRET)),
    "primary key": lambda s: s.execute(sa.insert(Guest).values(id=20)),
    "reference without site_id": lambda s: s.execute(sa.delete(Guest).where(Guest.id == 13)),
    "cascade into a CHECK": lambda s: s.execute(sa.delete(Guest).where(Guest.id == 12)),
    "postgresql: exclusion": lambda s: s.execute(sa.insert(Guest).values(id=99, room=3, since=205, until=207)),
    "postgresql: deferred to the commit": lambda s: (
        s.execute(sa.insert(Guest).values(id=99, phone=SECRET)),
        s.commit(),
    ),
}
"""What finds out about rows of the second site as the first, since the constraint lacks `site_id`."""

FROM_PARAMETERS = frozenset({"unique", "unique, many rows", "unique, update"})
"""Ways whose error repeats the value because it was given, as one of `[parameters: …]`."""

OWN: dict[str, Callable[[Connection | Session], Any]] = {
    "unique": lambda s: s.execute(sa.insert(Guest).values(id=99, nick="nick")),
    "reference": lambda s: s.execute(sa.insert(Parcel).values(id=99, content="x", guest_id=10, keeper_id=20)),
}


def error_of(way: Callable[[Any], Any], session: Session | Connection) -> sa.exc.IntegrityError:
    with pytest.raises(sa.exc.IntegrityError) as caught:
        way(session)
    session.rollback()
    return caught.value


def all_of(error: sa.exc.IntegrityError) -> str:
    """Return all texts and attributes of an error, except the parameters of the statement."""
    original = error.orig
    diagnostics = getattr(original, "diag", None)
    fields = [str(getattr(diagnostics, name)) for name in dir(diagnostics) if not name.startswith("_")]
    shown = [str(original), repr(original), *fields, str(pickle.loads(pickle.dumps(original)))]
    return "\n".join(shown) + "".join(traceback.format_exception(error)).partition("[parameters: ")[0]


@pytest.mark.parametrize("way", FOREIGN)
def test_an_error_shows_nothing_of_another_site(engine: sa.Engine, way: str) -> None:
    with Session(engine, info={"site": ONE}) as session:
        error = error_of(FOREIGN[way], session)
    for secret in (SECRET, "(20)", "211", "12", "13") if engine.dialect.name == "postgresql" else (SECRET,):
        assert secret not in error.orig.args[0]
    assert SECRET not in all_of(error)
    assert SECRET not in str(error) or way in FROM_PARAMETERS


@pytest.mark.parametrize("way", FOREIGN)
def test_an_error_of_a_plain_connection_shows_nothing_either(engine: sa.Engine, way: str) -> None:
    with using_site(ONE), engine.connect() as connection:
        assert SECRET not in all_of(error_of(FOREIGN[way], connection))


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
@pytest.mark.parametrize("way", FOREIGN)
def test_negative_control_without_it_values_are_shown(
    engine: sa.Engine, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "_handle_dbapi_exception", integrity_errors._handle_dbapi_exception)
    with Session(engine, info={"site": ONE}) as session:
        assert integrity_errors.NOT_SHOWN not in all_of(error := error_of(FOREIGN[way], session))
    assert "DETAIL" in str(error)


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_what_a_program_goes_by_stays(engine: sa.Engine) -> None:
    with Session(engine, info={"site": ONE}) as session:
        error = error_of(FOREIGN["unique"], session)
    assert type(error.orig).__name__ == "UniqueViolation"
    assert error.orig.sqlstate == error.orig.diag.sqlstate == "23505"
    assert (error.orig.diag.constraint_name, error.orig.diag.table_name) == ("uq_email", "guests")
    assert str(error.orig) == (
        'duplicate key value violates unique constraint "uq_email"\nDETAIL:  ' + integrity_errors.NOT_SHOWN
    )
    assert error.orig.diag.message_detail == integrity_errors.NOT_SHOWN


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_sqlite_names_columns_only(engine: sa.Engine) -> None:
    with Session(engine, info={"site": ONE}) as session:
        error = error_of(FOREIGN["unique"], session)
    assert error.orig.args == ("UNIQUE constraint failed: guests.email",)


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
@pytest.mark.parametrize("way", OWN)
def test_own_values_are_shown(engine: sa.Engine, way: str) -> None:
    with Session(engine, info={"site": ONE}) as session:
        assert "DETAIL:  Key (site_id, " in str(error_of(OWN[way], session))


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_values_are_shown_where_no_other_site_has_them(engine: sa.Engine) -> None:
    with Session(engine, info={"site": ONE}) as session:
        error = error_of(lambda s: s.execute(sa.insert(Country).values(id=7)), session)
    assert "Key (id)=(7) already exists" in str(error)
    with all_sites("test"), Session(engine) as session:
        error = error_of(lambda s: s.execute(sa.insert(Guest).values(id=99, site_id=1, email=SECRET)), session)
    assert "Key (email)=(secret-2) already exists" in str(error)


# Other drivers. Both raise the same error; asyncpg requires an asynchronous engine.


def errors_of(driver: str, url: str) -> sa.exc.IntegrityError:
    """Return the error of `driver` for a key that a row of the second site has."""
    url = url.replace("+psycopg", f"+{driver}")
    if driver == "psycopg2":
        with closing_engine(url) as engine, Session(engine, info={"site": ONE}) as session:
            return error_of(FOREIGN["unique"], session)

    async def ask() -> sa.exc.IntegrityError:
        engine = create_async_engine(url)
        async with AsyncSession(engine, info={"site": ONE}) as session:
            error = await session.run_sync(lambda session: error_of(FOREIGN["unique"], session))
        await engine.dispose()
        return error

    return asyncio.run(ask())


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("driver", "sqlstate"), [("psycopg2", "pgcode"), ("asyncpg", "sqlstate")])
def test_another_driver_s_error_shows_nothing_either(
    engine: sa.Engine, driver: str, sqlstate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = engine.url.render_as_string(hide_password=False)
    error = errors_of(driver, url)
    assert 'unique constraint "uq_email"' in str(error.orig)
    assert getattr(error.orig, sqlstate) == "23505"
    assert integrity_errors.NOT_SHOWN in "".join(traceback.format_exception(error))
    chain = (error.orig, error.orig.__cause__)
    told = [str(getattr(each, name)) for each in chain for name in ("args", "pgerror", "detail") if hasattr(each, name)]
    told += [str(getattr(error.orig, "diag", None) and error.orig.diag.message_detail)]
    for each in ("\n".join(told), "".join(traceback.format_exception(error)).partition("[parameters: ")[0]):
        assert SECRET not in each
    monkeypatch.setattr(Connection, "_handle_dbapi_exception", integrity_errors._handle_dbapi_exception)
    assert f"(email)=({SECRET})" in "".join(traceback.format_exception(errors_of(driver, url)))
