"""Jobs: one worker does each, it can be cancelled, and it survives the death of its worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from command_folder import Folder
from databases import closing_engine, fresh_database, migrate_own
from paths import ROOT

from multisite import MultisiteError
from multisite.core.actor import acting_as
from multisite.core.settings import Settings
from multisite.directory.models import AS_MULTISITE, DirectoryVersion
from multisite.directory.operator_tables import jobs_table
from multisite.directory.records import get_site
from multisite.sites import job_kinds, jobs, processes, removal, worker
from multisite.sites.archive.contents import SiteContents
from multisite.sites.creation import add_site
from multisite.sites.operator_log import LogSelection, list_log
from multisite.sites.worker import Worker

KILLS = 20 if os.environ.get("MULTISITE_SOAK") else 1


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        migrate_own(engine)
        yield engine


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("folders")
    (folder / "templates" / "themes" / "plain").mkdir(parents=True)
    return Settings(
        sites_dir=folder / "sites", templates_dir=folder / "templates", media_url=str(folder / "media"),
        archives_dir=folder / "archives",
    )  # fmt: skip


@pytest.fixture(autouse=True)
def no_jobs(engine: sa.Engine) -> None:
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.delete(jobs_table))


_numbers = iter(range(1, 1_000))


@pytest.fixture
def host(engine: sa.Engine, settings: Settings) -> str:
    host = f"job{next(_numbers)}.example"
    add_site(engine, host, settings=settings)
    return host


@pytest.fixture
def a_worker(engine: sa.Engine, settings: Settings) -> Worker:
    return Worker(engine, settings, SiteContents(metadata=(sa.MetaData(),)))


def change(engine: sa.Engine, job_id: int, **values: Any) -> None:
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.update(jobs_table).where(jobs_table.c.id == job_id).values(**values))


def state(engine: sa.Engine, job: jobs.Job) -> jobs.Job:
    found = jobs.read_job(engine, job.id)
    assert found is not None
    return found


# What a worker does


def test_jobs_are_done_in_order_in_the_name_of_who_added_them(engine: sa.Engine, a_worker: Worker, host: str) -> None:
    with acting_as("anna (console)", address="192.0.2.7"):
        first = jobs.add_job(engine, "bulk", arguments={"action": "disable-site", "hosts": [host, "nowhere.example"]})
        second = jobs.add_job(engine, "bulk", arguments={"action": "enable-site", "hosts": [host]})
    done: list[tuple[int, str]] = []
    assert a_worker.run(once=True, on_done=lambda job, status: done.append((job.id, status))) == 2
    assert done == [(first.id, "done"), (second.id, "done")]
    found = state(engine, first)
    assert found.result is not None
    assert (found.result["failed"], [each["site"] for each in found.result["sites"]]) == (1, [host, "nowhere.example"])
    assert found.result["sites"][0]["error"] is None
    assert "no site is known" in found.result["sites"][1]["error"]
    assert get_site(engine, host).status == "active"
    for what in ("enable-site", "disable-site"):
        (entry,) = list_log(engine, LogSelection(site=host, whats=(what,)))
        assert (entry.who, entry.address) == ("anna (console)", "192.0.2.7")


def test_a_site_is_copied_exported_imported_and_removed(
    engine: sa.Engine, a_worker: Worker, settings: Settings, host: str
) -> None:
    copied = jobs.add_job(engine, "copy-site", site=host, arguments={"host": host, "new_host": f"copy.{host}"})
    exported = jobs.add_job(engine, "export-site", site=host, arguments={"host": host})
    a_worker.run(once=True)
    assert (state(engine, copied).status, get_site(engine, f"copy.{host}").site.copy_of) == ("done", host)
    result = state(engine, exported).result
    assert result is not None, state(engine, exported).error
    assert settings.archives_dir is not None
    (settings.archives_dir / "uploads").mkdir(exist_ok=True)
    archive = settings.archives_dir / "exports" / result["archive"]
    archive.rename(settings.archives_dir / "uploads" / "one.zip")
    jobs.add_job(engine, "import-site", arguments={"archive": "one.zip", "host": f"new.{host}"})
    removed = jobs.add_job(engine, "remove-site", site=host, arguments={"host": host})
    assert a_worker.run(once=True) == 2
    assert get_site(engine, f"new.{host}").site.name == host
    assert state(engine, removed).status == "done"
    whats = {entry.what for entry in list_log(engine, limit=4)}
    assert whats == {"copy-site", "export-site", "import-site", "remove-site"}


@pytest.mark.parametrize(
    ("kind", "arguments", "reason"),
    [
        ("format-disk", {}, "there is no kind of job"),
        ("copy-site", {"host": "a.example"}, "needs new_host"),
        ("bulk", {"action": "format", "hosts": []}, "not an action"),
        ("export-site", {"host": "nowhere.example"}, "no site is known"),
        ("import-site", {"archive": "../../etc/passwd"}, "not the name of a file"),
        ("import-site", {"archive": "missing.zip"}, "missing.zip"),
    ],
)
def test_a_job_that_cannot_be_done_fails_with_the_reason(
    engine: sa.Engine, a_worker: Worker, kind: str, arguments: dict[str, Any], reason: str
) -> None:
    job = jobs.add_job(engine, kind, arguments=arguments)
    a_worker.run(once=True)
    found = state(engine, job)
    assert found.status == "failed"
    assert reason in (found.error or "")
    assert found.ended is not None


def test_a_programming_error_ends_the_job_and_not_the_worker(
    engine: sa.Engine, a_worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> dict[str, Any]:
        raise KeyError("a secret")

    monkeypatch.setitem(job_kinds.KINDS, "bulk", broken)
    job = jobs.add_job(engine, "bulk", arguments={"action": "enable-site", "hosts": []})
    assert a_worker.run(once=True) == 1
    assert (state(engine, job).status, state(engine, job).error) == ("failed", "KeyError: see the log of the worker")
    assert "a secret" in caplog.text


# One worker


def test_each_job_is_done_by_one_of_several_workers(engine: sa.Engine) -> None:
    added = [jobs.add_job(engine, "bulk", arguments={}).id for _ in range(30)]
    claimed: list[int] = []

    def claim(name: str) -> None:
        while (job := jobs.claim_job(engine, name)) is not None:
            claimed.append(job.id)
            jobs.end_job(engine, job, "done")

    # Names of another machine, whose processes cannot be looked at.
    threads = [threading.Thread(target=claim, args=(f"elsewhere:{number}",)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == added


# Cancelling


def test_a_waiting_job_is_cancelled_at_once(engine: sa.Engine, a_worker: Worker) -> None:
    job = jobs.add_job(engine, "bulk", arguments={"action": "enable-site", "hosts": []})
    with acting_as("anna"):
        assert jobs.cancel_job(engine, job.id).status == "cancelled"
    assert a_worker.run(once=True) == 0
    (entry,) = list_log(engine, limit=1)
    assert (entry.who, entry.what, entry.after and entry.after["job"]) == ("anna", "cancel-job", job.id)
    with pytest.raises(MultisiteError, match="has ended already: it is cancelled"):
        jobs.cancel_job(engine, job.id)
    with pytest.raises(MultisiteError, match="there is no job"):
        jobs.cancel_job(engine, job.id + 1)


def test_a_running_job_is_cancelled_at_its_next_step(
    engine: sa.Engine, a_worker: Worker, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "PROGRESS_SECONDS", 0.0)
    seen: list[str] = []

    def act(_context: Any, each: str, _arguments: Any) -> None:
        seen.append(each)
        running = state(engine, job)
        assert (running.status, running.progress) == ("running", f"1 of 3: {each}")
        assert jobs.cancel_job(engine, job.id).status == "running"

    monkeypatch.setitem(job_kinds.BULK_ACTIONS, "enable-site", act)
    job = jobs.add_job(engine, "bulk", arguments={"action": "enable-site", "hosts": ["a", "b", "c"]})
    a_worker.run(once=True)
    assert (seen, state(engine, job).status) == (["a"], "cancelled")


def test_a_removal_that_is_cancelled_before_its_rows_are_deleted_is_undone(
    engine: sa.Engine, a_worker: Worker, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def archive(_engine: Any, _removal: Any, _settings: Any, _contents: Any, progress: Any) -> Any:
        assert get_site(engine, host).status == "removing"
        jobs.cancel_job(engine, job.id)
        progress("archived: 1 of 2 tables")

    monkeypatch.setattr(worker, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(removal, "write_removal_archive", archive)
    job = jobs.add_job(engine, "remove-site", site=host, arguments={"host": host})
    a_worker.run(once=True)
    assert (state(engine, job).status, get_site(engine, host).status) == ("cancelled", "active")


def test_a_long_statement_does_not_make_a_worker_look_dead(
    engine: sa.Engine, a_worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "BEAT_SECONDS", 0.02)

    def act(*_: Any) -> None:
        begun = state(engine, job).heartbeat
        end = time.monotonic() + 30
        while state(engine, job).heartbeat == begun:
            assert time.monotonic() < end, "no sign of life"
            time.sleep(0.02)

    monkeypatch.setitem(job_kinds.BULK_ACTIONS, "enable-site", act)
    job = jobs.add_job(engine, "bulk", arguments={"action": "enable-site", "hosts": ["a"]})
    a_worker.run(once=True)
    assert state(engine, job).status == "done"


# Workers that die


@pytest.mark.parametrize(("seconds", "is_taken"), [(jobs.LOST_SECONDS - 30, False), (jobs.LOST_SECONDS + 30, True)])
def test_a_job_without_a_sign_of_life_is_taken_up_again(engine: sa.Engine, seconds: int, is_taken: bool) -> None:
    job = jobs.add_job(engine, "bulk", arguments={})
    first = jobs.claim_job(engine, "elsewhere:1")
    assert first is not None
    change(engine, job.id, heartbeat=datetime.now(UTC) - timedelta(seconds=seconds))
    again = jobs.claim_job(engine, "elsewhere:2")
    assert (again is not None) == is_taken
    assert jobs.beat(engine, first) == (not is_taken)
    assert jobs.end_job(engine, first, "done") == (not is_taken)


def test_a_job_that_ends_its_workers_fails(engine: sa.Engine) -> None:
    job = jobs.add_job(engine, "bulk", arguments={})
    for attempt in range(1, jobs.MAX_ATTEMPTS + 1):
        claimed = jobs.claim_job(engine, f"elsewhere:{attempt}")
        assert claimed is not None
        change(engine, job.id, heartbeat=datetime(2020, 1, 1, tzinfo=UTC))
    assert jobs.claim_job(engine, "elsewhere:9") is None
    assert (state(engine, job).status, state(engine, job).error) == ("failed", "its worker has died 3 times")


def test_a_cancelled_job_whose_worker_died_is_not_begun_again(engine: sa.Engine) -> None:
    job = jobs.add_job(engine, "bulk", arguments={})
    jobs.claim_job(engine, "elsewhere:1")
    jobs.cancel_job(engine, job.id)
    change(engine, job.id, heartbeat=datetime(2020, 1, 1, tzinfo=UTC))
    assert jobs.claim_job(engine, "elsewhere:2") is None
    assert state(engine, job).status == "cancelled"


WORKER = """
import sys, time
import sqlalchemy as sa
from multisite.directory import engine_from_url
from multisite.core.settings import Settings
from multisite.sites import job_kinds
from multisite.sites.archive.contents import SiteContents
from multisite.sites.worker import Worker
def act(context, host, arguments):
    print("acting", flush=True)
    time.sleep(60)
