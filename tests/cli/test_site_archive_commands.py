"""`multisite export-site`, `import-site` and `copy-site` with the reference application."""

from __future__ import annotations

import gc
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
from command_folder import Folder
from content_sites import GARDEN, STERNWARTE, ContentSites

from multisite.content.tables import Base
from multisite.scoping.tables import tables

COPY = "copy.example"


@pytest.fixture(autouse=True)
def only_this_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the tables that other tests have declared in this process."""
    monkeypatch.setattr(tables, "metadata", WeakSet([Base.metadata]))


@pytest.fixture
def folder(sqlite_sites: ContentSites, tmp_path: Path) -> Folder:
    sqlite_sites.add(sqlite_sites.garden, "one", body=f"[two](https://{GARDEN}/two), https://{GARDEN}.evil.example/")
    folder = Folder(tmp_path, sqlite_sites.settings["sqlalchemy.url"])
    Path(sqlite_sites.settings["multisite.sites_dir"], GARDEN, "own.mako").write_text("own")
    return folder


def test_archive_is_imported_under_another_domain(folder: Folder, sqlite_sites: ContentSites) -> None:
    archive = str(folder.path / "garden.zip")
    result = folder.invoke("export-site", GARDEN, archive, "--json")
    assert result.exit_code == 0, result.output
    exported = json.loads(result.stdout)
    assert exported["rows"]["entries"] == 1
    dry = folder.invoke("import-site", archive, "--host", COPY, "--dry-run")
    assert f"https://{GARDEN}/two -> https://{COPY}/two" in dry.stdout
    assert dry.stdout.splitlines()[-1] == f"{COPY} would be imported."
    assert "no site is known" in folder.fails("show-site", COPY)
    done = folder.invoke("import-site", archive, "--host", COPY)
    assert f"Imported {COPY}." in done.stdout.splitlines()
    assert "only taken with --with-templates" in done.stdout
    page = sqlite_sites.browser(COPY).get("/entries/one").text
    assert f'href="https://{COPY}/two"' in page
    assert f"https://{GARDEN}.evil.example/" in page
    assert f"https://{GARDEN}/two" not in page
    assert f'href="https://{GARDEN}/two"' in sqlite_sites.browser(GARDEN).get("/entries/one").text


def test_copy_is_in_maintenance_and_knows_its_original(folder: Folder, sqlite_sites: ContentSites) -> None:
    done = json.loads(folder.invoke("copy-site", GARDEN, COPY, "--json").stdout)
    assert (done["status"], done["copy_of"]) == ("maintenance", GARDEN)
    browser = sqlite_sites.browser(COPY)
    browser.get("/entries/one", status=503)
    browser.get(done["pass"].partition("6543")[2])
    browser.get("/entries/one", status=200)
    assert json.loads(folder.invoke("copy-site", GARDEN, "live.example", "--live", "--json").stdout)["pass"] is None
    sqlite_sites.browser("live.example").get("/entries/one", status=200)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("import-site", "missing.zip"), "missing.zip cannot be read: No such file or directory"),
        (("import-site", "development.ini"), "is not a zip file, or is damaged or cut off"),
        (("import-site", "garden.zip"), f"'{GARDEN}' is taken"),
        (("import-site", "garden.zip", "--host", STERNWARTE), f"'{STERNWARTE}' is taken"),
        (("import-site", "garden.zip", "--host", "a b"), "is not a host"),
        (("export-site", "nowhere.example", "x.zip"), "no site is known as 'nowhere.example'"),
        (("export-site", GARDEN, "missing/x.zip"), "cannot be written: No such file or directory"),
        (("copy-site", GARDEN, STERNWARTE), f"'{STERNWARTE}' is taken"),
        (("copy-site", "nowhere.example", COPY), "no site is known as 'nowhere.example'"),
    ],
)
def test_failure_is_one_line(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], line: str
) -> None:
    monkeypatch.chdir(folder.path)
    folder.invoke("export-site", GARDEN, "garden.zip")
    before = folder.folders()
    assert line in folder.fails(*arguments)
    assert folder.folders() == before


def test_removed_sites_and_backups_as_json(folder: Folder, sqlite_sites: ContentSites) -> None:
    folder.write(app="multisite.archives_dir = %(here)s/archives\nmultisite.refresh_seconds = 0")
    archives = folder.path / "archives"

    def prints(*arguments: str) -> Any:
        result = folder.invoke(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    (backup,) = prints("export-sites", "--only", GARDEN)
    path = Path(backup.pop("archive"))
    assert backup == {"id": sqlite_sites.garden.id, "domain": GARDEN, "reason": None, "deleted": []}
    assert path.parent == archives / "backups" / str(sqlite_sites.garden.id)
    assert prints("list-removed") == []
    removed = prints("remove-site", GARDEN, "--yes")
    assert (removed["removed"], removed["rows"]["entries"]) == (True, 1)
    (listed,) = prints("list-removed")
    removed_at, kept_until = (datetime.fromisoformat(listed.pop(name)) for name in ("removed", "keep_until"))
    assert kept_until - removed_at == timedelta(days=30)
    assert listed == {
        "id": sqlite_sites.garden.id, "domain": GARDEN, "name": sqlite_sites.garden.name, "archive": removed["archive"],
    }  # fmt: skip
    restored = prints("restore-site", GARDEN, "--host", COPY)
    assert (restored["host"], restored["imported"], restored["rows"]["entries"]) == (COPY, True, 1)
    assert restored["addresses"] == {"entries.body": 1, "entries.body_html": 1}
    assert prints("list-removed") == []
    again = prints("restore-site", COPY, "--from", str(archives / "backups" / str(restored["id"]) / path.name))
    assert (again["id"], again["host"], again["rows"]["entries"]) == (restored["id"], COPY, 1)
    assert again["left_out"] == ["2 templates: code that runs in the server, which is only taken with --with-templates"]


def test_taken_host_names_the_option_for_another_one(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.path)
    folder.write(app="multisite.archives_dir = %(here)s/archives\nmultisite.refresh_seconds = 0")
    taken = f"'{GARDEN}' is taken: it already leads to the site {GARDEN}"
    threshold = gc.get_threshold()
    exported = folder.invoke("export-site", GARDEN, "garden.zip").stdout
    assert "        1 row in entries\n" in exported
    assert gc.get_threshold() == threshold  # The command has another one.
    message = f"{taken}; choose another one: multisite import-site garden.zip --host HOST"
    assert folder.fails("import-site", "garden.zip") == message
    folder.invoke("remove-site", GARDEN, "--yes")
    folder.invoke("add-site", GARDEN)
    message = f"{taken}; choose another one: multisite restore-site {GARDEN} --host HOST"
    assert folder.fails("restore-site", GARDEN) == message


def test_removed_site_is_erased_by_its_id(folder: Folder, sqlite_sites: ContentSites) -> None:
    folder.write(app="multisite.archives_dir = %(here)s/archives\nmultisite.refresh_seconds = 0")
    folder.invoke("remove-site", GARDEN, "--yes")
    listed = folder.invoke("list-removed").stdout
    assert listed.startswith(f"{sqlite_sites.garden.id:>6}  {GARDEN} ")
    unconfirmed = folder.invoke("erase-removed", str(sqlite_sites.garden.id))
    assert (unconfirmed.exit_code, "Pass --yes" in unconfirmed.stderr) == (2, True)
    assert "no removed site had the id 99" in folder.fails("erase-removed", "99", "--yes")
    done = folder.invoke("erase-removed", str(sqlite_sites.garden.id), "--yes")
    assert done.stdout.startswith(f"Erased {GARDEN}, removed on ")
    assert list((folder.path / "archives").iterdir()) == []
    assert "no removed site was known" in folder.fails("restore-site", GARDEN)


def test_upgrade_needs_migrations(folder: Folder) -> None:
    archive = str(folder.path / "garden.zip")
    folder.invoke("export-site", GARDEN, archive)
    for command in (("import-site", archive), ("restore-site", GARDEN)):
        alone = folder.invoke(*command, "--scratch-url", "sqlite:///x.db")
        assert (alone.exit_code, "--scratch-url needs --upgrade." in alone.stderr) == (2, True)
    # The tables of this database were made without alembic, as those of the archive.
    assert folder.invoke("import-site", archive, "--host", COPY, "--upgrade").exit_code == 0
