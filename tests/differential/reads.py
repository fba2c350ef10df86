"""The actions that read rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased, contains_eager, make_transient_to_detached, undefer, with_parent

from differential.action import Action, Call
from differential.models import CHILDREN, SCOPED
from differential.plain import graph, graphs, rows
from differential.program import SITES
from differential.rows import key

_threads = ThreadPoolExecutor(max_workers=len(SITES))


def own(call: Call, model: Any) -> Any:
    """Return an object of `model` that belongs to the site, or None."""
    ids = call.session.scalars(sa.select(model.id).order_by(model.id)).all()
    return call.session.get(model, call.tape.pick(ids)) if ids else None


def any_model(call: Call, names: tuple[str, ...] = (*SCOPED, *CHILDREN)) -> Any:
    return getattr(call.models, call.tape.pick(names))


def nothing(call: Call) -> None:
    return None


def select(call: Call) -> Any:
    statement = call.statement("select")
    if isinstance(call.session, Session) and call.tape.chance(3):
        return rows(call.session.connection().execute(statement))
    if call.tape.chance(4):
        statement = statement.execution_options(yield_per=2, stream_results=True)
    return rows(call.session.execute(statement))


def load(call: Call) -> Any:
    statement = call.statement("entities")
    if call.tape.chance(4):
        statement = statement.execution_options(populate_existing=True)
    if call.tape.chance(8):
        return graphs(call.session.scalars(statement.execution_options(yield_per=2)), 1)
    return graphs(call.session.scalars(statement).unique(), call.tape.number(3))


def get(call: Call) -> Any:
    model = any_model(call)
    return look_up(call, model, key(call.site, 1 + call.tape.number(6)))


def look_up(call: Call, model: Any, ident: int) -> Any:
    """Return the row with an id, as found by one of the methods that look up a row by its id."""
    session = call.session
    variants = {
        "get": lambda: session.get(model, ident),
        "populate": lambda: session.get(model, ident, populate_existing=True),
        "lock": lambda: session.get(model, ident, with_for_update=True),
        "options": lambda: session.get(model, ident, options=[sa.orm.lazyload("*")]),
        "query": lambda: session.query(model).filter_by(id=ident).one_or_none(),
        "query get": lambda: session.query(model).filter(model.id == ident).options(undefer("*")).first(),
        "where": lambda: session.scalars(sa.select(model).where(model.id == ident)).one_or_none(),
        "in": lambda: session.scalars(sa.select(model).where(model.id.in_([ident, -1]))).one_or_none(),
        "refresh": lambda: detached(call, model, ident, refresh=True),
        "expired": lambda: detached(call, model, ident, refresh=False),
    }
    return graph(variants[call.tape.pick(list(variants))](), call.tape.number(3))


def detached(call: Call, model: Any, ident: int, *, refresh: bool) -> Any:
    """Return an object made detached by `make_transient_to_detached`, with the values that the database has for it."""
    if sa.inspect(model).polymorphic_on is not None:
        return call.session.get(model, ident)
    instance = model(id=ident)
    make_transient_to_detached(instance)
    if sa.orm.util.identity_key(model, ident) in call.session.identity_map:
        return call.session.get(model, ident)
    call.session.add(instance)
    if refresh:
        call.session.refresh(instance)
    return instance


def related(call: Call) -> Any:
    """Read the relationships of one object by each API that SQLAlchemy has for it."""
    session, m = call.session, call.models
    author = own(call, m.Author)
    if author is None:
        return None
    variants = {
        "dynamic": lambda: author.posts_dynamic.filter(m.Post.n >= call.tape.number(3)).all(),
        "dynamic count": author.posts_dynamic.count,
        "write only": lambda: session.scalars(author.posts_only.select().where(m.Post.n >= call.tape.number(3))).all(),
        "with_parent": lambda: session.scalars(sa.select(m.Post).where(with_parent(author, m.Author.posts))).all(),
        "refresh": lambda: refreshed(call, author, ["posts"]).posts,
        "expire": lambda: expired(call, author, ["favourite", "post_count", "bio"]),
        "proxy": lambda: [sorted(post.tag_slugs) for post in author.posts],
    }
    found = variants[call.tape.pick(list(variants))]()
    if not isinstance(found, list):
        return found
    return graphs(found, 1) if found and hasattr(found[0], "__mapper__") else sorted(map(repr, found))


def refreshed(call: Call, instance: Any, names: list[str]) -> Any:
    call.session.flush()
    call.session.refresh(instance, names if call.tape.chance() else None)
    return instance


def expired(call: Call, instance: Any, names: list[str]) -> Any:
    call.session.flush()
    call.session.expire(instance, names if call.tape.chance() else None)
    return graph(instance, 1)


def polymorphic(call: Call) -> Any:
    found = call.session.execute(call.statement("polymorphic")).unique().all()
    depth = call.tape.number(2)
    return sorted(
        (tuple(graph(each, depth) if hasattr(each, "__mapper__") else each for each in row) for row in found), key=repr
    )


def query(call: Call) -> Any:
    """Execute one of the queries of the legacy `Query` API."""
    session, m = call.session, call.models
    model = any_model(call)
    limit = call.tape.number(4)
    variants = {
        "all": lambda: graphs(session.query(model).filter(model.n >= limit).all(), 1),
        "count": lambda: session.query(model).filter(model.n >= limit).count(),
        "columns": lambda: sorted(session.query(m.Post.note, m.Author.note).outerjoin(m.Post.author).all(), key=repr),
        "from subquery": lambda: session.query(session.query(model).filter(model.n >= limit).subquery()).count(),
        "exists": lambda: session.query(session.query(m.Tag).filter(m.Tag.posts.any(m.Post.n >= limit)).exists()).all(),
        "union": lambda: session.query(m.Tag.note).union(session.query(m.Comment.note)).count(),
        "joined": lambda: graphs(session.query(m.Post).join(m.Post.tags).filter(m.Tag.n >= limit).all(), 1),
        "eager": lambda: graphs(
            session.query(m.Post).outerjoin(m.Post.comments).options(contains_eager(m.Post.comments)).all(), 2
        ),
        "update": lambda: session.query(m.Comment).filter(m.Comment.n >= limit).update({"n": m.Comment.n + 1}),
        "delete": lambda: session.query(m.Comment).filter(m.Comment.n >= limit + 1).delete(),
    }
    return variants[call.tape.pick(list(variants))]()


def corner(call: Call) -> Any:
    """Execute one of the selects written here, which `Selects` does not build."""
    m = call.models
    limit, post, child = call.tape.number(4), aliased(m.Post), aliased(m.Tag)
    # A lambda statement can use a class from its closure, but not an attribute of an object in the closure.
    posts, comments = m.Post, m.Comment
    statements = {
        "lambda": lambda: sa.lambda_stmt(lambda: sa.select(posts).where(posts.n >= limit)),
        "lambda of columns": lambda: sa.lambda_stmt(
            lambda: sa.select(comments.note, comments.n).where(comments.n >= limit)
        ),
        "secondary": lambda: sa.select(m.post_tags.c.post_id, m.post_tags.c.tag_id),
        "secondary alias": lambda: sa.select(sa.func.count()).select_from(m.post_tags.alias()),
        "through secondary": lambda: sa.select(m.Post.note, m.Tag.note).outerjoin(m.Post.tags),
        "from tags": lambda: sa.select(m.Tag.note, post.note).join(m.Tag.posts.of_type(post), isouter=True),
        "proxy": lambda: sa.select(m.Post.note).where(m.Post.tag_slugs.contains(f"slug-{limit}")),
        "contains": lambda: sa.select(m.Post.note).where(m.Post.tags.any(m.Tag.children.any(m.Tag.n >= 0))),
        "hybrid": lambda: sa.select(m.Post.weight, m.Post.note).where(m.Post.weight > limit),
        "column_property": lambda: sa.select(m.Author.note, m.Author.post_count),
        "from_statement": lambda: sa.select(m.Post).from_statement(sa.select(m.Post.__table__)),
        "contains_eager": lambda: (
            sa.select(m.Author)
            .outerjoin(m.Author.posts.of_type(post))
            .options(contains_eager(m.Author.posts, alias=post))
        ),
        "self": lambda: sa.select(m.Tag.note, child.note).outerjoin(m.Tag.children.of_type(child)),
        "shared": lambda: sa.select(m.Country.n, m.Post.note).outerjoin(m.Post, m.Post.id == m.Country.ref),
        "shared inner": lambda: sa.select(m.Country.n).join(m.Post, m.Post.id == m.Country.ref),
        "with_only_columns": lambda: sa.select(m.Post).with_only_columns(sa.func.max(m.Post.note)),
        "correlated": lambda: sa.select(
            m.Author.note,
            sa.select(sa.func.max(m.Post.note)).where(m.Post.ref == m.Author.id).correlate(m.Author).scalar_subquery(),
        ),
        "values": lambda: sa.select(m.Post.note, sa.column("v")).join(
            sa.values(sa.column("v", sa.Integer), name="given").data([(0,), (1,), (2,)]), sa.column("v") == m.Post.n
        ),
        "bundle": lambda: sa.select(sa.func.count(sa.distinct(m.Comment.ref)), sa.func.max(m.Comment.note)),
        "rank": lambda: sa.select(
            m.Comment.note, sa.func.row_number().over(partition_by=m.Comment.n, order_by=m.Comment.id)
        ),
        "full": lambda: sa.select(m.Post.note, m.Author.note).join(m.Author, m.Author.id == m.Post.ref, full=True),
        "full of tables": lambda: sa.select(m.Comment.note, m.Post.note).select_from(
            m.Comment.__table__.join(m.Post.__table__, m.Post.id == m.Comment.ref, full=True)
        ),
        "union": lambda: sa.union_all(sa.select(m.Post.note), sa.select(m.Comment.note).where(m.Comment.n >= limit)),
        "exists": lambda: sa.select(sa.exists().where(m.Post.n >= limit, m.Post.note.like("%canary%"))),
        "case": lambda: sa.select(sa.case((sa.literal(1) == 1, sa.func.max(m.Post.note)))),
        "params": lambda: sa.select(m.Post.note).where(m.Post.id == sa.bindparam("key")),
    }
    if call.world.dialect == "sqlite":
        # SQLite has no names for the columns of VALUES.
        del statements["values"]
    kind = call.tape.pick(list(statements))
    if kind == "params":
        return rows(call.session.execute(_remembered(call, kind, statements), {"key": key(call.site, limit)}))
    result = call.session.execute(_remembered(call, kind, statements))
    # A Connection returns the columns of an entity instead of objects, so unique() does not apply.
    if isinstance(call.session, Session) and kind in ("contains_eager", "lambda", "from_statement"):
        return graphs(result.unique().scalars(), 1)
    return rows(result)


def _remembered(call: Call, kind: str, statements: dict[str, Any]) -> Any:
    """Return the same statement object for each site of the step."""
    return call.world.statements.setdefault(("corner", kind, call.step.tape), statements[kind]())


def ids(call: Call) -> Any:
    """Count the rows of the association table, and list the ids of each other table."""
    m = call.models
    found = [call.session.execute(sa.select(sa.func.count()).select_from(m.post_tags)).scalar()]
    for name in (*SCOPED, *CHILDREN):
        model = getattr(m, name)
        found.append(rows(call.session.execute(sa.select(model.id))))
    return found


def threads(call: Call) -> Any:
    """Execute one statement for all sites concurrently, in one thread for each."""
    statement = call.statement("select")

    def execute(site: int) -> Any:
        with call.world.working_for(site), call.world.engines[site].connect() as connection:
            return rows(connection.execute(statement))

    return list(_threads.map(execute, SITES))


def everywhere(call: Call) -> Any:
    """Execute one statement for all sites together, and then for one site."""
    m, tape = call.models, call.tape
    target = any_model(call, ("Comment", "Tag", "Post"))
    kind = tape.pick(("select", "select", "update", "delete", "entity"))
    if kind == "entity":
        statement = sa.select(target)
    elif kind == "update":
        statement = sa.update(target.__table__).where(target.__table__.c.n >= tape.number(5)).values(n=0)
    elif kind == "delete":
        statement = sa.delete(m.Comment).where(m.Comment.n >= 3 + tape.number(3))
    else:
        statement = call.statement("one_table")
    found = call.world.for_all_sites(lambda connection: rows(connection.execute(statement)))
    if isinstance(found[0], int):
        return sum(found)
    together = sorted((row for each in found for row in each), key=repr)
    # The same statement follows for one site.
    with call.world.working_for(call.site), call.world.engines[call.site].connect() as connection:
        return together, None if kind in ("update", "delete") else rows(connection.execute(statement))


def one_table(call: Call) -> Any:
    return rows(call.session.execute(call.statement("one_table")))


ACTIONS = {
    "nothing": Action(nothing),
    "select": Action(select, needs_session=False),
    "load": Action(load),
    "get": Action(get),
    "related": Action(related),
    "polymorphic": Action(polymorphic),
    "query": Action(query),
    "corner": Action(corner, needs_session=False),
    "ids": Action(ids, needs_session=False),
    "threads": Action(threads, place="fresh"),
    "everywhere": Action(everywhere, everywhere=True),
}
