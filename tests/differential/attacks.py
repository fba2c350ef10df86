"""The actions that address rows of another site by their ids.

Actions that query, change or refer to a row by its id must have the same outcome on both sides, since the row does not
exist in the site's own database. Actions that take a row (`stealing`) run on the shared side only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from differential.action import Action, Call
from differential.plain import graph, graphs, rows
from differential.program import STRIDE
from differential.reads import any_model, look_up, own
from differential.rows import key
from differential.stealing import take
from differential.writes import values

NAMES = ("Post", "Author", "Tag", "Comment", "Doc", "Article", "Film")


def foreign_id(call: Call) -> int:
    return key(call.other(), 1 + call.tape.number(6))


def ask(call: Call) -> Any:
    """Query a row by the id of another site's row."""
    m, session, ident = call.models, call.session, foreign_id(call)
    model = any_model(call, NAMES)
    by_id = call.world.statements.setdefault(
        ("by id", model), sa.select(model.id, model.note).where(model.id == sa.bindparam("key"))
    )
    variants: dict[str, Callable[[], Any]] = {
        "look up": lambda: look_up(call, model, ident),
        "prepared": lambda: rows(session.execute(by_id, {"key": ident})),
        "column": lambda: rows(session.execute(sa.select(model.note).where(model.id == ident))),
        "table": lambda: rows(session.connection().execute(sa.select(model.__table__.c.id).filter_by(id=ident))),
        "exists": lambda: session.scalar(sa.select(sa.exists().where(model.id == ident))),
        "has": lambda: rows(session.execute(sa.select(m.Post.note).where(m.Post.author.has(m.Author.id == ident)))),
        "any": lambda: rows(session.execute(sa.select(m.Post.note).where(m.Post.tags.any(m.Tag.id == ident)))),
        "links": lambda: rows(session.execute(sa.select(m.post_tags.c.tag_id).where(m.post_tags.c.post_id == ident))),
        "subquery": lambda: session.scalar(sa.select(sa.select(model.note).filter_by(id=ident).scalar_subquery())),
        "pointing": lambda: graphs(session.scalars(sa.select(m.Post).where(m.Post.ref == ident)).all(), 2),
    }
    return variants[call.tape.pick(list(variants))]()


def change(call: Call) -> Any:
    """Change or delete a row by the id of another site's row."""
    m, session, ident = call.models, call.session, foreign_id(call)
    model = any_model(call, NAMES)
    table = model.__table__
    noted = any_model(call, NAMES[:5])
    new_note = f"canary-{call.site}-changed"
    new_id = noted.id % STRIDE + key(call.site, call.number * 1000)
    copied = sa.select(new_id, noted.note, noted.n, sa.literal("copied")).where(noted.id == ident)
    alias = aliased(noted)
    # SQLAlchemy executes an update of two rows differently from an update of one.
    two = (ident, ident + 1)
    variants: dict[str, Callable[[], Any]] = {
        "update": lambda: rows(session.execute(sa.update(noted).where(noted.id == ident).values(note=new_note))),
        "delete": lambda: rows(session.execute(sa.delete(noted).where(noted.id == ident))),
        "core delete": lambda: rows(session.connection().execute(sa.delete(table).where(table.c.id == ident))),
        "returning": lambda: rows(
            session.execute(sa.update(noted).where(noted.id == ident).values(n=9).returning(noted.note))
        ),
        "by key": lambda: session.execute(sa.update(model), [{"id": each, "note": new_note} for each in two]) and None,
        "mappings": lambda: session.bulk_update_mappings(model, [{"id": each, "note": new_note} for each in two]),
        "child": lambda: session.bulk_update_mappings(m.Article, [{"id": each, "body": new_note} for each in two]),
        "query": lambda: session.query(noted).filter_by(id=ident).update({"n": 9}),
        "query delete": lambda: session.query(noted).filter_by(id=ident).delete(synchronize_session="fetch"),
        "links": lambda: rows(session.execute(m.post_tags.delete().where(m.post_tags.c.post_id == ident))),
        "links of many": lambda: rows(
            session.connection().execute(
                m.post_tags.delete().where(m.post_tags.c.tag_id == sa.bindparam("tag")), [{"tag": ident}]
            )
        ),
        "from": lambda: rows(
            session.execute(
                sa.update(m.Comment).where(m.Comment.id == key(call.site, 1), noted.id == ident).values(note=noted.note)
            )
            if noted is not m.Comment
            else session.execute(sa.select(m.Comment.id).where(m.Comment.id == ident))
        ),
        "from an alias": lambda: rows(
            session.execute(
                sa.update(m.Comment).where(m.Comment.id == key(call.site, 1), alias.id == ident).values(note=alias.note)
            )
        ),
        "copy": lambda: rows(session.execute(sa.insert(m.Comment).from_select(["id", "note", "n", "slug"], copied))),
        "removed": lambda: [session.delete(found) for found in session.scalars(sa.select(model).filter_by(id=ident))],
    }
    return variants[call.tape.pick(list(variants))]()


def point(call: Call) -> Any:
    """Make a row of the own site refer to the id of another site's row."""
    m, session, ident = call.models, call.session, foreign_id(call)
    name = call.tape.pick(("Post", "Comment", "Author", "Tag", "Doc"))
    model = getattr(m, name)
    kind = call.tape.pick(("set", "new", "update", "by key", "insert", "link", "links", "append to dangling"))
    if kind == "new":
        instance = model(**values(call, name), ref=ident)
        session.add(instance)
    elif kind == "insert":
        session.execute(sa.insert(model), [{**values(call, name), "ref": ident}])
        instance = None
    elif kind == "link":
        return rows(session.execute(m.post_tags.insert().values(post_id=key(call.site, 1), tag_id=ident)))
    elif kind == "links":
        return rows(session.execute(m.post_tags.insert(), [{"post_id": ident, "tag_id": key(call.site, 3)}]))
    else:
        instance = own(call, model)
        if instance is None:
            return None
        if kind == "update":
            session.execute(sa.update(model).where(model.id == instance.id).values(ref=ident))
        elif kind == "by key":
            session.execute(sa.update(model), [{"id": instance.id, "ref": ident}])
        else:
            instance.ref = ident
    session.flush()
    if instance is not None:
        session.expire(instance)
    return graph(instance, 2)


ACTIONS = {
    "ask for another's": Action(ask, refusable=True),
    "change another's": Action(change, refusable=True),
    "point at another's": Action(point, refusable=True),
    "take another's": Action(take, hostile=True),
}
