"""The page Health and its command, and the measurements of the list of sites."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from console_world import CONSOLE, console_browser, console_sites, empty_console_tables, form_token, log_in_to_console
from content_sites import GARDEN, ContentSites
from databases import fresh_database
from sqlalchemy import event
from sqlalchemy.orm import Session

from multisite import check
from multisite.alembic import migrate
from multisite.check.health import read_health
from multisite.cli import main
from multisite.content.models import Base, Entry
from multisite.core.actor import acting_as
from multisite.core.finding import Finding
from multisite.core.settings import parse_settings
from multisite.directory import Directory
from multisite.directory.health_tables import checks_table, measurements_table, processes_table
from multisite.directory.models import AS_MULTISITE
from multisite.directory.operator_tables import errors_table, jobs_table, traffic_table, view_traffic_table
from multisite.errors import UnscopedStatement
from multisite.sites import jobs, measurements, processes, traffic
from multisite.sites.archive.contents import SiteContents
from multisite.sites.creation import add_site
from multisite.sites.domains import add_domain, remove_domain
from multisite.sites.last_check import MAX_FINDINGS, keep_check, read_last_check
from multisite.sites.operator_log import record_now
from multisite.sites.removal import remove_site
from multisite.sites.traffic import ErrorSeen, TrafficCounts, safe_path
from multisite.sites.worker import Worker
from multisite.web.site_archive import site_contents
from multisite.web.traffic import TRAFFIC

FAULT = Finding("kind-of-fault", "books.author_id", "it <b>leads</b> astray", "correct it")
NOTICE = Finding("kind-of-notice", "books", "it is empty", "fill it", "notice")
TABLES = (
    checks_table, processes_table, measurements_table, errors_table, jobs_table, traffic_table, view_traffic_table,
)  # fmt: skip


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    with (
        fresh_database(request, tmp_path_factory) as url,
        console_sites(url, tmp_path_factory.mktemp("console")) as sites,
    ):
        sites.settings["multisite.traffic"] = "true"
        # Not the tables of other tests in this process.
        site_contents(sites.app.registry).metadata = [Base.metadata]
        yield sites
        recorder = sites.app.registry[TRAFFIC]
        recorder.flush()
        recorder._finalize.detach()
        # Its thread would write to a database that is gone.
        recorder._state.stopped.set()


@pytest.fixture
def sites(world: ContentSites) -> ContentSites:
    empty_console_tables(world)
    with world.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        for table in TABLES:
            connection.execute(sa.delete(table))
    return world


def count_errors(sites: ContentSites, *errors: ErrorSeen) -> None:
    minute = int(time.time()) // 60
    counts = {
        (sites.garden.id, "page", minute): [10, 1, 2.0, 5_000],
        (sites.sternwarte.id, "entry", minute): [1, 0, 3.0, 5_000],
    }
    traffic.write_counts(sites.engine, TrafficCounts(counts, list(errors)))


# Processes.


def test_a_process_reports_what_it_has_read_and_leaves(sites: ContentSites) -> None:
    directory, started = Directory(sites.engine), datetime.now(UTC) - timedelta(hours=2)
    processes.report(directory, started)
    (before,) = processes.list_processes(sites.engine)
    assert (before.pid, before.directory_version, before.directory_read) == (os.getpid(), -1, None)
    assert directory.resolve(GARDEN) is not None
    processes.report(directory, started)
    (found,) = processes.list_processes(sites.engine)
    assert found.directory_version == read_health(sites.engine).directory_version
    assert found.directory_read is not None
    assert found.started == started
    assert {"multisite", "SQLAlchemy", "Python"} <= found.versions.keys()
    assert not found.is_silent
    processes.leave(directory)
    assert processes.list_processes(sites.engine) == []


def test_a_process_that_no_longer_writes_is_silent_and_then_removed(sites: ContentSites) -> None:
    directory = Directory(sites.engine)
    processes.report(directory, datetime.now(UTC))
    for age, number in ((timedelta(minutes=5), 1), (timedelta(hours=2), 0)):
        with sites.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
            gone = {"pid": 1, "seen": datetime.now(UTC) - age}
            connection.execute(sa.update(processes_table).values(**gone))
        found = processes.list_processes(sites.engine)
        assert [each.is_silent for each in found] == [True] * number
    processes.report(directory, datetime.now(UTC))
    with sites.engine.connect().execution_options(**AS_MULTISITE) as connection:
        assert list(connection.scalars(sa.select(processes_table.c.pid))) == [os.getpid()]


# Checks.


def test_only_the_last_check_is_kept_and_not_all_of_its_findings(sites: ContentSites) -> None:
    keep_check(sites.engine, [NOTICE], seconds=1)
    with acting_as("rita (console)"):
        keep_check(sites.engine, [Finding("k", "s", "m" * 5_000, "r")] * (MAX_FINDINGS + 5), seconds=2)
    found = read_last_check(sites.engine)
    assert found is not None
    assert (found.who, found.seconds, found.number) == ("rita (console)", 2, MAX_FINDINGS + 5)
    assert len(found.findings) == MAX_FINDINGS
    assert len(found.findings[0].message) == 1_000


def test_a_check_is_a_job_whose_findings_the_page_shows(sites: ContentSites) -> None:
    browser = log_in_to_console(sites, "rita", "run")
    assert "No check has been kept yet." in browser.get("/health").text
    assert browser.post("/health", {"csrf_token": form_token(browser)}).status_code == 303
    worker = Worker(sites.engine, parse_settings(sites.settings), SiteContents(), check=lambda _tell: [FAULT, NOTICE])
    assert worker.run(once=True) == 1
    page = browser.get("/health")
    assert [each.get_text() for each in page.html.select(".findings .pill")] == ["Fault", "Notice"]
    assert "it &lt;b&gt;leads&lt;/b&gt; astray" in page.text
    assert "rita (console)" in page.html.select_one("#check").find_parent("section").get_text()
    assert "Findings: 2, faults: 1" in browser.get("/jobs").text


def test_a_worker_that_does_not_know_the_application_says_so(sites: ContentSites) -> None:
    jobs.add_job(sites.engine, "check", arguments={})
    assert Worker(sites.engine, parse_settings(sites.settings), SiteContents()).run(once=True) == 1
    (job,) = jobs.list_jobs(sites.engine)
    assert job.status == "failed"
    assert "does not know the application" in str(job.error)
    assert read_last_check(sites.engine) is None


def test_who_may_only_look_starts_no_check(sites: ContentSites) -> None:
    browser = log_in_to_console(sites, "luca", "look")
    assert "Check now" not in browser.get("/health").text
    browser.post("/health", {"csrf_token": form_token(browser)}, status=403)
    console_browser(sites).get("/health", status=403)
    assert list(jobs.list_jobs(sites.engine)) == []


def test_a_domain_that_is_the_host_of_the_console_is_reported(sites: ContentSites) -> None:
    def found() -> list[str]:
        return [each.subject for each in check.run(sites.app, metadata=()) if each.kind == "console-host"]

    assert found() == []
    add_domain(sites.engine, GARDEN, CONSOLE)
    try:
        assert found() == [CONSOLE]
    finally:
        remove_domain(sites.engine, CONSOLE)


# The page.


def test_the_page_shows_the_slowest_and_the_last_errors(sites: ContentSites) -> None:
    token = "Zk3" * 14
    seen = ErrorSeen(
        datetime.now(UTC), sites.garden.id, "page", "500 ValueError", "request-7", safe_path(f"/a/{token}")
    )
    count_errors(sites, seen, seen._replace(site_id=99_999, request_id=None, path=None))
    processes.report(Directory(sites.engine), datetime.now(UTC))
    page = log_in_to_console(sites, "luca", "look").get("/health")
    sections = {
        each["id"]: each.find_parent("section").get_text(" ", strip=True) for each in page.html.select("h2[id]")
    }
    assert sections["slow-sites"].index(str(sites.sternwarte)) < sections["slow-sites"].index(str(sites.garden))
    assert "3000 ms, 1 request" in sections["slow-views"]
    assert f"{sites.garden} 500 ValueError /a/… page request-7" in sections["errors"]
    assert token not in page.text
    assert str(os.getpid()) in sections["processes"]
    # One grid, in which the cards that have nothing to show come last.
    assert list(sections)[-1] == "check"
    tiles = [each.get_text(" ", strip=True) for each in page.html.select(".tile")]
    assert tiles == ["0 pending migrations", "– no check yet", "1 process", "2 errors"]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/edit/entries/5", "/edit/entries/5"),
        (f"/login/{'Ab1-_' * 8}xyz", "/login/…"),
        ("/entries/a-rather-long-title-of-an-entry", "/entries/a-rather-long-title-of-an-entry"),
        ("/a\nb\x1b", "/a?b?"),
        ("/" + "é" * 300, "/" + "é" * 199),
    ],
)
def test_paths_of_errors_are_safe_to_show(path: str, shown: str) -> None:
    assert safe_path(path) == shown


def test_an_error_is_written_with_its_path_and_without_its_query(sites: ContentSites) -> None:
    error = ErrorSeen(datetime.now(UTC), sites.garden.id, "page", "500 ValueError", None, "/entries/x")
    traffic.write_counts(sites.engine, TrafficCounts({}, [error]))
    assert traffic.last_errors(sites.engine) == [error]


def test_a_fixed_number_of_queries_reads_the_page(sites: ContentSites) -> None:
    numbers = []
    for copies in (1, 15):
        error = ErrorSeen(datetime.now(UTC), sites.garden.id, "page", "500", None)
        count_errors(sites, *[error] * copies)
        keep_check(sites.engine, [FAULT] * copies, seconds=1)
        statements: list[str] = []

        def note(_c: Any, _cursor: Any, statement: str, *_: Any, seen: list[str] = statements) -> None:
            seen.append(statement)

        event.listen(sites.engine, "before_cursor_execute", note)
        read_health(sites.engine)
        event.remove(sites.engine, "before_cursor_execute", note)
        numbers.append(len(statements))
    assert numbers[0] == numbers[1] <= 12


def test_pending_migrations_are_named_and_nothing_else_is_read(sites: ContentSites) -> None:
    with sites.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '0012'")
    try:
        found = read_health(sites.engine)
        assert [line[:4] for line in found.pending][:2] == ["0013", "0014"]
        assert found.directory_version is None
        page = log_in_to_console(sites, "luca", "look").get("/health")
        assert "0014: traffic and errors" in page.html.select_one(".message.error").get_text()
    finally:
        with sites.engine.begin() as connection:
            newest = max(migrate._own_heads())
            connection.exec_driver_sql(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '{newest}'")
    assert not read_health(sites.engine).pending


def test_a_site_cannot_read_these_tables(sites: ContentSites) -> None:
    for table in (processes_table, checks_table, measurements_table):
        with (
            Session(sites.engine, info={"site": sites.garden}) as session,
            pytest.raises(UnscopedStatement, match="of the operators"),
        ):
            session.execute(sa.select(table))


# Measurements.


def test_all_sites_are_measured(sites: ContentSites, tmp_path: Path) -> None:
    settings = parse_settings(sites.settings)
    sites.add(sites.garden, "measured-one")
    assert measurements.are_measurements_due(sites.engine)
    number = measurements.measure_sites(sites.engine, settings)
    assert not measurements.are_measurements_due(sites.engine)
    first = measured(sites)
    assert len(first) == number >= 2
    folder = settings.sites_dir / sites.garden.folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "new.mako").write_bytes(b"x" * 1_234)
    with Session(sites.engine, info={"site": sites.garden}) as session, session.begin():
        entry = session.scalars(sa.select(Entry).where(Entry.slug == "measured-one")).one()
        entry.updated = datetime.now(UTC) + timedelta(days=1)
    later = datetime.now(UTC).replace(microsecond=0)
    record_now(sites.engine, "set", sites.garden, after={"name": "x"})
    measurements.measure_sites(sites.engine, settings)
    second = measured(sites)
    assert second[sites.garden.id].bytes - first[sites.garden.id].bytes == 1_234
    assert second[sites.garden.id].rows >= first[sites.garden.id].rows >= 1
    # The time of the entry, which is yet to come, is no change.
    assert int(later.timestamp()) <= second[sites.garden.id].changed <= time.time() + 1
    assert second[sites.sternwarte.id][:4] == first[sites.sternwarte.id][:4]


def measured(sites: ContentSites) -> dict[int, Any]:
    with sites.engine.connect().execution_options(**AS_MULTISITE) as connection:
        return {row.site_id: row for row in connection.execute(sa.select(measurements_table))}


def test_a_removed_site_has_no_measurements(sites: ContentSites) -> None:
    settings = parse_settings(sites.settings)
    spare = add_site(sites.engine, "spare.example", settings=settings)
    measurements.measure_sites(sites.engine, settings)
    assert spare.id in measured(sites)
    remove_site(sites.engine, "spare.example", settings=settings, contents=SiteContents([Base.metadata]))
    assert spare.id not in measured(sites)
    with sites.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        left = {"site_id": spare.id, "rows": 1, "bytes": 1, "changed": 1, "measured": 1}
        connection.execute(sa.insert(measurements_table).values(**left))
    measurements.measure_sites(sites.engine, settings)
    assert spare.id not in measured(sites)


def test_a_worker_measures_when_the_measurements_are_old(sites: ContentSites) -> None:
    settings = parse_settings(sites.settings)
    Worker(sites.engine, settings, SiteContents()).run(once=True)
    assert measured(sites)
    with sites.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.update(measurements_table).values(rows=77))
    Worker(sites.engine, settings, SiteContents()).run(once=True)
    assert {row.rows for row in measured(sites).values()} == {77}


def test_the_list_shows_measurements_and_is_sorted_by_them(sites: ContentSites) -> None:
    browser = log_in_to_console(sites, "luca", "look")
    assert "have not been measured yet" in browser.get("/").text
    with sites.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        for site, number in ((sites.garden, 12_345), (sites.sternwarte, 1_500_000)):
            values = {"site_id": site.id, "rows": number, "bytes": number, "changed": 86_400, "measured": 1_900_000_000}
            connection.execute(sa.insert(measurements_table).values(**values))
    for order in ("rows", "bytes"):
        page = browser.get(f"/?order={order}")
        assert [each.get_text() for each in page.html.select("tbody .names small")][:2] == [
            str(sites.sternwarte), str(sites.garden),
        ]  # fmt: skip
    assert "1,500,000" in page.text
    assert "1.5 MB" in page.text
    assert "12.3 kB" in page.text
    assert "measured at Mar 17, 2030" in page.text


def test_pages_by_rows_go_forth_and_back(sites: ContentSites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multisite.console.site_list.PAGE_SITES", 1)
    measurements.measure_sites(sites.engine, parse_settings(sites.settings))
    browser = log_in_to_console(sites, "luca", "look")
    for order in ("rows", "bytes", "changed"):
        seen, page = [], browser.get(f"/?order={order}")
        while True:
            seen.append(page.html.select_one("tbody .names small").get_text())
            link = page.html.select_one("a[rel=next]")
            if link is None:
                break
            page = page.goto(link["href"])
        assert sorted(seen) == sorted({str(sites.garden), str(sites.sternwarte)})
        back = page.goto(page.html.select_one("a[rel=prev]")["href"])
        assert back.html.select_one("tbody .names small").get_text() == seen[0]


# The commands.


def test_the_commands_show_measure_and_keep(sites: ContentSites, tmp_path: Path) -> None:
    ini = tmp_path / "console.ini"
    lines = "\n".join(f"{key} = {value}" for key, value in sites.settings.items())
    ini.write_text("[app:main]\nuse = egg:pyramid-multisite\n" + lines.replace("%", "%%"))
    count_errors(sites, ErrorSeen(datetime.now(UTC), sites.garden.id, "page", "500 ValueError", "request-9", "/x"))
    processes.report(Directory(sites.engine), datetime.now(UTC))
    keep_check(sites.engine, [NOTICE], seconds=1)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(main, ["-c", str(ini), *arguments])

    assert run("measure-sites").output == "Measured 2 sites.\n"
    shown = run("health")
    assert shown.exit_code == 0, shown.output
    for text in (f"{os.getpid()}", "kind-of-notice", f"500 ValueError  {sites.garden}/x  request-9", "Slowest views"):
        assert text in shown.output
    values = json.loads(run("health", "--json").output)
    assert values["last_check"]["number"] == 1
    assert values["errors"][0]["site"] == str(sites.garden)
    assert values["processes"][0]["pid"] == os.getpid()
    keep_check(sites.engine, [FAULT], seconds=1)
    assert run("health").exit_code == 1
    refused = run("check", "--keep", GARDEN)
    assert refused.exit_code == 2
    assert "do not pass HOST" in refused.output
