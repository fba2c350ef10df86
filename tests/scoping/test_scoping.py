"""Guarantees of the scoping layer beyond the attack catalogue: pins, the sites of new rows, and its self-test."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from alembic.operations.ops import CreateTableOp
from databases import closing_engine, fresh_database
from scoped_models import (
    ONE,
    TWO,
    Author,
    Book,
    Country,
    Library,
    Shelf,
    build_library,
    clear_rows,
    plant_rows,
    rows_of,
)
from sqlalchemy.orm import (
    Session,
    raiseload,
)
from sqlalchemy.sql.compiler import SQLCompiler

from multisite import CrossSiteError, NoCurrentSite, all_sites, using_site
from multisite.scoping import install


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def untouched_library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """One library for all tests that leave its rows unchanged."""
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        yield build_library(engine)


@pytest.fixture
def library(untouched_library: Library) -> Iterator[Library]:
    """The library for a test that changes rows; they are planted again after the test."""
    yield untouched_library
    clear_rows(untouched_library.engine)
    plant_rows(untouched_library.engine)


def test_tables_that_belong_to_no_site_need_none(untouched_library: Library) -> None:
    with untouched_library.session(None) as session:
        assert session.scalars(sa.select(Country.name)).all() == ["Utopia"]
        assert session.scalars(sa.text("SELECT name FROM countries")).all() == ["Utopia"]


def test_an_outer_join_stays_outer(library: Library) -> None:
    with library.session(ONE) as session:
        session.add(Book(id=14, slug="book-4", secret="secret-1"))
        session.commit()
        pairs = session.execute(sa.select(Book.id, Author.id).outerjoin(Book.author).order_by(Book.id)).all()
    assert [tuple(pair) for pair in pairs] == [(11, 11), (12, 12), (13, 13), (14, None)]


def test_fills_in_the_site_of_new_rows(library: Library) -> None:
    with library.session(TWO) as session:
        book = Book(slug="new", secret="new")
        session.add(book)
        session.flush()
        assert book.site_id == 2
        session.execute(sa.insert(Book), [{"slug": f"many-{n}", "secret": "new"} for n in range(3)])
        ids = session.scalars(sa.insert(Book).values(slug="back", secret="new").returning(Book.site_id)).all()
        assert ids == [2]
        assert session.scalar(sa.select(sa.func.count()).where(Book.secret == "new")) == 5


def test_one_compiled_statement_serves_all_sites(untouched_library: Library) -> None:
    statement = sa.select(Book.secret).distinct()
    untouched_library.engine.clear_compiled_cache()
    for site in (ONE, TWO, ONE, TWO):
        with untouched_library.session(site) as session:
            assert session.scalars(statement).all() == [f"secret-{site.id}"]
            assert session.scalars(sa.select(Book.secret).distinct()).all() == [f"secret-{site.id}"]
    assert len(untouched_library.engine._compiled_cache) == 1


def test_all_sites_sees_every_row_and_leaves_the_cache_clean(untouched_library: Library) -> None:
    statement = sa.select(sa.func.count()).select_from(Book)
    for _ in range(2):
        with untouched_library.session(ONE) as session:
            assert session.scalar(statement) == 3
        with all_sites("test"), Session(untouched_library.engine) as session:
            assert session.scalar(statement) == 6
            assert session.scalar(sa.text("SELECT count(*) FROM books")) == 6
            assert session.get_one(Book, 21).secret == "secret-2"


def test_all_sites_needs_a_site_for_new_rows(library: Library) -> None:
    with all_sites("test"), Session(library.engine) as session:
        session.add(Book(slug="x", secret="x"))
        with pytest.raises(NoCurrentSite):
            session.flush()
        session.rollback()
        session.add(Book(slug="x", secret="x", site_id=2))
        session.commit()
    assert "'x'" in str(rows_of(library, 2))


def test_all_sites_needs_a_reason() -> None:
    with pytest.raises(ValueError), all_sites(""):
        pass


# -- pinning ----------------------------------------------------------------------------------------------------------


def test_a_session_keeps_the_site_it_was_first_used_for(library: Library) -> None:
    with Session(library.engine) as session:
        with using_site(ONE):
            assert session.get(Book, 11) is not None
        session.commit()
        assert set(session.scalars(sa.select(Book.secret))) == {"secret-1"}


def test_a_session_pinned_outside_raises_inside_a_block_for_another(library: Library) -> None:
    with using_site(ONE), Session(library.engine) as session:
        book = session.get_one(Book, 11)
        with using_site(TWO), pytest.raises(CrossSiteError, match="one.example.*two.example"):
            session.scalars(sa.select(Book)).all()
        with all_sites("test"), pytest.raises(CrossSiteError):
            session.scalars(sa.select(Book)).all()
        with using_site(TWO):
            # Loaded attributes stay readable; the session returns no object, with or without executing a statement.
            assert book.secret == "secret-1"
            for key in (11, 12):
                with pytest.raises(CrossSiteError):
                    session.get(Book, key)
            with Session(library.engine) as inner:
                assert inner.get(Book, 11) is None
        assert len(session.scalars(sa.select(Book)).all()) == 3


def test_an_explicitly_pinned_session_obeys_its_pin(library: Library) -> None:
    with library.session(ONE) as session, using_site(TWO):
        assert set(session.scalars(sa.select(Book.secret))) == {"secret-1"}
    with library.session(ONE) as session, all_sites("test"):
        assert set(session.scalars(sa.select(Book.secret))) == {"secret-1"}


@pytest.mark.parametrize("end", [Session.close, Session.reset], ids=["close", "reset"])
def test_close_and_reset_unpin(library: Library, end: Callable[[Session], None]) -> None:
    session = Session(library.engine)
    for site in (ONE, TWO):
        with using_site(site):
            assert set(session.scalars(sa.select(Book.secret))) == {f"secret-{site.id}"}
        end(session)


@pytest.mark.parametrize("end", [Session.commit, Session.rollback, Session.expunge_all], ids=lambda f: f.__name__)
def test_commit_rollback_and_expunge_all_do_not_unpin(library: Library, end: Callable[[Session], None]) -> None:
    with Session(library.engine) as session:
        with using_site(ONE):
            session.add(Author(id=99, slug="x", secret="x"))
            session.scalars(sa.select(Book)).all()
        end(session)
        assert set(session.scalars(sa.select(Book.secret))) == {"secret-1"}


def test_the_first_attached_object_pins(library: Library) -> None:
    with Session(library.engine) as session:
        with using_site(ONE):
            session.add(Book(slug="x", secret="x"))
        with using_site(TWO), session.no_autoflush, pytest.raises(CrossSiteError):
            session.scalars(sa.select(Book)).all()
        session.commit()
    assert "'x'" in str(rows_of(library, 1))


def test_a_plain_connection_takes_the_current_site_at_each_statement(library: Library) -> None:
    with library.engine.connect() as connection:
        with using_site(ONE):
            assert set(connection.scalars(sa.select(Book.secret))) == {"secret-1"}
        with using_site(TWO):
            assert set(connection.scalars(sa.select(Book.secret))) == {"secret-2"}
        with all_sites("test"):
            assert set(connection.scalars(sa.select(Book.secret))) == {"secret-1", "secret-2"}
        with pytest.raises(NoCurrentSite):
            connection.scalars(sa.select(Book.secret))


def test_a_session_leaves_no_pin_on_a_connection_that_goes_on(library: Library) -> None:
    with library.engine.connect() as connection:
        with Session(connection, info={"site": ONE}) as session:
            assert len(session.scalars(sa.select(Book)).all()) == 3
        with pytest.raises(NoCurrentSite):
            connection.scalars(sa.select(Book.secret))
        with Session(connection, info={"site": TWO}) as session:
            assert set(session.scalars(sa.select(Book.secret))) == {"secret-2"}


def test_two_sites_on_one_connection_at_once_are_refused(library: Library) -> None:
    with library.engine.connect() as connection, Session(connection, info={"site": ONE}) as session:
        session.scalars(sa.select(Book)).all()
        with Session(connection, info={"site": TWO}) as second, pytest.raises(CrossSiteError, match="share"):
            second.scalars(sa.select(Book)).all()
        assert set(session.scalars(sa.select(Book.secret))) == {"secret-1"}


@pytest.mark.parametrize("end", [Session.close, Session.commit, Session.rollback], ids=lambda f: f.__name__)
def test_a_session_goes_with_its_last_reference(library: Library, end: Callable[[Session], None]) -> None:
    """The pin creates no reference cycle, which would keep each request's session until the garbage collector runs."""
    gc.disable()
    try:
        session = library.session(ONE)
        session.scalars(sa.select(Book.id)).all()
        end(session)
        left = weakref.ref(session)
        del session
        assert left() is None
    finally:
        gc.enable()


