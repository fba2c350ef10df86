"""What the console does by jobs: bulk actions, imports of uploaded archives, exports and their download."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from console_world import console_sites, do_jobs, empty_console_tables, form_token, log_in_to_console
from content_sites import GARDEN, STERNWARTE, ContentSites
from databases import fresh_database
from editor_sites import add_user
from webtest import TestApp, Upload

from multisite.console.worker_thread import WORKER
from multisite.content import main
from multisite.content.tables import Base
from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.directory.models import AS_MULTISITE, DomainRow, SiteRow
from multisite.directory.operator_tables import jobs_table
from multisite.directory.records import get_site
from multisite.errors import UnknownSite
from multisite.sites import bulk as bulk_module
from multisite.sites.creation import add_site
from multisite.sites.job_archives import list_exports, prune_exports, prune_uploads
from multisite.sites.jobs import add_job, list_jobs, read_job, wanted_uploads
from multisite.sites.operator_log import LogSelection, list_log
from multisite.sites.removal import remove_site
from multisite.sites.removed import erase_removed, list_removed
from multisite.sites.restoring import restore_site
from multisite.web.site_archive import site_contents

DATABASES = ["sqlite", "postgresql"] if os.environ.get("MULTISITE_SOAK") else ["sqlite"]
"""Statements on jobs run on both in tests/sites/test_jobs.py, and those of the pages in test_operation_pages.py."""


@pytest.fixture(scope="module", params=DATABASES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    folder = tmp_path_factory.mktemp("console")
    with fresh_database(request, tmp_path_factory) as url, console_sites(url, folder) as sites:
        (folder / "templates" / "themes" / "harbour").mkdir(parents=True)
        empty_console_tables(sites)
        sites.settings["multisite.console_upload_size"] = "1"
        # Not the tables of other tests in this process.
        site_contents(sites.app.registry).metadata = [Base.metadata]
        yield sites


@pytest.fixture(autouse=True)
def no_jobs(world: ContentSites) -> None:
    with world.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.delete(jobs_table))


@pytest.fixture(scope="module")
def jane(world: ContentSites) -> TestApp:
    return log_in_to_console(world, "jane", "everything")


@pytest.fixture(scope="module")
def rita(world: ContentSites) -> TestApp:
    return log_in_to_console(world, "rita", "run")


@pytest.fixture
def post(jane: TestApp) -> Any:
    token = form_token(jane)
    return lambda path, fields, **options: jane.post(path, {"csrf_token": token, **fields}, **options)


def folder_of(world: ContentSites) -> Path:
    found = parse_settings(world.settings).archives_dir
    assert found is not None
    return found


def last_job(world: ContentSites) -> Any:
    return next(iter(list_jobs(world.engine)))


def job_count(world: ContentSites) -> int:
    return len(list(list_jobs(world.engine)))


# Several sites


def listed(page: Any) -> list[str]:
    return [each.text for each in page.html.select(".chosen b")]


def test_the_exact_list_comes_first(world: ContentSites, jane: TestApp) -> None:
    form = jane.get("/?q=example").forms["selection"]
    for box in form.fields["id"]:
        box.checked = True
    page = form.submit()
    assert listed(page) == [GARDEN, STERNWARTE]
    assert page.form["ids"].value.split() == [str(world.garden.id), str(world.sternwarte.id)]
    # All that the search finds, also by an alias.
    assert listed(jane.get("/?q=alias").click("Change all that this list finds")) == [GARDEN]
    filtered = jane.get("/?theme=-&status=active")
    assert listed(filtered.click("Change all that this list finds")) == [GARDEN, STERNWARTE]
    assert listed(jane.get("/").click("Change all sites")) == [GARDEN, STERNWARTE]
    assert "No site is selected" in jane.get("/bulk").text
    jane.get("/bulk?id=x", status=400)
    jane.get("/bulk?all=1&status=x", status=400)
    assert job_count(world) == 0


def test_a_setting_of_several_sites(world: ContentSites, jane: TestApp) -> None:
    form = jane.get("/bulk?all=1").form
    form["action"], form["key"], form["value"] = "set", "posts_per_page", "many"
    assert "a whole number" in form.submit(status=400).text
    form["value"] = "7"
    page = form.submit(status=303).follow()
    assert "The job is added." in page.text
    assert [row.select("td")[-1].text for row in page.html.select("tbody tr")] == ["–", "–"]
    assert do_jobs(world) == [("bulk", "done")]
    for host in (GARDEN, STERNWARTE):
        assert '"posts_per_page":"7"' in get_site(world.engine, host).site.own_settings
        (entry,) = list_log(world.engine, LogSelection(site=host, whats=("set",)))
        assert entry.who == "jane (console)"
    shown = jane.get(f"/jobs/{last_job(world).id}")
    assert [row.get_text(" ", strip=True) for row in shown.html.select("tbody tr")] == [
        f"{GARDEN} Done", f"{STERNWARTE} Done",
    ]  # fmt: skip
    form["action"], form["key"], form["value"] = "set", "posts_per_page", "10"
    form.submit()
    do_jobs(world)


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"action": "maintain-site", "message": "Back at six"}, "maintenance"), ({"action": "disable-site"}, "disabled")],
)
def test_several_sites_are_taken_offline_and_brought_back(
    world: ContentSites, post: Any, fields: dict[str, str], status: str
) -> None:
    ids = f"{world.garden.id} {world.sternwarte.id}"
    for action, expected in ((fields, status), ({"action": "enable-site"}, "active")):
        post("/bulk", {"ids": ids, **action}, status=303)
        assert do_jobs(world) == [("bulk", "done")]
        assert {get_site(world.engine, host).status for host in (GARDEN, STERNWARTE)} == {expected}


def test_a_theme_and_exports_of_several_sites(world: ContentSites, jane: TestApp, post: Any) -> None:
    ids = f"{world.garden.id} {world.sternwarte.id}"
    post("/bulk", {"ids": ids, "action": "set-theme", "theme": "harbour"}, status=303)
    post("/bulk", {"ids": ids, "action": "export-site", "users": "none"}, status=303)
    do_jobs(world)
    settings = parse_settings(world.settings)
    for site in (world.garden, world.sternwarte):
        assert get_site(world.engine, site.domain).site.theme == "harbour"
        (export,) = list_exports(settings, site.id)
        assert export.name in jane.get(f"/sites/{site.id}/copy").text
    post("/bulk", {"ids": ids, "action": "set-theme", "theme": ""}, status=303)
    do_jobs(world)
    assert get_site(world.engine, GARDEN).site.theme is None


def test_what_cannot_be_done_to_several_sites_adds_no_job(world: ContentSites, jane: TestApp, post: Any) -> None:
    ids = str(world.garden.id)
    for fields in (
        {"ids": ids, "action": ""}, {"ids": ids, "action": "remove-site"}, {"ids": "", "action": "enable-site"},
        {"ids": f"{ids} 99999", "action": "enable-site"}, {"ids": ids, "action": "set-theme", "theme": "../x"},
        {"ids": ids, "action": "set", "key": "nothing", "value": "1"},
        {"ids": ids, "action": "maintain-site", "message": "x" * 501},
    ):  # fmt: skip
        assert "Nothing was changed" in post("/bulk", fields, status=400).text, fields
    post("/bulk", {"ids": "x", "action": "enable-site"}, status=400)
    assert job_count(world) == 0


def test_too_many_sites_are_not_changed_at_once(world: ContentSites, jane: TestApp, monkeypatch: Any) -> None:
    monkeypatch.setattr("multisite.console.bulk_pages.MAX_SITES", 1)
    page = jane.get("/bulk?all=1")
    assert "These are more than 1 sites" in page.text
    assert page.html.select("form") == []


def test_a_site_for_which_it_fails_does_not_stop_the_others(world: ContentSites, jane: TestApp, post: Any) -> None:
    site = add_site(world.engine, "going.example", settings=parse_settings(world.settings))
    post("/bulk", {"ids": f"{site.id} {world.garden.id}", "action": "enable-site"}, status=303)
    remove_site(world.engine, "going.example", settings=parse_settings(world.settings), erase=True)
    do_jobs(world)
    page = jane.get(f"/jobs/{last_job(world).id}")
    assert "2 sites, 1 failed" in page.text
    garden, going = sorted(row.get_text(" ", strip=True) for row in page.html.select("tbody tr"))
    assert garden == f"{GARDEN} Done"
    assert "no site is known" in going


def test_a_job_that_is_begun_again_goes_on_after_the_sites_that_are_done(
    world: ContentSites, post: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setitem(bulk_module.BULK_ACTIONS, "enable-site", lambda _context, host, _: done.append(host))
    post("/bulk", {"ids": f"{world.garden.id} {world.sternwarte.id}", "action": "enable-site"}, status=303)
    job = last_job(world)
    with world.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        result = {"sites": [{"site": GARDEN, "error": None}], "failed": 0}
        connection.execute(sa.update(jobs_table).values(result=result))
    do_jobs(world)
    assert done == [STERNWARTE]
    found = read_job(world.engine, job.id)
    assert found is not None
    assert found.result is not None
    assert [each["site"] for each in found.result["sites"]] == [GARDEN, STERNWARTE]


# Exports


def export(world: ContentSites, post: Any, site: Any, **fields: str) -> str:
    post(f"/sites/{site.id}/copy", {"action": "export", **fields}, status=303)
    assert do_jobs(world) == [("export-site", "done")]
    return str(last_job(world).result["archive"])


def test_an_export_is_downloaded_by_those_who_may_do_everything(
    world: ContentSites, jane: TestApp, rita: TestApp, post: Any
) -> None:
    name = export(world, post, world.garden)
    page = jane.get(f"/jobs/{last_job(world).id}")
    path = page.html.find("a", string="Download the archive")["href"]
    response = jane.get(path)
    assert response.body == (folder_of(world) / "exports" / name).read_bytes()
    assert response.headers["Content-Disposition"].startswith(f'attachment; filename="{world.garden.folder}-')
    assert response.headers["Cache-Control"] == "no-store"
    (entry,) = list_log(world.engine, limit=1)
    assert (entry.what, entry.who, entry.site) == ("download-export", "jane (console)", GARDEN)
    assert "Download the archive" not in rita.get(f"/jobs/{last_job(world).id}").text
    rita.get(path, status=403)
    # Not by the page of another site, and nothing else of the folder.
    jane.get(path.replace(f"/sites/{world.garden.id}/", f"/sites/{world.sternwarte.id}/"), status=404)
    (folder_of(world) / "exports" / "notes.zip").write_text("x")
    for other in ("notes.zip", "..%2Fbackups", "%2e%2e", f"{world.garden.id}-.zip", f"{world.garden.id}-9999.zip"):
        jane.get(f"/sites/{world.garden.id}/exports/{other}", status=404)


def test_a_download_asks_for_the_password_again(
    world: ContentSites, jane: TestApp, post: Any, monkeypatch: Any
) -> None:
    name = export(world, post, world.garden)
    monkeypatch.setattr("multisite.console.log_ins.CONFIRMED_SECONDS", -1)
    assert "/confirm" in jane.get(f"/sites/{world.garden.id}/exports/{name}", status=303).location


def test_exports_go_with_their_site(world: ContentSites) -> None:
    settings, contents = parse_settings(world.settings), site_contents(world.app.registry)
    site = add_site(world.engine, "spare.example", settings=settings)
    path = folder_of(world) / "exports" / f"{site.id}-7.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    other = path.with_name(f"{site.id}0-7.zip")
    other.write_text("of a site whose id begins with the same digits")
    remove_site(world.engine, "spare.example", settings=settings, contents=contents)
    restored = restore_site(world.engine, "spare.example", settings=settings, contents=contents)
    assert restored.record is not None
    moved = [each.name for each in list_exports(settings, restored.record.site.id)]
    assert moved == [f"{restored.record.site.id}-7.zip"]
    remove_site(world.engine, "spare.example", settings=settings, contents=contents)
    (removed,) = (each for each in list_removed(world.engine, settings=settings) if each.domain == "spare.example")
    erase_removed(world.engine, removed.id, settings=settings)
    assert list_exports(settings, removed.id) == []
    assert other.exists()
    other.unlink()


def test_exports_and_uploads_that_nobody_needs_are_deleted(world: ContentSites) -> None:
    settings = parse_settings(world.settings)
    for folder, name in (("exports", "1-900.zip"), ("uploads", f"{'a' * 32}.zip"), ("uploads", f"{'b' * 32}.zip")):
        path = folder_of(world) / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        os.utime(path, (0, 0))
    with world.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        values = {"kind": "import-site", "arguments": {"archive": f"{'b' * 32}.zip"}, "status": "waiting", "who": "x"}
        row = {"created": sa.func.now(), "attempts": 0, "cancel": False, "progress": "", **values}
        connection.execute(sa.insert(jobs_table).values(**row))
    assert prune_exports(settings, days=30) == 1
    assert prune_uploads(settings, wanted=wanted_uploads(world.engine)) == 1
    assert [path.name for path in (folder_of(world) / "uploads").iterdir()] == [f"{'b' * 32}.zip"]
    shutil.rmtree(folder_of(world) / "uploads")


# Imports


@pytest.fixture(scope="module")
def archive(world: ContentSites, jane: TestApp) -> Iterator[bytes]:
    add_user(world, world.garden, "olga", "owner")
    world.add(world.garden, "roses")
    page = world.settings["multisite.sites_dir"]
    template = Path(page) / world.garden.folder / "own.mako"
    template.parent.mkdir(parents=True, exist_ok=True)
    template.write_text("own")
    jane.post(f"/sites/{world.garden.id}/copy", {"csrf_token": form_token(jane), "action": "export"}, status=303)
    do_jobs(world)
    yield (folder_of(world) / "exports" / last_job(world).result["archive"]).read_bytes()
    template.unlink()


def upload(browser: TestApp, content: bytes, *, token: str | None = None, **fields: str) -> Any:
    texts = {"csrf_token": form_token(browser) if token is None else token, **fields}
    return browser.post("/import", {**texts, "archive": Upload("site.zip", content)}, expect_errors=True)


def uploads(world: ContentSites) -> list[Path]:
    return list((folder_of(world) / "uploads").glob("*"))


@pytest.mark.parametrize("with_templates", [False, True])
def test_an_archive_is_uploaded_and_imported(
    world: ContentSites, jane: TestApp, archive: bytes, with_templates: bool
) -> None:
    fields = {"host": "imported.example", "users": "none", **({"with_templates": "1"} if with_templates else {})}
    page = upload(jane, archive, **fields)
    assert page.status_int == 303, page.text
    (path,) = uploads(world)
    assert path.stat().st_mode & 0o777 == 0o600
    assert do_jobs(world) == [("import-site", "done")], last_job(world).error
    assert uploads(world) == []
    record = get_site(world.engine, "imported.example")
    assert "roses of Garden" in world.browser("imported.example").get("/entries/roses").text
    folder = Path(world.settings["multisite.sites_dir"]) / record.site.folder
    assert (folder / "own.mako").exists() == with_templates
    assert "imported.example" in jane.get(page.location).text
    (entry,) = list_log(world.engine, LogSelection(site="imported.example"), limit=1)
    assert (entry.what, entry.who) == ("import-site", "jane (console)")
    remove_site(world.engine, "imported.example", settings=parse_settings(world.settings), erase=True)


def test_templates_are_imported_by_those_who_may_do_everything(
    world: ContentSites, jane: TestApp, rita: TestApp, archive: bytes
) -> None:
    assert "Templates are code" in jane.get("/import").text
    assert rita.get("/import").html.select("[name=with_templates]") == []
    assert "templates are code" in upload(rita, archive, host="x.example", with_templates="1").text
    assert (uploads(world), job_count(world)) == ([], 0)


def test_an_upload_that_is_refused_leaves_nothing(
    world: ContentSites, jane: TestApp, rita: TestApp, archive: bytes
) -> None:
    look = log_in_to_console(world, "lou", "look")
    for browser, options, status in (
        (jane, {"token": ""}, 400), (jane, {"token": form_token(rita)}, 400), (look, {}, 403),
        (jane, {"host": GARDEN}, 400), (jane, {"host": "a b"}, 400), (jane, {"host": "x" * 200_000}, 413),
    ):  # fmt: skip
        assert upload(browser, archive, **options).status_int == status, options
    for content, reason in ((b"no zip", "the file is not a zip file"), (archive[:-100], "the file is not a zip file")):
        assert reason in upload(jane, content, host="x.example").text
    assert "choose an archive" in jane.post("/import", {"csrf_token": form_token(jane)}, status=400).text
    too_long = upload(jane, b"x" * 1_200_000, host="x.example")
    assert (too_long.status_int, "larger than the console takes" in too_long.text) == (413, True)
    # The token comes after the file, or two files come.
    files = [("archive", "a.zip", archive)]
    jane.post("/import", {}, upload_files=files, status=400)
    token = {"csrf_token": form_token(jane)}
    jane.post("/import", token, upload_files=[("other", "a.zip", archive)], status=400)
    jane.post("/import", token, upload_files=[*files, ("archive", "b.zip", archive)], status=400)
    # No other page reads a form with files.
    jane.post("/add", token, upload_files=files, status=415)
    # Cut off.
    body = jane.encode_multipart(token.items(), files)
    headers = {"Content-Type": body[0]}
    jane.post("/import", body[1][:-30], headers=headers, status=400)
    assert (uploads(world), job_count(world)) == ([], 0)


def test_an_import_that_was_complete_when_its_worker_died_is_done(
    world: ContentSites, jane: TestApp, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: without the look into the operator log, the job fails since the domain is taken."""
    assert upload(jane, archive, host="twice.example").status_int == 303
    job = last_job(world)
    monkeypatch.setattr("multisite.sites.worker.end_job", lambda *_, **__: True)
    do_jobs(world)
    monkeypatch.undo()
    with world.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.update(jobs_table).values(worker="elsewhere:1", heartbeat=job.created.replace(year=2020)))
    assert do_jobs(world) == [("import-site", "done")], last_job(world).error
    assert len(list(list_log(world.engine, LogSelection(site="twice.example")))) == 1
    remove_site(world.engine, "twice.example", settings=parse_settings(world.settings), erase=True)


