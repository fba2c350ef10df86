"""Attempts to change rows by objects: flush, merge, and links between objects or keys of both sites."""

from __future__ import annotations

import pickle
from typing import Any

import sqlalchemy as sa
from scoped_models import Author, Book, Shelf, shelf_books
from sqlalchemy import literal_column, select
from sqlalchemy.orm import Session, make_transient, make_transient_to_detached
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError

from attack_catalogue import Context, add, attempt, no_result, not_found, own_rows, refused, secrets
from attack_catalogue.models import Chair, Disc, Holding, Letter, Note, Poster, Room, Slip, Topic
from multisite import CrossSiteError, UnscopedStatement


def change(ctx: Context, model: Any, number: int = 1, **values: Any) -> Any:
    """Set attributes of an own object and flush."""
    found = ctx.session.get_one(model, ctx.own_key(number))
    for name, value in values.items():
        setattr(found, name, value)
    ctx.session.flush()
    return found


def append(ctx: Context, model: Any, name: str, other: Any, number: int = 1) -> None:
    """Append to a collection of an own object and flush."""
    found = ctx.session.get_one(model, ctx.own_key(number))
    getattr(found, name).append(other)
    ctx.session.flush()


def emptied(ctx: Context, model: Any, name: str, number: int = 1) -> None:
    """Empty a collection of an own object and flush."""
    found = ctx.session.get_one(model, ctx.own_key(number))
    getattr(found, name).clear()
    ctx.session.flush()


def by_key(ctx: Context, model: Any, number: int = 1, **attributes: Any) -> Any:
    """Return a detached object with the key of a row of the other site, as if nothing else of it were known."""
    found = model(id=ctx.other_key(number), **attributes)
    make_transient_to_detached(found)
    return found


def transient(ctx: Context, model: Any) -> Any:
    found = ctx.other_object(model)
    make_transient(found)
    return found


