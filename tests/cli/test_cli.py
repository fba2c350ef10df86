"""The command line: the real command in a separate process for correct use, click's runner for wrong use."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from command_folder import MULTISITE, Folder
from databases import migrate_own
from paths import ROOT

from multisite import all_sites
from multisite.cli import main
from multisite.cli.commands import COMMANDS
from multisite.directory import engine_from_url
from multisite.sites.ini import read_ini

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path, database_url: str) -> Folder:
    return Folder(tmp_path, database_url)


@pytest.fixture
def empty(tmp_path: Path, sqlite_database_url: str) -> Folder:
    """A folder whose SQLite database does not exist yet."""
    return Folder(tmp_path, sqlite_database_url)


@pytest.fixture
def migrated(empty: Folder) -> Folder:
    """A folder with a migrated SQLite database."""
    engine = engine_from_url(empty.database_url)
    migrate_own(engine)
    engine.dispose()
    return empty


# What people do.


def test_from_an_empty_database_to_sites(folder: Folder) -> None:
    assert "the tables sites, domains" in folder.run("migrate")
    assert folder.run("migrate") == "Nothing to do: everything is up to date.\n"
    folder.run("add-site", "garden.localhost", "--name", "The Garden", "--alias", "www.garden.localhost")
    folder.run("add-site", "bücher.example", "--name", "Bücher", "--locale", "de-AT", "--timezone", "Europe/Vienna")
    assert folder.run("list-sites").splitlines() == [
        "garden.localhost               The Garden",
        "xn--bcher-kva.example          Bücher",
    ]
    garden, books = json.loads(folder.run("list-sites", "--json"))
    assert garden["domains"] == [
        {"host": "garden.localhost", "kind": "canonical"},
        {"host": "www.garden.localhost", "kind": "alias"},
    ]
    assert books["created"].endswith("+00:00")
    assert (books["name"], books["locale"], books["timezone"]) == ("Bücher", "de-AT", "Europe/Vienna")
    assert json.loads(folder.run("show-site", "BÜCHER.example.", "--json")) == books
    assert folder.folders() == ["garden.localhost", "xn--bcher-kva.example"]
    assert Path(books["path"]) == folder.path / "sites" / books["folder"]


def test_add_site_prints_the_next_steps(migrated: Folder) -> None:
    (migrated.path / "templates").mkdir()
    (migrated.path / "templates" / "layout.mako").write_text("${next.body()}")
    assert migrated.run("add-site", "fifth.localhost").splitlines() == [
        "Added fifth.localhost.",
        f"Edit its layout in {migrated.path / 'sites' / 'fifth.localhost'}",
        "Open http://fifth.localhost:6543/",
        "Running servers that use this database serve the site within 1 second.",
    ]


def test_add_site_does_not_mention_a_layout_if_there_is_none(migrated: Folder) -> None:
    out = migrated.invoke("add-site", "fifth.localhost").stdout.splitlines()
    assert out[1] == f"Put its own templates into {migrated.path / 'sites' / 'fifth.localhost'}"


def test_add_site_prints_a_curl_command_for_a_host_without_dns(migrated: Folder) -> None:
    migrated.write(app="multisite.refresh_seconds = 2.5", server="host = 0.0.0.0\nport = 80")
    out = migrated.invoke("add-site", "www.example.com").stdout.splitlines()
    assert out[2:4] == [
        "Open http://www.example.com/",
        "Until www.example.com is in DNS: curl -H 'Host: www.example.com' http://localhost:80/",
    ]
    assert out[4].endswith("within 2.5 seconds.")


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "192.0.2.1", "[2001:db8::1]"])
def test_add_site_does_not_mention_dns_for_local_hosts(migrated: Folder, host: str) -> None:
    result = migrated.invoke("add-site", host)
    assert (result.exit_code, f"Added {host}." in result.stdout) == (0, True)
    assert "DNS" not in result.stdout


def test_add_site_keeps_an_existing_folder_and_says_so(migrated: Folder) -> None:
    (migrated.path / "sites" / "a.example").mkdir(parents=True)
    (migrated.path / "sites" / "a.example" / "layout.mako").write_text("mine")
    assert "it existed already and was not changed" in migrated.invoke("add-site", "a.example").stdout
    assert (migrated.path / "sites" / "a.example" / "layout.mako").read_text() == "mine"


def test_add_site_prints_json(migrated: Folder) -> None:
    added = json.loads(migrated.run("add-site", "a.example", "--json"))
    assert added == {
        "id": added["id"],
        "host": "a.example",
        "domain": "a.example",
        "name": "a.example",
        "folder": "a.example",
        "path": str(migrated.path / "sites" / "a.example"),
        "locale": "en",
        "timezone": "UTC",
        "theme": None,
        "copy_of": None,
        "url": "http://a.example:6543/",
        "adopted": False,
    }


def test_domains_are_added_and_removed(migrated: Folder) -> None:
    migrated.run("add-site", "a.example", "--name", "The A")
    added = migrated.run("add-domain", "a.example", "b.example")
    assert added == "Added b.example: an alias of a.example (The A).\n"
    added = migrated.run("add-domain", "b.example", "c.example", "--redirect")
    assert added == "Added c.example: a redirect to a.example (The A).\n"
    assert migrated.run("show-site", "c.example").splitlines() == [
        "a.example (The A)",
        "  address   http://a.example:6543/",
        f"  folder    {migrated.path / 'sites' / 'a.example'}",
        "  locale    en, UTC",
        "  alias     b.example",
        "  redirect  c.example",
    ]
    assert migrated.run("remove-domain", "B.example") == "Removed B.example from a.example (The A).\n"
    info = json.loads(migrated.run("remove-domain", "c.example", "--json"))
    assert info["domains"] == [{"host": "a.example", "kind": "canonical"}]
    info = json.loads(migrated.run("add-domain", "a.example", "c.example", "--json"))
    assert info["domains"][1] == {"host": "c.example", "kind": "alias"}


def test_an_empty_list_is_valid_json(migrated: Folder) -> None:
    assert migrated.invoke("list-sites").stdout == ""
    assert json.loads(migrated.invoke("list-sites", "--json").stdout) == []


def test_an_incomplete_site_is_shown_as_pending(migrated: Folder) -> None:
    migrated.invoke("add-site", "a.example")
    with all_sites("a test"), sa.create_engine(migrated.database_url, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql("UPDATE sites SET status = 'pending'")
    assert "(pending)" in migrated.invoke("list-sites").stdout
    assert "complete it with 'multisite add-site a.example'" in migrated.invoke("show-site", "a.example").stdout


def test_a_copy_is_shown_with_the_site_that_it_was_copied_from(migrated: Folder) -> None:
    migrated.invoke("add-site", "a.example")
    assert "copy of" not in migrated.invoke("show-site", "a.example").stdout
    with all_sites("a test"), sa.create_engine(migrated.database_url, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql("UPDATE sites SET copy_of = 'b.example'")
    assert "  copy of   b.example\n" in migrated.invoke("show-site", "a.example").stdout
    assert json.loads(migrated.invoke("show-site", "a.example", "--json").stdout)["copy_of"] == "b.example"


# Which ini file.


def test_the_ini_comes_from_the_option_else_the_environment(migrated: Folder) -> None:
    migrated.run("add-site", "a.example")
    (migrated.path / "development.ini").rename(migrated.path / "other.ini")
    for arguments, env in [(["-c", "other.ini"], {}), ([], {"MULTISITE_CONFIG": "other.ini"})]:
        assert "a.example" in migrated.process(*arguments, "list-sites", env=env).stdout
    done = migrated.process("list-sites")
    assert done.returncode == 1
    assert f"there is no file {migrated.path / 'development.ini'}" in done.stderr
    assert "MULTISITE_CONFIG" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("server", "where"),
    [
        ("listen = localhost:6543", ("localhost", 6543)),
        ("listen = *:8000 [::1]:8001", ("localhost", 8000)),
        ("listen = [::1]:8001", ("[::1]", 8001)),
        ("listen = 192.0.2.1:80", ("192.0.2.1", 80)),
        ("host = 0.0.0.0\nport = 5000", ("localhost", 5000)),
        ("port = 5000", ("localhost", 5000)),
        ("unix_socket = /run/app.sock", ("localhost", 8080)),
        ("", ("localhost", 8080)),
    ],
)
def test_the_url_is_that_of_the_server(migrated: Folder, server: str, where: tuple[str, int]) -> None:
    migrated.write(server=server)
    ini = read_ini(migrated.path / "development.ini")
    assert (ini.server_host, ini.server_port) == where


def test_an_application_with_another_name_or_that_extends_another_section(migrated: Folder) -> None:
    ini = migrated.path / "development.ini"
    text = ini.read_text().replace("[app:main]", "[app:site]")
    ini.write_text(text)
    assert "has no section [app:main]" in migrated.fails("list-sites")
    assert read_ini(f"{ini}#site").database_url == migrated.database_url
    ini.write_text(text + "[app:main]\nuse = site\nmultisite.refresh_seconds = 7\n")
    found = read_ini(ini)
    assert (found.settings.refresh_seconds, found.database_url) == (7, migrated.database_url)


def test_multisite_database_url_comes_first(migrated: Folder) -> None:
    migrated.write(app=f"multisite.database_url = {migrated.database_url}", url="sqlite:////nowhere/at/all.db")
    assert migrated.invoke("list-sites").exit_code == 0


# What people mistype.

BAD_HOSTS = [
    "",
    " ",
    ".",
    "a..b",
    "-a.example",
    "-h.example",
    "a-.example",
    "http://a.example",
    "a.example/a shop",
    "a.example/%73hop",
    "a.example//shop",
    "a.example:99999",
    "*.*.example.com",
    "a.*.example.com",
    "user@a.example",
    "1.2.3",
    "0x7f000001",
    "a_b.example",
    "a b.example",
    "a.example\nb.example",
    "\udcff.example",
    "x" * 64 + ".example",
    ("x" * 49 + ".") * 5 + "xxxx",
    "x" * 100_000,
]

MIXED = ["\u0440\u0430ypal.example"]
"""Two Cyrillic letters that look like Latin ones, before Latin ones."""


@pytest.mark.parametrize(
    "arguments",
    [["add-site"], ["add-site", "good.example", "--alias"], ["add-domain", "a.example"], ["remove-domain"]],
    ids=" ".join,
)
def test_a_bad_host_leaves_no_row_and_no_folder(migrated: Folder, arguments: list[str]) -> None:
    migrated.invoke("add-site", "a.example")
    removes = arguments == ["remove-domain"]
    for host in BAD_HOSTS + MIXED * (not removes):
        # A host with an underscore may be there from when multisite.allow_underscores was on.
        said = "no site is known as" if removes and "_" in host else "is not a host"
        assert said in migrated.fails(*arguments, host), host
        assert (migrated.rows(), migrated.folders()) == (2, ["a.example"]), host


def test_a_host_of_mixed_scripts_needs_an_option(migrated: Folder) -> None:
    (host,) = MIXED
    assert migrated.invoke("add-site", host, "--allow-mixed").exit_code == 0


@pytest.mark.parametrize(
    "host", ["straße.example", "STRASSE.example", "xn--strae-oqa.example", "Xn--Strae-Oqa.Example.", "STRAßE.example"]
)
def test_a_host_that_is_taken_in_any_spelling_is_refused(migrated: Folder, host: str) -> None:
    migrated.invoke("add-site", "straße.example", "--alias", "strasse.example")
    before = migrated.rows(), migrated.folders()
    assert "already leads to the site xn--strae-oqa.example" in migrated.fails("add-site", host)
    assert "already leads to" in migrated.fails("add-site", "other.example", "--alias", host)
    assert "already leads to" in migrated.fails("add-domain", "straße.example", host)
    assert (migrated.rows(), migrated.folders()) == before


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["add-site", "b.example", "--locale", "nonsense!"], "is not a locale"),
        (["add-site", "b.example", "--timezone", "Mars/Olympus"], "is not a time zone"),
        (["add-site", "b.example", "--name", "\x1b[31m"], "is not a valid site name"),
        (["add-site", "b.example", "--name", ""], "is not a valid site name"),
        (["show-site", "nobody.example"], "no site is known as 'nobody.example'"),
        (["add-domain", "nobody.example", "b.example"], "no site is known as 'nobody.example'"),
        (["remove-domain", "nobody.example"], "no site is known as 'nobody.example'"),
        (["remove-domain", "a.example"], "canonical domain"),
    ],
)
def test_failures_are_reported_in_one_line(migrated: Folder, arguments: list[str], reason: str) -> None:
    migrated.invoke("add-site", "a.example")
    assert reason in migrated.fails(*arguments)
    assert (migrated.rows(), migrated.folders()) == (2, ["a.example"])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["add-site"],
        ["add-site", "a.example", "b.example"],
        ["add-site", "a.example", "--nmae", "x"],
        ["add-site", "--nmae"],
        ["add-domain", "a.example"],
        ["list-sites", "a.example"],
        ["restore-site", "a.example", "--host", "b.example", "--from", "a.zip"],
        ["restore-site", "a.example", "--with-templates"],
        ["export-sites"],
        ["export-sites", "--all", "--only", "a.example"],
        ["export-sites", "--all", "--keep", "0"],
        ["add-sites"],
        ["--nonsense"],
    ],
)
def test_wrong_usage_is_exit_2(migrated: Folder, arguments: list[str]) -> None:
    result = migrated.invoke(*arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr
    assert migrated.rows() == 0


# What is not as it should be.


@pytest.mark.parametrize(("typed", "meant"), [("list-site", "list-sites"), ("shel", "shell"), ("nonsense", None)])
def test_a_misspelled_command_gets_a_suggestion(migrated: Folder, typed: str, meant: str | None) -> None:
    result = migrated.invoke(typed)
    assert result.exit_code == 2
    hint = f" Did you mean '{meant}'?" if meant else ""
    assert result.stderr.endswith(f"Error: No such command '{typed}'.{hint}\n")


DIRECTORY_COMMANDS = [
    ["add-site", "a.example"],
    ["list-sites"],
    ["list-sites", "--json"],
    ["show-site", "a.example"],
    ["add-domain", "a.example", "b.example"],
    ["remove-domain", "a.example"],
]


@pytest.mark.parametrize("arguments", DIRECTORY_COMMANDS, ids=" ".join)
def test_missing_tables_suggest_migrate(folder: Folder, arguments: list[str]) -> None:
    assert "multisite migrate" in folder.fails(*arguments)
    assert folder.folders() == []


def test_a_missing_table_of_the_application_suggests_its_migrations(folder: Folder) -> None:
    """The message names [alembic], because without it `multisite migrate` knows no other tables."""
    folder.invoke("migrate")
    folder.invoke("add-site", "a.example")
    (folder.path / "a.md").write_text("Title: A\nDate: 2024-10-12\n\nText.")
    line = folder.fails("import-entries", "a.example", str(folder.path / "a.md"))
    assert "a table of the application is missing" in line
    assert "[alembic] of the ini" in line
    assert "the tables of multisite" not in line


def test_a_missing_column_of_multisite_suggests_migrate(migrated: Folder) -> None:
    with sa.create_engine(migrated.database_url, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql("ALTER TABLE sites RENAME COLUMN timezone TO zone")
    for arguments in (["list-sites", "--json"], ["add-site", "a.example"]):
        assert "the tables of multisite are missing or out of date" in migrated.fails(*arguments)


UNUSABLE = {
    "sqlite:////nowhere/at/all.db": "unable to open database file",
    "sqlite://": "cannot be in an in-memory database",
    "postgresql+psycopg://me:secret@127.0.0.1:1/app": "Connection refused",
    "postgresql+pg8000://me:secret@127.0.0.1:1/app": "pip install",
    "postgresql+asyncpg://me:secret@127.0.0.1:1/app": "is asynchronous",
    "sqlite+aiosqlite:////tmp/x.db": "is asynchronous",
    "mysql://me:secret@127.0.0.1:1/app": "'mysql://...' is not installed",
    "nonsense+driver://me:secret@host/app": "nonsense",
    "no url at all": "has no database URL|cannot be used",
    "postgresql+psycopg://me:secret@host:port/app": "cannot be used",
}


@pytest.mark.parametrize("url", UNUSABLE)
@pytest.mark.parametrize("arguments", [["migrate"], ["list-sites"], ["add-site", "a.example"]], ids=lambda a: a[0])
def test_an_unusable_database_is_one_line_without_the_password(empty: Folder, url: str, arguments: list[str]) -> None:
    empty.write(url=url)
    line = empty.fails(*arguments)
    assert any(reason in line for reason in UNUSABLE[url].split("|"))
    assert "secret" not in line
    assert empty.folders() == []


@pytest.mark.parametrize(("scheme", "helped"), [("postgresql+pg8000", True), ("mysql", False)])
def test_a_missing_driver_is_named_and_the_extra_only_for_postgresql(empty: Folder, scheme: str, helped: bool) -> None:
    empty.write(url=f"{scheme}://me:secret@127.0.0.1:1/app")
    line = empty.fails("list-sites")
    assert f"the driver for the database URL '{scheme}://...' is not installed" in line
    assert ("pyramid-multisite[postgresql]" in line) is helped


def test_a_file_that_is_not_a_database_is_one_line(migrated: Folder) -> None:
    (migrated.path / "test.db").write_bytes(b"no database at all" * 100)
    assert "file is not a database" in migrated.fails("list-sites")
    assert "file is not a database" in migrated.fails("migrate")


@pytest.mark.parametrize("arguments", [["migrate"], *DIRECTORY_COMMANDS[:2]], ids=lambda arguments: arguments[0])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "[app:main]\nsqlalchemy.url = sqlite:////x.db\nmultisite.refresh_seconds = soon",
            "multisite.refresh_seconds = soon",
        ),
        (
            "[app:main]\nsqlalchemy.url = sqlite:////x.db\nmultisite.nonsense = 1",
            "there is no setting multisite.nonsense; the existing ones: docs/settings.md",
        ),
        ("[app:main]\nuse = egg:pyramid-multisite", "has no database URL"),
        (
            "[app:main]\nuse = egg:multisite\nsqlalchemy.url = sqlite:////x.db",
            "write 'use = egg:pyramid-multisite'",
        ),
        ("[server:main]\nport = 1", "has no section [app:main]"),
        ("[app:main]\nsqlalchemy.url = %(nowhere)s", "[app:main] sqlalchemy.url: there is no %(nowhere)s"),
        (
            "[app:main]\nsqlalchemy.url = x://u:pass%40word@h",
            "[app:main] sqlalchemy.url: write a percent sign as %%",
        ),
        ("[app:main]\nthe password", "line 2 is neither [section] nor KEY = VALUE"),
        ("password", "line 1 is before the first [section]"),
        ("[app:other]\nx = 1", "ini#other'"),
        ("[app:main]\n[app:main]", "cannot be read"),
        ("[app:main]\nuse = config:missing.ini", "cannot be read"),
        ("", "has no section [app:main]"),
    ],
)
def test_a_bad_ini_is_one_line(empty: Folder, text: str, reason: str, arguments: list[str]) -> None:
    (empty.path / "development.ini").write_text(text)
    said = empty.fails(*arguments)
    assert reason in said
    assert "word" not in said, "a line may hold a password"


def test_an_ini_that_is_binary_or_a_folder_is_one_line(migrated: Folder) -> None:
    ini = migrated.path / "development.ini"
    ini.write_bytes(b"[app:main]\nx = \xff\n")
    assert "cannot be read" in migrated.fails("list-sites")
    ini.unlink()
    ini.mkdir()
    assert migrated.fails("list-sites") == f"{ini} is a folder: name an ini file in it"
    other = migrated.path / "settings.txt"
    other.write_text("[app:main]")
    said = CliRunner().invoke(main, ["-c", str(other), "list-sites"]).stderr
    assert said == f"Error: {other} cannot be read: the name of an ini file must end in .ini\n"


@pytest.fixture
def with_revisions(migrated: Folder) -> Iterator[Callable[[str], None]]:
    """A function that gives the application a revision with this body."""
    (migrated.path / "migrations" / "versions").mkdir(parents=True)
    (migrated.path / "migrations" / "env.py").write_text(
        "from alembic import context\nfrom sqlalchemy import NullPool, create_engine\n"
        f"with create_engine({migrated.database_url!r}, poolclass=NullPool).connect() as connection:\n"
        "    context.configure(connection=connection)\n"
        "    with context.begin_transaction():\n        context.run_migrations()\n"
    )
    ini = migrated.path / "development.ini"
    ini.write_text(ini.read_text() + "\n[alembic]\nscript_location = %(here)s/migrations\n")

    def write(body: str) -> None:
        (migrated.path / "migrations" / "versions" / "a1.py").write_text(
            '"""make notes"""\nfrom alembic import op\nrevision, down_revision = "a1", None\n'
            f"def upgrade():\n    {body}\n"
        )

    return write


def test_migrate_runs_the_revisions_of_the_application(migrated: Folder, with_revisions: Callable[[str], None]) -> None:
    with_revisions("op.execute('CREATE TABLE notes (id INTEGER)')")
    assert migrated.run("migrate") == "application a1: make notes\n"


def test_a_revision_that_the_database_rejects_is_one_line(
    migrated: Folder, with_revisions: Callable[[str], None]
) -> None:
    with_revisions("op.execute('CREATE TABLE notes (id INTEGER)'); op.execute('DELETE FROM nowhere')")
    line = migrated.fails("migrate")
    assert line == (
        "the application's revision a1 failed and was rolled back: no such table: nowhere, at: DELETE FROM nowhere"
    )
    with_revisions("op.execute('CREATE TABLE notes (id INTEGER)')")
    assert migrated.run("migrate") == "application a1: make notes\n"


def test_errors_of_alembic_are_one_line(migrated: Folder, with_revisions: Callable[[str], None]) -> None:
    with_revisions("pass")
    assert migrated.invoke("migrate").exit_code == 0
    (migrated.path / "migrations" / "versions" / "a1.py").unlink()
    assert migrated.fails("migrate").startswith("the database is at the application's revision a1, which is not in ")
    (migrated.path / "migrations").rename(migrated.path / "elsewhere")
    assert "there is no such folder; name the folder with" in migrated.fails("migrate")


def test_a_mistake_in_a_revision_keeps_its_traceback(migrated: Folder, with_revisions: Callable[[str], None]) -> None:
    """The negative control: only expected errors become one line."""
    with_revisions("1 / 0")
    assert isinstance(migrated.invoke("migrate").exception, ZeroDivisionError)


def test_a_folder_that_cannot_be_created_leaves_no_row(migrated: Folder) -> None:
    (migrated.path / "sites").write_text("a file where the folder of all sites should be")
    assert "cannot create the folder" in migrated.fails("add-site", "a.example")
    assert migrated.rows() == 0


# How it feels.


UNNEEDED = frozenset({"pyramid", "sqlalchemy", "alembic", "mako", "babel", "idna"})


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_imports_neither_pyramid_nor_sqlalchemy(tmp_path: Path, argument: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *MULTISITE, argument],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in imported  # else the list would prove nothing
    assert imported & UNNEEDED == set()


HELP_OF_EACH = """
import os, sys
from multisite.cli import main
for name in sys.argv[1:]:
    if os.fork() == 0:
        status = 1
        try:
            main([name, "--help"], prog_name="multisite")
        except SystemExit as ended:
            status = ended.code
        print("RESULT", name, status, *{module.partition(".")[0] for module in sys.modules}, flush=True)
        os._exit(0)
    os.wait()
