"""The current site in threads, executors, tasks and jobs."""

from __future__ import annotations

import asyncio
import pickle
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine
from huey import SqliteHuey
from huey.exceptions import TaskException
from pyramid.config import Configurator
from pyramid.registry import Registry
from scoped_models import ONE, TWO, Book, Library, build_library
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from multisite import CrossSiteError, NoCurrentSite, Site, UnknownSite, all_sites, carry, current_site, using_site
from multisite.core.current_site import current_scope, pop_scope, push_scope
from multisite.core.keys import DIRECTORY
from multisite.directory.models import DomainRow, SiteRow
from multisite.sites.availability import disable_site
from multisite.web.jobs import site_of_job


@pytest.fixture
def library(sqlite_database_url: str) -> Iterator[Library]:
    # The thread is independent of the database.
    with closing_engine(sqlite_database_url) as engine:
        yield build_library(engine)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


def secrets(library: Library) -> set[str]:
    with Session(library.engine) as session:
        return set(session.scalars(sa.select(Book.secret)))


def test_a_plain_thread_has_no_site(library: Library, pool: ThreadPoolExecutor) -> None:
    with using_site(ONE):
        assert pool.submit(current_site).result() is None
        with pytest.raises(NoCurrentSite):
            pool.submit(secrets, library).result()


def test_a_carried_function_works_for_the_site_that_was_current(library: Library, pool: ThreadPoolExecutor) -> None:
    with using_site(ONE):
        carried = carry(partial(secrets, library))
    with using_site(TWO):
        assert pool.submit(carried).result() == {"secret-1"}
        assert carried() == {"secret-1"}
        assert current_site() is TWO
    assert pool.submit(current_site).result() is None


def test_many_sites_at_once_on_the_same_threads(pool: ThreadPoolExecutor) -> None:
    sites = [Site(number, f"site{number}.example", "", "") for number in range(50)]
    jobs: list[tuple[Site, Callable[[], Site | None]]] = []
    for site in sites:
        with using_site(site):
            jobs += [(site, carry(current_site))] * 20
    futures = [(site, pool.submit(job)) for site, job in jobs]
    assert all(future.result() is site for site, future in futures)
    assert {pool.submit(current_site).result() for _ in range(20)} == {None}


def test_a_request_is_carried_as_a_block(library: Library, pool: ThreadPoolExecutor) -> None:
    """A session that an earlier job left open on the thread belongs to its site: it is refused, not used."""
    sessions = scoped_session(sessionmaker(library.engine))

    def leave_open() -> list[str]:
        return list(sessions.scalars(sa.select(Book.secret)))

    def in_request_of(site: Site) -> Callable[[], list[str]]:
        token = push_scope(site)
        try:
            return carry(leave_open)
        finally:
            pop_scope(token)

    with ThreadPoolExecutor(1) as thread:
        assert set(thread.submit(in_request_of(ONE)).result()) == {"secret-1"}
        with pytest.raises(CrossSiteError):
            thread.submit(in_request_of(TWO)).result()
        thread.submit(sessions.remove).result()
        assert set(thread.submit(in_request_of(TWO)).result()) == {"secret-2"}
        thread.submit(sessions.remove).result()


def test_all_sites_are_carried_with_their_reason(library: Library, pool: ThreadPoolExecutor) -> None:
    with all_sites("a report"):
        carried, scope = carry(partial(secrets, library)), carry(current_scope)
    assert pool.submit(carried).result() == {"secret-1", "secret-2"}
    found = pool.submit(scope).result()
    assert found is not None
    assert found.reason == "a report"


def test_no_site_is_carried_too() -> None:
    """A function carried from outside of any site does not run with the site that is current in the other thread."""
    carried = carry(current_site)
    with using_site(ONE):
        assert carried() is None
        assert current_site() is ONE


def test_one_block_in_several_threads_at_once_ends_in_each_of_them() -> None:
    """A block may be created once, for instance in a module; leaving it in one thread does not affect the others."""
    block, entered, left = using_site(ONE), threading.Barrier(2), threading.Event()

    def look(is_first: bool) -> list[Site | None]:
        with block:
            entered.wait(30)
            seen = [current_site()]
            assert is_first or left.wait(30)
        left.set()
        return [*seen, current_site()]

    with ThreadPoolExecutor(2) as threads:
        futures = [threads.submit(look, is_first) for is_first in (True, False)]
        assert [future.result(60) for future in futures] == [[ONE, None]] * 2


def test_a_block_that_ends_in_another_context_is_an_error(pool: ThreadPoolExecutor) -> None:
    block = using_site(ONE)
    pool.submit(block.__enter__).result()
    with pytest.raises(ValueError, match="ends in another context than it began in"):
        block.__exit__()


def test_a_failing_function_restores_the_scope(pool: ThreadPoolExecutor) -> None:
    def fail(error: BaseException) -> None:
        raise error

    with using_site(ONE):
        carried = carry(fail)
    with using_site(TWO):
        for error in (ValueError(), SystemExit(), GeneratorExit(), KeyboardInterrupt()):
            with pytest.raises(type(error)):
                carried(error)
            assert current_site() is TWO