add(
    "links",
    no_result,
    {
        "flush of a new object": lambda ctx: (ctx.session.add(Shelf(slug="new", secret="new")), ctx.session.flush())[1],
        "flush of many new objects": lambda ctx: (
            ctx.session.add_all([Shelf(slug=f"new-{n}", secret="new") for n in range(5)]),
            ctx.session.flush(),
        )[1],
        "flush of a changed object": lambda ctx: change(ctx, Book, stock=9) and None,
        "flush of an SQL expression": lambda ctx: change(ctx, Book, stock=Book.stock + 5) and None,
        "flush of a subquery": lambda ctx: (
            change(ctx, Book, slug=select(sa.func.max(Author.secret)).scalar_subquery()) and None
        ),
        "flush of a deleted object": lambda ctx: (
            ctx.session.delete(ctx.session.get_one(Slip, ctx.own_key())),
            ctx.session.flush(),
        )[1],
        "flush of a new child by inheritance": lambda ctx: (
            ctx.session.add(Disc(secret="new", label="x")),
            ctx.session.flush(),
        )[1],
        "flush of a new single child": lambda ctx: (
            ctx.session.add(Poster(secret="new", size="x")),
            ctx.session.flush(),
        )[1],
        "flush of a new concrete child": lambda ctx: (
            ctx.session.add(Letter(id=98, secret="new")),
            ctx.session.flush(),
        )[1],
        "flush of a changed child": lambda ctx: change(ctx, Disc, 2, label="x", secret="y") and None,
        "flush of a deleted child": lambda ctx: (
            ctx.session.delete(ctx.session.get_one(Disc, ctx.own_key(2))),
            ctx.session.flush(),
        )[1],
        "flush with a version": lambda ctx: change(ctx, Holding, secret="new") and None,
        "flush within a savepoint": lambda ctx: _savepoint(ctx),
        "cascade of new objects": lambda ctx: (
            ctx.session.add(Room(id=97, secret="new", notes=[Note(secret="new", body="")], slips=[Slip(secret="new")])),
            ctx.session.flush(),
        )[1],
        "cascade of a delete": lambda ctx: (
            ctx.session.delete(ctx.session.get_one(Room, ctx.own_key())),
            ctx.session.flush(),
        )[1],
        "cascade of a delete, by the database": lambda ctx: (
            ctx.session.delete(ctx.session.get_one(Room, ctx.own_key())),
            ctx.session.flush(),
            ctx.session.expire_all(),
        )[1],
        "orphans": lambda ctx: emptied(ctx, Room, "slips"),
        "orphans, by the database": lambda ctx: emptied(ctx, Room, "chairs"),
        "collection replaced": lambda ctx: change(ctx, Room, notes=[]) and None,
        "collection of an unscoped parent replaced": lambda ctx: (
            setattr(topic := ctx.session.get_one(Topic, 1), "notes", []),
            ctx.session.flush(),
            topic and None,
        )[1],
        "unscoped parent deleted": lambda ctx: (ctx.session.delete(ctx.session.get_one(Topic, 1)), ctx.session.flush())[
            1
        ],
        "association cleared": lambda ctx: emptied(ctx, Note, "authors", 2),
        "association added to": lambda ctx: append(
            ctx, Note, "authors", ctx.session.get_one(Author, ctx.own_key(3)), 3
        ),
        "association added to by a new object": lambda ctx: append(
            ctx, Shelf, "books", Book(id=97, slug="new", secret="new")
        ),
        "object with an association deleted": lambda ctx: (
            ctx.session.delete(ctx.session.get_one(Note, ctx.own_key(2))),
            ctx.session.flush(),
        )[1],
        "dynamic, added to": lambda ctx: append(ctx, Room, "dynamic", Note(secret="new", body="")),
        "dynamic, updated": lambda ctx: (
            ctx.session.get_one(Room, ctx.own_key()).dynamic.order_by(None).update({"body": "x"}) and None
        ),
        "dynamic, deleted": lambda ctx: (
            ctx.session.get_one(Room, ctx.own_key()).dynamic.order_by(None).delete() and None
        ),
        "write-only, added to": lambda ctx: (
            ctx.session.get_one(Room, ctx.own_key()).written.add(Note(secret="new", body="")),
            ctx.session.flush(),
        )[1],
        "write-only, inserted": lambda ctx: ctx.execute(
            ctx.session.get_one(Room, ctx.own_key()).written.insert(), [{"secret": "new", "body": ""}]
        ),
        "write-only, updated": lambda ctx: ctx.execute(
            ctx.session.get_one(Room, ctx.own_key()).written.update().values(body="x"),
            execution_options={"synchronize_session": False},
        ),
        "write-only, deleted": lambda ctx: ctx.execute(
            ctx.session.get_one(Room, ctx.own_key()).written.delete(), execution_options={"synchronize_session": False}
        ),
        "merge of an own object": lambda ctx: (
            ctx.session.merge(Book(id=ctx.own_key(), slug="changed", secret="x", site_id=ctx.own_key() // 10)),
            ctx.session.flush(),
        )[1],
        "merge of a new object": lambda ctx: (
            ctx.session.merge(Shelf(id=98, slug="new", secret="new")),
            ctx.session.flush(),
        )[1],
        "merge in a cascade": lambda ctx: (
            ctx.session.merge(
                Room(id=ctx.own_key(), secret="changed", notes=[Note(id=ctx.own_key(), secret="changed", body="")])
            ),
            ctx.session.flush(),
        )[1],
        "make_transient of an own object": lambda ctx: _copy(ctx),
        "reference set to None": lambda ctx: change(ctx, Book, author=None) and None,
        "bulk_save_objects of changed ones": lambda ctx: ctx.session.bulk_save_objects([change(ctx, Book, stock=5)]),
    },
    changes=True,
)

add(
    "links",
    refused(CrossSiteError, UnscopedStatement),
    {
        "new object with another site's site_id": lambda ctx: (
            ctx.session.add(Shelf(slug="x", secret="x", site_id=ctx.other.id)),
            ctx.session.flush(),
        ),
        "new object whose site_id is set later": lambda ctx: (
            ctx.session.add(shelf := Shelf(slug="x", secret="x")),
            setattr(shelf, "site_id", ctx.other.id),
            ctx.session.flush(),
        ),
        "new object, set in before_flush": lambda ctx: _before_flush(ctx),
        "new object, set in before_insert": lambda ctx: _before_insert(ctx),
        "new child with another site's site_id": lambda ctx: (
            ctx.session.add(Disc(secret="x", label="x", site_id=ctx.other.id)),
            ctx.session.flush(),
        ),
        "site_id changed": lambda ctx: change(ctx, Slip, site_id=ctx.other.id),
        "site_id changed to an expression": lambda ctx: change(ctx, Slip, site_id=literal_column("2")),
        "site_id changed to a subquery": lambda ctx: change(ctx, Slip, site_id=select(sa.literal(2)).scalar_subquery()),
        "site_id changed by set_attribute": lambda ctx: (
            sa.orm.attributes.set_attribute(ctx.session.get_one(Slip, ctx.own_key()), "site_id", ctx.other.id),
            ctx.session.flush(),
        ),
        "site_id changed as if committed": lambda ctx: _committed_value(ctx),
        "site_id of a child changed": lambda ctx: change(ctx, Disc, 2, site_id=ctx.other.id),
        "site_id changed after it was detached": lambda ctx: _detached_and_moved(ctx),
        "another site's object added": lambda ctx: ctx.session.add(ctx.other_object(Book)),
        "another site's objects added": lambda ctx: ctx.session.add_all(
            [ctx.other_object(Book), ctx.other_object(Author)]
        ),
        "another site's object pickled and added": lambda ctx: ctx.session.add(
            pickle.loads(pickle.dumps(ctx.other_object(Book)))
        ),
        "another site's object merged without a query": lambda ctx: (
            ctx.session.merge(ctx.other_object(Book), load=False),
            ctx.session.flush(),
        ),
        "object of two sessions": lambda ctx: _two_sessions(ctx),
        "another site's child attached by its key": lambda ctx: (
            ctx.session.add(disc := by_key(ctx, Disc, 2)),
            setattr(disc, "label", "x"),
            ctx.session.flush(),
        ),
        "another site's object with a version attached by its key": lambda ctx: (
            ctx.session.add(holding := by_key(ctx, Holding, version=1)),
            setattr(holding, "secret", "x"),
            ctx.session.flush(),
        ),
        "another site's object added without its site": lambda ctx: _forgotten_site(ctx),
        "another site's object made transient and added": lambda ctx: ctx.session.add(transient(ctx, Book)),
        "another site's object deleted": lambda ctx: ctx.session.delete(ctx.other_object(Slip)),
        "another site's object merged": lambda ctx: (ctx.session.merge(ctx.other_object(Book)), ctx.session.flush()),
        "another site's object merged, made transient": lambda ctx: (
            ctx.session.merge(transient(ctx, Book)),
            ctx.session.flush(),
        ),
        "another site's objects merged": lambda ctx: (
            ctx.session.merge_all([ctx.other_object(Book)]),
            ctx.session.flush(),
        ),
        "another site's object merged in a cascade": lambda ctx: (
            ctx.session.merge(Room(id=ctx.own_key(), secret="x", notes=[ctx.other_object(Note)])),
            ctx.session.flush(),
        ),
        "another site's object in a reference": lambda ctx: change(ctx, Note, book=ctx.other_object(Book)),
        "another site's object in a reference of a new object": lambda ctx: (
            ctx.session.add(Note(secret="x", body="", book=ctx.other_object(Book))),
            ctx.session.flush(),
        ),
        "another site's object in a collection": lambda ctx: append(ctx, Room, "notes", ctx.other_object(Note)),
        "another site's object as the collection": lambda ctx: change(ctx, Room, notes=[ctx.other_object(Note)]),
        "another site's object linked": lambda ctx: append(ctx, Note, "authors", ctx.other_object(Author)),
        "another site's object linked by a dynamic collection": lambda ctx: append(
            ctx, Room, "dynamic", ctx.other_object(Note)
        ),
        "another site's object linked by a write-only collection": lambda ctx: (
            ctx.session.get_one(Room, ctx.own_key()).written.add(ctx.other_object(Note)),
            ctx.session.flush(),
        ),
        "another site's object linked by a back reference": lambda ctx: (
            ctx.session.add(_with_room(ctx)),
            ctx.session.flush(),
        ),
        "another site's object linked to an unscoped parent": lambda ctx: _unscoped_parent(ctx),
        "another site's object linked by a many-to-many": lambda ctx: append(
            ctx, Shelf, "books", ctx.other_object(Book)
        ),
        "another site's object linked by an association proxy": lambda ctx: (
            setattr(ctx.session.get_one(Note, ctx.own_key()), "book", ctx.other_object(Book)),
            setattr(ctx.session.get_one(Note, ctx.own_key()), "book_secret", "x"),
            ctx.session.flush(),
        ),
        "another site's object bulk-saved": lambda ctx: (
            ctx.session.bulk_save_objects([ctx.other_object(Slip)]) or _dirty_bulk(ctx)
        ),
        "another site's site_id of an object attached by its key": lambda ctx: (
            ctx.session.add(slip := by_key(ctx, Slip, site_id=ctx.other.id)),
            setattr(slip, "secret", "x"),
            ctx.session.flush(),
        ),
        "association row inserted for another site": lambda ctx: ctx.execute(
            shelf_books.insert().values(shelf_id=ctx.other_key(), book_id=ctx.other_key(), site_id=ctx.other.id)
        ),
    },
)

add(
    "links",
    not_found(StaleDataError, ObjectDeletedError, sa.exc.SAWarning),
    {
        "another site's object attached by its key, changed": lambda ctx: (
            ctx.session.add(book := by_key(ctx, Book)),
            setattr(book, "stock", 9),
            ctx.session.flush(),
        ),
        "another site's object attached by its key, deleted": lambda ctx: (
            ctx.session.delete(by_key(ctx, Slip)),
            ctx.session.flush(),
        ),
    },
)

add(
    "links",
    not_found(sa.exc.IntegrityError),
    {
        "reference set to another site's key": lambda ctx: change(ctx, Book, author_id=ctx.other_key()),
        "new object with another site's key in a reference": lambda ctx: (
            ctx.session.add(Book(slug="x", secret="x", author_id=ctx.other_key())),
            ctx.session.flush(),
        ),
        "new object with another site's key in a cascading reference": lambda ctx: (
            ctx.session.add(Chair(secret="x", room_id=ctx.other_key())),
            ctx.session.flush(),
        ),
        "new object with another site's primary key": lambda ctx: (
            ctx.session.add(Shelf(id=ctx.other_key(), slug="x", secret="x")),
            ctx.session.flush(),
        ),
        "new child with another site's primary key": lambda ctx: (
            ctx.session.add(Disc(id=ctx.other_key(2), secret="x", label="x")),
            ctx.session.flush(),
        ),
        "own object given another site's primary key": lambda ctx: change(ctx, Slip, id=ctx.other_key()),
        "merge of another site's key without its site": lambda ctx: (
            ctx.session.merge(Book(id=ctx.other_key(), slug="x", secret="x")),
            ctx.session.flush(),
        ),
        "merge of another site's key in a cascade": lambda ctx: (
            ctx.session.merge(
                Room(id=ctx.own_key(), secret="x", notes=[Note(id=ctx.other_key(), secret="x", body="")])
            ),
            ctx.session.flush(),
        ),
        "link to another site's object attached by its key": lambda ctx: append(ctx, Shelf, "books", by_key(ctx, Book)),
        "reference to another site's object attached by its key": lambda ctx: change(
            ctx, Book, author=by_key(ctx, Author)
        ),
        "another site's objects in a collection, by their key": lambda ctx: (
            setattr(
                ctx.session.get_one(Author, ctx.own_key()), "books", [Book(id=ctx.other_key(), slug="x", secret="x")]
            ),
            ctx.session.flush(),
        ),
    },
)


def _savepoint(ctx: Context) -> None:
    # The driver of SQLite begins a transaction at the first change; without one, it would commit a savepoint.
    change(ctx, Book, stock=8)
    with ctx.session.begin_nested():
        change(ctx, Book, stock=9)
    with ctx.session.begin_nested() as savepoint:
        change(ctx, Book, stock=10)
        savepoint.rollback()
    change(ctx, Book, 2, stock=11)


def _copy(ctx: Context) -> None:
    shelf = ctx.session.get_one(Shelf, ctx.own_key())
    make_transient(shelf)
    shelf.id = None
    ctx.session.add(shelf)
    ctx.session.flush()


def _before_flush(ctx: Context) -> None:
    def move(session: Session, *args: Any) -> None:
        for new in session.new:
            new.site_id = ctx.other.id

    sa.event.listen(ctx.session, "before_flush", move)
    ctx.session.add(Shelf(slug="x", secret="x"))
    ctx.session.flush()


def _before_insert(ctx: Context) -> None:
    def move(mapper: Any, connection: Any, target: Any) -> None:
        target.site_id = ctx.other.id

    sa.event.listen(Slip, "before_insert", move)
    try:
        ctx.session.add(Slip(secret="x"))
        ctx.session.flush()
    finally:
        sa.event.remove(Slip, "before_insert", move)


def _committed_value(ctx: Context) -> None:
    slip = ctx.session.get_one(Slip, ctx.own_key())
    sa.orm.attributes.set_committed_value(slip, "site_id", ctx.other.id)
    ctx.session.expunge(slip)
    ctx.session.add(slip)
    slip.secret = "x"
    ctx.session.flush()


def _detached_and_moved(ctx: Context) -> None:
    slip = ctx.session.get_one(Slip, ctx.own_key())
    ctx.session.expunge(slip)
    slip.site_id = ctx.other.id
    ctx.session.add(slip)
    ctx.session.flush()


def _forgotten_site(ctx: Context) -> None:
    """Add an object without its site: it is refused at the flush, since it changes a row of the other site."""
    slip = ctx.other_object(Slip)
    make_transient(slip)
    slip.site_id = ctx.other.id
    ctx.session.add(slip)
    ctx.session.flush()


def _unscoped_parent(ctx: Context) -> None:
    topic = ctx.session.get_one(Topic, 1)
    topic.notes.append(ctx.other_object(Note))
    ctx.session.flush()


def _with_room(ctx: Context) -> Any:
    note = ctx.other_object(Note)
    note.room = ctx.session.get_one(Room, ctx.own_key())
    return note


def _dirty_bulk(ctx: Context) -> None:
    slip = ctx.other_object(Slip)
    slip.site_id = ctx.other.id
    make_transient(slip)
    slip.id = None
    ctx.session.bulk_save_objects([slip])


def _two_sessions(ctx: Context) -> None:
    with Session(ctx.engine, info={"site": ctx.other}) as session:
        theirs = session.get_one(Slip, ctx.other_key())
        session.expunge(theirs)
        ctx.session.add(theirs)


@attempt("links", no_result, changes=True)
def flush_of_a_cleared_reference_to_another_site(ctx: Context) -> None:
    """Clear the reference of own note N2 to a room of the other site: only the own row changes."""
    change(ctx, Note, 2, room=None)
    ctx.session.flush()


@attempt("links", no_result, changes=True)
def row_with_a_reference_to_another_site_deleted(ctx: Context) -> None:
    ctx.session.delete(ctx.session.get_one(Slip, ctx.own_key(2)))
    ctx.session.flush()


@attempt("links", no_result, changes=True)
def children_of_another_site_and_their_deleted_parent(ctx: Context) -> None:
    """Delete a room to which notes and slips of the other site refer: they stay unchanged."""
    room = ctx.session.get_one(Room, ctx.own_key())
    assert secrets(room.slips) == [room.secret]
    ctx.session.delete(room)
    ctx.session.flush()


@attempt("links", no_result, changes=True, commits=True)
def commit_and_change_again(ctx: Context) -> None:
    change(ctx, Book, stock=3)
    ctx.session.commit()
    change(ctx, Book, stock=4)
    ctx.session.commit()


@attempt("links", own_rows)
def rolled_back_to_a_savepoint(ctx: Context) -> Any:
    with ctx.session.begin_nested() as savepoint:
        ctx.session.add(Shelf(slug="new", secret="new"))
        ctx.session.flush()
        savepoint.rollback()
    return secrets(ctx.scalars(select(Shelf)))
