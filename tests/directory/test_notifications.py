"""With multisite.notify changes are seen immediately; while the connection is lost, the directory polls."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from databases import closing_engine, make_own_tables
from directories import DEADLINE_SECONDS, until
from pyramid.config import Configurator

from multisite import all_sites
from multisite.core.site import Site
from multisite.directory import Directory, engine_from_url, notifications
from multisite.directory.models import DomainRow, SiteRow
from multisite.errors import SettingError


def stand_still() -> float:
    """A clock that stands still, so that no check is ever due."""
    return 1000.0


@pytest.fixture
def own_engine(postgresql_database_url: str) -> Iterator[sa.Engine]:
    """An engine like that of another process, on a PostgreSQL database with our tables."""
    with closing_engine(postgresql_database_url) as engine:
        make_own_tables(engine)
        yield engine


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnect and end threads without waiting."""
    monkeypatch.setattr(notifications, "RECONNECT_SECONDS", 0.05)
    monkeypatch.setattr(notifications, "HEARTBEAT_SECONDS", 0.2)


@pytest.fixture
def listen(postgresql_database_url: str) -> Iterator[Callable[..., Directory]]:
    """Create directories with notifications and a clock that stands still."""
    made: list[Directory] = []

    def make(driver: str = "psycopg", clock: Callable[[], float] = stand_still) -> Directory:
        url = sa.make_url(postgresql_database_url).set(drivername=f"postgresql+{driver}")
        directory = Directory(engine_from_url(url), notify=True, refresh_seconds=60, clock=clock)
        made.append(directory)
        # The first query starts the listener.
        assert directory.find("unknown.example") is None
        return directory

    yield make
    for directory in made:
        directory.deactivate()
        assert directory._cache._listener is not None
        assert directory._cache._listener._thread is not None
        directory._cache._listener._thread.join(DEADLINE_SECONDS)
        assert not directory._cache._listener._thread.is_alive()
        directory.engine.dispose()


