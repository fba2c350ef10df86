"""An application of the official cookiecutter's shape learns to serve two sites, by the page docs/existing.md.

`existing/before` is the application, `existing/after` holds the files that change. Everything is run as a person would
run it: in processes of their own, over a real socket.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
import warm
from alembic import op as alembic_op
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from conftest import fresh_postgresql
from snippets import snippets

import multisite.alembic  # noqa: F401  # Adds the operations to op.

ROOT = Path(__file__).resolve().parent.parent
BEFORE = ROOT / "tests" / "existing" / "before"
AFTER = ROOT / "tests" / "existing" / "after"
PAGE = ROOT / "docs" / "existing.md"

MAX_CHANGED_LINES = 12
FIRST, SECOND = "www.example.com", "second.example.com"

MIGRATE = "multisite migrate"
ADD_LOCALHOST = f"multisite add-domain {FIRST} localhost"
ADD_SECOND = f"multisite add-site {SECOND}"
CHECK = "alembic -c development.ini check"
CHECK_SITES = "multisite check"
UPGRADE = "alembic -c development.ini upgrade head"
INITIALIZE = "initialize_notes_db development.ini"
TEST = "pytest"
SERVE = "pserve development.ini"
SHELL = "pshell development.ini"
COMMANDS = {MIGRATE, ADD_LOCALHOST, ADD_SECOND, CHECK, CHECK_SITES, UPGRADE, INITIALIZE, TEST, SERVE, SHELL}
"""What the tests run."""

PROGRAMS = {
    "alembic": ["-m", "alembic"],
    "initialize_notes_db": ["-c", "from notes.scripts.initialize_db import main; main()"],
    "multisite": ["-c", "from multisite.cli import main; main(prog_name='multisite')"],
    "pserve": ["-m", "pyramid.scripts.pserve"],
    "pshell": ["-m", "pyramid.scripts.pshell"],
    "pytest": ["-m", "pytest", "-q", "-p", "no:cacheprovider"],
    "python": [],
}


@dataclass(frozen=True)
class Application:
    """A working copy of the application, installed as `pip install -e` does it: by metadata beside the package."""

    folder: Path
    shown_before: dict[str, str] = field(default_factory=dict)
    """What the home page showed for each host before the application was converted."""

    def _start(self, command: str) -> subprocess.Popen[str]:
        program, *arguments = shlex.split(command)
        env = {key: value for key, value in os.environ.items() if not key.startswith("MULTISITE_")}
        env["PYTHONPATH"] = os.pathsep.join([str(self.folder), *filter(None, [env.get("PYTHONPATH")])])
        return subprocess.Popen(
            [*([sys.executable] if program == "pserve" else warm.python()), *PROGRAMS[program], *arguments],
            cwd=self.folder,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    def run(self, command: str, typed: str = "", status: int = 0) -> str:
        """Run `command` with `typed` as its input, and return what it printed."""
        with self._start(command) as process:
            printed, _ = process.communicate(typed)
        assert process.returncode == status, f"{command} ended with {process.returncode}\n{printed}"
        return printed

    @contextmanager
    def serving(self) -> Iterator[Callable[..., tuple[int, str]]]:
        """Serve with waitress; yield a function that sends a request to a host and returns status and text."""
        with self._start(SERVE) as process:
            assert process.stdout is not None
            printed = []
            for line in process.stdout:
                printed.append(line)
                if found := re.search(r"Serving on http://127\.0\.0\.1:(\d+)", line):
                    break
            else:
                raise AssertionError("the server did not start:\n" + "".join(printed))
            port = int(found.group(1))

            def ask(host: str, path: str = "/", form: dict[str, str] | None = None) -> tuple[int, str]:
                connection = HTTPConnection("127.0.0.1", port, timeout=60)
                headers = {"Host": host, "Content-Type": "application/x-www-form-urlencoded"}
                body = urlencode(form) if form else None
                connection.request("POST" if form else "GET", path, body, headers)
                response = connection.getresponse()
                text = response.read().decode()
                connection.close()
                return response.status, text

            try:
                yield ask
            finally:
                process.terminate()

    def convert(self) -> None:
        """Change the files that the page changes."""
        shutil.copytree(AFTER, self.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("sites", "__pycache__"))


def set_up(folder: Path, database_urls: dict[str, str]) -> Application:
    """Copy the application as it was before into `folder`, with databases of its own where they are given."""
    shutil.copytree(BEFORE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("development", "testing"):
        ini = folder / f"{name}.ini"
        text = ini.read_text("utf-8").replace("listen = 127.0.0.1:6543", "listen = 127.0.0.1:0")
        before, key, rest = text.partition("sqlalchemy.url = ")
        own, end, rest = rest.partition("\n")
        url = database_urls[name].replace("%", "%%") if name in database_urls else own
        ini.write_text(before + key + url + end + rest, "utf-8")
    metadata = folder / "notes.egg-info"
    metadata.mkdir()
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    (metadata / "PKG-INFO").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n", "utf-8")
    groups = project["entry-points"].items()
    lines = [line for group, names in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in names.items()))]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n", "utf-8")
    return Application(folder)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def unconverted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """The application as it was, not run yet, on new databases: SQLite, then PostgreSQL."""
    with ExitStack() as stack:
        urls = {}
        if request.param == "postgresql":
            server = request.getfixturevalue("postgresql_url")
            urls = {name: stack.enter_context(fresh_postgresql(server)) for name in ("development", "testing")}
        yield set_up(tmp_path_factory.mktemp("existing") / "notes", urls)


@pytest.fixture(scope="module")
def converted(unconverted: Application) -> Application:
    """The application after the walk of the page; its one note was there before."""
    app = unconverted
    assert "6 passed" in app.run(TEST)
    app.run(UPGRADE)
    app.run(INITIALIZE)
    with app.serving() as ask:
        app.shown_before.update({host: ask(host)[1] for host in (FIRST, SECOND)})
    app.convert()
    app.run(MIGRATE)
    app.run(ADD_LOCALHOST)
    app.run(ADD_SECOND)
    shutil.copytree(AFTER / "sites", app.folder / "sites", dirs_exist_ok=True)
    return app


def test_its_own_tests_pass_after_as_they_did_before(converted: Application) -> None:
    assert "6 passed" in converted.run(TEST)


def test_before_every_host_showed_the_same_rows(converted: Application) -> None:
    assert "<li>welcome</li>" in converted.shown_before[FIRST]
    assert converted.shown_before[FIRST] == converted.shown_before[SECOND]


def test_two_sites_with_their_own_rows_and_layouts(converted: Application) -> None:
    with converted.serving() as ask:
        assert "<li>welcome</li>" in ask(FIRST)[1]
        assert ask(FIRST) == ask("localhost")
        status, page = ask(SECOND)
        assert (status, "<li>" in page, '<body class="second">' in page) == (200, False, True)

        for host, other in ((FIRST, "bread"), (SECOND, "butter")):
            assert ask(host, "/add", {"name": "milk"})[0] == 303
            assert ask(host, "/add", {"name": other})[0] == 303
        assert re.findall("<li>(.*)</li>", ask(FIRST)[1]) == ["bread", "milk", "welcome"]
        assert re.findall("<li>(.*)</li>", ask(SECOND)[1]) == ["butter", "milk"]

        status, page = ask(SECOND, "/nowhere")
        assert (status, '<body class="second">' in page, "There is no such page." in page) == (404, True, True)
        assert "<h1>Notes</h1>" in ask(FIRST, "/nowhere")[1]
        assert ask("third.example.com")[0] == 404
        # Both names are taken on their own site only: the unique index holds the site.
        assert ask(SECOND, "/add", {"name": "milk"})[0] == 500
        assert ask(SECOND, "/add", {"name": "bread"})[0] == 303


def test_autogenerate_finds_nothing(converted: Application) -> None:
    assert "No new upgrade operations detected." in converted.run(CHECK)


def test_the_check_finds_no_fault(converted: Application) -> None:
    # Its env.py sets up logging, so alembic tells what it does, too.
    *findings, summary = [line for line in converted.run(CHECK_SITES).splitlines() if line and "INFO" not in line]
    if "sqlite" in (converted.folder / "development.ini").read_text("utf-8"):
        # Its engine is its own, and no note refers to another: a notice is what that is worth.
        assert [finding.partition(":")[0] for finding in findings] == ["notice foreign-keys-off the engine of notes"]
        assert summary == "1 notice found."
    else:
        assert (findings, summary) == ([], "Nothing found.")


def test_alembic_alone_does_what_multisite_migrate_does(tmp_path: Path) -> None:
    app = set_up(tmp_path / "notes", {})
    app.run(UPGRADE)
    app.run(INITIALIZE)
    app.convert()
    app.run(UPGRADE)
    assert app.run(MIGRATE).endswith("Nothing to do: everything is up to date.\n")
    assert app.run("multisite list-sites").split()[0] == FIRST


def test_autogenerate_writes_the_migration_that_the_page_shows(tmp_path: Path) -> None:
    app = set_up(tmp_path / "notes", {})
    app.run(UPGRADE)
    app.run(INITIALIZE)
    app.convert()
    versions = app.folder / "notes" / "alembic" / "versions"
    shown = (versions / "0002_sites.py").read_text("utf-8")
    (versions / "0002_sites.py").unlink()
    app.run('alembic -c development.ini revision --autogenerate -m "sites"')
    (written,) = versions.glob("*_sites.py")
    source = written.read_text("utf-8")
    source = source.replace("TODO: the host of the site that these rows belong to", FIRST)
    assert set(operations(source)) == set(operations(shown.replace('"', "'")))
    written.write_text(source, "utf-8")
    assert "notes: 1 of 1 rows have their site" in app.run(MIGRATE)
    assert "No new upgrade operations detected." in app.run(CHECK)


def operations(revision: str) -> list[str]:
    """Return the import and the operations of a revision."""
    lines = (line.strip() for line in revision.splitlines())
    return [line for line in lines if line.startswith(("op.", "import multisite"))]


def test_the_operations_of_the_page_run(tmp_path: Path) -> None:
    tables = {
        "authors": "id INTEGER PRIMARY KEY, name VARCHAR UNIQUE",
        "posts": "id INTEGER PRIMARY KEY, author_id INTEGER NOT NULL REFERENCES authors (id)",
        "comments": "id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES posts (id)",
    }
    revision: dict[str, Any] = {"op": alembic_op}
    (example,) = (each for each in snippets(PAGE, "python") if "add_site_scope" in each.text)
    exec(example.text, revision)
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'page.db'}")
    with engine.connect() as connection, Operations.context(MigrationContext.configure(connection)):
        for name, columns in tables.items():
            connection.exec_driver_sql(f"CREATE TABLE {name} ({columns})")
        connection.exec_driver_sql("INSERT INTO authors VALUES (1, 'Ann')")
        connection.exec_driver_sql("INSERT INTO comments VALUES (1, NULL)")
        connection.commit()
        revision["upgrade"]()
        for name in tables:
            assert "site_id" in {column["name"] for column in sa.inspect(connection).get_columns(name)}
        assert connection.exec_driver_sql("SELECT post_id, site_id FROM comments").all() == [(None, 1)]
        revision["downgrade"]()
        assert connection.exec_driver_sql("SELECT * FROM authors").all() == [(1, "Ann")]
    engine.dispose()


RETRY = """
from pyramid.events import NewRequest
from pyramid.paster import get_app
from pyramid_retry import RetryableException, is_last_attempt
from webtest import TestApp
from notes.models import Note

