"""Each action of the console and its command, on two copies of one database: the same rows, files and log lines."""

from __future__ import annotations

import functools
import hashlib
import re
import shutil
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from command_folder import Folder
from console_world import add_passkey_row, console_sites, do_jobs, form_token, log_in_to_console
from content_sites import GARDEN, STERNWARTE, ContentSites
from editor_sites import add_user
from pyramid.interfaces import IRoutesMapper
from webtest import TestApp, Upload

from multisite.check import application
from multisite.console import domain_pages
from multisite.console.operators import add_operator
from multisite.console.pages import PAGES
from multisite.content.tables import Base
from multisite.core.keys import DIRECTORY
from multisite.sites import domain_checks
from multisite.sites.jobs import add_job
from multisite.web import loading
from multisite.web.console_host import CONSOLE as CONSOLE_KEY
from multisite.web.site_archive import site_contents

Rows = dict[str, Any]

SHARED = "templates"
"""The folder of the templates of all sites, which no action changes."""


@dataclass(frozen=True)
class Case:
    """An action: the forms that are sent on pages, the arguments of the command, and the commands before both."""

    forms: list[tuple[str, Rows]]
    command: list[str]
    before: list[list[str]] = field(default_factory=list)


SITE = "/sites/1"
BOTH = {"ids": "1 2"}


def bulk(action: str, *values: str, **fields: str) -> Case:
    options = [f"--{name}={fields[name]}" for name in ("message", "users") if name in fields]
    sites = ["--site", GARDEN, "--site", STERNWARTE, "--yes"]
    return Case([("/bulk", {**BOTH, "action": action, **fields})], ["bulk", action, *values, *options, *sites])


