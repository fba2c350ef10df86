"""Around SQLAlchemy's statements: threads, asynchronous tasks and processes."""

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

from attack_catalogue import Place, add, own, refused, secrets
from attack_catalogue.connections import secret
from attack_catalogue.models import Note
from attack_catalogue.sessions import first_used, plain_read
from multisite import CrossSiteError, NoCurrentSite, UnscopedStatement, using_site
from multisite.core.site import Site


def _in_thread(p: Place, work: Callable[[], Any]) -> Any:
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    with p.within():
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _async_url(p: Place) -> sa.URL:
    return p.engine.url.set(drivername="sqlite+aiosqlite") if p.sqlite else p.engine.url


def asynchronous(act: Callable[[Any, Place], Any]) -> Callable[[Place], Any]:
    """Run `act`, which is given an asynchronous engine, in an event loop, where the site is current."""

    async def run(p: Place) -> Any:
        engine = create_async_engine(_async_url(p))
        try:
            with p.within():
                return await act(engine, p)
        finally:
            await engine.dispose()

    return lambda p: asyncio.run(run(p))


async def async_session(engine: Any, p: Place) -> Any:
    async with AsyncSession(engine) as session:
        return (await session.scalars(secret)).all()


async def async_stream(engine: Any, p: Place) -> Any:
    async with AsyncSession(engine) as session:
        return [found async for found in await session.stream_scalars(secret)]


async def async_get(engine: Any, p: Place) -> Any:
    async with AsyncSession(engine) as session:
        return secrets([await session.get(Book, p.their()), await session.get(Book, p.own())])


async def async_lazily(engine: Any, p: Place) -> Any:
    async with AsyncSession(engine) as session:
        note = await session.get_one(Note, p.own(2))
        return await session.run_sync(lambda _: [secrets([note.book, *note.authors])])


async def async_connection(engine: Any, p: Place) -> Any:
    async with engine.connect() as connection:
        return (await connection.scalars(secret)).all()


async def async_connection_stream(engine: Any, p: Place) -> Any:
    async with engine.connect() as connection:
        return [row async for row in await connection.stream_scalars(secret)]


async def async_refresh(engine: Any, p: Place) -> Any:
    async with AsyncSession(engine) as session:
        note = await session.get_one(Note, p.own(2))
        await session.refresh(note, ["book", "authors"])
        return secrets([note.book, *note.authors])


async def async_scoped(engine: Any, p: Place) -> Any:
    registry = async_scoped_session(sa.ext.asyncio.async_sessionmaker(engine), scopefunc=asyncio.current_task)
    try:
        return (await registry.scalars(secret)).all()
    finally:
        await registry.remove()


async def async_tasks(engine: Any, p: Place) -> Any:
    """Tasks of two sites take turns; those of the own site are given back."""

    async def read_slowly(site: Site | None) -> Any:
        found: list[Any] = []
        with using_site(site) if site else p.within():
            async with AsyncSession(engine) as session:
                for _ in range(4):
                    found += (await session.scalars(secret)).all()
                    await asyncio.sleep(0)
        return found

    found = await asyncio.gather(*(read_slowly(site) for site in (p.site, p.other) * 3), return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    assert all(set(theirs) == {p.foreign} for theirs in found[1::2])
    return found[::2]


async def async_inherited(engine: Any, p: Place) -> Any:
    """A task begun within the site has it, also after the block that it was begun in."""
    return await asyncio.create_task(async_session(engine, p))


async def async_to_thread(engine: Any, p: Place) -> Any:
    return await asyncio.to_thread(plain_read, p)


async def async_text(engine: Any, p: Place) -> Any:
    async with AsyncSession(engine) as session:
        return (await session.scalars(text("SELECT secret FROM books"))).all()


async def async_foreign_object(engine: Any, p: Place) -> Any:
    async with AsyncSession(engine, info={"site": p.site}) as session:
        return await session.merge(p.theirs(Book))


add(
    "side",
    own,
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
        "thread with the context of its parent": lambda p: _with_context(p),
        "thread with a session of its parent's": lambda p: _in_thread(
            p, lambda: p.opened(site=p.site).scalars(secret).all()
        ),
        "thread with a block of its own": lambda p: _in_thread(p, lambda: first_used(p)),
        "thread pool that served another site": lambda p: _thread_pool(p),
        "thread pool, threads of both sites at once": lambda p: _both_at_once(p),
        "forked worker": lambda p: _forked(p),
    },
)

add("side", refused(NoCurrentSite), {"no site in a new thread": lambda p: _in_thread(p, lambda: plain_read(p))})
add("side", refused(UnscopedStatement), {"asynchronous session, text": asynchronous(async_text)})
add(
    "side", refused(CrossSiteError), {"asynchronous session, foreign object merged": asynchronous(async_foreign_object)}
)


def _with_context(p: Place) -> Any:
    found: list[Any] = []
    with p.within():
        context = copy_context()
    thread = threading.Thread(target=lambda: found.append(context.run(_caught, p)))
    thread.start()
    thread.join()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _caught(p: Place) -> Any:
    try:
        return plain_read(p)
    except NoCurrentSite as error:
        return error


def _thread_pool(p: Place) -> Any:
    def work(site: Site | None) -> Any:
        with using_site(site) if site else p.within():
            return plain_read(p)

    with ThreadPoolExecutor(1) as pool:
        assert set(pool.submit(work, p.other).result()) == {p.foreign}
        return pool.submit(work, p.site).result()


def _both_at_once(p: Place) -> Any:
    barrier = threading.Barrier(4, timeout=60)

    def work(site: Site | None) -> Any:
        barrier.wait()
        found = []
        for _ in range(5):
            with Session(p.engine, info={"site": site}) as session:
                found += session.scalars(secret)
        return found

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, [p.site, p.other] * 2))
    assert all(set(theirs) == {p.foreign} for theirs in found[1::2])
    return found[::2]


def _forked(p: Place) -> Any:
    """As a pre-forking server has it: the engine, its cache and a pinned session are there before the fork."""
    with using_site(p.other), Session(p.engine) as session:
        session.scalars(secret).all()
    p.engine.dispose()
    with p.within():
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns of a fork in a process with threads, of which a test run has some.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                answer: Any = plain_read(p)
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
