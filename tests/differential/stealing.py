"""Attacks that must have no effect: taking a row of another site, or giving a row to another site.

They run on the shared side only. Each returns its effect, or None if it had none.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from differential.action import Call
from differential.plain import graph, rows
from differential.reads import own
from differential.writes import insert_for, new, values

_outside = copy_context()
"""The context that this module is imported in, where no site is current."""


def take(call: Call) -> Any:
    """Try to take a row of another site, or to give it one; return the effect, or None if there was none."""
    other = call.other()
    name = call.tape.pick(("Post", "Author", "Tag", "Comment", "Doc"))
    model = getattr(call.models, name)
    there = call.world.existing(other, model.__table__.name)
    if not there:
        return None
    attempt = call.tape.pick(ATTEMPTS)
    return attempt(call, name, other, call.tape.pick(there)) or None


def loaded(call: Call, name: str, other: int, ident: int) -> Any:
    """Return another site's object, expunged from its session."""
    with call.world.open(other) as session:
        instance = session.get(getattr(call.models, name), ident)
        session.expunge(instance)
    return instance


def _add(call: Call, name: str, other: int, ident: int) -> Any:
    instance = loaded(call, name, other, ident)
    call.session.add(instance)
    return instance.note


def _merge(call: Call, name: str, other: int, ident: int) -> Any:
    return call.session.merge(loaded(call, name, other, ident)).note


def _merge_without_load(call: Call, name: str, other: int, ident: int) -> Any:
    return call.session.merge(loaded(call, name, other, ident), load=False).note


def _merge_by_id(call: Call, name: str, other: int, ident: int) -> Any:
    merged = call.session.merge(getattr(call.models, name)(**{**values(call, name), "id": ident}))
    call.session.flush()
    return merged.note


def _delete(call: Call, name: str, other: int, ident: int) -> Any:
    call.session.delete(loaded(call, name, other, ident))
    return "deleted"


LINKS = {"Author": ("Post", "author"), "Post": ("Comment", "post"), "Tag": ("Tag", "parent"), "Doc": ("Doc", "parent")}
"""By which relationship an own row of another model can lead to one of this model."""


def _link(call: Call, name: str, other: int, ident: int) -> Any:
    target, attribute = LINKS.get(name, LINKS["Post"])
    foreign = loaded(call, name if name in LINKS else "Post", other, ident) if name in LINKS else None
    instance = own(call, getattr(call.models, target)) if call.tape.chance() else None
    if foreign is None:
        return None
    if instance is None:
        instance = new(call, target)
        call.session.add(instance)
    setattr(instance, attribute, foreign)
    call.session.flush()
    return "linked"


def _append(call: Call, name: str, other: int, ident: int) -> Any:
    m = call.models
    owners = {"Tag": (m.Post, "tags"), "Post": (m.Tag, "posts"), "Comment": (m.Post, "comments")}
    owner, attribute = owners.get(name, (m.Author, "posts"))
    if name not in owners and name != "Post":
        return None
    instance = own(call, owner)
    if instance is None:
        return None
    getattr(instance, attribute).append(loaded(call, name, other, ident))
    call.session.flush()
    return "appended"


def _new_for_another(call: Call, name: str, other: int, ident: int) -> Any:
    made = values(call, name)
    model = getattr(call.models, name)
    kind = call.tape.pick(("object", "insert", "table", "many", "mappings", "from select"))
    if name == "Doc" and kind in ("table", "many"):
        made["type"] = "doc"
    if kind == "object":
        call.session.add(model(**made, site_id=other))
    elif kind == "mappings":
        call.session.bulk_insert_mappings(model, [{**made, "site_id": other}])
    elif kind == "from select":
        given = sa.select(model.id + 500_000, model.note, model.n, model.slug, sa.literal(other))
        call.session.execute(sa.insert(model).from_select(["id", "note", "n", "slug", "site_id"], given))
    else:
        target = model if kind == "insert" else model.__table__
        rows_to_insert = [{**made, "site_id": other}]
        statement = sa.insert(target)
        if kind == "many":
            call.session.execute(statement.values(rows_to_insert))
        else:
            call.session.execute(statement, rows_to_insert)
    call.session.flush()
    return "inserted"


def _move(call: Call, name: str, other: int, ident: int) -> Any:
    model = getattr(call.models, name)
    instance = own(call, model)
    if instance is None:
        return None
    kind = call.tape.pick(("attribute", "update", "by key", "mappings"))
    if kind == "attribute":
        instance.site_id = other
        call.session.flush()
    elif kind == "update":
        call.session.execute(sa.update(model).values(site_id=other))
    elif kind == "by key":
        call.session.execute(sa.update(model), [{"id": instance.id, "site_id": other}])
    else:
        call.session.bulk_update_mappings(model, [{"id": instance.id, "site_id": other}])
    return "moved"


def _ask_for_the_site(call: Call, name: str, other: int, ident: int) -> Any:
    model = getattr(call.models, name)
    return rows(call.session.execute(sa.select(model.note).where(model.site_id == other)))


