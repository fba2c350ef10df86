"""Reading by objects: the identity map, attributes that come later, and what relationships lead to."""

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

from attack_catalogue import Place, add, exactly, gone, own, refused, secrets, way
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
    "what belongs to no site": (Topic.notes, lambda topic: topic.notes),
}


def _load(loader: Any, attribute: Any, reach: Callable[[Any], list[Any]], p: Place) -> list[Any]:
    statement = select(attribute.class_).options(loader(attribute))
    return [[secrets(reach(each)), getattr(each, "secret", None)] for each in p.s.scalars(statement).unique()]


add(
    "objects",
    own,
    {
        f"{loader_name} of {name}": partial(_load, loader, *reference)
        for loader_name, loader in LOADERS.items()
        for name, reference in REFERENCES.items()
    },
)


def walk(loader: Any, p: Place) -> list[Any]:
    """Return the secrets of all shelves, and of what is behind their books, loaded by `loader` in chains."""
    statement = select(Shelf).options(loader(Shelf.books).options(loader(Book.author), loader(Book.shelves)))
    found = []
    for shelf in p.s.scalars(statement).unique():
        found.append(shelf.secret)
        for book in shelf.books:
            found += [book.secret, book.author.secret, *secrets(book.shelves)]
    return found


add("objects", own, {f"chain of {name}": partial(walk, loader) for name, loader in LOADERS.items()})

note_book, room_notes = aliased(Book), aliased(Note)

