"""Requests are counted by site and minute, and the counts of several processes add up in the database."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine, fresh_database, migrate_own
from paths import ROOT
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from webtest import TestApp

from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.directory.models import AS_MULTISITE
from multisite.directory.operator_tables import errors_table, traffic_table
from multisite.directory.records import get_site
from multisite.sites import traffic
from multisite.sites.availability import enable_site, maintain_site
from multisite.sites.creation import add_site
from multisite.sites.removal import remove_site
from multisite.sites.traffic import ErrorSeen, Traffic, TrafficCounts
from multisite.web.traffic import TRAFFIC, TrafficRecorder

GARDEN, KITCHEN = "garden.example", "kitchen.example"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        migrate_own(engine)
        yield engine


@pytest.fixture(scope="module")
def settings(engine: sa.Engine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("folders")
    (folder / "templates").mkdir()
    return {
        "sqlalchemy.url": engine.url.render_as_string(hide_password=False),
        "multisite.sites_dir": f"{folder}/sites",
        "multisite.templates_dir": f"{folder}/templates",
        "multisite.refresh_seconds": "0",
        "multisite.traffic": "true",
    }


def view(request: Request) -> Response:
    if "fail" in request.GET:
        raise RuntimeError("with a secret in it")
    return Response("x" * 100, status=int(request.GET.get("status", 200)))


def make_app(settings: dict[str, str]) -> Any:
    with Configurator(settings=settings) as config:
        config.include("multisite")
        config.include("multisite.logs")
        config.add_route("page", "/")
        config.add_view(view, route_name="page")
    return config.make_wsgi_app()


@pytest.fixture(scope="module")
def app(engine: sa.Engine, settings: dict[str, str]) -> Iterator[Any]:
    for host in (GARDEN, KITCHEN):
        add_site(engine, host, settings=parse_settings(settings))
    made = make_app(settings)
    yield made
    made.registry[TRAFFIC]._finalize.detach()
    made.registry[DIRECTORY].engine.dispose()


@pytest.fixture(autouse=True)
def nothing_counted(engine: sa.Engine, app: Any) -> None:
    app.registry[TRAFFIC].flush()
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        for table in (traffic_table, errors_table, traffic.view_traffic_table):
            connection.execute(sa.delete(table))


def browser(app: Any, host: str) -> TestApp:
    return TestApp(app, extra_environ={"HTTP_HOST": host})


def total(engine: sa.Engine, host: str, period: traffic.Period = "day") -> Traffic:
    return total_of(engine, get_site(engine, host).site.id, period)


def total_of(engine: sa.Engine, site_id: int, period: traffic.Period = "day") -> Traffic:
    """Return the sums of a whole period: the hour may change between a request and this."""
    spans = traffic.read_traffic(engine, site_id, period)
    sums = [sum(values) for values in list(zip(*spans, strict=True))[1:]]
    return Traffic(spans[-1].start, *sums)


def test_requests_of_a_site_are_counted(engine: sa.Engine, app: Any) -> None:
    garden = browser(app, GARDEN)
    for _ in range(3):
        garden.get("/")
    garden.get("/?status=500", status=500)
    with pytest.raises(RuntimeError):
        garden.get("/?fail=1")
    browser(app, KITCHEN).get("/")
    browser(app, "nowhere.example").get("/", status=404)
    assert total(engine, GARDEN).requests == 0, "written too early"
    app.registry[TRAFFIC].flush()
    for period in traffic.PERIODS:
        found = total(engine, GARDEN, period)
        assert (found.requests, found.errors, found.bytes) == (5, 2, 400)
        assert 0 < found.seconds < 60
    assert total(engine, KITCHEN)[1:3] == (1, 0)
    assert sum(each.requests for each in traffic.read_traffic(engine, traffic.NO_SITE, "day")) == 1


def test_the_last_errors_name_the_route_and_the_type_only(engine: sa.Engine, app: Any) -> None:
    with pytest.raises(RuntimeError):
        browser(app, GARDEN).get("/?fail=1")
    browser(app, KITCHEN).get("/?status=503", status=503)
    app.registry[TRAFFIC].flush()
    kitchen, garden = traffic.last_errors(engine)
    assert (garden.view, garden.error) == ("page", "500 RuntimeError")
    assert garden.request_id
    assert (kitchen.site_id, kitchen.error) == (get_site(engine, KITCHEN).site.id, "503")
    assert traffic.last_errors(engine, site_id=kitchen.site_id) == [kitchen]


def test_maintenance_is_not_an_error(engine: sa.Engine, app: Any) -> None:
    maintain_site(engine, GARDEN)
    browser(app, GARDEN).get("/", status=503)
    enable_site(engine, GARDEN)
    app.registry[TRAFFIC].flush()
    assert total(engine, GARDEN)[1:3] == (1, 0)


def test_counts_of_several_processes_add_up(engine: sa.Engine) -> None:
    now = datetime.now(UTC)
    minute = int(now.timestamp()) // 60
    for _ in range(3):
        traffic.write_counts(
            engine, TrafficCounts({(7, "a", minute): [2, 1, 0.5, 10], (7, "b", minute - 1): [1, 0, 0.5, 1]})
        )
    found = traffic.read_traffic(engine, 7, "month", now=now)
    assert sum(each.requests for each in found) == 9
    assert sum(each.bytes for each in found) == 33


def test_writers_at_the_same_time_lose_nothing(engine: sa.Engine) -> None:
    minute = int(time.time()) // 60
    counts = TrafficCounts({(site, "page", minute): [1, 0, 0.1, 1] for site in range(1, 30)})

    def write() -> None:
        for _ in range(4):
            traffic.write_counts(engine, counts)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = traffic.traffic_of_sites(engine, range(1, 30))
    assert {sum(each.requests for each in spans) for spans in found.values()} == {16}


def test_spans_without_requests_are_listed(engine: sa.Engine) -> None:
    now = datetime(2030, 5, 17, 12, 30, tzinfo=UTC)
    for age, requests in ((timedelta(), 1), (timedelta(hours=23), 2), (timedelta(hours=24), 4), (timedelta(days=6), 8)):
        minute = int((now - age).timestamp()) // 60
        traffic.write_counts(engine, TrafficCounts({(7, "page", minute): [requests, 0, 0.0, 0]}))
    day = traffic.read_traffic(engine, 7, "day", now=now)
    assert [each.requests for each in day] == [2, *[0] * 22, 1]
    assert (day[0].start, day[-1].start) == (
        datetime(2030, 5, 16, 13, tzinfo=UTC),
        datetime(2030, 5, 17, 12, tzinfo=UTC),
    )
    assert [each.requests for each in traffic.read_traffic(engine, 7, "week", now=now)] == [8, 0, 0, 0, 0, 6, 1]
    assert len(traffic.read_traffic(engine, 7, "month", now=now)) == 30


def test_minutes_and_hours_are_thinned_out(engine: sa.Engine) -> None:
    now = datetime(2030, 5, 17, 12, 30, tzinfo=UTC)
    for days in (0, 3, 70, 900):
        minute = int((now - timedelta(days=days)).timestamp()) // 60
        traffic.write_counts(engine, TrafficCounts({(7, "page", minute): [1, 0, 0.0, 0]}))
    traffic.prune_traffic(engine, now=now)
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        kept = sa.select(traffic_table.c.span, sa.func.count()).group_by(traffic_table.c.span)
        assert dict(connection.execute(kept).all()) == {60: 1, 3600: 2, 86400: 3}


def test_the_last_errors_of_each_site_are_kept(engine: sa.Engine) -> None:
    now = datetime.now(UTC)
    errors = [ErrorSeen(now, site, "page", str(number), None) for number in range(25) for site in (1, 2)]
    traffic.write_counts(engine, TrafficCounts(errors=errors))
    traffic.prune_traffic(engine)
    for site in (1, 2):
        found = traffic.last_errors(engine, site_id=site, limit=100)
        assert [each.error for each in found] == [str(number) for number in range(24, 4, -1)]


def test_the_slowest_sites_and_views_come_first(engine: sa.Engine) -> None:
    now = datetime.now(UTC)
    minute = int(now.timestamp()) // 60
    rows = {
        (1, "page", minute): [9, 0, 1.0, 0],
        (1, "list", minute): [1, 0, 1.0, 0],
        (2, "list", minute): [1, 0, 3.0, 0],
    }
    traffic.write_counts(engine, TrafficCounts({**rows, (0, "-", minute): [1, 0, 99.0, 0]}))
    assert traffic.slowest_sites(engine) == [("2", 1, 3.0), ("1", 10, 2.0)]
    assert traffic.slowest_views(engine) == [("-", 1, 99.0), ("list", 2, 4.0), ("page", 9, 1.0)]
    assert traffic.slowest_views(engine, limit=1) == [("-", 1, 99.0)]
    assert traffic.slowest_views(engine, now=now + timedelta(days=3)) == []


def test_the_traffic_of_a_removed_site_is_deleted(engine: sa.Engine, app: Any, settings: dict[str, str]) -> None:
    site = add_site(engine, "gone.example", settings=parse_settings(settings))
    browser(app, "gone.example").get("/")
    app.registry[TRAFFIC].flush()
    assert total(engine, "gone.example").requests == 1
    remove_site(engine, "gone.example", settings=parse_settings(settings))
    assert sum(each.requests for each in traffic.read_traffic(engine, site.id, "month")) == 0


# The recorder


def test_counts_are_kept_while_the_database_is_down(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[sa.Engine] = [sa.create_engine("sqlite:////nowhere/x.db"), engine]
    recorder = TrafficRecorder(lambda: engines[0])
    recorder.count(1, "page", 0.1, failed=False, size=5)
    recorder.note_error(ErrorSeen(datetime.now(UTC), 1, "page", "500", None))
    recorder.flush()
    assert "cannot be written" in caplog.text
    recorder.count(1, "page", 0.1, failed=True, size=5)
    del engines[0]
    recorder.flush()
    recorder.flush()
    assert total_of(engine, 1)[1:3] == (2, 1)
    assert len(traffic.last_errors(engine)) == 1


def test_the_thread_ends_with_the_recorder_and_writes_the_rest(engine: sa.Engine) -> None:
    recorder = TrafficRecorder(lambda: engine)
    recorder.count(1, "page", 0.1, failed=False, size=5)
    thread = recorder._thread
    assert thread is not None
    assert thread.is_alive()
    del recorder
    gc.collect()
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert total_of(engine, 1).requests == 1


def test_a_forked_child_writes_its_own_counts_only(engine: sa.Engine) -> None:
    recorder = TrafficRecorder(lambda: engine)
    recorder.count(1, "page", 0.1, failed=False, size=5)
    child = os.fork()
    if child == 0:
        try:
            engine.dispose(close=False)
            recorder.count(1, "page", 0.1, failed=False, size=5)
            recorder.flush()
            alive = recorder._thread is not None and recorder._thread.is_alive()
        finally:
            os._exit(0 if alive else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert total_of(engine, 1).requests == 1
    recorder.flush()
    assert total_of(engine, 1).requests == 2
    recorder._finalize.detach()


SERVER = """
import sys, time
from pyramid.config import Configurator
from pyramid.response import Response
from webtest import TestApp
with Configurator(settings={0!r}) as config:
    config.include("multisite")
    config.add_route("page", "/")
    config.add_view(lambda request: Response("x"), route_name="page")
