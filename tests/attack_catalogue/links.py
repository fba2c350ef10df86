"""Changing rows by objects: flush, merge, links between objects and keys of either site."""

from __future__ import annotations

import pickle
from typing import Any

import sqlalchemy as sa
from scoped_models import Author, Book, Shelf, shelf_books
from sqlalchemy import literal_column, select
from sqlalchemy.orm import Session, make_transient, make_transient_to_detached
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError

from attack_catalogue import Place, add, gone, nothing, own, refused, secrets, way
from attack_catalogue.models import Chair, Disc, Holding, Letter, Note, Poster, Room, Slip, Topic
from multisite import CrossSiteError, UnscopedStatement


def change(p: Place, model: Any, number: int = 1, **values: Any) -> Any:
    """Set attributes of an own object and flush."""
    found = p.s.get_one(model, p.own(number))
    for name, value in values.items():
        setattr(found, name, value)
    p.s.flush()
    return found


def append(p: Place, model: Any, name: str, other: Any, number: int = 1) -> None:
    """Append to a collection of an own object and flush."""
    found = p.s.get_one(model, p.own(number))
    getattr(found, name).append(other)
    p.s.flush()


def emptied(p: Place, model: Any, name: str, number: int = 1) -> None:
    """Empty a collection of an own object and flush."""
    found = p.s.get_one(model, p.own(number))
    getattr(found, name).clear()
    p.s.flush()


def by_key(p: Place, model: Any, number: int = 1, **attributes: Any) -> Any:
    """Return a detached object of which an application knows the key alone, which is the other site's."""
    found = model(id=p.their(number), **attributes)
    make_transient_to_detached(found)
    return found


def transient(p: Place, model: Any) -> Any:
    found = p.theirs(model)
    make_transient(found)
    return found