def _upsert_by_id(call: Call, name: str, other: int, ident: int) -> Any:
    made = {**values(call, name), "id": ident} | ({"type": "doc"} if name == "Doc" else {})
    model = getattr(call.models, name)
    statement = insert_for(call)(model if call.tape.chance() else model.__table__).values(made)
    if call.tape.chance(4):
        statement = statement.on_conflict_do_nothing(index_elements=["id"])
    else:
        set_ = call.tape.pick(({"note": made["note"]}, {"n": statement.excluded.n}))
        statement = statement.on_conflict_do_update(index_elements=["id"], set_=set_)
    if call.tape.chance():
        return rows(call.session.execute(statement.returning(model.__table__.c.note)))
    # The driver need not report the number of changed rows; the rows themselves are compared after the step.
    call.session.execute(statement)
    return None


def _replace(call: Call, name: str, other: int, ident: int) -> Any:
    made = {**values(call, name), "id": ident} | ({"type": "doc"} if name == "Doc" else {})
    if call.world.dialect != "sqlite":
        return None
    call.session.execute(sa.insert(getattr(call.models, name)).prefix_with("OR REPLACE").values(made))
    return "replaced"


def _as_text(call: Call, name: str, other: int, ident: int) -> Any:
    table = getattr(call.models, name).__table__.name
    execute = call.session.execute
    exists = sa.text(f"EXISTS (SELECT 1 FROM {table} WHERE id = {ident})")
    light = sa.table(table, *map(sa.column, ("id", "note", "n", "slug", "site_id")))
    made = {"id": call.new_id(), "note": "taken", "n": 1, "slug": "taken", "site_id": other}
    column = sa.literal_column(f"(SELECT max(note) FROM {table} WHERE id = {ident})")
    variants: dict[str, Callable[[], Any]] = {
        "select": lambda: rows(execute(sa.text(f"SELECT note FROM {table}"))),
        "update": lambda: rows(execute(sa.text(f"UPDATE {table} SET n = 9 WHERE id = {ident}"))),
        "column": lambda: rows(execute(sa.select(column))),
        "from": lambda: rows(execute(sa.select(sa.text("note")).select_from(sa.text(table)))),
        "where": lambda: rows(execute(sa.select(sa.literal(1)).where(exists))),
        "light insert": lambda: rows(execute(sa.insert(light).values(made))),
        "driver": lambda: call.session.connection().exec_driver_sql(f"SELECT note FROM {table}").scalars().all(),
    }
    return variants[call.tape.pick(list(variants))]()


def _use_in_another_block(call: Call, name: str, other: int, ident: int) -> Any:
    """Use a session while another site is current than the one for which it was first used."""
    model = getattr(call.models, name)
    with call.world.working_for(call.site), call.world.open_unpinned(call.site) as session:
        session.scalars(sa.select(model.id)).all()
        with call.world.working_for(other):
            return rows(session.execute(sa.select(model.note))) or "used"


def _obey_the_pin(call: Call, name: str, other: int, ident: int) -> Any:
    """Use a session that is pinned to this site while another site is current."""
    model = getattr(call.models, name)
    with call.world.open(call.site) as session, call.world.working_for(other):
        return [note for note in session.scalars(sa.select(model.note)) if f"canary-{other}-" in note]


def _without_a_site(call: Call, name: str, other: int, ident: int) -> Any:
    """Use a session or a connection while no site is current, after an error in a block."""
    model = getattr(call.models, name)

    def use() -> Any:
        with suppress(LookupError), call.world.working_for(other):
            raise LookupError("an error in the block")
        if call.tape.chance():
            with call.world.engines[call.site].connect() as connection:
                return rows(connection.execute(sa.select(model.__table__.c.note)))
        with Session(call.world.engines[call.site]) as session:
            return rows(session.execute(sa.select(model.note)))

    # The site of the step may be current here, so run outside of its block.
    return _outside.copy().run(use) or "nothing found"


def _used_before(call: Call, name: str, other: int, ident: int) -> Any:
    """Get a row from a session that loaded it for another site and was then closed."""
    model = getattr(call.models, name)
    with call.world.open_unpinned(other) as session:
        with call.world.working_for(other):
            held = session.get(model, ident)
            session.close()
        with call.world.working_for(call.site):
            found = session.get(model, ident)
            assert held is not None
            return graph(found, 0)


def _override(call: Call, name: str, other: int, ident: int) -> Any:
    model = getattr(call.models, name)
    found = call.session.scalars(sa.select(model.note), {"multisite_site": other, "site_id": other}).all()
    return [note for note in found if f"canary-{other}-" in note]


ATTEMPTS = (
    _add, _merge, _merge_without_load, _merge_without_load, _merge_by_id, _delete, _link, _append, _new_for_another,
    _new_for_another, _move, _ask_for_the_site, _upsert_by_id, _upsert_by_id, _replace, _as_text,
    _use_in_another_block, _obey_the_pin, _without_a_site, _used_before, _override,
)  # fmt: skip
"""The attempts to take a row; those that have choices of their own, or must meet the right row, come twice."""