app = get_app("development.ini")

def add(event):
    event.request.dbsession.add(Note(name="retried"))
    event.request.dbsession.flush()
    if not is_last_attempt(event.request):
        raise RetryableException()

app.registry.registerHandler(add, [NewRequest])
page = TestApp(app).get("/", headers={"Host": "second.example.com"})
assert page.text.count("<li>retried</li>") == 1
"""


def test_a_request_that_is_retried_keeps_its_site(converted: Application) -> None:
    (converted.folder / "retry.py").write_text(RETRY, "utf-8")
    converted.run("python retry.py")


def test_the_shell_is_for_the_site_that_the_page_names(converted: Application) -> None:
    typed = "".join(line[4:] + "\n" for line in PAGE.read_text("utf-8").splitlines() if line.startswith(">>> "))
    printed = converted.run(f"{SHELL} -p python", typed)
    assert f"'{SECOND}'" in printed
    assert "welcome" not in printed
    assert "'welcome'" in converted.run(f"{SHELL} -p python", typed.replace(SECOND, FIRST))


def test_a_script_of_sql_is_refused_with_a_sentence(converted: Application) -> None:
    printed = converted.run("alembic -c development.ini upgrade 0001:head --sql", status=1)
    assert "to change 'notes' the database has to be read" in printed


def unified_diffs() -> dict[str, list[str]]:
    """Return what changes in each file that was there before, as `diff -u` prints it."""
    diffs = {}
    for after in sorted(AFTER.rglob("*")):
        name = after.relative_to(AFTER).as_posix()
        before = BEFORE / name
        if not before.is_file():
            continue
        old, new = (path.read_text("utf-8").splitlines() for path in (before, after))
        diffs[name] = list(difflib.unified_diff(old, new, name, name, lineterm=""))
    return diffs


def changed_lines(diff: list[str]) -> int:
    """Count the lines that are new, and those that are other than they were."""
    return sum(line.startswith("+") for line in diff[2:])


def test_at_most_twelve_lines_change() -> None:
    diffs = unified_diffs()
    assert all(diffs.values())
    # A line that is taken away without another in its place would not be counted.
    assert all(sum(line[0] == "-" for line in diff[2:]) <= changed_lines(diff) for diff in diffs.values())
    assert 0 < sum(map(changed_lines, diffs.values())) <= MAX_CHANGED_LINES


@pytest.mark.parametrize("name", sorted(unified_diffs()))
def test_the_page_shows_each_change(name: str) -> None:
    shown = "\n".join(line.rstrip() for line in unified_diffs()[name])
    assert f"```diff\n{shown}\n```\n" in PAGE.read_text("utf-8")


def test_the_page_names_no_command_that_is_not_run_here() -> None:
    named = set(re.findall(r"^\$ (.*)$", PAGE.read_text("utf-8"), flags=re.MULTILINE))
    assert MIGRATE in named
    assert named - COMMANDS <= {"pip install ../multisite", f"curl -H 'Host: {SECOND}' http://localhost:6543/"}