def test_a_thread_does_the_jobs_of_a_process_with_this_setting(world: ContentSites, jane: TestApp) -> None:
    app = main({}, **{**world.settings, "multisite.console_worker": "true"})
    try:
        assert WORKER not in app.registry
        browser = TestApp(app, extra_environ=jane.extra_environ)
        browser.get("/login")
        job = add_job(world.engine, "bulk", arguments={"action": "enable-site", "hosts": [GARDEN]})
        end = time.monotonic() + 60
        while not read_job(world.engine, job.id).has_ended:  # type: ignore[union-attr]
            assert time.monotonic() < end, "nothing does the job"
            time.sleep(0.05)
        browser.get("/login")
        assert [each.name for each in threading.enumerate()].count("multisite-worker") == 1
    finally:
        app.registry[WORKER].stop()
        next(each for each in threading.enumerate() if each.name == "multisite-worker").join()
        app.registry[DIRECTORY].engine.dispose()


# Adding, step by step


def test_a_site_whose_addition_was_interrupted_is_completed_by_its_page(world: ContentSites, jane: TestApp) -> None:
    with world.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        values = {"name": "Half", "folder": "half.example", "status": "pending", "theme": "harbour"}
        row = sa.insert(SiteRow).values(**values).returning(SiteRow.__table__.c.id)
        site_id = connection.scalar(row)
        domains = [("half.example", "canonical"), ("www.half.example", "alias")]
        for host, kind in domains:
            connection.execute(sa.insert(DomainRow).values(site_id=site_id, host=host, kind=kind))
    page = jane.get(f"/sites/{site_id}")
    assert [each.get("class") for each in page.html.select(".steps li")] == [["is-done"], None, None]
    page.forms[0].submit(status=303)
    record = get_site(world.engine, "www.half.example")
    assert (record.status, record.site.name, record.site.theme) == ("active", "Half", "harbour")
    remove_site(world.engine, "half.example", settings=parse_settings(world.settings), erase=True)
    with pytest.raises(UnknownSite):
        get_site(world.engine, "half.example")
