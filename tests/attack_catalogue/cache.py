"""The SQL compilation cache: all sites share a compiled statement; statements for all sites are never cached in it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from textwrap import dedent
from typing import Any

import sqlalchemy as sa
from paths import PYTHONPATH
from scoped_models import Author, Book, Shelf, shelf_books
from sqlalchemy import func, select, text
from sqlalchemy.ext import serializer
from sqlalchemy.ext.baked import bakery
from sqlalchemy.orm import Session, joinedload, lazyload, selectinload

from attack_catalogue import Context, add, attempt, exactly, no_result, own_rows, refused, secrets
from attack_catalogue.models import Note, Room, Slip
from multisite import UnscopedStatement, all_sites, scoped_text, using_site
from multisite.scoping.column import site_id_column
from multisite.scoping.tables import tables

Act = Callable[[Session], Any]
books = Book.__table__

READS: dict[str, Act] = {
    "entity": lambda s: secrets(s.scalars(select(Book))),
    "columns": lambda s: s.scalars(select(Book.secret)).all(),
    "table": lambda s: s.scalars(select(books.c.secret)).all(),
    "lightweight table": lambda s: s.scalars(select(sa.column("secret")).select_from(sa.table("books"))).all(),
    "full join": lambda s: s.execute(
        select(Book.secret, Author.secret).join(Author, Book.id == Author.id, full=True)
    ).all(),
    "list of keys": lambda s: s.scalars(select(Book.secret).where(Book.id.in_([11, 12, 21]))).all(),
    "get": lambda s: secrets([s.get(Book, 11), s.get(Book, 21)]),
    "joined": lambda s: [secrets([note.book]) for note in s.scalars(select(Note).options(joinedload(Note.book)))],
    "lazily": lambda s: [secrets([note.book]) for note in s.scalars(select(Note).options(lazyload(Note.book)))],
    "selectin": lambda s: [secrets(room.notes) for room in s.scalars(select(Room).options(selectinload(Room.notes)))],
    "lambda": lambda s: s.scalars(sa.lambda_stmt(lambda: select(Book.secret).where(Book.id > 0))).all(),
    "legacy query": lambda s: secrets(s.query(Book)),
    "scoped text": lambda s: s.scalars(scoped_text("SELECT secret FROM books WHERE site_id = :site_id")).all(),
}
_bakery = bakery()
READS["baked"] = lambda s: secrets(_bakery(lambda session: session.query(Book))(s).all())


def fresh(ctx: Context) -> None:
    """Empty the cache, so that the next execution compiles the statement."""
    ctx.engine.clear_compiled_cache()


def of_other(ctx: Context, act: Act) -> Any:
    with Session(ctx.engine, info={"site": ctx.other}) as session:
        return act(session)


def of_all(ctx: Context, act: Act) -> Any:
    with Session(ctx.engine, info={"all_sites": "a test"}) as session:
        return act(session)


def after_other(act: Act) -> Callable[[Context], Any]:
    def do(ctx: Context) -> Any:
        fresh(ctx)
        assert ctx.other_secret in str(of_other(ctx, act))
        return act(ctx.session)

    return do


def after_all(act: Act) -> Callable[[Context], Any]:
    def do(ctx: Context) -> Any:
        fresh(ctx)
        of_all(ctx, act)
        act_again = act(ctx.session)
        assert ctx.other_secret in str(of_all(ctx, act))
        return [act_again, act(ctx.session)]

    return do


add("cache", own_rows, {f"compiled for another site: {name}": after_other(act) for name, act in READS.items()})
add(
    "cache",
    own_rows,
    {f"compiled for all sites: {name}": after_all(act) for name, act in READS.items() if name != "scoped text"},
)

WRITES: dict[str, Act] = {
    "update": lambda s: s.execute(sa.update(Book).values(stock=5)),
    "delete": lambda s: s.execute(shelf_books.delete()),
    "flush": lambda s: (setattr(s.scalars(select(Book).limit(1)).one(), "stock", 5), s.flush()),
    "insert": lambda s: s.execute(sa.insert(Shelf).values(slug="new", secret="new")),
    "insert many": lambda s: s.execute(sa.insert(Shelf), [{"slug": f"new-{n}", "secret": "new"} for n in range(3)]),
    "new object": lambda s: (s.add(Slip(secret="new")), s.flush()),
    "insert from select": lambda s: s.execute(
        sa.insert(Shelf).from_select(["slug", "secret"], select(Book.slug, Book.secret))
    ),
    "upsert": lambda s: s.execute(_upsert(s)),
}


def _upsert(session: Session) -> Any:
    from sqlalchemy.dialects import postgresql, sqlite

    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    insert = dialect.insert(Book).values(slug="book-1", secret="x")
    return insert.on_conflict_do_update(index_elements=["site_id", "slug"], set_={"stock": 5})


def written_after(act: Act) -> Callable[[Context], Any]:
    def do(ctx: Context) -> None:
        fresh(ctx)
        of_other(ctx, act)
        act(ctx.session)

    return do


add(
    "cache",
    no_result,
    {f"compiled for another site: {name}": written_after(act) for name, act in WRITES.items()},
    changes=True,
)


def changed_by_all(ctx: Context) -> None:
    """Change the rows of all sites and roll back, then those of the own site."""
    fresh(ctx)
    statement = sa.update(Book).values(stock=5)
    of_all(ctx, lambda session: session.execute(statement))
    ctx.execute(statement)


add("cache", no_result, {"compiled for all sites: update": changed_by_all}, changes=True)

TEXTS: dict[str, Act] = {
    "text": lambda s: s.execute(text("SELECT secret FROM books")).all(),
    "driver string": lambda s: s.connection().exec_driver_sql("SELECT secret FROM books").all(),
    "text as FROM": lambda s: s.execute(select(text("secret")).select_from(text("books"))).all(),
    "text on a view": lambda s: s.execute(text("SELECT secret FROM books_view")).all(),
    "unknown view": lambda s: s.execute(select(sa.column("secret")).select_from(sa.table("books_view"))).all(),
    "hint": lambda s: s.execute(select(Shelf.id).with_statement_hint("UNION SELECT id FROM books")).all(),
}

add(
    "cache",
    refused(UnscopedStatement),
    {f"allowed for all sites: {name}": after_all(act) for name, act in TEXTS.items()},
)


@attempt("cache", own_rows)
def statement_object_of_another_site(ctx: Context) -> Any:
    with using_site(ctx.other):
        statement = select(Book.secret).where(Book.id > 0)
        str(statement.compile(ctx.engine))
    return ctx.scalars(statement)


@attempt("cache", own_rows)
def cache_of_the_application(ctx: Context) -> Any:
    cache: dict[Any, Any] = {}
    for session in (ctx.open_session(site=ctx.other), ctx.open_session(all_sites="a test"), ctx.session):
        with session.begin_nested() as savepoint:
            found = session.execute(select(Book.secret), execution_options={"compiled_cache": cache}).scalars().all()
            savepoint.rollback()
        if session is not ctx.session:
            session.close()
    assert len(cache) == 1
    return found


@attempt("cache", exactly(0))
def entries_for_a_second_site(ctx: Context) -> int:
    """Count what is compiled again for another site."""
    statement = select(Book.secret).where(Book.id > 1)
    ctx.scalars(statement)
    before = len(ctx.engine._compiled_cache)
    assert set(of_other(ctx, lambda session: session.scalars(statement).all())) == {ctx.other_secret}
    return len(ctx.engine._compiled_cache) - before


@attempt("cache", own_rows)
def serialized_query(ctx: Context) -> Any:
    data = serializer.dumps(select(Book.secret).where(Book.id > 0))
    return ctx.scalars(serializer.loads(data, Book.metadata))


@attempt("cache", own_rows)
def schema_map_after_all_sites(ctx: Context) -> Any:
    options = {"schema_translate_map": {None: "main" if ctx.is_sqlite else "public"}}
    of_all(ctx, lambda session: session.execute(select(Book.secret), execution_options=options).all())
    return ctx.scalars(select(Book.secret), execution_options=options)


@attempt("cache", own_rows)
def table_that_becomes_scoped_later(ctx: Context) -> Any:
    early = sa.Table("unmapped", sa.MetaData(), sa.Column("note", sa.String), sa.Column("site_id", sa.Integer))
    statement = select(early.c.note)
    ctx.scalars(statement)
    late = sa.Table("unmapped", sa.MetaData(), sa.Column("note", sa.String))
    late.append_column(site_id_column())
    try:
        return ctx.scalars(statement)
    finally:
        tables.scoped.discard("unmapped")
        tables.declared.discard("unmapped")
        tables._pattern = None
        fresh(ctx)


@attempt("cache", own_rows)
def eight_threads_of_both_sites_and_of_all(ctx: Context) -> Any:
    """Use sessions of two sites and of all sites in eight threads, on one engine with one cache."""
    fresh(ctx)
    wrong: list[Any] = []
    mine: list[Any] = []
    errors: list[Exception] = []
    both = {f"secret-{ctx.own_key() // 10}", ctx.other_secret}

    def work(number: int) -> None:
        for turn in range(12):
            which = (number + turn) % 3
            info = ({"site": ctx.site}, {"site": ctx.other}, {"all_sites": "a test"})[which]
            try:
                with Session(ctx.engine, info=info) as session:
                    found = set(session.scalars(select(Book.secret))) | set(
                        session.scalars(select(func.max(Book.secret)))
                    )
            except Exception as error:
                errors.append(error)
                return
            if which == 0:
                mine.extend(found)
            elif found != ({ctx.other_secret} if which == 1 else both):
                wrong.append((info, found))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    assert not wrong
    return mine


EARLY = """
    import sqlalchemy as sa

    engine = sa.create_engine(URL)
    light = sa.table("books", sa.column("secret"))
    string = sa.text("SELECT secret FROM books")
    with engine.connect() as connection:
        # Connect and fill the cache before multisite is imported.
        for statement in (sa.select(light.c.secret), string):
            assert len(connection.execute(statement).all()) == 6
        sa.inspect(connection).get_table_names()

    from multisite import UnscopedStatement, NoCurrentSite, using_site
    from multisite.core.site import Site
    import scoped_models

    def _unlimited(compiled):
        compiled.is_scoped_statement = False
        return compiled

    exec(REMOVE)
    with engine.connect() as connection:
        with using_site(Site(1, "one.example", "One", "one")):
            print(connection.scalars(sa.select(light.c.secret)).all())
            print(connection.scalars(sa.select(scoped_models.Book.secret)).all())
            try:
                print(connection.scalars(string).all())
            except UnscopedStatement:
                print("refused")
        try:
            print(connection.scalars(sa.select(light.c.secret)).all())
        except NoCurrentSite:
            print("NoCurrentSite")
    engine.dispose()
"""


def read_early(ctx: Context, remove: str = "") -> list[str]:
    """Read in a new process, by an engine created before multisite was imported; return the lines that it prints.

    Args:
        ctx: the database.
        remove: Python code that removes a part of the scoping layer.
    """
    url = ctx.engine.url.render_as_string(hide_password=False)
    preamble = f"URL, REMOVE = {url!r}, {remove!r}\n"
    result = subprocess.run(
        [sys.executable, "-c", preamble + dedent(EARLY)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
    )
    return result.stdout.split("\n")


@attempt("cache", own_rows, without_site=None, in_subprocess=True)
def engine_connected_before_scoping_was_installed(ctx: Context) -> Any:
    lines = read_early(ctx)
    assert lines[2:] == ["refused", "NoCurrentSite", ""]
    return lines


@attempt("cache", own_rows)
def all_sites_within_the_transaction_of_a_site(ctx: Context) -> Any:
    statement = select(Book.secret)
    with ctx.using_site(), ctx.engine.connect() as connection:
        found = connection.scalars(statement).all()
        with all_sites("a test"):
            assert ctx.other_secret in connection.scalars(statement).all()
        return found + list(connection.scalars(statement))