def listeners(engine: sa.Engine) -> list[int]:
    """Return the PostgreSQL backends of listeners."""
    found = sa.text(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'multisite directory' "
        "AND datname = current_database() AND state = 'idle' AND query LIKE 'SELECT 1%'"
    )
    with engine.connect() as connection:
        return list(connection.scalars(found))


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_site_added_by_another_process_is_found_immediately(
    own_engine: sa.Engine,
    listen: Callable[..., Directory],
    postgresql_database_url: str,
    tmp_path: Path,
    driver: str,
) -> None:
    directory = listen(driver)
    assert until(lambda: listeners(own_engine))
    assert directory.find("new.example") is None
    ini = tmp_path / "app.ini"
    ini.write_text(
        f"[app:main]\nuse = egg:pyramid-multisite\nsqlalchemy.url = {postgresql_database_url.replace('%', '%%')}\n"
        f"multisite.sites_dir = {tmp_path}/sites\nmultisite.templates_dir = {tmp_path}/templates\n",
        "utf-8",
    )
    command = [str(Path(sys.executable).with_name("multisite")), "-c", str(ini), "add-site", "new.example"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert until(lambda: directory.find("new.example"))


def test_without_the_setting_there_are_no_notifications(add: Callable[..., Site], postgresql_database_url: str) -> None:
    """Negative control: with this clock nothing else makes the directory check."""
    with closing_engine(postgresql_database_url) as engine:
        directory = Directory(engine, refresh_seconds=60, clock=stand_still)
        assert directory.find("new.example") is None
        add("new.example")
        time.sleep(0.5)
        assert directory.find("new.example") is None


def test_changes_by_a_session_are_notified_on_commit(own_engine: sa.Engine, listen: Callable[..., Directory]) -> None:
    directory = listen()
    assert until(lambda: listeners(own_engine))
    with all_sites("a test"), sa.orm.Session(own_engine) as session:
        session.add(SiteRow(id=1, name="x", folder="x"))
        session.flush()
        session.add(DomainRow(site_id=1, host="orm.example", kind="canonical"))
        session.flush()
        refresh_requests = directory._cache._refresh_requests
        assert directory.find("orm.example") is None
        session.rollback()
        session.add(SiteRow(id=1, name="x", folder="x"))
        session.flush()
        session.add(DomainRow(site_id=1, host="orm.example", kind="canonical"))
        assert directory._cache._refresh_requests == refresh_requests
        session.commit()
    assert until(lambda: directory.find("orm.example"))


def test_a_lost_connection_is_restored_and_the_directory_polls_in_the_meantime(
    own_engine: sa.Engine,
    add: Callable[..., Site],
    listen: Callable[..., Directory],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO, logger="multisite.directory")
    now = 1000.0
    directory = listen(clock=lambda: now)
    assert until(lambda: listeners(own_engine))
    may_connect = False
    connect = notifications._connect

    def connect_if_it_may(engine: sa.Engine) -> object:
        if not may_connect:
            raise OSError("not yet")
        return connect(engine)

    monkeypatch.setattr(notifications, "_connect", connect_if_it_may)
    with own_engine.connect() as connection:
        for pid in listeners(own_engine):
            connection.execute(sa.select(sa.func.pg_terminate_backend(pid)))
    assert until(lambda: caplog.records)
    assert directory.find("asked.example") is None
    add("asked.example")
    assert directory.find("asked.example") is None
    now += 60
    assert directory.find("asked.example") is not None
    # Changes made while nothing listened are seen after the reconnection.
    add("between.example")
    may_connect = True
    assert until(lambda: directory.find("between.example"))
    add("told.example")
    assert until(lambda: directory.find("told.example"))
    assert until(lambda: len(caplog.records) >= 2)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert messages[0].startswith("the connection for directory notifications is lost, changes are seen with a delay: ")
    assert messages[1] == "the connection for directory notifications is restored"


def test_a_notification_during_a_query_is_not_lost(
    own_engine: sa.Engine, add: Callable[..., Site], postgresql_database_url: str
) -> None:
    with closing_engine(postgresql_database_url) as engine:
        directory = Directory(engine, refresh_seconds=60, clock=stand_still)
        told: list[bool] = []

        def change(_connection: object, _cursor: object, _statement: str, *_others: object) -> None:
            if not told:
                told.append(True)
                add("new.example")
                directory.refresh_soon()

        sa.event.listen(engine, "after_cursor_execute", change)
        assert directory.find("new.example") is None
        assert directory.find("new.example") is not None


FORK = """
import os, sys, time
from multisite.directory import Directory, engine_from_url, notifications

notifications.HEARTBEAT_SECONDS = 0.2
engine = engine_from_url(sys.argv[1])
directory = Directory(engine, notify=True, refresh_seconds=60, clock=lambda: 1000.0)
assert directory.find("unknown.example") is None
while not directory._cache._refresh_requests:
    time.sleep(0.01)
os.write(1, b"listening\\n")
child = os.fork()
assert directory.find("forked.example") is None
os.write(1, b"asked\\n")  # At once, where print may write the end of the line apart: there are two processes.
deadline = time.monotonic() + 60
while directory.find("forked.example") is None and time.monotonic() < deadline:
    time.sleep(0.01)
found = directory.find("forked.example") is not None
if child:
    assert os.waitpid(child, 0)[1] == 0
sys.stdout.flush()
os._exit(0 if found else 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked on Windows")
def test_a_forked_child_listens(own_engine: sa.Engine, add: Callable[..., Site], postgresql_database_url: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK, postgresql_database_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline().strip() for _ in range(3)] == ["listening", "asked", "asked"]
        assert until(lambda: len(listeners(own_engine)) == 2)
        add("forked.example")
        _out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


def test_a_garbage_collected_directory_stops_listening(own_engine: sa.Engine, postgresql_database_url: str) -> None:
    with closing_engine(postgresql_database_url) as engine:
        directory = Directory(engine, notify=True)
        directory.find("unknown.example")
        assert until(lambda: listeners(own_engine))
        del directory
        assert until(lambda: not listeners(own_engine))


def test_a_database_without_notifications_is_rejected(sqlite_database_url: str) -> None:
    expected = r"^multisite\.notify = true: expected false, because sqlite has no notifications$"
    with closing_engine(sqlite_database_url) as engine, pytest.raises(SettingError, match=expected):
        Directory(engine, notify=True)


def test_an_application_with_such_a_database_does_not_start(sqlite_database_url: str) -> None:
    settings = {"sqlalchemy.url": sqlite_database_url, "multisite.notify": "true"}
    with pytest.raises(SettingError, match=r"multisite\.notify = true"):
        Configurator(settings=settings).include("multisite")


def test_the_module_is_not_imported_without_the_setting(sqlite_database_url: str) -> None:
    script = (
        "import sys; from multisite.directory import Directory, engine_from_url; "
        "Directory(engine_from_url(sys.argv[1])); print('multisite.directory.notifications' in sys.modules)"
    )
    command = [sys.executable, "-c", script, sqlite_database_url]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "False"