add(
    "links",
    nothing,
    {
        "flush of a new object": lambda p: (p.s.add(Shelf(slug="new", secret="new")), p.s.flush())[1],
        "flush of many new objects": lambda p: (
            p.s.add_all([Shelf(slug=f"new-{n}", secret="new") for n in range(5)]),
            p.s.flush(),
        )[1],
        "flush of a changed object": lambda p: change(p, Book, stock=9) and None,
        "flush of an SQL expression": lambda p: change(p, Book, stock=Book.stock + 5) and None,
        "flush of a subquery": lambda p: (
            change(p, Book, slug=select(sa.func.max(Author.secret)).scalar_subquery()) and None
        ),
        "flush of a deleted object": lambda p: (p.s.delete(p.s.get_one(Slip, p.own())), p.s.flush())[1],
        "flush of a new child by inheritance": lambda p: (p.s.add(Disc(secret="new", label="x")), p.s.flush())[1],
        "flush of a new single child": lambda p: (p.s.add(Poster(secret="new", size="x")), p.s.flush())[1],
        "flush of a new concrete child": lambda p: (p.s.add(Letter(id=98, secret="new")), p.s.flush())[1],
        "flush of a changed child": lambda p: change(p, Disc, 2, label="x", secret="y") and None,
        "flush of a deleted child": lambda p: (p.s.delete(p.s.get_one(Disc, p.own(2))), p.s.flush())[1],
        "flush with a version": lambda p: change(p, Holding, secret="new") and None,
        "flush within a savepoint": lambda p: _savepoint(p),
        "cascade of new objects": lambda p: (
            p.s.add(Room(id=97, secret="new", notes=[Note(secret="new", body="")], slips=[Slip(secret="new")])),
            p.s.flush(),
        )[1],
        "cascade of a delete": lambda p: (p.s.delete(p.s.get_one(Room, p.own())), p.s.flush())[1],
        "cascade of a delete, by the database": lambda p: (
            p.s.delete(p.s.get_one(Room, p.own())),
            p.s.flush(),
            p.s.expire_all(),
        )[1],
        "orphans": lambda p: emptied(p, Room, "slips"),
        "orphans, by the database": lambda p: emptied(p, Room, "chairs"),
        "collection replaced": lambda p: change(p, Room, notes=[]) and None,
        "collection of an unscoped parent replaced": lambda p: (
            setattr(topic := p.s.get_one(Topic, 1), "notes", []),
            p.s.flush(),
            topic and None,
        )[1],
        "unscoped parent deleted": lambda p: (p.s.delete(p.s.get_one(Topic, 1)), p.s.flush())[1],
        "association cleared": lambda p: emptied(p, Note, "authors", 2),
        "association added to": lambda p: append(p, Note, "authors", p.s.get_one(Author, p.own(3)), 3),
        "association added to by a new object": lambda p: append(
            p, Shelf, "books", Book(id=97, slug="new", secret="new")
        ),
        "object with an association deleted": lambda p: (p.s.delete(p.s.get_one(Note, p.own(2))), p.s.flush())[1],
        "dynamic, added to": lambda p: append(p, Room, "dynamic", Note(secret="new", body="")),
        "dynamic, updated": lambda p: p.s.get_one(Room, p.own()).dynamic.order_by(None).update({"body": "x"}) and None,
        "dynamic, deleted": lambda p: p.s.get_one(Room, p.own()).dynamic.order_by(None).delete() and None,
        "write-only, added to": lambda p: (
            p.s.get_one(Room, p.own()).written.add(Note(secret="new", body="")),
            p.s.flush(),
        )[1],
        "write-only, inserted": lambda p: p.do(
            p.s.get_one(Room, p.own()).written.insert(), [{"secret": "new", "body": ""}]
        ),
        "write-only, updated": lambda p: p.do(
            p.s.get_one(Room, p.own()).written.update().values(body="x"),
            execution_options={"synchronize_session": False},
        ),
        "write-only, deleted": lambda p: p.do(
            p.s.get_one(Room, p.own()).written.delete(), execution_options={"synchronize_session": False}
        ),
        "merge of an own object": lambda p: (
            p.s.merge(Book(id=p.own(), slug="changed", secret="x", site_id=p.own() // 10)),
            p.s.flush(),
        )[1],
        "merge of a new object": lambda p: (p.s.merge(Shelf(id=98, slug="new", secret="new")), p.s.flush())[1],
        "merge in a cascade": lambda p: (
            p.s.merge(Room(id=p.own(), secret="changed", notes=[Note(id=p.own(), secret="changed", body="")])),
            p.s.flush(),
        )[1],
        "make_transient of an own object": lambda p: _copy(p),
        "reference set to None": lambda p: change(p, Book, author=None) and None,
        "bulk_save_objects of changed ones": lambda p: p.s.bulk_save_objects([change(p, Book, stock=5)]),
    },
    changes=True,
)

add(
    "links",
    refused(CrossSiteError, UnscopedStatement),
    {
        "new object with a foreign site_id": lambda p: (
            p.s.add(Shelf(slug="x", secret="x", site_id=p.other.id)),
            p.s.flush(),
        ),
        "new object whose site_id is set later": lambda p: (
            p.s.add(shelf := Shelf(slug="x", secret="x")),
            setattr(shelf, "site_id", p.other.id),
            p.s.flush(),
        ),
        "new object, set in before_flush": lambda p: _before_flush(p),
        "new object, set in before_insert": lambda p: _before_insert(p),
        "new child with a foreign site_id": lambda p: (
            p.s.add(Disc(secret="x", label="x", site_id=p.other.id)),
            p.s.flush(),
        ),
        "site_id changed": lambda p: change(p, Slip, site_id=p.other.id),
        "site_id changed to an expression": lambda p: change(p, Slip, site_id=literal_column("2")),
        "site_id changed to a subquery": lambda p: change(p, Slip, site_id=select(sa.literal(2)).scalar_subquery()),
        "site_id changed by set_attribute": lambda p: (
            sa.orm.attributes.set_attribute(p.s.get_one(Slip, p.own()), "site_id", p.other.id),
            p.s.flush(),
        ),
        "site_id changed as if committed": lambda p: _committed_value(p),
        "site_id changed of a child": lambda p: change(p, Disc, 2, site_id=p.other.id),
        "site_id changed after it was detached": lambda p: _detached_and_moved(p),
        "foreign object added": lambda p: p.s.add(p.theirs(Book)),
        "foreign objects added": lambda p: p.s.add_all([p.theirs(Book), p.theirs(Author)]),
        "foreign object pickled and added": lambda p: p.s.add(pickle.loads(pickle.dumps(p.theirs(Book)))),
        "foreign object merged without a query": lambda p: (p.s.merge(p.theirs(Book), load=False), p.s.flush()),
        "object of two sessions": lambda p: _two_sessions(p),
        "foreign child attached by its key": lambda p: (
            p.s.add(disc := by_key(p, Disc, 2)),
            setattr(disc, "label", "x"),
            p.s.flush(),
        ),
        "foreign object with a version attached by its key": lambda p: (
            p.s.add(holding := by_key(p, Holding, version=1)),
            setattr(holding, "secret", "x"),
            p.s.flush(),
        ),
        "foreign object added without its site": lambda p: _forgotten_site(p),
        "foreign object made transient and added": lambda p: p.s.add(transient(p, Book)),
        "foreign object deleted": lambda p: p.s.delete(p.theirs(Slip)),
        "foreign object merged": lambda p: (p.s.merge(p.theirs(Book)), p.s.flush()),
        "foreign object merged, made transient": lambda p: (p.s.merge(transient(p, Book)), p.s.flush()),
        "foreign objects merged": lambda p: (p.s.merge_all([p.theirs(Book)]), p.s.flush()),
        "foreign object merged in a cascade": lambda p: (
            p.s.merge(Room(id=p.own(), secret="x", notes=[p.theirs(Note)])),
            p.s.flush(),
        ),
        "foreign object in a reference": lambda p: change(p, Note, book=p.theirs(Book)),
        "foreign object in a reference of a new object": lambda p: (
            p.s.add(Note(secret="x", body="", book=p.theirs(Book))),
            p.s.flush(),
        ),
        "foreign object in a collection": lambda p: append(p, Room, "notes", p.theirs(Note)),
        "foreign object as the collection": lambda p: change(p, Room, notes=[p.theirs(Note)]),
        "foreign object linked": lambda p: append(p, Note, "authors", p.theirs(Author)),
        "foreign object linked by a dynamic collection": lambda p: append(p, Room, "dynamic", p.theirs(Note)),
        "foreign object linked by a write-only collection": lambda p: (
            p.s.get_one(Room, p.own()).written.add(p.theirs(Note)),
            p.s.flush(),
        ),
        "foreign object linked by a back reference": lambda p: (p.s.add(_with_room(p)), p.s.flush()),
        "foreign object linked to an unscoped parent": lambda p: _unscoped_parent(p),
        "foreign object linked by a many-to-many": lambda p: append(p, Shelf, "books", p.theirs(Book)),
        "foreign object linked by an association proxy": lambda p: (
            setattr(p.s.get_one(Note, p.own()), "book", p.theirs(Book)),
            setattr(p.s.get_one(Note, p.own()), "book_secret", "x"),
            p.s.flush(),
        ),
        "foreign object bulk-saved": lambda p: p.s.bulk_save_objects([p.theirs(Slip)]) or _dirty_bulk(p),
        "foreign site_id of an object attached by its key": lambda p: (
            p.s.add(slip := by_key(p, Slip, site_id=p.other.id)),
            setattr(slip, "secret", "x"),
            p.s.flush(),
        ),
        "row of an association inserted with its site": lambda p: p.do(
            shelf_books.insert().values(shelf_id=p.their(), book_id=p.their(), site_id=p.other.id)
        ),
    },
)

add(
    "links",
    gone(StaleDataError, ObjectDeletedError, sa.exc.SAWarning),
    {
        "foreign object attached by its key, changed": lambda p: (
            p.s.add(book := by_key(p, Book)),
            setattr(book, "stock", 9),
            p.s.flush(),
        ),
        "foreign object attached by its key, deleted": lambda p: (p.s.delete(by_key(p, Slip)), p.s.flush()),
    },
)

add(
    "links",
    gone(sa.exc.IntegrityError),
    {
        "reference set to a foreign key": lambda p: change(p, Book, author_id=p.their()),
        "new object with a foreign key in a reference": lambda p: (
            p.s.add(Book(slug="x", secret="x", author_id=p.their())),
            p.s.flush(),
        ),
        "new object with a foreign key in a cascading reference": lambda p: (
            p.s.add(Chair(secret="x", room_id=p.their())),
            p.s.flush(),
        ),
        "new object with a foreign primary key": lambda p: (
            p.s.add(Shelf(id=p.their(), slug="x", secret="x")),
            p.s.flush(),
        ),
        "new child with a foreign primary key": lambda p: (
            p.s.add(Disc(id=p.their(2), secret="x", label="x")),
            p.s.flush(),
        ),
        "own object given a foreign primary key": lambda p: change(p, Slip, id=p.their()),
        "merge of a foreign key without its site": lambda p: (
            p.s.merge(Book(id=p.their(), slug="x", secret="x")),
            p.s.flush(),
        ),
        "merge of a foreign key in a cascade": lambda p: (
            p.s.merge(Room(id=p.own(), secret="x", notes=[Note(id=p.their(), secret="x", body="")])),
            p.s.flush(),
        ),
        "link to a foreign object attached by its key": lambda p: append(p, Shelf, "books", by_key(p, Book)),
        "reference to a foreign object attached by its key": lambda p: change(p, Book, author=by_key(p, Author)),
        "foreign objects in a collection, by their key": lambda p: (
            setattr(p.s.get_one(Author, p.own()), "books", [Book(id=p.their(), slug="x", secret="x")]),
            p.s.flush(),
        ),
    },
)


def _savepoint(p: Place) -> None:
    # The driver of SQLite begins a transaction at the first change, and would commit a savepoint without one.
    change(p, Book, stock=8)
    with p.s.begin_nested():
        change(p, Book, stock=9)
    with p.s.begin_nested() as savepoint:
        change(p, Book, stock=10)
        savepoint.rollback()
    change(p, Book, 2, stock=11)


def _copy(p: Place) -> None:
    shelf = p.s.get_one(Shelf, p.own())
    make_transient(shelf)
    shelf.id = None
    p.s.add(shelf)
    p.s.flush()


def _before_flush(p: Place) -> None:
    def move(session: Session, *args: Any) -> None:
        for new in session.new:
            new.site_id = p.other.id

    sa.event.listen(p.s, "before_flush", move)
    p.s.add(Shelf(slug="x", secret="x"))
    p.s.flush()


def _before_insert(p: Place) -> None:
    def move(mapper: Any, connection: Any, target: Any) -> None:
        target.site_id = p.other.id

    sa.event.listen(Slip, "before_insert", move)
    try:
        p.s.add(Slip(secret="x"))
        p.s.flush()
    finally:
        sa.event.remove(Slip, "before_insert", move)


def _committed_value(p: Place) -> None:
    slip = p.s.get_one(Slip, p.own())
    sa.orm.attributes.set_committed_value(slip, "site_id", p.other.id)
    p.s.expunge(slip)
    p.s.add(slip)
    slip.secret = "x"
    p.s.flush()


def _detached_and_moved(p: Place) -> None:
    slip = p.s.get_one(Slip, p.own())
    p.s.expunge(slip)
    slip.site_id = p.other.id
    p.s.add(slip)
    p.s.flush()


def _forgotten_site(p: Place) -> None:
    """The row's site is not loaded: what is known of the object is not enough to refuse it, its rows are."""
    slip = p.theirs(Slip)
    make_transient(slip)
    slip.site_id = p.other.id
    p.s.add(slip)
    p.s.flush()


def _unscoped_parent(p: Place) -> None:
    topic = p.s.get_one(Topic, 1)
    topic.notes.append(p.theirs(Note))
    p.s.flush()


def _with_room(p: Place) -> Any:
    note = p.theirs(Note)
    note.room = p.s.get_one(Room, p.own())
    return note


def _dirty_bulk(p: Place) -> None:
    slip = p.theirs(Slip)
    slip.site_id = p.other.id
    make_transient(slip)
    slip.id = None
    p.s.bulk_save_objects([slip])


def _two_sessions(p: Place) -> None:
    with Session(p.engine, info={"site": p.other}) as session:
        theirs = session.get_one(Slip, p.their())
        session.expunge(theirs)
        p.s.add(theirs)


@way("links", nothing, changes=True)
def flush_of_what_a_foreign_key_leads_to(p: Place) -> None:
    """Own note N2 points to a foreign room: to clear it changes the own row alone."""
    change(p, Note, 2, room=None)
    p.s.flush()


@way("links", nothing, changes=True)
def poisoned_row_deleted(p: Place) -> None:
    p.s.delete(p.s.get_one(Slip, p.own(2)))
    p.s.flush()


@way("links", nothing, changes=True)
def poisoned_children_of_a_deleted_parent(p: Place) -> None:
    """Foreign notes and slips point to the room that goes: they stay as they are."""
    room = p.s.get_one(Room, p.own())
    assert secrets(room.slips) == [room.secret]
    p.s.delete(room)
    p.s.flush()


@way("links", nothing, changes=True, commits=True)
def commit_and_change_again(p: Place) -> None:
    change(p, Book, stock=3)
    p.s.commit()
    change(p, Book, stock=4)
    p.s.commit()


@way("links", own)
def rolled_back_to_a_savepoint(p: Place) -> Any:
    with p.s.begin_nested() as savepoint:
        p.s.add(Shelf(slug="new", secret="new"))
        p.s.flush()
        savepoint.rollback()
    return secrets(p.all(select(Shelf)))
