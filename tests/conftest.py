"""Fixtures that several test files use (databases, sites, a clock), and hooks of pytest."""

from __future__ import annotations

import gc
import importlib.metadata
import importlib.util
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click.testing
import pytest
import site_keys
import sqlalchemy as sa
import two_workers
import two_workers_differences
from databases import (
    closing_engine,
    forget_statements,
    fresh_postgresql,
    make_own_tables,
    running_postgresql,
    share_statements,
    share_statements_of_new_engines,
    wait_for_directory_threads,
)
from directories import Clock
from hypothesis import HealthCheck, settings
from ini_loaders import remember_loaders
from start_costs import shorten_starts

from multisite.core import site as site_module
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory import engine_from_url
from multisite.page_cache import invalidation
from multisite.sites.creation import add_site

if TYPE_CHECKING:
    from content_sites import ContentSites
    from vhosting import World


# Until all tests are collected: their thousands of objects stay, and each collection would look at them.
gc.disable()

# As in an activated environment: messages then suggest `multisite` instead of the path of its script.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

remember_loaders()
shorten_starts()
if site_keys.KEYS:
    site_keys.install()

if importlib.metadata.version("click").startswith("8.1."):

    class _Runner(click.testing.CliRunner):
        """`CliRunner` as in click 8.2 and later: stderr is separate from stdout, and `output` contains both."""

        def __init__(self) -> None:
            super().__init__(mix_stderr=False)  # type: ignore[call-arg]

        @contextmanager
        def isolation(self, *args: Any, **options: Any) -> Iterator[Any]:
            with super().isolation(*args, **options) as streams:
                sys.stderr.reconfigure(write_through=True)  # type: ignore[union-attr]
                yield streams

    click.testing.CliRunner = _Runner  # type: ignore[misc]
    click.testing.Result.output = property(lambda result: result.stdout + result.stderr)  # type: ignore[method-assign, assignment]

# By default, Hypothesis fails if an example takes 200 ms or is slow to generate, which happens on a busy machine.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

DATABASES = frozenset({"sqlite", "postgresql"})

COMPILER_TESTS = frozenset({"differential", "directory", "existing", "scoping", "sharding", "system"})
"""The folders of tests of what multisite makes of a statement. In others, engines share what they compiled."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--random-files", metavar="SEED", help="run the files of tests in an order that depends on SEED")
    parser.addoption("--two-workers", action="store_true", help="let two workers answer in turn (two_workers.py)")


def pytest_configure(config: pytest.Config) -> None:
    two_workers.ASKED_FOR.always = config.getoption("two_workers")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run slow files first, skip `soak`, and deselect cases for one database, such as "sqlite: PRAGMA", on the other.

    The latter are deselected and not skipped, since a skip would suggest that something is missing.
    """
    # If a slow file began last, the other processes would be idle meanwhile.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    if seed := config.getoption("random_files"):
        items.sort(key=lambda item: random.Random(f"{seed} {item.path.relative_to(config.rootpath)}").random())
    for_another = set()
    for item in items:
        if "MULTISITE_SOAK" not in os.environ and item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.skip(reason="runs long; only with MULTISITE_SOAK=1"))
        case = getattr(item, "callspec", None)
        values = {value for value in case.params.values() if isinstance(value, str)} if case else set()
        named = {value.partition(": ")[0] for value in values if ": " in value} & DATABASES
        if named and not named & values:
            for_another.add(item)
    if site_keys.KEYS:
        site_keys.mark_expected(items)
    two_workers_differences.mark_expected(items)
    if for_another:
        config.hook.pytest_deselected(items=list(for_another))
        items[:] = [item for item in items if item not in for_another]


def pytest_collection_finish() -> None:
    """Exclude the thousands of tests, and all imported modules, from later garbage collections."""
    gc.collect()
    gc.freeze()
    # By default, 700 new objects start a collection, and many are full ones, since frozen objects do not count.
    gc.set_threshold(5000)
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Let the directories of a test finish reading before their engines are disposed."""
    wait_for_directory_threads()


_last_file = pytest.StashKey[Path]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Remove the applications of earlier files: `using_site` would query them, and their databases no longer exist."""
    if item.config.stash.get(_last_file, None) != item.path:
        item.config.stash[_last_file] = item.path
        site_module._resolvers.clear()
        # Commands and applications of earlier files, until they are collected, count changes in their databases, which
        # no longer exist, and in those of later tests.
        invalidation._publishers.clear()
        invalidation._subscribers.clear()
        forget_statements()
        share_statements_of_new_engines(share=item.path.parent.name not in COMPILER_TESTS)


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Disable garbage collection, for a test that reaches the recursion limit.

    Objects of earlier tests would be finalized at the limit, where no finalizer can run, and pytest would attribute
    the errors of those finalizers to this test.
    """
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="module")
def dev() -> ModuleType:
    """Return dev.py as a module."""
    spec = importlib.util.spec_from_file_location("dev", Path(__file__).parents[1] / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """Yield the URL of the database `postgres` on a server on which tests may create databases."""
    with running_postgresql() as url:
        yield url


@pytest.fixture
def postgresql_database_url(postgresql_url: str) -> Iterator[str]:
    """Yield the URL of an empty PostgreSQL database, fresh for the test."""
    with fresh_postgresql(postgresql_url) as url:
        yield url


@pytest.fixture
def sqlite_database_url(tmp_path: Path) -> str:
    """Return the URL of a SQLite file that does not exist yet, fresh for the test."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty database, fresh for the test, which runs once on SQLite and once on PostgreSQL."""
    url: str = request.getfixturevalue(f"{request.param}_database_url")
    return url


@pytest.fixture
def own_engine(database_url: str) -> Iterator[sa.Engine]:
    """Yield an engine on a fresh database (SQLite, then PostgreSQL) with multisite's own tables, without a site."""
    engine = share_statements(engine_from_url(database_url))
    make_own_tables(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(database_url: str, own_engine: sa.Engine) -> Iterator[sa.Engine]:
    """Yield the engine of a directory under test, on the database of `own_engine`."""
    with closing_engine(database_url) as engine:
        yield engine


@pytest.fixture
def add(own_engine: sa.Engine, tmp_path: Path) -> Callable[..., Site]:
    """Return a function that adds a site as another process would: by an engine unknown to the directory under test."""
    settings = Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")
    return lambda host, **details: add_site(own_engine, host, settings=settings, **details)


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still until a test moves it."""
    return Clock()


@pytest.fixture
def sites(database_url: str, tmp_path: Path) -> Iterator[ContentSites]:
    """Yield two sites of the reference application, without entries, on SQLite and then on PostgreSQL."""
    # Imported here and below, so that tests of single modules do not import the application.
    from content_sites import content_sites

    with content_sites(database_url, tmp_path) as made:
        yield made


@pytest.fixture
def sqlite_sites(sqlite_database_url: str, tmp_path: Path) -> Iterator[ContentSites]:
    """Yield the same on SQLite alone, for tests that do not depend on the database."""
    from content_sites import content_sites

    with content_sites(sqlite_database_url, tmp_path) as made:
        yield made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Yield a folder for several applications in one process: their modules, and the ini file that names them."""
    from vhosting import world_in

    with world_in(tmp_path) as made:
        yield made