add(
    "objects",
    own,
    {
        "contains_eager": lambda p: [
            (note.secret, note.book.secret)
            for note in p.all(select(Note).join(Note.book).options(contains_eager(Note.book)))
        ],
        "contains_eager of a join on nothing": lambda p: [
            secrets(room.notes)
            for room in p.s.scalars(select(Room).join(Note, sa.true()).options(contains_eager(Room.notes))).unique()
        ],
        "contains_eager of an outer join": lambda p: [
            secrets([note, note.book])
            for note in p.all(select(Note).outerjoin(Note.book).options(contains_eager(Note.book)))
        ],
        "contains_eager of an alias": lambda p: [
            secrets([note.book])
            for note in p.all(
                select(Note).join(Note.book.of_type(note_book)).options(contains_eager(Note.book.of_type(note_book)))
            )
        ],
        "contains_eager of a collection": lambda p: [
            secrets(room.notes)
            for room in p.s.scalars(select(Room).join(Room.notes).options(contains_eager(Room.notes))).unique()
        ],
        "joinedload with an inner join": lambda p: [
            secrets([note.book]) for note in p.all(select(Note).options(joinedload(Note.book, innerjoin=True)))
        ],
        "joinedload with a criterion": lambda p: [
            secrets(room.notes)
            for room in p.s.scalars(select(Room).options(joinedload(Room.notes.and_(Note.id > 0)))).unique()
        ],
        "selectinload with a criterion": lambda p: [
            secrets(room.notes) for room in p.all(select(Room).options(selectinload(Room.notes.and_(Note.id > 0))))
        ],
        "joinedload with a limit": lambda p: [
            secrets(room.notes)
            for room in p.s.scalars(select(Room).options(joinedload(Room.notes)).order_by(Room.id).limit(1)).unique()
        ],
        "joinedload below defaultload": lambda p: [
            secrets([note.book.author] if note.book else [])
            for note in p.all(
                select(Note).options(joinedload(Note.book), defaultload(Note.book).joinedload(Book.author))
            )
        ],
        "chain of references over poison": lambda p: [
            secrets([reply.book for reply in note.replies])
            for note in p.all(select(Note).options(selectinload(Note.replies).joinedload(Note.book)))
        ],
        "any": lambda p: p.rows(select(Author.secret).where(Author.books.any())),
        "any, with a criterion": lambda p: p.rows(select(Room.secret).where(Room.notes.any(Note.id > 0))),
        "has": lambda p: p.rows(select(Note.secret).where(Note.book.has())),
        "any of an association": lambda p: p.rows(select(Shelf.secret).where(Shelf.books.any())),
        "any of type": lambda p: p.rows(select(Note.secret).where(Note.book.of_type(note_book).has(note_book.id > 0))),
        "contains": lambda p: p.rows(select(Room.secret).where(Room.notes.contains(p.s.get_one(Note, p.own())))),
        "with_parent": lambda p: secrets(
            p.all(select(Note).where(with_parent(p.s.get_one(Room, p.own()), Room.notes)))
        ),
        "with_parent of an association": lambda p: secrets(
            p.all(select(Author).where(with_parent(p.s.get_one(Note, p.own(2)), Note.authors)))
        ),
        "dynamic": lambda p: secrets(p.s.get_one(Room, p.own()).dynamic),
        "dynamic, all": lambda p: secrets(p.s.get_one(Room, p.own()).dynamic.all()),
        "dynamic, filtered": lambda p: secrets(p.s.get_one(Room, p.own()).dynamic.filter(Note.id > 0)),
        "dynamic, first from the end": lambda p: secrets(
            [p.s.get_one(Room, p.own()).dynamic.order_by(None).order_by(Note.id.desc()).first()]
        ),
        "write-only": lambda p: secrets(p.all(p.s.get_one(Room, p.own()).written.select())),
        "write-only, filtered": lambda p: secrets(
            p.all(p.s.get_one(Room, p.own()).written.select().where(Note.id > 0))
        ),
        "association proxy": lambda p: [list(room.note_secrets) for room in p.all(select(Room))],
        "association proxy of an association": lambda p: [list(note.author_secrets) for note in p.all(select(Note))],
        "association proxy in a criterion": lambda p: p.rows(
            select(Note.secret).where(Note.author_secrets.contains(f"secret-{p.own() // 10}"))
        ),
        "association proxy of a reference": lambda p: [note.book_secret for note in p.all(select(Note))],
        "hybrid": lambda p: [room.shout for room in p.all(select(Room))],
        "hybrid in SQL": lambda p: p.rows(select(Room.shout)),
        "hybrid over a collection": lambda p: [p.s.get_one(Room, p.own()).last_note],
        "hybrid over a collection in SQL": lambda p: p.rows(select(Room.last_note).select_from(Room)),
        "column_property": lambda p: [room.greatest for room in p.all(select(Room))],
        "column_property in SQL": lambda p: p.rows(select(Room.id + 100, Room.greatest)),
        "column_property ordered by": lambda p: p.rows(select(Room.secret).order_by(Room.greatest)),
        "query_expression": lambda p: [
            note.asked
            for note in p.all(
                select(Note).options(with_expression(Note.asked, select(func.max(Book.secret)).scalar_subquery()))
            )
        ],
        "deferred": lambda p: [note.body for note in p.all(select(Note))],
        "deferred group": lambda p: [note.more for note in p.all(select(Note))],
        "undefer": lambda p: [note.body for note in p.all(select(Note).options(undefer(Note.body)))],
        "undefer_group": lambda p: [note.more for note in p.all(select(Note).options(undefer_group("more")))],
        "defer": lambda p: [book.secret for book in p.all(select(Book).options(defer(Book.secret)))],
        "raiseload lifted": lambda p: [
            secrets([note.book]) for note in p.all(select(Note).options(raiseload("*"), joinedload(Note.book)))
        ],
        "get": lambda p: secrets([p.s.get(Book, p.their()), p.s.get(Book, p.own())]),
        "get anew": lambda p: secrets(
            [p.s.get(Book, p.their(), populate_existing=True), p.s.get(Book, p.own(), populate_existing=True)]
        ),
        "get with an identity token": lambda p: secrets(
            [p.s.get(Book, p.their(), identity_token="x"), p.s.get(Book, p.own(), identity_token="x")]
        ),
        "get with a loader": lambda p: secrets(
            [p.s.get_one(Note, p.own(2), options=[joinedload(Note.book)]).book, p.s.get(Note, p.own())]
        ),
        "get with a lock": lambda p: secrets(
            [p.s.get(Book, p.their(), with_for_update=True), p.s.get(Book, p.own(), with_for_update=True)]
        ),
        "legacy query, get": lambda p: secrets([p.s.get(Book, p.their()), p.s.get(Book, p.own())]),
        "reference after it was warmed": lambda p: (
            p.all(select(Book)),
            secrets([note.book for note in p.all(select(Note))]),
        )[1],
        "populate_existing": lambda p: secrets(p.all(select(Book), execution_options={"populate_existing": True})),
        "refresh": lambda p: (p.s.refresh(book := p.s.get_one(Book, p.own())), book.secret)[1],
        "refresh of a relationship": lambda p: (
            p.s.refresh(note := p.s.get_one(Note, p.own(2)), ["book", "authors"]),
            secrets([note.book, *note.authors]),
        )[1],
        "refresh with a lock": lambda p: (
            p.s.refresh(book := p.s.get_one(Book, p.own()), with_for_update=True),
            book.secret,
        )[1],
        "expired": lambda p: (p.s.expire(book := p.s.get_one(Book, p.own())), book.secret)[1],
        "expired attribute": lambda p: (p.s.expire(book := p.s.get_one(Book, p.own()), ["secret"]), book.secret)[1],
        "expired after a rollback": lambda p: (book := p.s.get_one(Book, p.own()), p.s.rollback(), book.secret)[2],
        "expired relationship": lambda p: (
            p.s.expire(note := p.s.get_one(Note, p.own(2)), ["authors"]),
            secrets(note.authors),
        )[1],
        "pickled object": lambda p: (
            p.s.add(note := pickle.loads(pickle.dumps(_expunged(p, Note, 2)))),
            secrets([note.book, *note.authors]),
        )[1],
        "identity key": lambda p: [(p.all(select(Book)), [each.secret for each in p.s.identity_map.values()])[1]],
        "session iterated": lambda p: (p.all(select(Note).options(joinedload(Note.book))), secrets(p.s))[1],
        "lazy reference of a transient object": lambda p: _transient(p),
        "baked query": lambda p: secrets(_baked(p)),
        "baked query with a parameter": lambda p: secrets(_baked(p, 0)),
        "copied object": lambda p: copy.copy(p.s.get_one(Book, p.own())).secret,
        "aliased loader": lambda p: [
            secrets(room.notes)
            for room in p.s.scalars(
                select(Room)
                .join(Room.notes.of_type(room_notes))
                .options(contains_eager(Room.notes.of_type(room_notes)))
            ).unique()
        ],
        "unscoped parent, lazily": lambda p: [secrets(topic.notes) for topic in p.all(select(Topic))],
        "unscoped parent, joined twice": lambda p: [
            secrets(note.topic.notes)
            for note in p.s.scalars(select(Note).options(joinedload(Note.topic).joinedload(Topic.notes))).unique()
        ],
    },
)

