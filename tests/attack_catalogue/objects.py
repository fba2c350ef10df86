"""Attempts to read by objects: the identity map, deferred attributes and relationships."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import sqlalchemy as sa
from scoped_models import Author, Book, Country, Shelf
from sqlalchemy import func, select
from sqlalchemy.ext import baked
from sqlalchemy.orm import (
    aliased,
    contains_eager,
    defaultload,
    defer,
    immediateload,
    joinedload,
    lazyload,
    load_only,
    make_transient_to_detached,
    raiseload,
    selectinload,
    subqueryload,
    undefer,
    undefer_group,
    with_expression,
    with_parent,
)
from sqlalchemy.orm.exc import ObjectDeletedError

from attack_catalogue import Context, add, attempt, exactly, not_found, own_rows, refused, secrets
from attack_catalogue.models import Disc, Note, Room, Topic
from multisite import CrossSiteError, NoCurrentSite

LOADERS: dict[str, Any] = {
    "lazy": lazyload,
    "joinedload": joinedload,
    "selectinload": selectinload,
    "subqueryload": subqueryload,
    "immediateload": immediateload,
}
REFERENCES: dict[str, tuple[Any, Callable[[Any], list[Any]]]] = {
    "a reference": (Note.book, lambda note: [note.book]),
    "a collection": (Room.notes, lambda room: room.notes),
    "an association": (Note.authors, lambda note: note.authors),
    "a parent": (Note.parent, lambda note: [note.parent]),
    "replies": (Note.replies, lambda note: note.replies),
    "an unscoped table": (Topic.notes, lambda topic: topic.notes),
}


def _load(loader: Any, attribute: Any, reach: Callable[[Any], list[Any]], ctx: Context) -> list[Any]:
    statement = select(attribute.class_).options(loader(attribute))
    return [[secrets(reach(each)), getattr(each, "secret", None)] for each in ctx.session.scalars(statement).unique()]


add(
    "objects",
    own_rows,
    {
        f"{loader_name} of {name}": partial(_load, loader, *reference)
        for loader_name, loader in LOADERS.items()
        for name, reference in REFERENCES.items()
    },
)


def walk(loader: Any, ctx: Context) -> list[Any]:
    """Return the secrets of all shelves and of the objects related to their books, by a chain of `loader`."""
    statement = select(Shelf).options(loader(Shelf.books).options(loader(Book.author), loader(Book.shelves)))
    found = []
    for shelf in ctx.session.scalars(statement).unique():
        found.append(shelf.secret)
        for book in shelf.books:
            found += [book.secret, book.author.secret, *secrets(book.shelves)]
    return found


add("objects", own_rows, {f"chain of {name}": partial(walk, loader) for name, loader in LOADERS.items()})

note_book, room_notes = aliased(Book), aliased(Note)

add(
    "objects",
    own_rows,
    {
        "contains_eager": lambda ctx: [
            (note.secret, note.book.secret)
            for note in ctx.scalars(select(Note).join(Note.book).options(contains_eager(Note.book)))
        ],
        "contains_eager of a join on nothing": lambda ctx: [
            secrets(room.notes)
            for room in ctx.session.scalars(
                select(Room).join(Note, sa.true()).options(contains_eager(Room.notes))
            ).unique()
        ],
        "contains_eager of an outer join": lambda ctx: [
            secrets([note, note.book])
            for note in ctx.scalars(select(Note).outerjoin(Note.book).options(contains_eager(Note.book)))
        ],
        "contains_eager of an alias": lambda ctx: [
            secrets([note.book])
            for note in ctx.scalars(
                select(Note).join(Note.book.of_type(note_book)).options(contains_eager(Note.book.of_type(note_book)))
            )
        ],
        "contains_eager of a collection": lambda ctx: [
            secrets(room.notes)
            for room in ctx.session.scalars(select(Room).join(Room.notes).options(contains_eager(Room.notes))).unique()
        ],
        "joinedload with an inner join": lambda ctx: [
            secrets([note.book]) for note in ctx.scalars(select(Note).options(joinedload(Note.book, innerjoin=True)))
        ],
        "joinedload with a criterion": lambda ctx: [
            secrets(room.notes)
            for room in ctx.session.scalars(select(Room).options(joinedload(Room.notes.and_(Note.id > 0)))).unique()
        ],
        "selectinload with a criterion": lambda ctx: [
            secrets(room.notes)
            for room in ctx.scalars(select(Room).options(selectinload(Room.notes.and_(Note.id > 0))))
        ],
        "joinedload with a limit": lambda ctx: [
            secrets(room.notes)
            for room in ctx.session.scalars(
                select(Room).options(joinedload(Room.notes)).order_by(Room.id).limit(1)
            ).unique()
        ],
        "joinedload below defaultload": lambda ctx: [
            secrets([note.book.author] if note.book else [])
            for note in ctx.scalars(
                select(Note).options(joinedload(Note.book), defaultload(Note.book).joinedload(Book.author))
            )
        ],
        "chain of cross-site references": lambda ctx: [
            secrets([reply.book for reply in note.replies])
            for note in ctx.scalars(select(Note).options(selectinload(Note.replies).joinedload(Note.book)))
        ],
        "any": lambda ctx: ctx.rows(select(Author.secret).where(Author.books.any())),
        "any, with a criterion": lambda ctx: ctx.rows(select(Room.secret).where(Room.notes.any(Note.id > 0))),
        "has": lambda ctx: ctx.rows(select(Note.secret).where(Note.book.has())),
        "any of an association": lambda ctx: ctx.rows(select(Shelf.secret).where(Shelf.books.any())),
        "any of type": lambda ctx: ctx.rows(
            select(Note.secret).where(Note.book.of_type(note_book).has(note_book.id > 0))
        ),
        "contains": lambda ctx: ctx.rows(
            select(Room.secret).where(Room.notes.contains(ctx.session.get_one(Note, ctx.own_key())))
        ),
        "with_parent": lambda ctx: secrets(
            ctx.scalars(select(Note).where(with_parent(ctx.session.get_one(Room, ctx.own_key()), Room.notes)))
        ),
        "with_parent of an association": lambda ctx: secrets(
            ctx.scalars(select(Author).where(with_parent(ctx.session.get_one(Note, ctx.own_key(2)), Note.authors)))
        ),
        "dynamic": lambda ctx: secrets(ctx.session.get_one(Room, ctx.own_key()).dynamic),
        "dynamic, all": lambda ctx: secrets(ctx.session.get_one(Room, ctx.own_key()).dynamic.all()),
        "dynamic, filtered": lambda ctx: secrets(ctx.session.get_one(Room, ctx.own_key()).dynamic.filter(Note.id > 0)),
        "dynamic, first from the end": lambda ctx: secrets(
            [ctx.session.get_one(Room, ctx.own_key()).dynamic.order_by(None).order_by(Note.id.desc()).first()]
        ),
        "write-only": lambda ctx: secrets(ctx.scalars(ctx.session.get_one(Room, ctx.own_key()).written.select())),
        "write-only, filtered": lambda ctx: secrets(
            ctx.scalars(ctx.session.get_one(Room, ctx.own_key()).written.select().where(Note.id > 0))
        ),
        "association proxy": lambda ctx: [list(room.note_secrets) for room in ctx.scalars(select(Room))],
        "association proxy of an association": lambda ctx: [
            list(note.author_secrets) for note in ctx.scalars(select(Note))
        ],
        "association proxy in a criterion": lambda ctx: ctx.rows(
            select(Note.secret).where(Note.author_secrets.contains(f"secret-{ctx.own_key() // 10}"))
        ),
        "association proxy of a reference": lambda ctx: [note.book_secret for note in ctx.scalars(select(Note))],
        "hybrid": lambda ctx: [room.shout for room in ctx.scalars(select(Room))],
        "hybrid in SQL": lambda ctx: ctx.rows(select(Room.shout)),
        "hybrid over a collection": lambda ctx: [ctx.session.get_one(Room, ctx.own_key()).last_note],
        "hybrid over a collection in SQL": lambda ctx: ctx.rows(select(Room.last_note).select_from(Room)),
        "column_property": lambda ctx: [room.greatest for room in ctx.scalars(select(Room))],
        "column_property in SQL": lambda ctx: ctx.rows(select(Room.id + 100, Room.greatest)),
        "column_property ordered by": lambda ctx: ctx.rows(select(Room.secret).order_by(Room.greatest)),
        "query_expression": lambda ctx: [
            note.asked
            for note in ctx.scalars(
                select(Note).options(with_expression(Note.asked, select(func.max(Book.secret)).scalar_subquery()))
            )
        ],
        "deferred": lambda ctx: [note.body for note in ctx.scalars(select(Note))],
        "deferred group": lambda ctx: [note.more for note in ctx.scalars(select(Note))],
        "undefer": lambda ctx: [note.body for note in ctx.scalars(select(Note).options(undefer(Note.body)))],
        "undefer_group": lambda ctx: [note.more for note in ctx.scalars(select(Note).options(undefer_group("more")))],
        "defer": lambda ctx: [book.secret for book in ctx.scalars(select(Book).options(defer(Book.secret)))],
        "raiseload overridden": lambda ctx: [
            secrets([note.book]) for note in ctx.scalars(select(Note).options(raiseload("*"), joinedload(Note.book)))
        ],
        "get": lambda ctx: secrets([ctx.session.get(Book, ctx.other_key()), ctx.session.get(Book, ctx.own_key())]),
        "get with populate_existing": lambda ctx: secrets(
            [
                ctx.session.get(Book, ctx.other_key(), populate_existing=True),
                ctx.session.get(Book, ctx.own_key(), populate_existing=True),
            ]
        ),
        "get with an identity token": lambda ctx: secrets(
            [
                ctx.session.get(Book, ctx.other_key(), identity_token="x"),
                ctx.session.get(Book, ctx.own_key(), identity_token="x"),
            ]
        ),
        "get with a loader": lambda ctx: secrets(
            [
                ctx.session.get_one(Note, ctx.own_key(2), options=[joinedload(Note.book)]).book,
                ctx.session.get(Note, ctx.own_key()),
            ]
        ),
        "get with a lock": lambda ctx: secrets(
            [
                ctx.session.get(Book, ctx.other_key(), with_for_update=True),
                ctx.session.get(Book, ctx.own_key(), with_for_update=True),
            ]
        ),
        "legacy query, get": lambda ctx: secrets(
            [ctx.session.get(Book, ctx.other_key()), ctx.session.get(Book, ctx.own_key())]
        ),
        "reference with a warm identity map": lambda ctx: (
            ctx.scalars(select(Book)),
            secrets([note.book for note in ctx.scalars(select(Note))]),
        )[1],
        "populate_existing": lambda ctx: secrets(
            ctx.scalars(select(Book), execution_options={"populate_existing": True})
        ),
        "refresh": lambda ctx: (ctx.session.refresh(book := ctx.session.get_one(Book, ctx.own_key())), book.secret)[1],
        "refresh of a relationship": lambda ctx: (
            ctx.session.refresh(note := ctx.session.get_one(Note, ctx.own_key(2)), ["book", "authors"]),
            secrets([note.book, *note.authors]),
        )[1],
        "refresh with a lock": lambda ctx: (
            ctx.session.refresh(book := ctx.session.get_one(Book, ctx.own_key()), with_for_update=True),
            book.secret,
        )[1],
        "expired": lambda ctx: (ctx.session.expire(book := ctx.session.get_one(Book, ctx.own_key())), book.secret)[1],
        "expired attribute": lambda ctx: (
            ctx.session.expire(book := ctx.session.get_one(Book, ctx.own_key()), ["secret"]),
            book.secret,
        )[1],
        "expired after a rollback": lambda ctx: (
            book := ctx.session.get_one(Book, ctx.own_key()),
            ctx.session.rollback(),
            book.secret,
        )[2],
        "expired relationship": lambda ctx: (
            ctx.session.expire(note := ctx.session.get_one(Note, ctx.own_key(2)), ["authors"]),
            secrets(note.authors),
        )[1],
        "pickled object": lambda ctx: (
            ctx.session.add(note := pickle.loads(pickle.dumps(_expunged(ctx, Note, 2)))),
            secrets([note.book, *note.authors]),
        )[1],
        "objects in the identity map": lambda ctx: [
            (ctx.scalars(select(Book)), [each.secret for each in ctx.session.identity_map.values()])[1]
        ],
        "session iterated": lambda ctx: (
            ctx.scalars(select(Note).options(joinedload(Note.book))),
            secrets(ctx.session),
        )[1],
        "lazy reference of a transient object": lambda ctx: _transient(ctx),
        "baked query": lambda ctx: secrets(_baked(ctx)),
        "baked query with a parameter": lambda ctx: secrets(_baked(ctx, 0)),
        "copied object": lambda ctx: copy.copy(ctx.session.get_one(Book, ctx.own_key())).secret,
        "aliased loader": lambda ctx: [
            secrets(room.notes)
            for room in ctx.session.scalars(
                select(Room)
                .join(Room.notes.of_type(room_notes))
                .options(contains_eager(Room.notes.of_type(room_notes)))
            ).unique()
        ],
        "unscoped parent, lazily": lambda ctx: [secrets(topic.notes) for topic in ctx.scalars(select(Topic))],
        "unscoped parent, joined twice": lambda ctx: [
            secrets(note.topic.notes)
            for note in ctx.session.scalars(
                select(Note).options(joinedload(Note.topic).joinedload(Topic.notes))
            ).unique()
        ],
    },
)

add(
    "objects",
    exactly([None]),
    {
        "has, on another site's row": lambda ctx: (
            ctx.scalars(select(Note.id).where(Note.book.has(Book.secret == ctx.other_secret))) or [None]
        ),
        "any, on another site's row": lambda ctx: (
            ctx.scalars(select(Room.id).where(Room.notes.any(Note.secret == ctx.other_secret))) or [None]
        ),
        "any of an association, on another site's row": lambda ctx: (
            ctx.scalars(select(Note.id).where(Note.authors.any(Author.secret == ctx.other_secret))) or [None]
        ),
        "association proxy, on another site's row": lambda ctx: (
            ctx.scalars(select(Note.id).where(Note.author_secrets.contains(ctx.other_secret))) or [None]
        ),
        "column_property, on another site's row": lambda ctx: (
            ctx.scalars(select(Room.id).where(Room.greatest == ctx.other_secret)) or [None]
        ),
        "no row of another site by its key": lambda ctx: [ctx.session.get(Book, ctx.other_key())],
        "no row of another site by a key of two parts": lambda ctx: [ctx.session.get(Disc, ctx.other_key(2))],
        "legacy get": lambda ctx: ctx.session.query(Book).filter(Book.id == ctx.other_key()).all() or [None],
        "one or none": lambda ctx: [ctx.session.scalars(select(Book).where(Book.id == ctx.other_key())).one_or_none()],
    },
)

add(
    "objects",
    exactly(1),
    {
        "length of an association with cross-site rows": lambda ctx: len(
            ctx.session.get_one(Note, ctx.own_key(2)).authors
        ),
        "dynamic, count": lambda ctx: ctx.session.get_one(Room, ctx.own_key()).dynamic.count() - 1,
        "links of a note": lambda ctx: ctx.session.scalar(
            select(func.count()).select_from(Note).join(Note.authors).where(Note.id == ctx.own_key(2))
        ),
    },
)

add(
    "objects",
    not_found(sa.exc.NoResultFound),
    {
        "get_one": lambda ctx: ctx.session.get_one(Book, ctx.other_key()),
        "one": lambda ctx: ctx.session.scalars(select(Book).where(Book.id == ctx.other_key())).one(),
        "legacy one": lambda ctx: ctx.session.query(Book).filter_by(id=ctx.other_key()).one(),
    },
    without_site=(NoCurrentSite,),
)


def _expunged(ctx: Context, model: Any, number: int) -> Any:
    found = ctx.session.get_one(model, ctx.own_key(number))
    ctx.session.expunge(found)
    return found


def _transient(ctx: Context) -> Any:
    note = Note(secret="secret-1", body="", book_id=ctx.other_key())
    ctx.session.enable_relationship_loading(note)
    return [secrets([note.book]), ctx.session.scalar(select(func.max(Book.secret)))]


bakery = baked.bakery()


def _baked(ctx: Context, least: int | None = None) -> Any:
    query = bakery(lambda session: session.query(Book))
    if least is not None:
        query += lambda q: q.filter(Book.id > sa.bindparam("least"))
        return query(ctx.session).params(least=least).all()
    return query(ctx.session).all()


def _by_key(ctx: Context, model: Any, number: int = 1, **attributes: Any) -> Any:
    """Attach an object with the key of a row of the other site, as if nothing else of it were known."""
    found = model(id=ctx.other_key(number), **attributes)
    make_transient_to_detached(found)
    ctx.session.add(found)
    return found


add(
    "objects",
    not_found(ObjectDeletedError),
    {
        "attribute of an object attached by its key": lambda ctx: _by_key(ctx, Book).secret,
        "deferred attribute of an object attached by its key": lambda ctx: _by_key(ctx, Note).body,
    },
    without_site=(NoCurrentSite,),
)

add(
    "objects",
    not_found(sa.exc.InvalidRequestError),
    {
        "refresh of an object attached by its key": lambda ctx: ctx.session.refresh(_by_key(ctx, Book)),
        "refresh of an attribute by its key": lambda ctx: ctx.session.refresh(_by_key(ctx, Book), ["secret"]),
    },
    without_site=(NoCurrentSite,),
)

add(
    "objects",
    exactly([]),
    {
        "collection of an object attached by its key": lambda ctx: [
            each for each in secrets(_by_key(ctx, Room).notes) if each == ctx.other_secret
        ],
        "association of an object attached by its key": lambda ctx: secrets(_by_key(ctx, Shelf).books),
        "proxy of an object attached by its key": lambda ctx: [
            each for each in _by_key(ctx, Room).note_secrets if each == ctx.other_secret
        ],
    },
)

add(
    "objects",
    refused(CrossSiteError),
    {
        "refresh of an object attached with its site": lambda ctx: ctx.session.refresh(
            _by_key(ctx, Book, site_id=ctx.other.id)
        ),
        "another site's object read in a session": lambda ctx: (
            ctx.session.add(note := ctx.other_object(Note)),
            note.body,
        ),
        "another site's object merged to be read": lambda ctx: ctx.session.merge(ctx.other_object(Note)).body,
        "another site's object merged without a query": lambda ctx: (
            ctx.session.merge(ctx.other_object(Note), load=False).body
        ),
    },
)

add(
    "objects",
    refused(CrossSiteError),
    {
        "child object attached by its key": lambda ctx: _by_key(ctx, Disc, 2).label,
        "object loaded without its site_id": lambda ctx: _without_its_site(ctx),
        "frozen result of another site": lambda ctx: _frozen(ctx),
    },
)


def _without_its_site(ctx: Context) -> Any:
    """Add an object of the other site whose site_id was not loaded."""
    with sa.orm.Session(ctx.engine, info={"site": ctx.other}) as session:
        found = session.scalars(select(Book).options(load_only(Book.secret)).limit(1)).one()
        session.expunge(found)
    ctx.session.add(found)
    return found.secret


def _frozen(ctx: Context) -> Any:
    with sa.orm.Session(ctx.engine, info={"site": ctx.other}) as session:
        frozen = session.execute(select(Book)).freeze()
    return sa.orm.loading.merge_frozen_result(ctx.session, select(Book), frozen, load=False)().all()


@attempt("objects", own_rows, databases=("postgresql",))
def load_on_another_thread_of_the_same_session(ctx: Context) -> Any:
    """The session is pinned to its site, in whatever thread it is used."""
    from threading import Thread

    found: list[Any] = []
    note = ctx.session.get_one(Note, ctx.own_key())

    def load() -> None:
        found.extend(secrets([note.book, *ctx.scalars(select(Book))]))

    thread = Thread(target=load)
    thread.start()
    thread.join()
    return found


@attempt("objects", own_rows)
def cascade_of_refresh(ctx: Context) -> Any:
    room = ctx.session.get_one(Room, ctx.own_key())
    slips = list(room.slips)
    ctx.session.refresh(room)
    return [secrets(slips), secrets(room.slips)]


@attempt("objects", own_rows)
def loader_stored_with_an_object(ctx: Context) -> Any:
    note = ctx.session.scalars(
        select(Note).options(lazyload(Note.book), selectinload(Note.authors)).where(Note.parent_id > 0)
    ).first()
    ctx.session.expire_all()
    return [secrets([note.book]), secrets(note.authors), note.secret]


@attempt("objects", own_rows)
def scoped_rows_behind_an_unscoped_object(ctx: Context) -> Any:
    topic = ctx.session.get_one(Topic, 1)
    ctx.session.refresh(topic, ["notes"])
    return [secrets(topic.notes), ctx.session.get(Country, 1).name]
