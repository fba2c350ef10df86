"""`using_site` and `all_sites` as blocks and decorators, and the one log record of each use of all sites."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from scoped_models import ONE, TWO, Book, Library, build_library
from sqlalchemy.orm import Session

from multisite import all_sites, current_site, using_site
from multisite.core.current_site import current_scope
from multisite.web.dbsession import all_sites_session


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'test.db'}")
    yield build_library(engine)
    engine.dispose()


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "multisite.core.current_site")


def line() -> int:
    """Return the number of the line that calls this."""
    return inspect.stack()[1].lineno


@all_sites("as a decorator")
def decorated(library: Library) -> None:
    assert current_site() is None


def as_a_block(library: Library) -> int:
    with all_sites("test"):
        return line() - 1


def as_a_decorator(library: Library) -> int:
    decorated(library)
    return line() - 1


def through_an_exit_stack(library: Library) -> int:
    with contextlib.ExitStack() as stack:
        stack.enter_context(all_sites("test"))
        return line() - 1


def as_the_info_of_a_session(library: Library) -> int:
    with Session(library.engine, info={"all_sites": "test"}) as session:
        session.scalars(sa.select(Book)).all()
        first = line() - 1
        # All later statements belong to the same use.
        session.commit()
        session.get_one(Book, 21)
        return first


def as_a_session_that_begins_with_an_object(library: Library) -> int:
    with Session(library.engine, info={"all_sites": "test"}) as session:
        session.add(Book(slug="x", secret="x", site_id=1))
        return line() - 1


def as_a_session_of_a_request(library: Library) -> int:
    with Session(library.engine) as own:
        request: Any = SimpleNamespace(dbsession=own, tm=None)
        second = all_sites_session(request, "test")
        made = line() - 1
        with Session(library.engine, info=second.info) as session:
            session.scalars(sa.select(Book)).all()
        return made


@pytest.mark.parametrize(
    "use",
    [
        as_a_block,
        as_a_decorator,
        through_an_exit_stack,
        as_the_info_of_a_session,
        as_a_session_that_begins_with_an_object,
        as_a_session_of_a_request,
    ],
)
def test_each_use_of_all_sites_is_one_record_with_reason_and_caller(
    library: Library, caplog: pytest.LogCaptureFixture, use: Callable[[Library], int]
) -> None:
    number = use(library)
    (record,) = caplog.records
    reason = "as a decorator" if use is as_a_decorator else "test"
    assert record.getMessage() == f"all sites: {reason} ({__file__}:{number} in {use.__name__})"
    assert (record.pathname, record.lineno, record.funcName) == (__file__, number, use.__name__)
    assert (record.levelno, record.name) == (logging.INFO, "multisite.core.current_site")


def test_each_call_of_a_decorated_function_is_one_record(library: Library, caplog: pytest.LogCaptureFixture) -> None:
    assert caplog.records == []
    for _ in range(3):
        decorated(library)
    assert len(caplog.records) == 3


@pytest.mark.parametrize("reason", ["", "  ", None])
def test_a_reason_is_required_everywhere(library: Library, caplog: pytest.LogCaptureFixture, reason: Any) -> None:
    with pytest.raises(ValueError, match="reason"), all_sites(reason):
        pass
    with pytest.raises(ValueError, match="reason"):
        all_sites_session(SimpleNamespace(dbsession=Session(library.engine)), reason)
    if reason is not None:
        with Session(library.engine, info={"all_sites": reason}) as session, pytest.raises(ValueError, match="reason"):
            session.scalars(sa.select(Book)).all()
    assert caplog.records == []


def test_one_block_may_decorate_what_many_threads_call_and_what_calls_itself() -> None:
    wrong: list[Any] = []

    @using_site(ONE)
    def deep(depth: int) -> None:
        if depth:
            with using_site(TWO):
                deep(depth - 1)
        if current_site() != ONE:
            wrong.append(current_site())

    threads = [threading.Thread(target=deep, args=(5,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert current_scope() is None


def generator() -> Iterator[int]:
    yield 1


async def coroutine() -> None:
    pass


async def asynchronous_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("function", [generator, coroutine, asynchronous_generator])
@pytest.mark.parametrize("block", [using_site(ONE), all_sites("test")], ids=["using_site", "all_sites"])
def test_does_not_decorate_what_runs_after_its_call(block: Any, function: Callable[..., Any]) -> None:
    """The function's body would run later, for the site that is current then."""
    with pytest.raises(TypeError, match=f"the body of {function.__qualname__} runs only after the call"):
        block(function)


def test_a_generator_that_stops_inside_a_block_leaves_its_site_to_its_caller() -> None:
    """A documented limit: Python ends the block when the generator ends, without a notification before that."""

    def numbers() -> Iterator[int]:
        with using_site(TWO):
            yield 1

    with using_site(ONE):
        going_on = numbers()
        next(going_on)
        assert current_site() == TWO
        going_on.close()
        assert current_site() == ONE


def test_tasks_inherit_a_site_and_keep_their_own() -> None:
    async def work(site: Any) -> Any:
        with using_site(site):
            await asyncio.sleep(0)
            return current_site()

    async def main() -> list[Any]:
        with using_site(ONE):
            inherited = asyncio.ensure_future(asyncio.sleep(0, current_site()))
            return [await inherited, *await asyncio.gather(work(TWO), work(ONE)), current_site()]

    assert asyncio.run(main()) == [ONE, TWO, ONE, ONE]