def test_arguments_and_results_pass() -> None:
    def function(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    with using_site(ONE):
        # The names of carry's own parameters can be used.
        assert carry(function)(1, scope=2, function=3) == ((1,), {"scope": 2, "function": 3})


async def later() -> None: ...


def generator() -> Iterator[None]:
    yield


async def asynchronous_generator() -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("function", [later, generator, asynchronous_generator, partial(later)])
def test_deferred_functions_cannot_be_carried(function: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="runs only after the call"):
        carry(function)


def test_another_process(library: Library) -> None:
    with using_site(ONE):
        carried = carry(current_site)
    assert pickle.loads(pickle.dumps(carried))() == ONE
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(carried).result() == ONE
        assert pool.submit(current_site).result() is None


def test_tasks_inherit_and_keep_to_themselves() -> None:
    async def look(site: Site) -> list[Site | None]:
        seen = [current_site()]
        with using_site(site):
            await asyncio.sleep(0)
            seen += [current_site(), await asyncio.create_task(child()), await asyncio.to_thread(current_site)]
        return [*seen, current_site()]

    async def child() -> Site | None:
        await asyncio.sleep(0)
        return current_site()

    async def main() -> None:
        sites = [Site(number, f"site{number}.example", "", "") for number in range(20)]
        with using_site(ONE):
            found = await asyncio.gather(*map(look, sites))
        assert found == [[ONE, site, site, site, ONE] for site in sites]
        loop = asyncio.get_running_loop()
        with using_site(TWO):
            assert await loop.run_in_executor(None, current_site) is None
            assert await loop.run_in_executor(None, carry(current_site)) is TWO

    asyncio.run(main())


def test_a_coroutine_submitted_to_a_loop_in_another_thread_has_the_site_of_its_submitter() -> None:
    async def look() -> Site | None:
        return current_site()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        with using_site(ONE):
            assert asyncio.run_coroutine_threadsafe(look(), loop).result(30) is ONE
        assert asyncio.run_coroutine_threadsafe(look(), loop).result(30) is None
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


# Jobs of a queue: the recipe of docs/scripts-and-jobs.md, with a consumer that runs.


@pytest.fixture
def application(tmp_path: Path, sqlite_database_url: str) -> Iterator[Registry]:
    """The registry of an application that knows ONE and TWO and their books."""
    with closing_engine(sqlite_database_url) as engine:
        build_library(engine)
        with Configurator(settings={"multisite.sites_dir": str(tmp_path / "sites")}) as config:
            config.include("multisite")
            config.set_multisite_engine(engine)
        yield config.registry
        config.registry[DIRECTORY].deactivate()


@contextmanager
def consuming(huey: SqliteHuey) -> Iterator[None]:
    """Process the queue in two threads inside the block."""
    consumer = huey.create_consumer(workers=2, initial_delay=0.01, max_delay=0.05, scheduler_interval=1)
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    consumer.start()
    try:
        yield
    finally:
        consumer.stop(graceful=True)
        for number, handler in before:
            signal.signal(number, handler)
        huey.storage.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # huey's threads leave their connections to the collector.
def test_a_job_runs_for_the_site_that_it_was_enqueued_with(application: Registry, tmp_path: Path) -> None:
    huey = SqliteHuey(filename=str(tmp_path / "jobs.db"))
    engine = application[DIRECTORY].engine

    @huey.task()
    def look(site_id: int) -> tuple[str, list[str]]:
        with using_site(site_of_job(application, site_id)) as site, Session(engine) as session:
            return site.name, sorted(set(session.scalars(sa.select(Book.secret))))

    @huey.task()
    def look_at_nothing() -> bool:
        return current_site() is None

    with using_site(ONE):
        jobs = [(site, look(site.id), look_at_nothing()) for site in [ONE, TWO] * 10]
    with all_sites("a test"), Session(engine) as session:
        # Between enqueuing and running: the job sees the site in its current state.
        session.execute(sa.update(SiteRow).where(SiteRow.id == ONE.id).values(name="Renamed"))
        session.commit()
    with consuming(huey):
        for site, job, nothing in jobs:
            name = "Renamed" if site is ONE else TWO.name
            assert job.get(blocking=True, timeout=60) == (name, [f"secret-{site.id}"])
            assert nothing.get(blocking=True, timeout=60) is True
        disable_site(engine, ONE.host)
        for site_id, reason in (
            (ONE.id, "one.example, the site with the id 1 that this job is for, is disabled"),
            (99, "there is no site with the id 99, which this job is for: it was removed"),
        ):
            with pytest.raises(TaskException, match=reason):
                look(site_id).get(blocking=True, timeout=60)
        assert look(TWO.id).get(blocking=True, timeout=60)[0] == TWO.name


def test_the_site_of_a_job_that_was_removed(application: Registry) -> None:
    engine = application[DIRECTORY].engine
    assert site_of_job(application, ONE.id) == ONE
    with all_sites("a test"), engine.begin() as connection:
        connection.execute(sa.delete(DomainRow).where(DomainRow.site_id == ONE.id))
        connection.execute(sa.update(SiteRow).where(SiteRow.id == ONE.id).values(availability="removed"))
    with pytest.raises(UnknownSite, match="it was removed"):
        site_of_job(application, ONE.id)