"""
"""A program that forks for each command, since each start of Python takes 0.1 s."""


@pytest.fixture(scope="module")
def help_of_each() -> dict[str, tuple[str, set[str]]]:
    """Return exit code and imported packages of `multisite COMMAND --help`, by command."""
    done = subprocess.run(
        [sys.executable, "-c", HELP_OF_EACH, *COMMANDS],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    results = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return {name: (status, set(imported)) for name, status, *imported in results}


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "import-entries"])
def test_help_of_a_command_imports_neither_pyramid_nor_sqlalchemy(
    help_of_each: dict[str, tuple[str, set[str]]], name: str
) -> None:
    status, imported = help_of_each[name]
    assert status == "0"
    assert "click" in imported
    assert imported & UNNEEDED == set()


def test_the_package_runs_as_the_command_does(empty: Folder) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "multisite", *arguments],
            cwd=empty.path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    assert run("--help").startswith("Usage: python -m multisite [OPTIONS] COMMAND")
    assert "version" in run("--version")
    run("migrate")
    assert "Added a.example." in run("add-site", "a.example")
    assert run("show-site", "b.example", code=1).startswith("Error: no site is known as 'b.example'")


def test_commands_do_not_import_pyramid(migrated: Folder) -> None:
    script = (
        "import sys\nfrom multisite.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "print(*[name for name in ('pyramid', 'sqlalchemy', 'sqlalchemy.orm') if name in sys.modules])"
    )
    for arguments in (["migrate"], ["add-site", "a.example"], ["list-sites"], ["show-site", "a.example"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=migrated.path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        # Those that only read do not need the ORM, a fifth of their time.
        expected = "sqlalchemy sqlalchemy.orm" if arguments[0] in ("migrate", "add-site") else "sqlalchemy"
        assert done.stdout.splitlines()[-1] == expected


def test_every_command_has_the_same_summary_everywhere() -> None:
    for name, lazy in COMMANDS.items():
        module, _, attribute = lazy.location.partition(":")
        command = getattr(import_module(module), attribute)
        assert command.name == name
        assert command.help.partition("\n")[0] == lazy.summary


def test_the_warning_of_pkg_resources_is_not_shown(migrated: Folder, with_revisions: Callable[[str], None]) -> None:
    """The cookiecutter's env.py imports Pyramid; whether that warns depends on the installed setuptools."""
    text = "pkg_resources is deprecated as an API. See https://setuptools.pypa.io/ for more"
    env = migrated.path / "migrations" / "env.py"
    env.write_text(f"import warnings, pyramid.path\nwarnings.warn({text!r}, UserWarning)\n" + env.read_text())
    assert migrated.process("migrate", options=()).stderr == ""
    env.write_text(env.read_text().replace("pkg_resources is", "something else is"))
    assert "something else is deprecated" in migrated.process("migrate", options=()).stderr


