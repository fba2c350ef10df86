"""Attempts in threads, asynchronous tasks and processes."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import sqlalchemy as sa
from scoped_models import Book
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, create_async_engine
from sqlalchemy.orm import Session

from attack_catalogue import Context, add, own_rows, refused, secrets
from attack_catalogue.connections import secret
from attack_catalogue.models import Note
from attack_catalogue.sessions import first_used, plain_read
from multisite import CrossSiteError, NoCurrentSite, UnscopedStatement, using_site
from multisite.core.site import Site


def _in_thread(ctx: Context, work: Callable[[], Any]) -> Any:
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    with ctx.using_site():
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _async_url(ctx: Context) -> sa.URL:
    return ctx.engine.url.set(drivername="sqlite+aiosqlite") if ctx.is_sqlite else ctx.engine.url


def asynchronous(act: Callable[[Any, Context], Any]) -> Callable[[Context], Any]:
    """Run `act` with an asynchronous engine in an event loop, with the site as the current one."""

    async def run(ctx: Context) -> Any:
        engine = create_async_engine(_async_url(ctx))
        try:
            with ctx.using_site():
                return await act(engine, ctx)
        finally:
            await engine.dispose()

    return lambda ctx: asyncio.run(run(ctx))


async def async_session(engine: Any, ctx: Context) -> Any:
    async with AsyncSession(engine) as session:
        return (await session.scalars(secret)).all()


async def async_stream(engine: Any, ctx: Context) -> Any:
    async with AsyncSession(engine) as session:
        return [found async for found in await session.stream_scalars(secret)]


async def async_get(engine: Any, ctx: Context) -> Any:
    async with AsyncSession(engine) as session:
        return secrets([await session.get(Book, ctx.other_key()), await session.get(Book, ctx.own_key())])


async def async_lazily(engine: Any, ctx: Context) -> Any:
    async with AsyncSession(engine) as session:
        note = await session.get_one(Note, ctx.own_key(2))
        return await session.run_sync(lambda _: [secrets([note.book, *note.authors])])


async def async_connection(engine: Any, ctx: Context) -> Any:
    async with engine.connect() as connection:
        return (await connection.scalars(secret)).all()


async def async_connection_stream(engine: Any, ctx: Context) -> Any:
    async with engine.connect() as connection:
        return [row async for row in await connection.stream_scalars(secret)]


async def async_refresh(engine: Any, ctx: Context) -> Any:
    async with AsyncSession(engine) as session:
        note = await session.get_one(Note, ctx.own_key(2))
        await session.refresh(note, ["book", "authors"])
        return secrets([note.book, *note.authors])


async def async_scoped(engine: Any, ctx: Context) -> Any:
    registry = async_scoped_session(sa.ext.asyncio.async_sessionmaker(engine), scopefunc=asyncio.current_task)
    try:
        return (await registry.scalars(secret)).all()
    finally:
        await registry.remove()


async def async_tasks(engine: Any, ctx: Context) -> Any:
    """Run tasks of two sites in turn; return the results of those of the own site."""

    async def read_slowly(site: Site | None) -> Any:
        found: list[Any] = []
        with using_site(site) if site else ctx.using_site():
            async with AsyncSession(engine) as session:
                for _ in range(4):
                    found += (await session.scalars(secret)).all()
                    await asyncio.sleep(0)
        return found

    found = await asyncio.gather(*(read_slowly(site) for site in (ctx.site, ctx.other) * 3), return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    assert all(set(theirs) == {ctx.other_secret} for theirs in found[1::2])
    return found[::2]


async def async_inherited(engine: Any, ctx: Context) -> Any:
    """Run a task created inside the block of the site, which it keeps."""
    return await asyncio.create_task(async_session(engine, ctx))


async def async_to_thread(engine: Any, ctx: Context) -> Any:
    return await asyncio.to_thread(plain_read, ctx)


async def async_text(engine: Any, ctx: Context) -> Any:
    async with AsyncSession(engine) as session:
        return (await session.scalars(text("SELECT secret FROM books"))).all()


async def async_foreign_object(engine: Any, ctx: Context) -> Any:
    async with AsyncSession(engine, info={"site": ctx.site}) as session:
        return await session.merge(ctx.other_object(Book))


add(
    "execution",
    own_rows,
    {
        "asynchronous session": asynchronous(async_session),
        "asynchronous session, streamed": asynchronous(async_stream),
        "asynchronous session, get": asynchronous(async_get),
        "asynchronous session, lazily": asynchronous(async_lazily),
        "asynchronous session, refresh": asynchronous(async_refresh),
        "asynchronous session, scoped": asynchronous(async_scoped),
        "asynchronous connection": asynchronous(async_connection),
        "asynchronous connection, streamed": asynchronous(async_connection_stream),
        "tasks of two sites": asynchronous(async_tasks),
        "task that inherits its site": asynchronous(async_inherited),
        "asyncio.to_thread": asynchronous(async_to_thread),
        "thread with the context of its parent": lambda ctx: _with_context(ctx),
        "thread with a session that carries the site": lambda ctx: _in_thread(
            ctx, lambda: ctx.open_session(site=ctx.site).scalars(secret).all()
        ),
        "thread with its own block": lambda ctx: _in_thread(ctx, lambda: first_used(ctx)),
        "thread pool that served another site": lambda ctx: _thread_pool(ctx),
        "thread pool, threads of both sites at once": lambda ctx: _both_at_once(ctx),
        "forked worker": lambda ctx: _forked(ctx),
    },
)

add(
    "execution",
    refused(NoCurrentSite),
    {"no site in a new thread": lambda ctx: _in_thread(ctx, lambda: plain_read(ctx))},
)
add("execution", refused(UnscopedStatement), {"asynchronous session, text": asynchronous(async_text)})
add(
    "execution",
    refused(CrossSiteError),
    {"asynchronous session, another site's object merged": asynchronous(async_foreign_object)},
)


def _with_context(ctx: Context) -> Any:
    found: list[Any] = []
    with ctx.using_site():
        context = copy_context()
    thread = threading.Thread(target=lambda: found.append(context.run(_caught, ctx)))
    thread.start()
    thread.join()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _caught(ctx: Context) -> Any:
    try:
        return plain_read(ctx)
    except NoCurrentSite as error:
        return error


def _thread_pool(ctx: Context) -> Any:
    def work(site: Site | None) -> Any:
        with using_site(site) if site else ctx.using_site():
            return plain_read(ctx)

    with ThreadPoolExecutor(1) as pool:
        assert set(pool.submit(work, ctx.other).result()) == {ctx.other_secret}
        return pool.submit(work, ctx.site).result()


def _both_at_once(ctx: Context) -> Any:
    barrier = threading.Barrier(4, timeout=60)

    def work(site: Site | None) -> Any:
        barrier.wait()
        found = []
        for _ in range(5):
            with Session(ctx.engine, info={"site": site}) as session:
                found += session.scalars(secret)
        return found

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, [ctx.site, ctx.other] * 2))
    assert all(set(theirs) == {ctx.other_secret} for theirs in found[1::2])
    return found[::2]


def _forked(ctx: Context) -> Any:
    """Fork as a pre-forking server does: the engine, its cache and a pinned session exist before the fork."""
    with using_site(ctx.other), Session(ctx.engine) as session:
        session.scalars(secret).all()
    ctx.engine.dispose()
    with ctx.using_site():
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns of a fork in a process with threads, of which a test run has some.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                answer: Any = plain_read(ctx)
            except NoCurrentSite:
                answer = None
            except BaseException as error:
                answer = repr(error)
            os.write(writing, json.dumps(answer).encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = json.loads(pipe.read())
    os.waitpid(child, 0)
    if answer is None:
        raise NoCurrentSite("the worker")
    return answer
