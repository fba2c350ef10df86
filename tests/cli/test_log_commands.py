"""`multisite list-log`, and that every command which changes something leaves an entry in the operator log."""

from __future__ import annotations

import csv
import functools
import io
import json
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from command_folder import Folder
from console_world import add_passkey_row
from databases import migrate_own
from ghost_export import post, write_ghost
from wordpress_export import item, write_export

from multisite.cli.commands import COMMANDS
from multisite.content.tables import Base
from multisite.core.actor import system_user
from multisite.directory import engine_from_url
from multisite.web import loading

WHO = f"{system_user()} (command)"

CHANGING: dict[str, list[list[str]]] = {
    "push-templates": [["push-templates"]],
    "add-site": [["add-site", "a.example"], ["add-site", "b.example"]],
    "add-sites": [["add-sites", "sites.csv"]],
    "set-theme": [["set-theme", "a.example", "plain"]],
    "add-domain": [["add-domain", "a.example", "www.a.example"]],
    "set-canonical": [["set-canonical", "www.a.example"], ["set-canonical", "a.example"]],
    "move-domain": [["move-domain", "www.a.example", "b.example"]],
    "remove-domain": [["remove-domain", "www.a.example"]],
    "rename-site": [["rename-site", "a.example", "Renamed"]],
    "rotate-secret": [["rotate-secret", "a.example"]],
    "set": [["set", "a.example", "locale=de"]],
    "disable-site": [["disable-site", "a.example"]],
    "maintain-site": [["maintain-site", "a.example"]],
    "enable-site": [["enable-site", "a.example"]],
    "bulk": [["bulk", "enable-site", "--site", "a.example", "--yes"]],
    "refresh": [["refresh"]],
    "reload-templates": [["reload-templates"], ["reload-templates", "a.example"]],
    "new-theme": [["new-theme", "another"]],
    "export-site": [["export-site", "a.example", "a.zip"]],
    "export-sites": [["export-sites", "--all"]],
    "import-site": [["import-site", "a.zip", "--host", "imported.example"]],
    "copy-site": [["copy-site", "a.example", "copied.example"]],
    "add-user": [
        ["add-user", "a.example", "ann", "--role", "owner"],
        ["add-user", "a.example", "bob", "--role", "author"],
    ],
    "set-role": [["set-role", "a.example", "bob", "editor"]],
    "reset-password": [["reset-password", "a.example", "bob"]],
    "export-user": [["export-user", "a.example", "bob"]],
    "remove-user": [["remove-user", "a.example", "bob"]],
    "add-operator": [["add-operator", "olga"]],
    "set-operator-role": [["set-operator-role", "olga", "run"]],
    "reset-operator": [["reset-operator", "olga"]],
    "rename-passkey": [["rename-passkey", "olga", "1", "Old phone"]],
    "remove-passkey": [["remove-passkey", "olga", "1"]],
    "remove-operator": [["remove-operator", "olga"]],
    "import-entries": [["import-entries", "a.example", "leaf-mould.md"]],
    "import-wordpress": [["import-wordpress", "b.example", "export.xml"]],
    "import-ghost": [["import-ghost", "b.example", "ghost.json"]],
    "unpublish-entry": [["unpublish-entry", "a.example", "leaf-mould"]],
    "delete-entry": [["delete-entry", "a.example", "leaf-mould", "--yes"]],
    "add-redirect": [["add-redirect", "a.example", "/old", "/new"]],
    "import-redirects": [["import-redirects", "a.example", "redirects.csv"]],
    "remove-redirect": [["remove-redirect", "a.example", "/old"]],
    "list-missing": [["list-missing", "a.example", "--clear"]],
    "add-preview": [["add-preview", "a.example", "--theme", "plain"]],
    "remove-preview": [["remove-preview", "a.example", "1"]],
    "reindex-search": [["reindex-search", "a.example"]],
    "add-media": [["add-media", "a.example", "picture.gif"]],
    "remove-media": [["remove-media", "a.example", "{sha256}"]],
    "prune-media": [["prune-media"]],
    "remove-site": [["remove-site", "b.example", "--yes"]],
    "restore-site": [["restore-site", "b.example"]],
    "erase-removed": [["remove-site", "c.example", "--yes"], ["erase-removed", "3", "--yes"]],
}
"""The commands that change something, in an order in which they succeed."""

IN_A_PROCESS = {"export-site", "export-sites", "import-site", "copy-site", "remove-site", "restore-site"}
"""Archives have the tables of every model of the process, and other tests declare some."""

LOGGED_AS = {"add-sites": "add-site", "bulk": "enable-site", "export-sites": "export-site"}
"""Where the action has another name than the command."""

READING = {
    "list-sites", "show-site", "which", "compile-templates", "collect-static", "settings", "list-removed", "shell",
    "pull-templates", "check", "vhosts", "list-users", "list-operators", "list-passkeys", "list-entries",
    "list-redirects", "export-redirects", "list-media", "list-log", "list-shards", "show-traffic", "list-jobs",
    "check-domains", "list-previews", "health", "measure-sites",
}  # fmt: skip

ELSEWHERE = {
    "work": "tests/sites/test_jobs.py",
    "cancel-job": "tests/sites/test_jobs.py",
    "migrate": "the revisions have their own table",
    "each-site": "the commands that it runs are logged",
    "unset": "tests/sites/test_operator_log.py",
    "distribute": "tests/sharding/test_distribute.py",
    "isolate-site": "tests/sharding/test_citus.py",
    "row-security": "tests/scoping/test_row_security_setup.py",
}
"""Commands that are in neither list, and why."""