add(
    "objects",
    exactly([None]),
    {
        "has, on a foreign row": lambda p: (
            p.all(select(Note.id).where(Note.book.has(Book.secret == p.foreign))) or [None]
        ),
        "any, on a foreign row": lambda p: (
            p.all(select(Room.id).where(Room.notes.any(Note.secret == p.foreign))) or [None]
        ),
        "any of an association, on a foreign row": lambda p: (
            p.all(select(Note.id).where(Note.authors.any(Author.secret == p.foreign))) or [None]
        ),
        "association proxy, on a foreign row": lambda p: (
            p.all(select(Note.id).where(Note.author_secrets.contains(p.foreign))) or [None]
        ),
        "column_property, on a foreign row": lambda p: (
            p.all(select(Room.id).where(Room.greatest == p.foreign)) or [None]
        ),
        "no foreign row by its key": lambda p: [p.s.get(Book, p.their())],
        "no foreign row by a key of two parts": lambda p: [p.s.get(Disc, p.their(2))],
        "legacy get": lambda p: p.s.query(Book).filter(Book.id == p.their()).all() or [None],
        "one or none": lambda p: [p.s.scalars(select(Book).where(Book.id == p.their())).one_or_none()],
    },
)

add(
    "objects",
    exactly(1),
    {
        "length of a poisoned association": lambda p: len(p.s.get_one(Note, p.own(2)).authors),
        "dynamic, count": lambda p: p.s.get_one(Room, p.own()).dynamic.count() - 1,
        "links of a note": lambda p: p.s.scalar(
            select(func.count()).select_from(Note).join(Note.authors).where(Note.id == p.own(2))
        ),
    },
)

add(
    "objects",
    gone(sa.exc.NoResultFound),
    {
        "get_one": lambda p: p.s.get_one(Book, p.their()),
        "one": lambda p: p.s.scalars(select(Book).where(Book.id == p.their())).one(),
        "legacy one": lambda p: p.s.query(Book).filter_by(id=p.their()).one(),
    },
    without_site=(NoCurrentSite,),
)


def _expunged(p: Place, model: Any, number: int) -> Any:
    found = p.s.get_one(model, p.own(number))
    p.s.expunge(found)
    return found


def _transient(p: Place) -> Any:
    note = Note(secret="secret-1", body="", book_id=p.their())
    p.s.enable_relationship_loading(note)
    return [secrets([note.book]), p.s.scalar(select(func.max(Book.secret)))]


