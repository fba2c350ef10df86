"""Attempts with sessions: which site they are pinned to, nested statements, and use after the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from scoped_models import Author, Book, Shelf
from sqlalchemy import func, select
from sqlalchemy.orm import Session, registry

from attack_catalogue import Context, add, own_rows, refused, secrets
from attack_catalogue.connections import books, on_connection, read, secret
from attack_catalogue.models import Note, Room, Slip
from multisite import CrossSiteError, NoCurrentSite, all_sites, using_site
from multisite.core.current_site import pop_scope, push_scope

add(
    "execution",
    own_rows,
    {
        "session first used for the site": lambda ctx: first_used(ctx),
        "session pinned, after a commit": lambda ctx: (
            ctx.session.scalars(secret).all(),
            ctx.session.commit(),
            ctx.scalars(secret),
        )[2],
        "session pinned, after a rollback": lambda ctx: (
            ctx.session.scalars(secret).all(),
            ctx.session.rollback(),
            ctx.scalars(secret),
        )[2],
        "session pinned, after expunge_all": lambda ctx: (
            ctx.scalars(select(Book)),
            ctx.session.expunge_all(),
            ctx.scalars(secret),
        )[2],
        "session pinned, after close": lambda ctx: (ctx.scalars(secret), ctx.session.close(), ctx.scalars(secret))[2],
        "session pinned, after reset": lambda ctx: (ctx.scalars(secret), ctx.session.reset(), ctx.scalars(secret))[2],
        "session first used, after the block": lambda ctx: _after_the_block(ctx),
        "session closed and used for another site": lambda ctx: _closed_in_between(ctx),
        "object that pins its session": lambda ctx: _object_that_pins(ctx),
        "rows streamed after the block": lambda ctx: _streamed_after(ctx),
        "default that runs a statement of another site": lambda ctx: _nested_default(ctx),
        "parameter that runs a statement of another site": lambda ctx: _nested_parameter(ctx),
        "event that runs a statement of another site": lambda ctx: _nested_event(ctx),
        "type that runs a statement of another site": lambda ctx: _nested_type(ctx),
        "generator that keeps its site": lambda ctx: list(_generator(ctx)),
        "decorated function": lambda ctx: _decorated(ctx),
    },
)

# Without a site in its `info`, a session takes the site of the block, as it should.
add(
    "execution",
    own_rows,
    {
        "session pinned, within another site": lambda ctx: _obeys(ctx, using_site(ctx.other)),
        "session pinned, within all sites": lambda ctx: _obeys(ctx, all_sites("a test")),
        "listener of a session that begins": lambda ctx: _listened(ctx),
    },
    without_site=None,
)
add(
    "execution",
    refused(CrossSiteError),
    {
        "session with an object added for another site": lambda ctx: _object_of_another_block(ctx),
        "session pinned, its information changed": lambda ctx: _changed_information(ctx),
        "identity map read by get in another block": lambda ctx: _asked_in_another_block(ctx, _by_get),
        "identity map read by a lazy load in another block": lambda ctx: _asked_in_another_block(ctx, _by_lazy_load),
        "object of a class without SiteScoped, added": lambda ctx: _attached(ctx, ctx.session.add),
        "object of a class without SiteScoped, merged": lambda ctx: _attached(
            ctx, lambda each: ctx.session.merge(each, load=False)
        ),
    },
    without_site=None,
)


def first_used(ctx: Context) -> Any:
    with ctx.using_site(), Session(ctx.engine) as session:
        return session.scalars(secret).all()


def _obeys(ctx: Context, block: Any) -> Any:
    with block:
        return [ctx.scalars(secret), secrets(ctx.scalars(select(Book)))]


def _changed_information(ctx: Context) -> Any:
    found = ctx.scalars(secret)
    ctx.session.info["site"] = ctx.other
    return found + ctx.scalars(secret) + secrets([ctx.session.get(Book, ctx.other_key())])


def _after_the_block(ctx: Context) -> Any:
    with Session(ctx.engine) as session:
        with ctx.using_site():
            session.get(Book, ctx.own_key())
        session.commit()
        return session.scalars(secret).all()


def _held_before(ctx: Context, reach: Callable[[Session], Any]) -> Any:
    """Add an object of the other site without a current site, then use the session for the own site."""
    with Session(ctx.engine) as session:
        theirs = ctx.other_object(Book)
        session.add(theirs)
        with ctx.using_site():
            return [*reach(session), *session.scalars(secret)]


def _lead_to(session: Session, key: int) -> Any:
    note = session.scalars(select(Note).limit(1)).one()
    with session.no_autoflush:
        note.book_id = key
        found = secrets([note.book])
    session.rollback()
    return found


add(
    "execution",
    refused(CrossSiteError, NoCurrentSite),
    {
        "object added without a current site, get": lambda ctx: _held_before(
            ctx, lambda s: secrets([s.get(Book, ctx.other_key())])
        ),
        "object added without a current site, by a reference": lambda ctx: _held_before(
            ctx, lambda s: _lead_to(s, ctx.other_key())
        ),
    },
)


def _closed_in_between(ctx: Context) -> Any:
    with Session(ctx.engine) as session:
        with using_site(ctx.other):
            theirs = session.scalars(select(Book)).all()
        session.close()
        with ctx.using_site():
            assert session.get(Book, theirs[0].id) is None
            return session.scalars(secret).all()


def _object_that_pins(ctx: Context) -> Any:
    with Session(ctx.engine) as session:
        with ctx.using_site():
            session.add(Slip(secret=f"secret-{ctx.own_key() // 10}"))
        session.flush()
        return session.scalars(select(Slip.secret)).all()


def _streamed_after(ctx: Context) -> Any:
    with Session(ctx.engine) as session:
        with ctx.using_site():
            rows = session.scalars(secret.execution_options(yield_per=1))
        with using_site(ctx.other):
            return list(rows)


def _of_the_other(ctx: Context) -> str:
    with Session(ctx.engine, info={"site": ctx.other}) as session:
        return str(session.scalar(select(func.max(Book.slug))))


_asked: list[Context] = []


def _slug_of_the_other(context: Any) -> str:
    # SQLAlchemy 2.0.40 pickles a table together with all tables that refer to the same one. A default can be pickled
    # if it is a function of a module that takes the context.
    return _of_the_other(_asked[0])


def _nested_default(ctx: Context) -> Any:
    table = sa.Table(
        "shelves",
        sa.MetaData(),
        *(column._copy() for column in Shelf.__table__.c if column.name != "slug"),
        sa.Column("slug", sa.String, default=_slug_of_the_other),
    )
    _asked[:] = [ctx]
    ctx.execute(table.insert(), [{"secret": "x"}, {"secret": "y"}])
    return [f"secret-{site_id}" for site_id in ctx.scalars(select(Shelf.site_id).where(Shelf.secret.in_(["x", "y"])))]


def _nested_parameter(ctx: Context) -> Any:
    value = sa.bindparam("value", callable_=lambda: _of_the_other(ctx))
    return ctx.rows(secret.where(Book.slug != value))


def _nested_event(ctx: Context) -> Any:
    def ask(*args: Any) -> None:
        _of_the_other(ctx)

    connection = ctx.session.connection()
    sa.event.listen(connection, "before_cursor_execute", ask)
    return read(connection)


class _Asking(sa.TypeDecorator[str]):
    impl = sa.String
    cache_ok = True
    ctx: Context | None = None

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        if self.ctx is not None:
            _of_the_other(self.ctx)
        return value


def _nested_type(ctx: Context) -> Any:
    _Asking.ctx = ctx
    try:
        return ctx.rows(secret.where(Book.slug != sa.literal("x", _Asking())))
    finally:
        _Asking.ctx = None


def _generator(ctx: Context) -> Iterator[Any]:
    with Session(ctx.engine, info={"site": ctx.site}) as session:
        for found in session.scalars(secret):
            with using_site(ctx.other):
                yield found


def _decorated(ctx: Context) -> Any:
    def work() -> Any:
        with Session(ctx.engine) as session:
            return session.scalars(secret).all()

    return (using_site(ctx.site)(work) if ctx.site else work)()


add(
    "execution",
    refused(CrossSiteError),
    {
        "session used within another site": lambda ctx: _used_within(ctx, using_site(ctx.other)),
        "session used within all sites": lambda ctx: _used_within(ctx, all_sites("a test")),
        "session left open, used by the next request": lambda ctx: _left_open(ctx),
        "connection of a session, used within another site": lambda ctx: _connection_within(ctx),
        "object loaded later within another site": lambda ctx: _lazily_within(ctx),
    },
)


def _used_within(ctx: Context, block: Any) -> Any:
    with Session(ctx.engine) as session:
        with ctx.using_site():
            session.scalars(secret).all()
        with block:
            return session.scalars(secret).all()


def _object_of_another_block(ctx: Context) -> Any:
    with Session(ctx.engine) as session:
        with using_site(ctx.other):
            session.add(Slip(secret="x"))
        with ctx.using_site(), session.no_autoflush:
            return session.scalars(secret).all()


def _listened(ctx: Context) -> Any:
    seen: list[str] = []

    def listen(connection: sa.Connection) -> None:
        seen.extend(connection.scalars(secret))

    sa.event.listen(ctx.engine, "begin", listen)
    try:
        with using_site(ctx.other), ctx.open_session(site=ctx.site) as session:
            session.execute(select(1))
    finally:
        sa.event.remove(ctx.engine, "begin", listen)
    return seen


def _asked_in_another_block(ctx: Context, ask: Callable[[Session, Any], Any]) -> Any:
    with Session(ctx.engine) as session:
        with using_site(ctx.other):
            kept = session.get_one(Book, ctx.other_key()), session.get_one(Author, ctx.other_key())
        with ctx.using_site():
            return ask(session, kept[0])


def _by_get(session: Session, book: Any) -> Any:
    return secrets([session.get(Book, book.id)])


def _by_lazy_load(_session: Session, book: Any) -> Any:
    return secrets([book.author])


class Unmixed:
    """A class on the table of `Book`, without `SiteScoped`."""


registry().map_imperatively(Unmixed, Book.__table__)


def _detached(ctx: Context) -> Any:
    with Session(ctx.engine, info={"site": ctx.other}) as session:
        found = session.get_one(Unmixed, ctx.other_key())
        session.expunge(found)
        return found


def _attached(ctx: Context, attach: Callable[[Any], Any]) -> Any:
    attach(_detached(ctx))
    return secrets([ctx.session.get(Unmixed, ctx.other_key())])


def _left_open(ctx: Context) -> Any:
    left_open = ctx.open_session()
    found = []
    for site in (ctx.site, ctx.other):
        token = push_scope(site)
        try:
            found = left_open.scalars(secret).all()
        finally:
            pop_scope(token)
            left_open.rollback()
    return found


def _connection_within(ctx: Context) -> Any:
    with Session(ctx.engine) as session:
        with ctx.using_site():
            connection = session.connection()
            session.scalars(secret).all()
        with using_site(ctx.other):
            return read(connection)


def _lazily_within(ctx: Context) -> Any:
    with Session(ctx.engine) as session:
        with ctx.using_site():
            room = session.get_one(Room, ctx.own_key())
        with using_site(ctx.other):
            return secrets(room.notes)


add(
    "execution",
    refused(ValueError),
    {
        "all sites without a reason": lambda ctx: _all_sites_for(ctx, ""),
        "all sites for a blank reason": lambda ctx: _all_sites_for(ctx, "  "),
    },
    without_site=(ValueError,),
)

add(
    "execution",
    refused(TypeError),
    {
        "site of a session by its id": lambda ctx: ctx.open_session(site=ctx.other.id).scalars(secret).all(),
        "site of a session by its host": lambda ctx: ctx.open_session(site=ctx.other.host).scalars(secret).all(),
    },
    without_site=(TypeError,),
)

add(
    "execution",
    refused(NoCurrentSite),
    {
        "insert for all sites without a site_id": lambda ctx: _insert_for_all(ctx),
        "insert of an object for all sites without a site_id": lambda ctx: _add_for_all(ctx),
        "session after the block, closed": lambda ctx: _closed_after(ctx),
        "connection after its session": on_connection(lambda c, ctx: _after_its_session(c, ctx)),
    },
)


def _all_sites_for(ctx: Context, reason: str) -> Any:
    with all_sites(reason):
        return plain_read(ctx)


def plain_read(ctx: Context) -> Any:
    with Session(ctx.engine) as session:
        return session.scalars(secret).all()


def _insert_for_all(ctx: Context) -> Any:
    with all_sites("a test"), ctx.engine.connect() as connection:
        connection.execute(books.insert().values(slug="x", secret="x", stock=1))


def _add_for_all(ctx: Context) -> Any:
    with all_sites("a test"), Session(ctx.engine) as session:
        session.add(Slip(secret="x"))
        session.flush()


def _closed_after(ctx: Context) -> Any:
    session = ctx.open_session()
    with ctx.using_site():
        session.scalars(secret).all()
    session.close()
    return session.scalars(secret).all()


def _after_its_session(connection: sa.Connection, ctx: Context) -> Any:
    with Session(connection, info={"site": ctx.site}) as session:
        session.scalars(secret).all()
    token = push_scope(None)
    try:
        return read(connection)
    finally:
        pop_scope(token)
