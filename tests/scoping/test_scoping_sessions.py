"""Session state that could bypass the limits: the identity map, attached objects, and changes of `Session.info`."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import Context, copy_context
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from scoped_models import ONE, TWO, Author, Book, Country, Library, build_library
from sqlalchemy.orm import DeclarativeBase, Session, column_property, registry, scoped_session, sessionmaker

from multisite import CrossSiteError, NoCurrentSite, all_sites, using_site
from multisite.scoping import site_id_column
from multisite.scoping.pin import connection_for_bind


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'test.db'}")
    yield build_library(engine)
    engine.dispose()


# -- the identity map -------------------------------------------------------------------------------------------------

FROM_THE_IDENTITY_MAP = {
    "get": lambda session: session.get(Book, 21),
    "get_one": lambda session: session.get_one(Book, 21),
    "Query.get": lambda session: session.query(Book).get(21),
    "populate_existing": lambda session: session.get(Book, 21, populate_existing=True),
    "with_for_update": lambda session: session.get(Book, 21, with_for_update=True),
}


@pytest.mark.parametrize("name", FROM_THE_IDENTITY_MAP)
@pytest.mark.filterwarnings("ignore:The Query.get:sqlalchemy.exc.LegacyAPIWarning")
def test_the_identity_map_does_not_answer_in_the_block_of_another_site(library: Library, name: str) -> None:
    read = FROM_THE_IDENTITY_MAP[name]
    with Session(library.engine) as session:
        with using_site(TWO):
            book = read(session)
            assert book.secret == "secret-2"
        with using_site(ONE), pytest.raises(CrossSiteError):
            read(session)
        with all_sites("a test"), pytest.raises(CrossSiteError):
            read(session)
        with using_site(TWO):
            assert read(session) is book


def test_a_many_to_one_lazy_load_does_not_answer_in_the_block_of_another_site(library: Library) -> None:
    with Session(library.engine) as session:
        with using_site(TWO):
            book, author = session.get_one(Book, 21), session.get_one(Author, 21)
        with using_site(ONE), pytest.raises(CrossSiteError):
            assert book.author is author
        with using_site(TWO):
            assert book.author is author
        with using_site(ONE):
            # Loaded attributes of the object stay readable.
            assert book.author is author
            assert book.secret == "secret-2"


def test_the_identity_map_of_a_scoped_session_does_not_answer_in_the_block_of_another_site(library: Library) -> None:
    sessions = scoped_session(sessionmaker(library.engine))
    with using_site(TWO):
        kept = sessions.get(Book, 21)
        assert kept is not None
    with using_site(ONE), pytest.raises(CrossSiteError):
        sessions.get(Book, 21)
    sessions.remove()
    with using_site(ONE):
        assert sessions.get(Book, 21) is None
    sessions.remove()


def test_objects_without_a_site_are_found_in_the_identity_map_of_any_block(library: Library) -> None:
    with Session(library.engine) as session:
        with using_site(TWO):
            book, country = session.get(Book, 21), session.get(Country, 1)
            assert book is not None
            assert country is not None
        with using_site(ONE):
            assert session.get(Country, 1) is country


def test_an_explicitly_pinned_session_answers_from_its_identity_map_in_any_block(library: Library) -> None:
    with library.session(TWO) as session:
        book = session.get(Book, 21)
        with using_site(ONE):
            assert session.get(Book, 21) is book


# -- classes without the mixin ----------------------------------------------------------------------------------------


class Plain(DeclarativeBase):
    metadata = sa.MetaData()


class PlainBook(Plain):
    """A class of an application that is mapped to the table of `Book` without `SiteScoped`."""

    __table__ = sa.Table(
        "books",
        Plain.metadata,
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("slug", sa.String),
        sa.Column("secret", sa.String),
        site_id_column(),
    )


class Imperative:
    """A class in which `site_id` is mapped to an attribute of another name."""


registry().map_imperatively(Imperative, PlainBook.__table__, properties={"owner": PlainBook.__table__.c.site_id})


class Partial:
    """A class that is mapped without `site_id`."""


registry().map_imperatively(Partial, PlainBook.__table__, exclude_properties=["site_id"])


class Selected:
    """A class that is mapped to a subquery."""


_query = sa.select(PlainBook.__table__).subquery()
registry().map_imperatively(Selected, _query, primary_key=[_query.c.id])


class Labelled(Plain):
    """A class that is mapped to an SQL expression in addition to the columns."""

    __table__ = PlainBook.__table__
    length = column_property(sa.func.length(PlainBook.__table__.c.secret))


WITHOUT_MIXIN = [PlainBook, Imperative, Partial, Selected, Labelled]


def reflected(engine: sa.Engine) -> Any:
    """Return a class that is mapped to the reflected table, whose `site_id` does not have the type of multisite."""

    class Reflected:
        pass

    table = sa.Table("books", sa.MetaData(), autoload_with=engine, resolve_fks=False)
    registry().map_imperatively(Reflected, table)
    return Reflected


@pytest.mark.parametrize("cls", [*WITHOUT_MIXIN, reflected])
@pytest.mark.parametrize("take", ["add", "merge", "merge without load"])
def test_a_class_without_the_mixin_is_checked_when_it_is_attached(library: Library, cls: Any, take: str) -> None:
    cls = cls(library.engine) if cls is reflected else cls
    with library.session(TWO) as session:
        theirs = session.scalars(sa.select(cls).where(cls.id == 21)).one()
        assert theirs.secret == "secret-2"
        session.expunge(theirs)
    with library.session(ONE) as session:
        with pytest.raises(CrossSiteError):
            session.add(theirs) if take == "add" else session.merge(theirs, load=take == "merge")
        session.rollback()
        assert session.get(cls, 21) is None


@pytest.mark.parametrize("cls", [PlainBook, Imperative, Labelled])
def test_an_object_of_a_class_without_the_mixin_comes_back_to_a_session_of_its_own_site(
    library: Library, cls: Any
) -> None:
    with library.session(TWO) as session:
        own = session.get(cls, 21)
        session.expunge(own)
    with library.session(TWO) as session:
        session.add(own)
        assert session.get(cls, 21) is own
    with library.session(TWO) as session:
        assert session.merge(own, load=False).secret == "secret-2"


def test_an_object_of_a_class_without_the_mixin_needs_a_site(library: Library) -> None:
    with library.session(TWO) as session:
        theirs = session.get(PlainBook, 21)
        session.expunge(theirs)
    with Session(library.engine) as session, pytest.raises(NoCurrentSite):
        session.add(theirs)


def test_the_identity_map_of_a_class_without_the_mixin_does_not_answer_in_another_block(library: Library) -> None:
    with Session(library.engine) as session:
        with using_site(TWO):
            book = session.get(PlainBook, 21)
            assert book is not None
        with using_site(ONE), pytest.raises(CrossSiteError):
            session.get(PlainBook, 21)


def test_a_subclass_of_a_class_without_the_mixin_is_checked(library: Library) -> None:
    class Child(PlainBook):
        """A class that shares the table of its parent."""

    with library.session(TWO) as session:
        theirs = session.get(Child, 21)
        session.expunge(theirs)
    with library.session(ONE) as session, pytest.raises(CrossSiteError):
        session.add(theirs)


# -- the pin in session.info ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "value"), [("site", ONE), ("site", None), ("all_sites", "a test")])
def test_the_information_of_a_session_that_has_been_used_cannot_be_changed(
    library: Library, key: str, value: Any
) -> None:
    with library.session(TWO) as session:
        book = session.get(Book, 21)
        session.info[key] = value
        with pytest.raises(CrossSiteError, match=r"info"):
            session.scalars(sa.select(Book)).all()
        with pytest.raises(CrossSiteError, match=r"info"):
            session.get(Book, 21)
        with pytest.raises(CrossSiteError, match=r"info"):
            session.add(Book(slug="x", secret="x"))
        session.info.update(site=TWO, all_sites=None)
        assert session.get(Book, 21) is book


def test_a_session_of_a_request_cannot_be_given_to_a_request_of_another_site(library: Library) -> None:
    of = {site: SimpleNamespace(site=site) for site in (ONE, TWO)}
    with Session(library.engine, info={"request": of[TWO]}) as session:
        assert session.scalars(sa.select(Book.secret)).all() == ["secret-2"] * 3
        session.info["request"] = SimpleNamespace(site=replace(TWO))
        assert session.scalars(sa.select(Book.secret)).all() == ["secret-2"] * 3
        for request in (of[ONE], None, SimpleNamespace()):
            session.info["request"] = request
            with pytest.raises(CrossSiteError, match=r"info"):
                session.scalars(sa.select(Book.secret)).all()
        session.close()
        session.info["request"] = of[ONE]
        assert session.scalars(sa.select(Book.secret)).all() == ["secret-1"] * 3


def test_a_session_pinned_by_a_block_cannot_be_given_another_site(library: Library) -> None:
    with Session(library.engine) as session, using_site(TWO):
        assert session.get(Book, 21) is not None
        session.info["site"] = ONE
        with pytest.raises(CrossSiteError, match=r"info"):
            session.scalars(sa.select(Book.secret)).all()
        session.close()
        assert session.scalars(sa.select(Book.secret)).all() == ["secret-1"] * 3


def test_information_may_name_the_same_site_again_and_hold_other_things(library: Library) -> None:
    with library.session(TWO) as session:
        session.get(Book, 21)
        session.info["site"] = replace(TWO)
        session.info["mine"] = 1
        assert session.scalars(sa.select(Book.secret)).all() == ["secret-2"] * 3


def test_information_may_come_before_the_first_scoped_statement(library: Library) -> None:
    with Session(library.engine) as session:
        session.execute(sa.select(Country)).all()
        session.info["site"] = TWO
        assert session.scalars(sa.select(Book.secret)).all() == ["secret-2"] * 3
        with using_site(ONE):
            assert session.scalars(sa.select(Book.secret)).all() == ["secret-2"] * 3


# -- listeners that run while a session begins ------------------------------------------------------------------------


def read_all(connection: sa.Connection, *_: Any) -> list[str]:
    return list(connection.execute(sa.select(Book.secret)).scalars())


@pytest.mark.parametrize("identifier", ["begin", "engine_connect", "savepoint"])
def test_a_listener_reads_for_the_session_that_begins(library: Library, identifier: str) -> None:
    seen: list[list[str]] = []

    def listen(connection: sa.Connection, *_: Any) -> None:
        seen.append(read_all(connection))
        if identifier == "engine_connect":
            connection.rollback()

    sa.event.listen(library.engine, identifier, listen)
    with using_site(ONE), library.session(TWO) as session, session.begin_nested():
        session.execute(sa.select(1))
    assert seen == [["secret-2"] * 3]


def test_a_listener_of_begin_of_a_session_that_is_refused_is_refused_too(library: Library) -> None:
    seen: list[Any] = []

    def listen(connection: sa.Connection) -> None:
        with pytest.raises(CrossSiteError):
            connection.execute(sa.select(Book.secret))
        seen.append(True)

    with Session(library.engine) as session:
        with using_site(TWO):
            session.get(Book, 21)
            session.commit()
        sa.event.listen(library.engine, "begin", listen)
        with using_site(ONE):
            session.execute(sa.select(1))
    assert seen == [True]


PINS: dict[str, dict[str, Any]] = {"all sites": {"all_sites": "a test"}, "another site": {"site": TWO}}


IDENTIFIERS = ("after_begin", "begin", "engine_connect", "savepoint", "connect", "checkout")
# In SQLAlchemy, a listener of "connect" that connects on the same engine waits for itself.
LISTENERS = [(name, same) for name in IDENTIFIERS for same in (True, False) if (name, same) != ("connect", True)]


@pytest.mark.parametrize("pin", PINS)
@pytest.mark.parametrize(("identifier", "same_engine"), LISTENERS)
def test_another_connection_of_a_listener_is_for_the_block(
    library: Library, pin: str, identifier: str, same_engine: bool
) -> None:
    seen: list[list[str]] = []
    other = library.engine if same_engine else sa.create_engine(library.engine.url)

    def listen(*_: Any) -> None:
        if seen:
            return  # The connection that it opens calls it again.
        seen.append([])
        with using_site(ONE), other.connect() as connection:
            seen[0] += read_all(connection)

    library.engine.dispose()  # So that the driver connects again.
    with Session(library.engine, info=dict(PINS[pin])) as session:
        sa.event.listen(session if identifier == "after_begin" else library.engine, identifier, listen)
        with session.begin_nested():
            session.execute(sa.select(1))
        assert len(session.scalars(sa.select(Book.secret)).all()) == (6 if pin == "all sites" else 3)
    assert seen == [["secret-1"] * 3]
    if not same_engine:
        other.dispose()


@pytest.mark.parametrize("identifier", ["after_begin", "begin"])
def test_a_context_that_a_listener_copies_does_not_keep_the_pin(library: Library, identifier: str) -> None:
    kept: list[Context] = []

    def later() -> list[str]:
        with using_site(ONE), library.engine.connect() as connection:
            return read_all(connection)

    with library.session(TWO) as session:
        target = session if identifier == "after_begin" else library.engine
        sa.event.listen(target, identifier, lambda *_: kept.append(copy_context()))
        session.execute(sa.select(1))
    assert kept[0].run(later) == ["secret-1"] * 3


def test_a_connection_that_a_session_was_given_and_could_not_begin_on_is_free_again(library: Library) -> None:
    def listen(*_: Any) -> None:
        raise RuntimeError("no")

    with library.engine.connect() as connection:
        sa.event.listen(library.engine, "begin", listen)
        with Session(connection, info={"site": TWO}) as session, pytest.raises(RuntimeError, match="no"):
            session.execute(sa.select(1))
        sa.event.remove(library.engine, "begin", listen)
        with using_site(ONE):
            assert read_all(connection) == ["secret-1"] * 3


def test_a_connection_of_its_own_is_for_the_block_after_a_session_has_begun(library: Library) -> None:
    with using_site(ONE), library.session(TWO) as session:
        session.execute(sa.select(1))
        with library.engine.connect() as connection:
            assert connection.execute(sa.select(Book.secret)).scalars().all() == ["secret-1"] * 3


def test_a_session_that_cannot_connect_leaves_nothing_behind(library: Library) -> None:
    def listen(connection: sa.Connection) -> None:
        raise RuntimeError("no")

    sa.event.listen(library.engine, "begin", listen)
    with using_site(ONE):
        with library.session(TWO) as session, pytest.raises(RuntimeError, match="no"):
            session.execute(sa.select(1))
        sa.event.remove(library.engine, "begin", listen)
        with library.engine.connect() as connection:
            assert connection.execute(sa.select(Book.secret)).scalars().all() == ["secret-1"] * 3


def test_the_hook_on_connections_is_what_makes_listeners_read_for_the_session(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the hook, a listener of `begin` reads the rows of the block's site."""
    from sqlalchemy.orm import SessionTransaction

    seen: list[list[str]] = []
    sa.event.listen(library.engine, "begin", lambda connection: seen.append(read_all(connection)))
    monkeypatch.setattr(SessionTransaction, "_connection_for_bind", connection_for_bind.__wrapped__)
    with using_site(ONE), library.session(TWO) as session:
        session.execute(sa.select(1))
    assert seen == [["secret-1"] * 3]
