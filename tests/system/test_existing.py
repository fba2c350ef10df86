"""An application like the official cookiecutter's is converted to two sites by docs/existing-application.md.

`tests/existing/before` is the application, and `tests/existing/after` has the new files; the page says which lines
change. tests/system/test_adoption.py converts the official applications themselves.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from adopting import FIRST, PAGE, SECOND, SERVE, Application, added_lines, convert, diffs_of_page, set_up
from alembic import op as alembic_op
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from databases import fresh_postgresql
from paths import ROOT
from snippets import snippets

import multisite.alembic  # noqa: F401  # Adds the operations to op.

pytestmark = pytest.mark.slow

BEFORE = ROOT / "tests" / "existing" / "before"
AFTER = ROOT / "tests" / "existing" / "after"

MAX_CHANGED_LINES = 12
MAX_CHANGED_LINES_OF_THE_WIKI = 25

MIGRATE = "multisite migrate"
ADD_LOCALHOST = f"multisite add-domain {FIRST} localhost"
ADD_SECOND = f"multisite add-site {SECOND}"
CHECK = "alembic -c development.ini check"
CHECK_SITES = "multisite check"
UPGRADE = "alembic -c development.ini upgrade head"
INITIALIZE = "initialize_myapp_db development.ini"
INITIALIZE_SECOND = f"{INITIALIZE} {SECOND}"
TEST = "pytest"
SHELL = "pshell development.ini"
COMMANDS = {
    MIGRATE, ADD_LOCALHOST, ADD_SECOND, CHECK, CHECK_SITES, UPGRADE, INITIALIZE_SECOND, TEST, SERVE, SHELL,
}  # fmt: skip
"""The commands that the tests run."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def unconverted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """Return the application before the conversion, not run yet, on new databases: SQLite, then PostgreSQL."""
    with ExitStack() as stack:
        urls = {}
        if request.param == "postgresql":
            server = request.getfixturevalue("postgresql_url")
            urls = {name: stack.enter_context(fresh_postgresql(server)) for name in ("development", "testing")}
        yield set_up(BEFORE, tmp_path_factory.mktemp("existing") / "myapp", urls)


def convert_by_page(app: Application) -> None:
    """Apply the changes of the page, and add the new files."""
    convert(app.folder, diffs_of_page())
    shutil.copytree(AFTER, app.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("sites", "__pycache__"))


@pytest.fixture(scope="module")
def converted(unconverted: Application) -> Application:
    """Return the converted application, whose only row is older than the conversion."""
    app = unconverted
    assert "6 passed" in app.run(TEST)
    app.run(UPGRADE)
    app.run(INITIALIZE)
    with app.serving() as ask:
        app.shown_before.update({host: ask(host)[1] for host in (FIRST, SECOND)})
    convert_by_page(app)
    app.run(MIGRATE)
    app.run(ADD_LOCALHOST)
    app.run(ADD_SECOND)
    app.run(INITIALIZE_SECOND)
    shutil.copytree(AFTER / "sites", app.folder / "sites", dirs_exist_ok=True)
    return app


def test_its_own_tests_pass_after_as_they_did_before(converted: Application) -> None:
    assert "6 passed" in converted.run(TEST)


def test_before_every_host_showed_the_same_rows(converted: Application) -> None:
    assert "<li>one</li>" in converted.shown_before[FIRST]
    assert converted.shown_before[FIRST] == converted.shown_before[SECOND]


def test_two_sites_with_their_own_rows_and_layouts(converted: Application) -> None:
    with converted.serving() as ask:
        assert "<li>one</li>" in ask(FIRST)[1]
        assert ask(FIRST) == ask("localhost")
        status, page = ask(SECOND)
        assert (status, re.findall("<li>(.*)</li>", page), '<body class="second">' in page) == (200, ["one"], True)

        for host, other in ((FIRST, "bread"), (SECOND, "butter")):
            assert ask(host, "/add", {"name": "milk"})[0] == 303
            assert ask(host, "/add", {"name": other})[0] == 303
        assert re.findall("<li>(.*)</li>", ask(FIRST)[1]) == ["bread", "milk", "one"]
        assert re.findall("<li>(.*)</li>", ask(SECOND)[1]) == ["butter", "milk", "one"]

        status, page = ask(SECOND, "/nowhere")
        assert (status, '<body class="second">' in page, "There is no such page." in page) == (404, True, True)
        assert "<h1>My application</h1>" in ask(FIRST, "/nowhere")[1]
        assert ask("third.example.com")[0] == 404
        # Each name is taken on its own site only, since the unique index includes the site.
        assert ask(SECOND, "/add", {"name": "milk"})[0] == 500
        assert ask(SECOND, "/add", {"name": "bread"})[0] == 303


def test_autogenerate_finds_nothing(converted: Application) -> None:
    assert "No new upgrade operations detected." in converted.run(CHECK)


def test_the_check_finds_no_fault(converted: Application) -> None:
    # The env.py of the application configures logging, so the output contains messages of alembic.
    *findings, summary = [line for line in converted.run(CHECK_SITES).splitlines() if line and "INFO" not in line]
    if "sqlite" in (converted.folder / "development.ini").read_text("utf-8"):
        # The engine does not enforce foreign keys; no row refers to another one, so this is only a notice.
        assert [finding.partition(":")[0] for finding in findings] == ["notice foreign-keys-off the engine of models"]
        assert summary == "1 notice found."
    else:
        assert (findings, summary) == ([], "Nothing found.")


def test_alembic_alone_does_what_multisite_migrate_does(tmp_path: Path) -> None:
    app = set_up(BEFORE, tmp_path / "myapp", {})
    app.run(UPGRADE)
    app.run(INITIALIZE)
    convert_by_page(app)
    app.run(UPGRADE)
    assert app.run(MIGRATE).endswith("Nothing to do: everything is up to date.\n")
    assert app.run("multisite list-sites").split()[0] == FIRST


def test_autogenerate_writes_the_migration_that_the_page_shows(tmp_path: Path) -> None:
    app = set_up(BEFORE, tmp_path / "myapp", {})
    app.run(UPGRADE)
    app.run(INITIALIZE)
    convert_by_page(app)
    versions = app.folder / "myapp" / "alembic" / "versions"
    shown = (versions / "0002_sites.py").read_text("utf-8")
    (versions / "0002_sites.py").unlink()
    app.run('alembic -c development.ini revision --autogenerate -m "sites"')
    (written,) = versions.glob("*_sites.py")
    source = written.read_text("utf-8")
    source = source.replace("TODO: the host of the site that these rows belong to", FIRST)
    assert set(operations(source)) == set(operations(shown.replace('"', "'")))
    written.write_text(source, "utf-8")
    assert "models: 1 of 1 rows have their site" in app.run(MIGRATE)
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
from myapp.models import MyModel

app = get_app("development.ini")

def add(event):
    event.request.dbsession.add(MyModel(name="retried"))
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
    typed += (
        "print('own:', {row.site_id for row in dbsession.scalars(sa.select(models.MyModel))} == {request.site.id})\n"
    )
    for host in (FIRST, SECOND):
        printed = converted.run(f"{SHELL} -p python", typed.replace(FIRST, host))
        assert f"'{host}'" in printed
        assert "'one'" in printed
        assert "own: True" in printed


def test_a_script_of_sql_is_refused_with_a_sentence(converted: Application) -> None:
    printed = converted.run("alembic -c development.ini upgrade 0001:head --sql", status=1)
    assert "changing 'models' needs a connection to the database" in printed


def test_few_lines_change() -> None:
    assert 0 < added_lines(diffs_of_page()) <= MAX_CHANGED_LINES
    assert 0 < added_lines(diffs_of_page(wiki=True)) <= MAX_CHANGED_LINES_OF_THE_WIKI


def test_the_page_names_no_command_that_is_not_run_here() -> None:
    named = set(re.findall(r"^\$ (.*)$", PAGE.read_text("utf-8"), flags=re.MULTILINE))
    assert MIGRATE in named
    assert named - COMMANDS <= {"pip install ../multisite", f"curl -H 'Host: {SECOND}' http://localhost:6543/"}