job_kinds.BULK_ACTIONS["enable-site"] = act
Worker(engine_from_url({0!r}), Settings(), SiteContents(metadata=(sa.MetaData(),))).run(once=True)
"""


def test_the_job_of_a_killed_worker_is_done_by_the_next(engine: sa.Engine, a_worker: Worker, host: str) -> None:
    url = engine.url.render_as_string(hide_password=False)
    for _ in range(KILLS):
        job = jobs.add_job(engine, "bulk", arguments={"action": "enable-site", "hosts": [host]})
        arguments = [sys.executable, "-c", textwrap.dedent(WORKER).format(url)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"acting\n"
            assert a_worker.run(once=True) == 0, "taken from a worker that lives"
            process.send_signal(signal.SIGKILL)
        assert state(engine, job).status == "running"
        assert a_worker.run(once=True) == 1
        found = state(engine, job)
        assert (found.status, found.attempts) == ("done", 2)


# Lists and commands


def test_jobs_are_listed_and_pruned(engine: sa.Engine) -> None:
    old, waiting, other = (jobs.add_job(engine, "bulk", site=site, arguments={}) for site in (None, None, "a.example"))
    change(engine, old.id, status="done", ended=datetime.now(UTC) - timedelta(days=31))
    assert [job.id for job in jobs.list_jobs(engine)] == [other.id, waiting.id, old.id]
    assert [job.id for job in jobs.list_jobs(engine, statuses=["waiting"], before_id=other.id)] == [waiting.id]
    assert [job.id for job in jobs.list_jobs(engine, site="a.example")] == [other.id]
    assert jobs.prune_jobs(engine, days=30) == 1
    assert [job.id for job in jobs.list_jobs(engine)] == [other.id, waiting.id]


def test_jobs_are_counted_for_the_menu(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def counts() -> tuple[int, ...]:
        with engine.connect().execution_options(**AS_MULTISITE) as connection:
            return tuple(connection.execute(sa.select(*jobs.count_jobs())).one())

    assert counts() == (0, 0)
    added = [jobs.add_job(engine, "bulk", arguments={"hosts": []}) for _ in range(5)]
    assert counts() == (5, 0)
    now = datetime.now(UTC)
    for job, status, result, ended in (
        (added[0], "failed", None, now - timedelta(hours=23)),
        (added[1], "failed", None, now - timedelta(hours=25)),
        (added[2], "done", {"sites": [], "failed": 2}, now),
        (added[3], "done", {"sites": [], "failed": 0}, now),
    ):
        change(engine, job.id, status=status, result=result, ended=ended)
    # Other kinds have results of their own.
    other = jobs.add_job(engine, "check", arguments={})
    change(engine, other.id, status="done", result={"failed": "x"}, ended=now)
    assert counts() == (1, 2)
    change(engine, added[4].id, status="running")
    assert counts() == (1, 2)
    monkeypatch.setattr(jobs, "FAILED_AMONG", other.id - added[0].id)
    assert counts() == (1, 1)


def test_the_commands(tmp_path: Path, sqlite_database_url: str) -> None:
    folder = Folder(tmp_path, sqlite_database_url)
    ini = tmp_path / "development.ini"
    ini.write_text(ini.read_text().replace("egg:pyramid-multisite", "call:multisite.content:main"))
    with closing_engine(sqlite_database_url) as engine:
        migrate_own(engine)
        add_site(engine, "a.example", settings=Settings(sites_dir=tmp_path / "sites"))
        first = jobs.add_job(engine, "bulk", arguments={"action": "disable-site", "hosts": ["a.example"]})
        second = jobs.add_job(engine, "bulk", arguments={})
        assert folder.invoke("cancel-job", str(second.id)).stdout == f"Cancelled job {second.id}.\n"
        worked = folder.process("work", "--once")
        assert (worked.returncode, worked.stdout) == (0, f"{first.id}  bulk  -: done\n1 job done.\n"), worked.stderr
        assert get_site(engine, "a.example").status == "disabled"
    listed = folder.invoke("list-jobs").stdout.splitlines()
    assert [line.split("  ")[3] for line in listed] == ["cancelled", "done"]
    assert '"failed": 0' in folder.invoke("list-jobs", "--status", "done", "--json").stdout
    assert "has ended already" in folder.fails("cancel-job", str(first.id))


def test_a_worker_is_listed_with_the_processes_until_it_ends(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "REPORT_SECONDS", 0.01)
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        version = connection.execute(sa.select(DirectoryVersion.version)).scalar_one()
    with processes.reporting(engine):
        for _ in range(500):
            found = processes.list_processes(engine)
            if found and found[0].directory_version == version:
                break
            time.sleep(0.01)
        (own,) = found
        assert (own.pid, own.kind, own.directory_version) == (os.getpid(), "worker", version)
    assert processes.list_processes(engine) == []


def test_the_command_is_listed_while_it_works(
    tmp_path: Path, sqlite_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path, sqlite_database_url)
    ini = tmp_path / "development.ini"
    ini.write_text(ini.read_text().replace("egg:pyramid-multisite", "call:multisite.content:main"))
    seen: list[str] = []
    with closing_engine(sqlite_database_url) as engine:
        migrate_own(engine)

        def run(self: Worker, **_: Any) -> int:
            for _ in range(500):
                if processes.list_processes(engine):
                    break
                time.sleep(0.01)
            seen.extend(folder.invoke("health").stdout.splitlines())
            return 0

        monkeypatch.setattr(Worker, "run", run)
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        worked = folder.invoke("work", "--once")
        assert worked.exit_code == 0, worked.output
        assert f":{os.getpid()}  worker  since" in "".join(seen)
        assert processes.list_processes(engine) == []


def test_commands_show_no_secret_of_a_job(tmp_path: Path, sqlite_database_url: str) -> None:
    folder = Folder(tmp_path, sqlite_database_url)
    texts = {"shop.api_key": "s3cret-of-the-shop", "posts_per_page": "7", "feed": "https://ann:s3cret@feed.example/"}
    with closing_engine(sqlite_database_url) as engine:
        migrate_own(engine)
        job = jobs.add_job(engine, "bulk", arguments={"action": "set", "hosts": ["a.example"], "settings": texts})
        shown = {"shop.api_key": "(hidden)", "posts_per_page": "7", "feed": "https://ann:(hidden)@feed.example/"}
        expected = {"action": "set", "hosts": ["a.example"], "settings": shown}
        listed, cancelled = (folder.invoke(*words, "--json").stdout for words in (["list-jobs"], ["cancel-job", "1"]))
        assert json.loads(listed)[0]["arguments"] == expected
        assert json.loads(cancelled)["arguments"] == expected
        # The worker needs them.
        assert state(engine, job).arguments["settings"] == texts


# Several sites at once


def test_the_command_for_several_sites(tmp_path: Path, sqlite_database_url: str) -> None:
    from multisite.cli import bulk
    from multisite.sites.bulk import BULK_ACTIONS

    assert set(bulk.ACTIONS) == set(BULK_ACTIONS) - {"rotate-secret", "reload-templates", "remove-site"}
    folder = Folder(tmp_path, sqlite_database_url)
    ini = tmp_path / "development.ini"
    ini.write_text(ini.read_text().replace("egg:pyramid-multisite", "call:multisite.content:main"))
    with closing_engine(sqlite_database_url) as engine:
        migrate_own(engine)
        for host in ("a.example", "b.example"):
            add_site(engine, host, settings=Settings(sites_dir=tmp_path / "sites"))
        planned = folder.invoke("bulk", "disable-site", "--only", "*.example")
        assert planned.stdout == "a.example\nb.example\n2 sites. Pass --yes to do it.\n"
        assert get_site(engine, "a.example").status == "active"
        done = folder.invoke("bulk", "maintain-site", "--all", "--message", "Back at six", "--yes")
        assert done.stdout == "a.example: done\nb.example: done\n"
        assert {get_site(engine, host).status for host in ("a.example", "b.example")} == {"maintenance"}
        refused = folder.invoke("bulk", "set", "locale=de", "timezone=Nowhere/Here", "--site", "a.example", "--yes")
        assert refused.exit_code == 1
        assert "it failed for 1 of 1 sites" in refused.stderr
        assert get_site(engine, "a.example").site.locale == "en"
    for wrong in (
        ["enable-site"], ["enable-site", "--all", "--site", "a.example"], ["set", "--all"], ["set", "x", "--all"],
        ["enable-site", "x", "--all"], ["set-theme", "a", "b", "--all"], ["remove-site", "--all"],
    ):  # fmt: skip
        assert folder.invoke("bulk", *wrong).exit_code == 2, wrong


MANY = """
import sys, time
import sqlalchemy as sa
from multisite.directory import engine_from_url
from multisite.core.settings import Settings
from multisite.sites import bulk, worker
from multisite.sites.archive.contents import SiteContents
from multisite.sites.worker import Worker
real, worker.PROGRESS_SECONDS = bulk.BULK_ACTIONS["enable-site"], 0
def act(context, host, arguments):
    if host == {1!r}:
        print("acting", flush=True)
        time.sleep(60)
    real(context, host, arguments)