CASES = {
    "add a site": Case(
        [("/add", {"host": "new.example", "name": "New", "aliases": "www.new.example", "locale": "de",
                   "timezone": "Europe/Berlin", "theme": "harbour"})],
        ["add-site", "new.example", "--name=New", "--alias=www.new.example", "--locale=de",
         "--timezone=Europe/Berlin", "--theme=harbour"],
    ),
    "rename": Case([(f"{SITE}/settings", {"name": "Renamed"})], ["rename-site", GARDEN, "Renamed"]),
    "language": Case([(f"{SITE}/settings", {"locale": "de"})], ["set", GARDEN, "locale=de"]),
    "settings": Case(
        [(f"{SITE}/settings", {"posts_per_page": "7", "robots": "noindex"})],
        ["set", GARDEN, "posts_per_page=7", "robots=noindex"],
    ),
    "a default": Case(
        [(f"{SITE}/settings", {"posts_per_page": "10"})], ["unset", GARDEN, "posts_per_page"],
        [["set", GARDEN, "posts_per_page=5"]],
    ),
    "theme": Case(
        [(f"{SITE}/theme", {"action": "theme", "theme": "harbour"})], ["set-theme", GARDEN, "harbour"]
    ),
    "no theme": Case(
        [(f"{SITE}/theme", {"action": "theme", "theme": ""})], ["set-theme", GARDEN, "--none"],
        [["set-theme", GARDEN, "harbour"]],
    ),
    "withdraw a preview": Case(
        [(f"{SITE}/theme", {"action": "withdraw", "link": "1"})], ["remove-preview", GARDEN, "1"],
        [["add-preview", GARDEN, "--theme=harbour"]],
    ),
    "add a domain": Case(
        [(f"{SITE}/domains", {"action": "add", "host": "www.garden.example", "kind": "alias"})],
        ["add-domain", GARDEN, "www.garden.example"],
    ),
    "add a redirect": Case(
        [(f"{SITE}/domains", {"action": "add", "host": "old.example", "kind": "redirect"})],
        ["add-domain", GARDEN, "old.example", "--redirect"],
    ),
    "remove a domain": Case(
        [(f"{SITE}/domains", {"action": "remove", "host": "alias.example"})], ["remove-domain", "alias.example"]
    ),
    "canonical": Case(
        [(f"{SITE}/domains", {"action": "canonical", "host": "alias.example", "kind": "redirect"})],
        ["set-canonical", "alias.example", "--redirect"],
    ),
    "check the domains": Case([(f"{SITE}/domains", {"action": "check"})], ["check-domains", GARDEN]),
    "maintenance": Case(
        [(f"{SITE}/state", {"action": "maintain", "message": "Back at six", "until": "2099-01-01T18:00"})],
        ["maintain-site", GARDEN, "--message=Back at six", "--until=2099-01-01T18:00"],
    ),
    "disable": Case([(f"{SITE}/state", {"action": "disable"})], ["disable-site", GARDEN]),
    "open": Case([(f"{SITE}/state", {"action": "open"})], ["enable-site", GARDEN], [["disable-site", GARDEN]]),
    "copy": Case(
        [(f"{SITE}/copy", {"action": "copy", "host": "copy.example", "users": "none"})],
        ["copy-site", GARDEN, "copy.example", "--users=none"],
    ),
    "copy, online": Case(
        [(f"{SITE}/copy", {"action": "copy", "host": "copy.example", "live": "1"})],
        ["copy-site", GARDEN, "copy.example", "--live"],
    ),
    "export": Case([(f"{SITE}/copy", {"action": "export"})], ["export-site", GARDEN, "archives/exports/1-1.zip"]),
    "import": Case(
        [("/import", {"host": "imported.example", "users": "none", "archive": "site.zip"})],
        ["import-site", "site.zip", "--host=imported.example", "--users=none"],
    ),
    "import with templates": Case(
        [("/import", {"host": "imported.example", "with_templates": "1", "archive": "site.zip"})],
        ["import-site", "site.zip", "--host=imported.example", "--with-templates"],
    ),
    "remove": Case([(f"{SITE}/remove", {"domain": GARDEN})], ["remove-site", GARDEN, "--yes"]),
    "restore": Case([("/removed", {"domain": GARDEN})], ["restore-site", GARDEN], [["remove-site", GARDEN, "--yes"]]),
    "restore elsewhere": Case(
        [("/removed", {"domain": GARDEN, "new_host": "back.example"})],
        ["restore-site", GARDEN, "--host=back.example"], [["remove-site", GARDEN, "--yes"]],
    ),
    "add a user": Case(
        [(f"{SITE}/users", {"action": "add-user", "login": "bob", "role": "author", "email": "bob@garden.example"})],
        ["add-user", GARDEN, "bob", "--role=author", "--email=bob@garden.example"],
    ),
    "the role of a user": Case(
        [(f"{SITE}/users", {"action": "set-role", "login": "ann", "role": "author"})],
        ["set-role", GARDEN, "ann", "author"],
    ),
    "a user's password": Case(
        [(f"{SITE}/users", {"action": "reset-password", "login": "ann"})], ["reset-password", GARDEN, "ann"]
    ),
    "remove a user": Case(
        [(f"{SITE}/users", {"action": "remove-user", "login": "ann", "sure": "1"})], ["remove-user", GARDEN, "ann"]
    ),
    "add an operator": Case(
        [("/operators", {"action": "add", "login": "paul", "role": "run"})], ["add-operator", "paul", "--role=run"]
    ),
    "the role of an operator": Case(
        [("/operators", {"action": "role", "login": "olga", "role": "run"})], ["set-operator-role", "olga", "run"]
    ),
    "an operator's password": Case(
        [("/operators", {"action": "reset", "login": "olga"})], ["reset-operator", "olga"]
    ),
    "remove an operator": Case(
        [("/operators", {"action": "remove", "login": "olga", "sure": "1"})], ["remove-operator", "olga"]
    ),
    "rename a passkey": Case(
        [("/account/passkeys/1/rename", {"name": "Old  phone"})], ["rename-passkey", "jane", "1", "Old phone"]
    ),
    "remove a passkey": Case([("/account/passkeys/1/remove", {})], ["remove-passkey", "jane", "1"]),
    "cancel a job": Case([("/jobs", {"job": "1"})], ["cancel-job", "1"], [["add", "a job"]]),
    "several sites in maintenance": bulk("maintain-site", message="Back at six"),
    "several sites online": bulk("enable-site"),
    "several sites disabled": bulk("disable-site"),
    "a theme of several sites": bulk("set-theme", "harbour", theme="harbour"),
    "a setting of several sites": bulk("set", "posts_per_page=7", key="posts_per_page", value="7"),
    "exports of several sites": bulk("export-site", users="none"),
}  # fmt: skip