bakery = baked.bakery()


def _baked(p: Place, least: int | None = None) -> Any:
    query = bakery(lambda session: session.query(Book))
    if least is not None:
        query += lambda q: q.filter(Book.id > sa.bindparam("least"))
        return query(p.s).params(least=least).all()
    return query(p.s).all()


def _by_key(p: Place, model: Any, number: int = 1, **attributes: Any) -> Any:
    """Attach an object of which an application knows the key alone, which is the other site's."""
    found = model(id=p.their(number), **attributes)
    make_transient_to_detached(found)
    p.s.add(found)
    return found


add(
    "objects",
    gone(ObjectDeletedError),
    {
        "attribute of an object attached by its key": lambda p: _by_key(p, Book).secret,
        "deferred attribute of an object attached by its key": lambda p: _by_key(p, Note).body,
    },
    without_site=(NoCurrentSite,),
)

add(
    "objects",
    gone(sa.exc.InvalidRequestError),
    {
        "refresh of an object attached by its key": lambda p: p.s.refresh(_by_key(p, Book)),
        "refresh of an attribute by its key": lambda p: p.s.refresh(_by_key(p, Book), ["secret"]),
    },
    without_site=(NoCurrentSite,),
)

add(
    "objects",
    exactly([]),
    {
        "collection of an object attached by its key": lambda p: [
            each for each in secrets(_by_key(p, Room).notes) if each == p.foreign
        ],
        "association of an object attached by its key": lambda p: secrets(_by_key(p, Shelf).books),
        "proxy of an object attached by its key": lambda p: [
            each for each in _by_key(p, Room).note_secrets if each == p.foreign
        ],
    },
)

add(
    "objects",
    refused(CrossSiteError),
    {
        "refresh of an object attached with its site": lambda p: p.s.refresh(_by_key(p, Book, site_id=p.other.id)),
        "foreign object read in a session": lambda p: (p.s.add(note := p.theirs(Note)), note.body),
        "foreign object merged to be read": lambda p: p.s.merge(p.theirs(Note)).body,
        "foreign object merged without a query": lambda p: p.s.merge(p.theirs(Note), load=False).body,
    },
)

add(
    "objects",
    refused(CrossSiteError),
    {
        "child object attached by its key": lambda p: _by_key(p, Disc, 2).label,
        "object loaded without its site_id": lambda p: _without_its_site(p),
        "frozen result of another site": lambda p: _frozen(p),
    },
)


def _without_its_site(p: Place) -> Any:
    """An object of which an application has loaded what it needs, and nobody knows whose it is."""
    with sa.orm.Session(p.engine, info={"site": p.other}) as session:
        found = session.scalars(select(Book).options(load_only(Book.secret)).limit(1)).one()
        session.expunge(found)
    p.s.add(found)
    return found.secret


def _frozen(p: Place) -> Any:
    with sa.orm.Session(p.engine, info={"site": p.other}) as session:
        frozen = session.execute(select(Book)).freeze()
    return sa.orm.loading.merge_frozen_result(p.s, select(Book), frozen, load=False)().all()


@way("objects", own, databases=("postgresql",))
def load_on_another_thread_of_the_same_session(p: Place) -> Any:
    """The session carries its site itself, whoever uses it."""
    from threading import Thread

    found: list[Any] = []
    note = p.s.get_one(Note, p.own())

    def load() -> None:
        found.extend(secrets([note.book, *p.all(select(Book))]))

    thread = Thread(target=load)
    thread.start()
    thread.join()
    return found


@way("objects", own)
def cascade_of_refresh(p: Place) -> Any:
    room = p.s.get_one(Room, p.own())
    slips = list(room.slips)
    p.s.refresh(room)
    return [secrets(slips), secrets(room.slips)]


@way("objects", own)
def loader_stored_with_an_object(p: Place) -> Any:
    note = p.s.scalars(
        select(Note).options(lazyload(Note.book), selectinload(Note.authors)).where(Note.parent_id > 0)
    ).first()
    p.s.expire_all()
    return [secrets([note.book]), secrets(note.authors), note.secret]


@way("objects", own)
def scoped_rows_behind_an_unscoped_object(p: Place) -> Any:
    topic = p.s.get_one(Topic, 1)
    p.s.refresh(topic, ["notes"])
    return [secrets(topic.notes), p.s.get(Country, 1).name]
