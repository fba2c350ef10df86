"""The actions that write rows."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, make_transient

from differential.action import Action, Call
from differential.models import RELATIONS, SCOPED
from differential.plain import graph, graphs, rows
from differential.reads import any_model, own

LINKED = ("Post", "Author", "Tag", "Doc", "Article")
"""The models whose relationships are changed."""


def values(call: Call, name: str) -> dict[str, Any]:
    """Return the values of a new row of a model; sometimes its slug already exists."""
    number = call.new_id()
    slug = f"slug-{call.tape.number(5)}" if call.tape.chance(6) else f"new-{number % 1_000_000}"
    note = f"canary-{call.site}-new-{number}"
    made = {"id": number, "note": note, "slug": slug, "n": call.tape.number(5)}
    if name == "Article":
        made |= {"body": note, "pages": call.site}
    elif name == "Film":
        made |= {"title": note}
    elif name == "Author":
        made |= {"bio": note}
    return made


def new(call: Call, name: str) -> Any:
    return getattr(call.models, name)(**values(call, name))


def add(call: Call) -> Any:
    """Add a new object, linked to new and existing objects."""
    name = call.tape.pick((*SCOPED, "Article", "Film", "Memo"))
    instance = new(call, name)
    for relation in RELATIONS[name]:
        if relation.name == "fans" or not call.tape.chance():
            continue
        other = new(call, relation.target) if call.tape.chance() else own(call, getattr(call.models, relation.target))
        if other is not None:
            setattr(instance, relation.name, [other] if relation.many else other)
    call.session.add(instance)
    if name == "Author" and call.tape.chance(3):
        call.session.add_all([new(call, "Author"), new(call, "Author")])
    call.session.flush()
    return graph(instance, 1)


def change(call: Call) -> Any:
    """Change columns of one object, or of several."""
    tape, changed = call.tape, []
    for _ in range(1 + tape.number(3)):
        instance = own(call, any_model(call))
        if instance is None:
            continue
        changed.append(instance)
        kind = tape.pick(("n", "note", "expression", "ref", "slug", "child"))
        if kind == "n":
            instance.n = tape.number(7)
        elif kind == "note":
            instance.note = f"canary-{call.site}-changed-{call.new_id()}"
        elif kind == "expression":
            model = type(instance)
            instance.n = sa.select(sa.func.count(model.id)).scalar_subquery()
        elif kind == "ref" and not isinstance(instance, (call.models.Post, call.models.Comment)):
            instance.ref = None
        elif kind == "slug":
            instance.slug = f"slug-{tape.number(8)}"
        elif isinstance(instance, call.models.Article):
            instance.body, instance.pages = f"canary-{call.site}-body", tape.number(9)
    call.session.flush()
    return [graph(instance, 1) for instance in changed]


def relink(call: Call) -> Any:
    """Change a relationship of one object: set, clear, append, remove or replace."""
    instance = own(call, any_model(call, LINKED))
    if instance is None:
        return None
    relation = call.tape.pick([each for each in RELATIONS[type(instance).__name__] if each.name != "fans"])
    target = getattr(call.models, relation.target)
    other = new(call, relation.target) if call.tape.chance(3) else own(call, target)
    kind = call.tape.pick(("add", "clear", "remove", "replace"))
    if not relation.many:
        setattr(instance, relation.name, None if kind == "clear" else other)
    elif kind == "clear":
        setattr(instance, relation.name, [])
    elif kind == "remove" and getattr(instance, relation.name):
        # Few relationships are ordered, so the object with the greatest id is removed.
        related = getattr(instance, relation.name)
        related.remove(max(related, key=lambda each: each.id))
    elif other is not None and kind == "replace":
        setattr(instance, relation.name, [other])
    elif other is not None:
        getattr(instance, relation.name).append(other)
    call.session.flush()
    return graph(instance, 2)


def remove(call: Call) -> Any:
    """Delete one object, with its cascades."""
    instance = own(call, any_model(call, ("Comment", "Post", "Doc", "Article", "Film", "Tag", "Author")))
    if instance is None:
        return None
    if call.tape.chance(3):
        # If nothing is loaded, the database cascades; otherwise, the session does.
        call.session.expire_all()
    elif isinstance(instance, call.models.Post):
        list(instance.comments)
    call.session.delete(instance)
    call.session.flush()
    return type(instance).__name__


def merge(call: Call) -> Any:
    """Merge a detached object or a new one with an existing id, or add a copy of an object."""
    m, session = call.models, call.session
    instance = own(call, call.tape.pick((m.Post, m.Author, m.Tag, m.Comment)))
    if instance is None:
        return None
    session.flush()
    kind = call.tape.pick(("made", "left", "without load", "copy"))
    if kind == "copy":
        merged = copied(call)
    elif kind == "made":
        made = type(instance)(id=instance.id, note=instance.note, slug=instance.slug, n=call.tape.number(9))
        merged = session.merge(made)
    else:
        list(instance.comments) if isinstance(instance, m.Post) else None
        session.refresh(instance)
        session.expunge_all()
        if kind == "left":
            instance.n = call.tape.number(9)
        merged = session.merge(instance, load=kind == "left")
    session.flush()
    return graph(merged, 1)


def copied(call: Call) -> Any:
    """Return a new comment that is copied from an existing one."""
    instance = own(call, call.models.Comment)
    if instance is None:
        return None
    call.session.refresh(instance)
    call.session.expunge(instance)
    make_transient(instance)
    instance.id, instance.ref = call.new_id(), None
    call.session.add(instance)
    return instance


def bulk(call: Call) -> Any:
    """Write several rows at once, by one of the bulk APIs."""
    session, m = call.session, call.models
    name = call.tape.pick(("Comment", "Tag", "Author", "Doc"))
    model = getattr(m, name)
    many = [values(call, name) for _ in range(1 + call.tape.number(4))]
    existing = session.scalars(sa.select(model.id).order_by(model.id).limit(3)).all()
    changes = [{"id": ident, "n": call.tape.number(9)} for ident in existing]
    table = model.__table__
    articles = session.scalars(sa.select(m.Article.id).order_by(m.Article.id).limit(2)).all()
    note = f"canary-{call.site}-rewritten"
    with_type = [{**row, "type": "doc"} if name == "Doc" else row for row in many]
    variants = {
        "insert": lambda: session.execute(sa.insert(model), many) and None,
        "returning": lambda: graphs(session.scalars(sa.insert(model).returning(model), many).all(), 1),
        "values": lambda: rows(session.execute(sa.insert(table).values(with_type))),
        "returning values": lambda: rows(
            session.execute(sa.insert(table).values(with_type).returning(table.c.id, table.c.note))
        ),
        "core": lambda: rows(session.connection().execute(table.insert(), with_type)) and None,
        "mappings": lambda: session.bulk_insert_mappings(model, many),
        "objects": lambda: session.bulk_save_objects([model(**row) for row in many]),
        "update": lambda: changes and session.execute(sa.update(model), changes) and None,
        "update mappings": lambda: session.bulk_update_mappings(model, changes),
        "core update": lambda: changes and rows(
            session.connection().execute(
                table.update().where(table.c.id == sa.bindparam("key")).values(n=sa.bindparam("to")),
                [{"key": each["id"], "to": each["n"]} for each in changes],
            )
        ),
        "core delete": lambda: rows(
            session.connection().execute(
                m.Comment.__table__.delete().where(m.Comment.__table__.c.id == sa.bindparam("key")),
                [{"key": each["id"]} for each in changes],
            )
        ),
        "update of articles": lambda: session.execute(
            sa.update(m.Article), [{"id": ident, "note": note, "body": note} for ident in articles]
        )
        and None,
        "articles": lambda: session.bulk_save_objects([new(call, "Article"), new(call, "Film"), new(call, "Article")]),
        "documents": lambda: session.execute(sa.insert(m.Film), [values(call, "Film"), values(call, "Film")]) and None,
    }  # fmt: skip
    return variants[call.tape.pick(list(variants))]()


def modify(call: Call) -> Any:
    """Execute an update, delete or insert from a select."""
    statement = call.statement("change")
    options = {}
    if isinstance(call.session, Session):
        options = {"synchronize_session": call.tape.pick((False, "auto", "fetch", "evaluate"))}
    if isinstance(call.session, Session) and call.tape.chance(4):
        return rows(call.session.connection().execute(statement))
    return rows(call.session.execute(statement, execution_options=options))


def insert_for(call: Call) -> Any:
    return sqlite.insert if call.world.dialect == "sqlite" else postgresql.insert


def upsert(call: Call) -> Any:
    """Insert rows of which some exist already."""
    m, tape = call.models, call.tape
    model = any_model(call, ("Tag", "Author", "Post"))
    many = [values(call, model.__name__) for _ in range(1 + tape.number(3))]
    for number, row in enumerate(many):
        row["slug"] = f"slug-{(number + tape.number(5)) % 5}-x" if tape.chance(4) else f"slug-{number + tape.number(3)}"
    if len({row["slug"] for row in many}) < len(many):
        many = many[:1]
    statement = insert_for(call)(model if tape.chance() else model.__table__)
    own_key = call.world.key("slug")
    if tape.chance(4):
        statement = statement.on_conflict_do_nothing(index_elements=own_key if tape.chance() else None)
    else:
        set_ = tape.pick(
            (
                {"n": 7},
                {"note": statement.excluded.note},
                {"n": model.__table__.c.n + statement.excluded.n},
                {"n": sa.select(sa.func.count(m.Comment.id)).scalar_subquery()},
            )
        )
        where = model.__table__.c.n >= tape.number(3) if tape.chance(3) else None
        statement = statement.on_conflict_do_update(index_elements=own_key, set_=set_, where=where)
    if tape.chance(3):
        statement = statement.returning(model.id, model.note)
    if tape.chance(3):
        return rows(call.session.execute(statement, many[0]))
    return rows(call.session.execute(statement.values(many)))


def link(call: Call) -> Any:
    """Change the association table directly."""
    m, tape, session = call.models, call.tape, call.session
    table = m.post_tags
    if tape.chance():
        posts = session.execute(sa.select(m.Post.id).order_by(m.Post.id)).scalars().all()
        tags = session.execute(sa.select(m.Tag.id).order_by(m.Tag.id)).scalars().all()
        if not posts or not tags:
            return None
        return rows(session.execute(table.insert().values(post_id=tape.pick(posts), tag_id=tape.pick(tags))))
    where = tape.pick(
        (
            table.c.tag_id.in_(sa.select(m.Tag.id).where(m.Tag.n >= tape.number(4))),
            sa.exists(sa.select(m.Post.id).where(m.Post.id == table.c.post_id, m.Post.n >= 2)),
            table.c.post_id == sa.select(sa.func.max(m.Post.id)).scalar_subquery(),
        )
    )
    return rows(session.execute(table.delete().where(where)))


def end(call: Call) -> Any:
    """End the transaction, or expire or expunge the objects of the session."""
    session = call.session
    kind = call.tape.pick(("commit", "rollback", "expire_all", "close", "reset", "expunge_all"))
    if kind == "expunge_all":
        session.flush()
    getattr(session, kind)()


ACTIONS = {
    "add": Action(add),
    "change": Action(change),
    "relink": Action(relink),
    "remove": Action(remove),
    "merge": Action(merge),
    "bulk": Action(bulk),
    "modify": Action(modify, needs_session=False),
    "upsert": Action(upsert, needs_session=False),
    "link": Action(link, needs_session=False),
    "end": Action(end, place="kept"),
}