NO_COMMAND = {
    # An operator's own log-in.
    "login", "logout", "confirm", "link", "account", "end_log_in", "sign_in", "passkey_challenge", "passkey_log_in",
    "passkey_confirm", "new_passkey", "passkeys",
    "theme_picture",  # A file.
    "health",  # It adds the job of the command `check`, which changes no site.
    "sites", "site", "job", "log", "log_csv", "traffic", "export",  # Nothing is changed; a download is logged.
}  # fmt: skip
"""The pages that have no action with a command. A new page is to be added here, or its actions above."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ContentSites, TestApp, Folder, Path]]:
    """Yield sites with a browser and a folder for commands, and the copy to which both are set back."""
    path, saved = tmp_path_factory.mktemp("world") / "world", tmp_path_factory.mktemp("saved") / "world"
    path.mkdir()
    url = f"sqlite:///{path / 'test.db'}"
    with console_sites(url, path) as sites, pytest.MonkeyPatch.context() as patch:
        (path / "templates" / "themes" / "harbour").mkdir(parents=True)
        (path / "archives" / "exports").mkdir(parents=True)
        add_user(sites, sites.garden, "olga", "owner")
        add_user(sites, sites.garden, "ann", "editor")
        sites.add(sites.garden, "roses")
        (path / "sites" / GARDEN / "own.mako").write_text("own")
        jane = log_in_to_console(sites, "jane", "everything")
        add_operator(sites.engine, "olga", "look")
        assert add_passkey_row(sites.engine, "jane") == 1
        # Not the tables of other tests in this process.
        site_contents(sites.app.registry).metadata = [Base.metadata]
        # Commands load the application that serves the console.
        for module in (application, loading):
            patch.setattr(module, "load", lambda _uri: sites.app)
        nowhere = functools.partial(domain_checks.DomainChecker, nameserver=("127.0.0.1", 1), timeout_seconds=0.05)
        patch.setattr(domain_checks, "DomainChecker", nowhere)
        patch.setattr(domain_pages, "DomainChecker", nowhere)
        patch.chdir(path)
        folder = Folder(path, url)
        written = {"sqlalchemy.url", "multisite.sites_dir", "multisite.templates_dir"}
        further = (f"{name} = {text}\n" for name, text in sites.settings.items() if name not in written)
        folder.write(app="".join(further))
        exported = folder.invoke("export-site", GARDEN, "site.zip")
        assert exported.exit_code == 0, exported.output
        do_jobs(sites)  # Measures the sites, so that the workers of the tests need not.
        close(sites)
        shutil.copytree(path, saved)
        yield sites, jane, folder, saved


def close(sites: ContentSites) -> None:
    sites.app.registry[DIRECTORY].engine.dispose()
    sites.engine.dispose()


def on_a_copy(base: tuple[ContentSites, TestApp, Folder, Path], case: Case, act: Callable[[], object]) -> Rows:
    """Set everything back, act, and return what is there afterwards."""
    sites, _jane, folder, saved = base
    close(sites)
    for path in folder.path.iterdir():
        if path.name != SHARED:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(saved, folder.path, dirs_exist_ok=True, ignore=lambda *_: [SHARED])
    for command in case.before:
        if command == ["add", "a job"]:
            add_job(sites.engine, "export-site", site=GARDEN, arguments={"host": GARDEN})
        else:
            assert folder.invoke(*command).exit_code == 0
    before = state(folder.path)
    act()
    close(sites)
    after = state(folder.path)
    assert after != before, "nothing was changed"
    return after


UNSTABLE = [
    (re.compile(r"\$argon2[^'\"]*"), "HASH"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(\+00:00)?"), "TIME"),
    (re.compile(r"\d{8}T\d{6}(\.\d+)?Z?"), "TIME"),
    (re.compile(r"(?<='secret_generation': )\d+|(?<='link_expires': )\d+"), "NUMBER"),
    (re.compile(r"\b(\d+)-(\d+|TIME)\.zip"), r"\1-JOB.zip"),
    (re.compile(r"\b[0-9a-f]{12,}\b"), "HEX"),
    (re.compile(r"\b[A-Z2-7]{32}\b"), "SECRET"),
    (re.compile(r"b'[^']{20,}'"), "BYTES"),
    (re.compile(r"(jane|[\w-]+) \((console|command)\)"), "WHO"),
    (re.compile(r"'127\.0\.0\.1'(?=\)$)"), "None"),
]
"""What differs between two calls of one command too: times, and random texts. And who acts, and from where."""

OWN_TABLES = {
    "multisite_operator_attempts", "multisite_operator_log_ins", "multisite_jobs", "multisite_version",
    "multisite_measurements", "multisite_processes", "multisite_checks", "sqlite_sequence",
}  # fmt: skip
"""Tables of log-ins and of jobs, which only the console writes; the number of changes; and what workers measure."""


def stable(text: str) -> str:
    for pattern, name in UNSTABLE:
        text = pattern.sub(name, text)
    return text


def state(path: Path) -> Rows:
    """Return the rows of all tables, the entries of the log, and the files, without what is random."""
    found: Rows = {}
    with closing(sqlite3.connect(path / "test.db")) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in sorted({*names} - OWN_TABLES):
            columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{name}")')]
            wanted = [each for each in columns if each not in {"request_id", "address", "token_hash", "code_counter"}]
            listed = ", ".join(f'"{each}"' for each in wanted)
            # In the order in which they were inserted, so that the log is compared line by line.
            rows = connection.execute(f'SELECT {listed} FROM "{name}"').fetchall()
            found[name] = [stable(repr(dict(zip(wanted, row, strict=True)))) for row in rows]
    for file in sorted(each for part in path.iterdir() if part.name != SHARED for each in [part, *part.rglob("*")]):
        if file.is_file() and file.name != "development.ini" and not file.name.startswith("test.db"):
            content: Any = hashlib.sha256(file.read_bytes()).hexdigest()
            if file.suffix == ".zip":
                with zipfile.ZipFile(file) as archive:
                    members = [info for info in archive.infolist() if info.filename != "manifest.json"]
                    content = [(info.filename, info.CRC) for info in members if "log_ins" not in info.filename]
            found[stable(str(file.relative_to(path)))] = content
    return found


def send(jane: TestApp, token: str, path: str, fields: Rows) -> None:
    """Send a form as a browser does: with the values that the page shows, but those that are changed."""
    if path.endswith("/settings") and "action" not in fields:
        form = jane.get(path).forms[0]
        for name, text in fields.items():
            form[name] = text
        form.submit(status=303)
        return
    sent = {"csrf_token": token, **fields}
    if "archive" in sent:
        sent["archive"] = Upload("site.zip", Path("site.zip").read_bytes())
    assert jane.post(path, sent).status_int in {200, 303}


@pytest.mark.parametrize("name", CASES)
def test_an_action_leaves_what_its_command_leaves(base: tuple[ContentSites, TestApp, Folder, Path], name: str) -> None:
    sites, jane, folder, _saved = base
    case = CASES[name]

    def by_the_console() -> None:
        token = form_token(jane)
        for path, fields in case.forms:
            send(jane, token, path, fields)
        if name != "cancel a job":
            assert {status for _kind, status in do_jobs(sites)} <= {"done"}

    def by_the_command() -> None:
        result = folder.invoke(*case.command)
        assert (result.exit_code, result.exception) == (0, None) or name == "check the domains", result.output

    console = on_a_copy(base, case, by_the_console)
    command = on_a_copy(base, case, by_the_command)
    assert console["multisite_log"] == command["multisite_log"]
    assert console == command


def test_a_difference_is_seen(base: tuple[ContentSites, TestApp, Folder, Path]) -> None:
    """Negative control of the test above: rows, files and log lines."""
    _sites, _jane, folder, _saved = base
    case = Case([], [])
    one, other, third = (
        on_a_copy(base, case, lambda command=command: folder.invoke(*command))
        for command in (
            ["disable-site", GARDEN], ["maintain-site", GARDEN, "--message=x"], ["add-site", "new.example"],
        )
    )  # fmt: skip
    assert one["sites"] != other["sites"]
    assert one["multisite_log"] != other["multisite_log"]
    assert {name for name in third if name.startswith("sites/new.example/")}


def test_every_page_is_in_the_table(base: tuple[ContentSites, TestApp, Folder, Path]) -> None:
    registry = base[0].app.registry[CONSOLE_KEY].registry
    paths = {path for case in CASES.values() for path, _fields in case.forms}
    mapper = registry.getUtility(IRoutesMapper)
    patterns = {route.name: route.pattern for route in mapper.get_routes()}
    visited = {name for name in registry[PAGES] if re.sub(r"\{id[^/]*", "1", patterns[name]) in paths}
    visited |= {name for name in registry[PAGES] if re.sub(r"\{.*?\}+", "1", patterns[name]) in paths}
    assert visited | NO_COMMAND == set(registry[PAGES])
    assert not visited & NO_COMMAND