bulk.BULK_ACTIONS["enable-site"] = act
Worker(engine_from_url({0!r}), Settings(), SiteContents(metadata=(sa.MetaData(),))).run(once=True)
"""


def test_the_next_worker_goes_on_after_the_sites_that_a_killed_one_has_done(
    engine: sa.Engine, a_worker: Worker, settings: Settings
) -> None:
    url, hosts = engine.url.render_as_string(hide_password=False), [f"kill{next(_numbers)}.example" for _ in range(4)]
    for host in hosts:
        add_site(engine, host, settings=settings)
    job = jobs.add_job(engine, "bulk", arguments={"action": "enable-site", "hosts": hosts})
    arguments = [sys.executable, "-c", textwrap.dedent(MANY).format(url, hosts[2])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"acting\n"
        process.send_signal(signal.SIGKILL)
    assert a_worker.run(once=True) == 1
    found = state(engine, job)
    assert (found.status, found.attempts) == ("done", 2)
    assert found.result == {"sites": [{"site": host, "error": None} for host in hosts], "failed": 0}
    for host in hosts:
        assert len(list(list_log(engine, LogSelection(site=host, whats=("enable-site",))))) == 1, host


@pytest.mark.parametrize("kind", ["import-site", "copy-site", "restore-site"])
def test_a_job_in_a_transaction_does_not_wait_for_itself_on_sqlite(engine: sa.Engine, kind: str) -> None:
    heart = worker._Heart(engine, jobs.add_job(engine, kind, arguments={}))
    assert heart._job_can_write == (engine.dialect.name == "postgresql")