app = TestApp(config.make_wsgi_app(), extra_environ=dict(HTTP_HOST="garden.example"))
app.get("/")
print("ready", flush=True)
time.sleep(60 if "wait" in sys.argv else 0)
"""


@pytest.mark.parametrize("end", ["sqlite: exit", "sqlite: kill"])
def test_a_process_that_ends_writes_its_counts_and_one_that_is_killed_writes_nothing(
    engine: sa.Engine, settings: dict[str, str], end: str
) -> None:
    code = textwrap.dedent(SERVER).format(settings)
    arguments = [sys.executable, "-c", code, *(["wait"] if "kill" in end else [])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        if "kill" in end:
            process.send_signal(signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == (-signal.SIGKILL if "kill" in end else 0), errors
    assert total(engine, GARDEN).requests == (0 if "kill" in end else 1)


@pytest.mark.parametrize("value", ["sqlite: false"])
def test_nothing_is_counted_unless_the_setting_says_so(settings: dict[str, str], value: str) -> None:
    code = (
        "import sys\nfrom pyramid.config import Configurator\n"
        f"config = Configurator(settings={ {**settings, 'multisite.traffic': value.partition(' ')[2]}!r})\n"
        "config.include('multisite')\nconfig.make_wsgi_app()\n"
        "assert 'multisite.web.traffic' not in sys.modules and 'multisite.sites.traffic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