def test_every_command_is_in_one_list() -> None:
    assert sorted([*CHANGING, *READING, *ELSEWHERE]) == sorted(COMMANDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    path = tmp_path_factory.mktemp("folder")
    folder = Folder(path, f"sqlite:///{path / 'test.db'}")
    folder.write(
        app="multisite.archives_dir = %(here)s/archives\nmultisite.media_url = %(here)s/media\n"
        "multisite.templates_store = %(here)s/store\n"
        "multisite.console_host = console.example"
    )
    ini = path / "development.ini"
    ini.write_text(ini.read_text().replace("egg:pyramid-multisite", "call:multisite.content:main"))
    (path / "templates" / "themes" / "plain").mkdir(parents=True)
    (path / "sites.csv").write_text("host\nc.example\n")
    (path / "redirects.csv").write_text("path,target\n/older,/new\n")
    (path / "leaf-mould.md").write_text("---\ntitle: Leaf mould\ndate: 2020-01-01\n---\nx\n")
    (path / "picture.gif").write_bytes(
        b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
    )
    write_export(path / "export.xml", (item(1, "x", title="Post", name="post"),))
    write_ghost(path / "ghost.json", post(1))
    engine = engine_from_url(folder.database_url)
    migrate_own(engine)
    Base.metadata.create_all(engine)
    engine.dispose()
    with pytest.MonkeyPatch.context() as patch:
        # Loading the application takes most of the time of a command.
        patch.setattr(loading, "load", functools.cache(loading.load))
        patch.chdir(path)
        yield folder


def entries(folder: Folder) -> list[dict[str, object]]:
    engine = sa.create_engine(folder.database_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        rows = cursor.execute("SELECT id, who, what, site FROM multisite_log ORDER BY id").fetchall()
    return [dict(zip(("id", "who", "what", "site"), row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def logged(folder: Folder) -> dict[tuple[str, ...], list[dict[str, object]]]:
    """Return the new entries of each call in `CHANGING`."""
    found = {}
    digest = ""
    for calls in CHANGING.values():
        for call in calls:
            before = len(entries(folder))
            if call[0] in IN_A_PROCESS:
                done = folder.process(*call)
                assert done.returncode == 0, (call, done.stderr)
                found[*call] = entries(folder)[before:]
                continue
            result = folder.invoke(*(argument.format(sha256=digest) for argument in call))
            assert result.exit_code == 0, (call, result.output)
            found[*call] = entries(folder)[before:]
            if call[0] == "add-media":
                digest = result.stdout[:12]
            if call[0] == "reset-operator":
                engine = engine_from_url(folder.database_url)
                assert add_passkey_row(engine, "olga") == 1
                engine.dispose()
    return found


@pytest.mark.parametrize("name", CHANGING)
def test_a_command_that_changes_something_is_logged(
    logged: dict[tuple[str, ...], list[dict[str, object]]], name: str
) -> None:
    for call, new in logged.items():
        if call[0] == name:
            assert {(entry["who"], entry["what"]) for entry in new} == {(WHO, LOGGED_AS.get(name, name))}, call


def test_dry_runs_and_failures_are_not_logged(folder: Folder, logged: object) -> None:
    before = len(entries(folder))
    for arguments in (
        ["import-entries", "a.example", "leaf-mould.md", "--dry-run"], ["remove-site", "a.example", "--dry-run"],
        ["delete-entry", "a.example", "nothing", "--yes"], ["add-site", "a.example"], ["rename-site", "x.example", "y"],
        ["remove-redirect", "a.example", "/nothing"], ["list-log"], ["list-missing", "a.example"],
        ["bulk", "disable-site", "--all"],
    ):  # fmt: skip
        folder.invoke(*arguments)
    assert len(entries(folder)) == before


def test_the_log_is_listed(folder: Folder, logged: object) -> None:
    folder.invoke("rename-site", "a.example", "Before")
    folder.invoke("rename-site", "a.example", 'Now "this"')
    line = folder.invoke("list-log", "a.example", "--limit", "1").stdout
    assert line[19:] == f'  {WHO}  rename-site  a.example  name: "Before" -> "Now \\"this\\""\n'
    (entry,) = json.loads(folder.invoke("list-log", "--json", "--limit", "1").stdout)
    assert (entry["before"], entry["after"]) == ({"name": "Before"}, {"name": 'Now "this"'})
    assert entry["at"].endswith("+00:00")
    (row,) = csv.DictReader(io.StringIO(folder.invoke("list-log", "--csv", "--limit", "1").stdout))
    assert json.loads(row["after"]) == {"name": 'Now "this"'}
    assert (row["site"], row["address"]) == ("a.example", "")
    whats = ["list-log", "--json", "--what", "add-domain", "--what", "refresh", "--who", system_user(), "--since", "1h"]
    found = [entry["what"] for entry in json.loads(folder.invoke(*whats).stdout)]
    assert sorted(set(found)) == ["add-domain", "refresh"]
    assert folder.invoke("list-log", "--since", "2999-01-01").stdout == ""


@pytest.mark.parametrize("text", ["yesterday", "7", "0d", "9999999d", "2030-13-01", "0001-01-01T00:00+14:00"])
def test_a_time_that_is_none_is_refused(folder: Folder, text: str) -> None:
    assert "is not a time" in folder.fails("list-log", "--since", text)


def test_a_site_that_never_was_is_refused(folder: Folder) -> None:
    assert "no site is known as 'nowhere.example'" in folder.fails("list-log", "nowhere.example")


def test_one_format_at_a_time(folder: Folder) -> None:
    assert folder.invoke("list-log", "--json", "--csv").exit_code == 2