# -- the scoping layer itself -----------------------------------------------------------------------------------------


def test_reflection_and_create_all_are_not_refused(library: Library) -> None:
    found = sa.MetaData()
    found.reflect(library.engine)
    assert "books" in found.tables
    Book.metadata.create_all(library.engine)
    with library.session(None) as session:
        assert sa.inspect(session.connection()).has_table("books")


def test_scoping_refuses_a_sqlalchemy_that_it_does_not_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SQLCompiler, "__new__", lambda cls, *args, **kwargs: object.__new__(cls))
    with pytest.raises(Exception, match="does not let multisite limit"):
        install.run_self_test()


def test_a_copy_of_a_scoped_table_has_its_unique_key_once() -> None:
    for table in (Author.__table__, Book.__table__):
        copy = table.to_metadata(sa.MetaData())
        # Alembic converts a table that `--autogenerate` has found like this, before it writes it into a revision.
        written = CreateTableOp.from_table(table).to_table()
        for each in (table, copy, written):
            uniques = [u for u in each.constraints if isinstance(u, sa.UniqueConstraint)]
            keys = [u for u in uniques if {c.name for c in u.columns} == {"site_id", "id"}]
            assert [u.name for u in keys] == [f"uq_{table.name}_site_id_id"]
            assert len(uniques) == 2


def test_a_scoped_table_has_its_unique_key_also_beside_table_args_of_its_own() -> None:
    for table in (Author.__table__, Book.__table__, Shelf.__table__):
        keys = [tuple(c.name for c in u.columns) for u in table.constraints if isinstance(u, sa.UniqueConstraint)]
        assert ("site_id", "id") in keys


def test_raiseload_and_other_options_go_on_working(library: Library) -> None:
    with library.session(ONE) as session:
        book = session.scalars(sa.select(Book).options(raiseload("*"))).first()
        with pytest.raises(sa.exc.InvalidRequestError):
            _ = book.author
