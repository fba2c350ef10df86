"""Around SQLAlchemy's statements: what a session is pinned to, what runs in between, and what comes after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from scoped_models import Author, Book, Shelf
from sqlalchemy import func, select
from sqlalchemy.orm import Session, registry

from attack_catalogue import Place, add, own, refused, secrets
from attack_catalogue.connections import books, on_connection, read, secret
from attack_catalogue.models import Note, Room, Slip
from multisite import CrossSiteError, NoCurrentSite, all_sites, using_site
from multisite.core.current_site import pop_scope, push_scope

add(
    "side",
    own,
    {
        "session first used for the site": lambda p: first_used(p),
        "session pinned, after a commit": lambda p: (p.s.scalars(secret).all(), p.s.commit(), p.all(secret))[2],
        "session pinned, after a rollback": lambda p: (p.s.scalars(secret).all(), p.s.rollback(), p.all(secret))[2],
        "session pinned, after expunge_all": lambda p: (p.all(select(Book)), p.s.expunge_all(), p.all(secret))[2],
        "session pinned, after close": lambda p: (p.all(secret), p.s.close(), p.all(secret))[2],
        "session pinned, after reset": lambda p: (p.all(secret), p.s.reset(), p.all(secret))[2],
        "session first used, after the block": lambda p: _after_the_block(p),
        "session closed and used for another site": lambda p: _closed_in_between(p),
        "object that pins": lambda p: _object_that_pins(p),
        "rows streamed after the block": lambda p: _streamed_after(p),
        "default that runs a statement of another site": lambda p: _nested_default(p),
        "parameter that runs a statement of another site": lambda p: _nested_parameter(p),
        "event that runs a statement of another site": lambda p: _nested_event(p),
        "type that runs a statement of another site": lambda p: _nested_type(p),
        "generator that keeps its site": lambda p: list(_generator(p)),
        "decorated function": lambda p: _decorated(p),
    },
)

# Where it has no site of its own, a session takes the block's, which is as it should be.
add(
    "side",
    own,
    {
        "session pinned, within another site": lambda p: _obeys(p, using_site(p.other)),
        "session pinned, within all sites": lambda p: _obeys(p, all_sites("a test")),
        "listener of a session that begins": lambda p: _listened(p),
    },
    without_site=None,
)
add(
    "side",
    refused(CrossSiteError),
    {
        "session that got an object for another site": lambda p: _object_of_another_block(p),
        "session pinned, its information changed": lambda p: _changed_information(p),
        "identity map asked by get in another block": lambda p: _asked_in_another_block(p, _by_get),
        "identity map asked by a lazy load in another block": lambda p: _asked_in_another_block(p, _by_lazy_load),
        "object of a class without SiteScoped, added": lambda p: _attached(p, p.s.add),
        "object of a class without SiteScoped, merged": lambda p: _attached(
            p, lambda each: p.s.merge(each, load=False)
        ),
    },
    without_site=None,
)


def first_used(p: Place) -> Any:
    with p.within(), Session(p.engine) as session:
        return session.scalars(secret).all()


def _obeys(p: Place, block: Any) -> Any:
    with block:
        return [p.all(secret), secrets(p.all(select(Book)))]


def _changed_information(p: Place) -> Any:
    found = p.all(secret)
    p.s.info["site"] = p.other
    return found + p.all(secret) + secrets([p.s.get(Book, p.their())])


def _after_the_block(p: Place) -> Any:
    with Session(p.engine) as session:
        with p.within():
            session.get(Book, p.own())
        session.commit()
        return session.scalars(secret).all()


def _held_before(p: Place, reach: Callable[[Session], Any]) -> Any:
    """Attach an object of the other site where no site is known, and use the session for the own one then."""
    with Session(p.engine) as session:
        theirs = p.theirs(Book)
        session.add(theirs)
        with p.within():
            return [*reach(session), *session.scalars(secret)]


def _lead_to(session: Session, key: int) -> Any:
    note = session.scalars(select(Note).limit(1)).one()
    with session.no_autoflush:
        note.book_id = key
        found = secrets([note.book])
    session.rollback()
    return found


add(
    "side",
    refused(CrossSiteError, NoCurrentSite),
    {
        "object held where no site is known, get": lambda p: _held_before(
            p, lambda s: secrets([s.get(Book, p.their())])
        ),
        "object held where no site is known, by a reference": lambda p: _held_before(
            p, lambda s: _lead_to(s, p.their())
        ),
    },
)


def _closed_in_between(p: Place) -> Any:
    with Session(p.engine) as session:
        with using_site(p.other):
            theirs = session.scalars(select(Book)).all()
        session.close()
        with p.within():
            assert session.get(Book, theirs[0].id) is None
            return session.scalars(secret).all()


def _object_that_pins(p: Place) -> Any:
    with Session(p.engine) as session:
        with p.within():
            session.add(Slip(secret=f"secret-{p.own() // 10}"))
        session.flush()
        return session.scalars(select(Slip.secret)).all()


def _streamed_after(p: Place) -> Any:
    with Session(p.engine) as session:
        with p.within():
            rows = session.scalars(secret.execution_options(yield_per=1))
        with using_site(p.other):
            return list(rows)


def _of_the_other(p: Place) -> str:
    with Session(p.engine, info={"site": p.other}) as session:
        return str(session.scalar(select(func.max(Book.slug))))


_asked: list[Place] = []


def _slug_of_the_other(context: Any) -> str:
    # SQLAlchemy 2.0.40 pickles with a table all others that refer to the same one. A default can be pickled if it is a
    # function of a module that takes the context.
    return _of_the_other(_asked[0])


def _nested_default(p: Place) -> Any:
    table = sa.Table(
        "shelves",
        sa.MetaData(),
        *(column._copy() for column in Shelf.__table__.c if column.name != "slug"),
        sa.Column("slug", sa.String, default=_slug_of_the_other),
    )
    _asked[:] = [p]
    p.do(table.insert(), [{"secret": "x"}, {"secret": "y"}])
    return [f"secret-{site_id}" for site_id in p.all(select(Shelf.site_id).where(Shelf.secret.in_(["x", "y"])))]


def _nested_parameter(p: Place) -> Any:
    value = sa.bindparam("value", callable_=lambda: _of_the_other(p))
    return p.rows(secret.where(Book.slug != value))


def _nested_event(p: Place) -> Any:
    def ask(*args: Any) -> None:
        _of_the_other(p)

    connection = p.s.connection()
    sa.event.listen(connection, "before_cursor_execute", ask)
    return read(connection)


class _Asking(sa.TypeDecorator[str]):
    impl = sa.String
    cache_ok = True
    place: Place | None = None

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        if self.place is not None:
            _of_the_other(self.place)
        return value


def _nested_type(p: Place) -> Any:
    _Asking.place = p
    try:
        return p.rows(secret.where(Book.slug != sa.literal("x", _Asking())))
    finally:
        _Asking.place = None


def _generator(p: Place) -> Iterator[Any]:
    with Session(p.engine, info={"site": p.site}) as session:
        for found in session.scalars(secret):
            with using_site(p.other):
                yield found


def _decorated(p: Place) -> Any:
    def work() -> Any:
        with Session(p.engine) as session:
            return session.scalars(secret).all()

    return (using_site(p.site)(work) if p.site else work)()


add(
    "side",
    refused(CrossSiteError),
    {
        "session used within another site": lambda p: _used_within(p, using_site(p.other)),
        "session used within all sites": lambda p: _used_within(p, all_sites("a test")),
        "session left open, used by the next request": lambda p: _left_open(p),
        "connection of a session, used within another site": lambda p: _connection_within(p),
        "object loaded later within another site": lambda p: _lazily_within(p),
    },
)


def _used_within(p: Place, block: Any) -> Any:
    with Session(p.engine) as session:
        with p.within():
            session.scalars(secret).all()
        with block:
            return session.scalars(secret).all()


def _object_of_another_block(p: Place) -> Any:
    with Session(p.engine) as session:
        with using_site(p.other):
            session.add(Slip(secret="x"))
        with p.within(), session.no_autoflush:
            return session.scalars(secret).all()


def _listened(p: Place) -> Any:
    seen: list[str] = []

    def listen(connection: sa.Connection) -> None:
        seen.extend(connection.scalars(secret))

    sa.event.listen(p.engine, "begin", listen)
    try:
        with using_site(p.other), p.opened(site=p.site) as session:
            session.execute(select(1))
    finally:
        sa.event.remove(p.engine, "begin", listen)
    return seen


def _asked_in_another_block(p: Place, ask: Callable[[Session, Any], Any]) -> Any:
    with Session(p.engine) as session:
        with using_site(p.other):
            kept = session.get_one(Book, p.their()), session.get_one(Author, p.their())
        with p.within():
            return ask(session, kept[0])


def _by_get(session: Session, book: Any) -> Any:
    return secrets([session.get(Book, book.id)])


def _by_lazy_load(_session: Session, book: Any) -> Any:
    return secrets([book.author])


class Unmixed:
    """On the table of `Book`, without `SiteScoped`."""


registry().map_imperatively(Unmixed, Book.__table__)


def _detached(p: Place) -> Any:
    with Session(p.engine, info={"site": p.other}) as session:
        found = session.get_one(Unmixed, p.their())
        session.expunge(found)
        return found


def _attached(p: Place, attach: Callable[[Any], Any]) -> Any:
    attach(_detached(p))
    return secrets([p.s.get(Unmixed, p.their())])


def _left_open(p: Place) -> Any:
    left_open = p.opened()
    found = []
    for site in (p.site, p.other):
        token = push_scope(site)
        try:
            found = left_open.scalars(secret).all()
        finally:
            pop_scope(token)
            left_open.rollback()
    return found


def _connection_within(p: Place) -> Any:
    with Session(p.engine) as session:
        with p.within():
            connection = session.connection()
            session.scalars(secret).all()
        with using_site(p.other):
            return read(connection)


def _lazily_within(p: Place) -> Any:
    with Session(p.engine) as session:
        with p.within():
            room = session.get_one(Room, p.own())
        with using_site(p.other):
            return secrets(room.notes)


add(
    "side",
    refused(ValueError),
    {
        "all sites without a reason": lambda p: _all_sites_for(p, ""),
        "all sites for a blank reason": lambda p: _all_sites_for(p, "  "),
    },
    without_site=(ValueError,),
)

add(
    "side",
    refused(TypeError),
    {
        "site of a session by its id": lambda p: p.opened(site=p.other.id).scalars(secret).all(),
        "site of a session by its host": lambda p: p.opened(site=p.other.host).scalars(secret).all(),
    },
    without_site=(TypeError,),
)

add(
    "side",
    refused(NoCurrentSite),
    {
        "insert for all sites without a site_id": lambda p: _insert_for_all(p),
        "insert of an object for all sites without a site_id": lambda p: _add_for_all(p),
        "session after the block, closed": lambda p: _closed_after(p),
        "connection after its session": on_connection(lambda c, p: _after_its_session(c, p)),
    },
)


def _all_sites_for(p: Place, reason: str) -> Any:
    with all_sites(reason):
        return plain_read(p)


def plain_read(p: Place) -> Any:
    with Session(p.engine) as session:
        return session.scalars(secret).all()


def _insert_for_all(p: Place) -> Any:
    with all_sites("a test"), p.engine.connect() as connection:
        connection.execute(books.insert().values(slug="x", secret="x", stock=1))


def _add_for_all(p: Place) -> Any:
    with all_sites("a test"), Session(p.engine) as session:
        session.add(Slip(secret="x"))
        session.flush()


def _closed_after(p: Place) -> Any:
    session = p.opened()
    with p.within():
        session.scalars(secret).all()
    session.close()
    return session.scalars(secret).all()


def _after_its_session(connection: sa.Connection, p: Place) -> Any:
    with Session(connection, info={"site": p.site}) as session:
        session.scalars(secret).all()
    token = push_scope(None)
    try:
        return read(connection)
    finally:
        pop_scope(token)