def test_a_pipe_gets_no_colours_and_unencodable_characters_are_escaped(migrated: Folder) -> None:
    migrated.invoke("add-site", "a.example")
    for arguments in (["list-sites"], ["--help"], ["show-site", "b.example"]):
        done = migrated.process(*arguments)
        assert "\x1b" not in done.stdout + done.stderr
    migrated.invoke("add-site", "c.example", "--name", "\u03c8")
    done = migrated.process("list-sites", env={"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"})
    assert (done.returncode, done.stdout.split()[-1]) == (0, "\\u03c8")


def run_into(folder: Folder, output: int, *arguments: str) -> tuple[int, str]:
    """Run the command with its stdout going to the file descriptor `output`; return its exit code and its stderr."""
    done = subprocess.run(
        [sys.executable, *MULTISITE, *arguments],
        cwd=folder.path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(output)
    return done.returncode, done.stderr


WRITING = [["list-sites"], ["list-sites", "--json"], ["add-site", "b.example"], ["--help"], ["list-sites", "--help"]]


@pytest.mark.parametrize("arguments", WRITING, ids=" ".join)
def test_a_closed_pipe_is_not_an_error(migrated: Folder, arguments: list[str]) -> None:
    migrated.invoke("add-site", "a.example")
    reading, writing = os.pipe()
    os.close(reading)
    assert run_into(migrated, writing, *arguments) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("arguments", WRITING, ids=" ".join)
def test_a_full_disk_of_the_output_is_one_line(
    migrated: Folder, monkeypatch: pytest.MonkeyPatch, arguments: list[str], unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    migrated.invoke("add-site", "a.example")
    full = os.open("/dev/full", os.O_WRONLY)
    assert run_into(migrated, full, *arguments) == (1, "Error: the output cannot be written: No space left on device\n")


def test_an_oserror_that_is_not_about_the_output_keeps_its_traceback(
    migrated: Folder, with_revisions: Callable[[str], None]
) -> None:
    with_revisions("open('/nowhere/at/all')")
    assert isinstance(migrated.invoke("migrate").exception, FileNotFoundError)


# The life of a site.


def test_a_site_is_disabled_maintained_enabled_and_removed(migrated: Folder) -> None:
    migrated.run("add-site", "a.example", "--name", "The A", "--alias", "b.example")
    assert migrated.run("disable-site", "b.example").startswith(
        "a.example is disabled: it answers 404. Bring it back online: "
    )
    assert "  status    disabled: bring it back online with 'multisite enable-site a.example'\n" in migrated.run(
        "show-site", "a.example"
    )
    assert migrated.run("list-sites").endswith("The A (disabled)\n")
    first, second = migrated.run("maintain-site", "a.example", "--message", "moving").splitlines()
    assert first.startswith("a.example is in maintenance: it answers 503.")
    assert re.search(r"http://a\.example:6543/\?multisite_pass=[\w-]{32}$", second)
    shown = json.loads(migrated.run("maintain-site", "a.example", "--json"))
    assert shown["status"] == "maintenance"
    assert shown["pass"].startswith("http://a.example:6543/?multisite_pass=")
    assert migrated.run("enable-site", "a.example") == "a.example is online.\n"
    counted = json.loads(migrated.run("remove-site", "a.example", "--dry-run", "--json"))
    assert (counted["removed"], counted["rows"]) == (False, {})
    assert migrated.run("remove-site", "b.example", "--yes").splitlines()[0] == "Removed a.example."
    assert migrated.run("list-sites") == ""
    assert (migrated.path / "sites" / ".trash").is_dir()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("remove-site", "a.example"), 2, "Pass --yes to remove the site"),
        (("remove-site", "a.example", "--yes", "--dry-run"), 2, "Pass --yes to remove the site"),
        (("remove-site", "x.example", "--yes"), 1, "no site is known as 'x.example'; list all sites"),
        (("maintain-site", "a.example", "--until", "tomorrow"), 1, "'tomorrow' is not a time: expected one such as"),
        (("maintain-site", "a.example", "--until", "2001-01-01"), 1, "has already passed"),
        (("maintain-site", "a.example", "--message", " "), 1, "a message has 1 to 500 characters"),
        (("enable-site", "x.example"), 1, "no site is known as 'x.example'"),
        (("move-domain", "b.example", "x.example"), 1, "no site is known as 'x.example'"),
        (("move-domain", "a.example", "a.example"), 1, "is the canonical domain of its site"),
        (("set-canonical", "*.a.example"), 1, "a canonical domain has no wildcard"),
        (("rename-site", "a.example", ""), 1, "is not a valid site name"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_arguments_of_availability_and_removal(
    migrated: Folder, arguments: tuple[str, ...], code: int, words: str
) -> None:
    migrated.run("add-site", "a.example", "--alias", "b.example")
    result = migrated.invoke(*arguments)
    assert result.exit_code == code
    assert words in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "option", "near"),
    [
        (("add-site", "new.example", "--local", "de"), "--local", "--locale"),
        (("add-site", "--local=de", "new.example"), "--local", "--locale"),
        (("add-site", "new.example", "--name", "New", "--tehme", "x"), "--tehme", "--theme"),
        (("rename-site", "new.example", "--nmae"), "--nmae", ""),
        (("set", "new.example", "--timezone", "UTC"), "--timezone", ""),
        (("set-theme", "new.example", "--nonne"), "--nonne", "--none"),
        (("which", "--jsn", "new.example", "page.mako"), "--jsn", "--json"),
        (("remove-site", "new.example", "--yess"), "--yess", "--yes"),
        (("maintain-site", "new.example", "--mesage", "back soon"), "--mesage", "--message"),
        (("move-domain", "--x", "new.example", "b.example"), "--x", ""),
        (("each-site", "--jbs", "2", "--", "true"), "--jbs", "--jobs"),
    ],
)
def test_an_unknown_option_gets_a_suggestion(
    migrated: Folder, arguments: tuple[str, ...], option: str, near: str
) -> None:
    done = migrated.invoke(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    error = done.stderr.splitlines()[-1]
    assert error.startswith("Error: No such option")
    assert option in error
    assert (near in error) if near else ("Did you mean" not in error)
    assert migrated.rows() == 0


def test_a_value_may_begin_with_hyphens(migrated: Folder) -> None:
    assert migrated.invoke("add-site", "new.example", "--name", "--new--").exit_code == 0
    assert "is now called --newer--" in migrated.invoke("rename-site", "new.example", "--", "--newer--").stdout
    for arguments in (("add-site", "-a.example"), ("show-site", "-a.example")):
        assert "'-a.example' is not a host" in migrated.fails(*arguments)
