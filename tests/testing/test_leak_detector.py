"""The leak detector passes sound applications and fails leaking ones, on the examples of docs/testing.md and others."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import warm
from paths import ROOT
from snippets import snippets

from multisite.testing.leak_plugin import GatheringPlugin

PAGE = ROOT / "docs" / "testing.md"
FILES = {name: snippet.text for snippet in snippets(PAGE, "python") if (name := snippet.text.partition("\n")[0][2:])}
"""The Python examples of docs/testing.md, by their first line."""

OPTIONS = ("-q", "-p", "no:cacheprovider", "-W", "error", "-W", "ignore::DeprecationWarning",
           "-W", "ignore:pkg_resources:UserWarning")  # fmt: skip

ENVIRON = {
    # If CI is set, pytest prints each failure a second time in its summary.
    name: value
    for name, value in os.environ.items()
    if not name.startswith("PYTEST_") and name not in {"CI", "BUILD_NUMBER"}
} | {
    # The plugins of this environment take longer to import than these tests take to run.
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"
}


class Project:
    """The shop of docs/testing.md in its own folder, with tests that run in their own process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("shop.py", "conftest.py", "test_shop.py", "test_network.py"):
            self.write(name, FILES[name])
        self.add("conftest.py", FILES["conftest.py, with the fixture"])

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, "utf-8")

    def add(self, name: str, text: str) -> None:
        """Append to a file, so that its new definitions take precedence."""
        path = self.folder / name
        path.write_text(f"{path.read_text('utf-8')}\n\n{text}", "utf-8")

    def leak(self, code: str) -> None:
        """Insert `code` into the shop, before its `main`."""
        before, main, after = (self.folder / "shop.py").read_text("utf-8").partition("def main(")
        self.write("shop.py", f"{before}{code}\n\n\n{main}{after}")

    def run(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [*warm.python(), "-m", "pytest", *OPTIONS, *arguments], cwd=self.folder, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=ENVIRON,
        )  # fmt: skip
        return done.returncode, done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def told(printed: str) -> list[str]:
    """Return the printed leaks, one line each."""
    found = re.findall(
        r"^(?:E +)?  (\w[\w ]*: .*, of another site)\n(?:E +)?    in (.*)\n(?:(?:E +)?    at (.*)\n)?",
        printed,
        re.MULTILINE,
    )
    return [" | ".join(filter(None, leak)) for leak in found]


def test_the_examples_are_those_of_the_docs() -> None:
    assert (PAGE.name, len(SESSIONS)) == ("testing.md", 2)
    used = {"shop.py", "conftest.py", "test_shop.py", "test_network.py"}
    used |= {"conftest.py, with the fixture", "conftest.py, more of it", "conftest.py, with rows of the whole run"}
    assert set(FILES) == used | {"shop.py, with a leak", "shop.py, with another leak", FOR_ONE_SERVER}


FOR_ONE_SERVER = "shop.py, with a statement for one server"


def test_statements_of_one_server_are_refused_if_asked_for(project: Project) -> None:
    project.leak(FILES[FOR_ONE_SERVER])
    status, printed = project.run()
    assert (status, "4 passed" in printed) == (0, True), printed
    (session,) = (each.text for each in snippets(PAGE, "text") if "--multisite-distributable" in each.text)
    command, _, shown = session.partition("\n")
    status, printed = project.run(*command.removeprefix("$ pytest ").split())
    assert (status, shown.splitlines()[1] in printed) == (1, True), printed
    project.write("pytest.ini", "[pytest]\nmultisite_distributable = true\n")
    status, printed = project.run("-k", "request")
    assert (status, shown.splitlines()[1] in printed) == (1, True), printed


KEYS = """
import shop


def test_keys(site_request):
    for number in range(300):
        site_request.dbsession.add(shop.Book(title=f"Book {number}"))
        site_request.dbsession.flush()
    books = site_request.dbsession.query(shop.Book).all()
    assert len({book.id for book in books}) == 300
"""
"""SQLite numbers new rows from the highest key, that of a canary: the new numbers are not canaries."""


def test_a_sound_application_passes_with_and_without_it(project: Project) -> None:
    project.write("test_keys.py", KEYS)
    status, printed = project.run()
    assert (status, "5 passed" in printed) == (0, True), printed
    assert "multisite: leaks" not in printed
    project.add("conftest.py", FILES["conftest.py, more of it"])
    status, printed = project.run("--multisite-leaks")
    assert (status, "5 passed" in printed) == (0, True), printed
    assert "4 rows of canaries in 1 tables." in printed
    assert "not watched" not in printed


ROWS_OF_THE_RUN = """
import pytest

from multisite import current_site
from multisite.testing import webtest_app


@pytest.mark.parametrize("time", [1, 2])
def test_books(app, time):
    assert webtest_app(app, "example.com").get("/").text == "For the whole run"
    assert current_site().host == "example.com"
"""


def test_rows_of_the_whole_run_have_a_permanent_site(project: Project) -> None:
    project.add("conftest.py", FILES["conftest.py, with rows of the whole run"])
    project.write("test_run.py", ROWS_OF_THE_RUN)
    status, printed = project.run("test_run.py")
    assert (status, "2 passed" in printed) == (0, True), printed


SESSIONS = [snippet.text for snippet in snippets(PAGE, "text") if "data of another site has leaked" in snippet.text]
"""The runs of docs/testing.md that find a leak: the command and its output."""


@pytest.mark.parametrize(
    ("file", "session"), list(zip(["shop.py, with a leak", "shop.py, with another leak"], SESSIONS, strict=True))
)
def test_the_leaks_of_the_docs_are_found(project: Project, file: str, session: str) -> None:
    project.leak(FILES[file])
    command, _, shown = session.partition("\n")
    status, printed = project.run(*command.removeprefix("$ pytest ").split())
    assert status == 1, printed
    assert len(told(printed)) == 1, printed
    _, shown, *_ = re.split(r"^\.\.\.\n", shown, flags=re.MULTILINE)
    for line in (re.escape(line).replace(r"\.\.\.", ".*") for line in shown.splitlines()):
        assert re.search(rf"^(E +)?{line}$", printed, re.MULTILINE), f"the page shows {line}, and this is\n{printed}"


OTHER_LEAKS = """
import base64, logging
from dogpile.cache import make_region
from pyramid.authentication import AuthTktCookieHelper
from pyramid.session import SignedCookieSessionFactory

seen = []
region = make_region().configure("dogpile.cache.memory")


def header(request):
    rows = request.dbsession.connection().connection.cursor().execute("SELECT max(id) FROM books").fetchall()
    return Response("", headers={"X-Newest": str(rows[0][0])})


def cookie(request):
    seen.extend(titles(request))
    response = Response("")
    response.set_cookie("seen", base64.b64encode("".join(seen).encode()).decode())
    return response


def log(request):
    seen.extend(titles(request))
    logging.getLogger("shop").warning("books: %s", seen)
    return Response("")


def cache(request):
    return Response(str(len(region.get_or_create("titles", lambda: titles(request)))))


def stream(request):
    seen.extend(titles(request))
    return Response(app_iter=(piece.encode() for title in seen for piece in (title[:5], title[5:])))


def setting(request):
    seen.append(request.site.settings["motto"])
    return Response(seen[0])


def template(request):
    from pyramid.renderers import render

    request.site = request.registry["multisite.directory"].resolve("leak-canary.invalid") or request.site
    return Response(render("page.mako", {}, request))


class Policy:
    # Takes numbers only, as the ids of users often are.
    helper = AuthTktCookieHelper("the same secret for all sites")

    def authenticated_userid(self, request):
        identity = self.helper.identify(request)
        return None if identity is None else int(identity["userid"])

    def remember(self, request, userid, **kw):
        return self.helper.remember(request, str(int(userid)))


VIEWS = (header, cookie, log, cache, stream, setting, template)


def add_views(config):
    config.add_site_setting("motto", str, default="none", doc="What the site says of itself.")
    config.set_session_factory(SignedCookieSessionFactory("the same secret for all sites"))
    config.set_security_policy(Policy())
    for view in VIEWS:
        config.add_route(view.__name__, "/" + view.__name__)
        config.add_view(view, route_name=view.__name__)
"""

OTHER_TESTS = """
import pytest

@pytest.mark.parametrize("name", ["setting", "header", "cookie", "log", "cache", "stream", "template"])
def test_page(site, testapp_for, name):
    testapp_for(site).get("/" + name)


@pytest.mark.crosses_sites("a test that says so")
def test_another(site, testapp_for):
    testapp_for(site).get("/stream")
"""


def test_other_leaks_are_found(project: Project) -> None:
    """Without the detector the same tests pass."""
    project.leak(OTHER_LEAKS)
    text = (project.folder / "shop.py").read_text("utf-8")
    project.write("shop.py", text.replace("config.add_view(home)", "config.add_view(home); add_views(config)"))
    for folder in ("templates", "sites"):
        (project.folder / folder).mkdir()
    (project.folder / "templates" / "page.mako").write_text("<p>A page.</p>\n", "utf-8")
    project.write("test_shop.py", OTHER_TESTS)
    status, printed = project.run("test_shop.py")
    assert status == 0, printed
    status, printed = project.run("--multisite-leaks", "test_shop.py")
    assert status == 1, printed
    found = {leak.partition(", of another site")[0] for leak in told(printed)}
    assert found == {
        "SQL result: books.id", "header: books.id", "cookie: books.title", "log: books.title", "body: books.title",
        "cache value: books.title", "cookie: the session", "cookie: the log-in",
        "body: the template /page.mako", "body: the setting motto",
        "cookie: the setting motto", "log: the setting motto",
    }, printed  # fmt: skip
    assert "7 failed, 1 passed" in printed
    assert list((project.folder / "sites").iterdir()) == []


COOKIECUTTER = """
import transaction
from sqlalchemy.orm import sessionmaker
import zope.sqlalchemy

@pytest.fixture
def tm():
    tm = transaction.TransactionManager(explicit=True)
    tm.begin()
    tm.doom()
    yield tm
    tm.abort()


@pytest.fixture
def dbsession(app, tm):
    session = sessionmaker(app.registry["multisite.directory"].engine)()
    zope.sqlalchemy.register(session, transaction_manager=tm)
    return session
"""

COOKIECUTTER_TESTS = """
import pytest
import shop


@pytest.mark.parametrize("again", [1, 2])
def test_shared(site, dbsession, site_request, testapp_for, again):
    dbsession.add(shop.Book(title="Roses"))
    dbsession.flush()
    assert site_request.dbsession is dbsession
    assert shop.titles(site_request) == ["Roses"]
    assert testapp_for(site).get("/").text == "Roses"
    testapp_for("other.example").get("/", status=404)
"""


def test_the_session_of_the_test_is_shared_as_in_the_cookiecutter(project: Project) -> None:
    """What one test writes is rolled back before the next, including the rows of its site."""
    project.add("conftest.py", COOKIECUTTER)
    project.write("test_shop.py", COOKIECUTTER_TESTS)
    status, printed = project.run("--multisite-leaks", "test_shop.py")
    assert (status, "2 passed" in printed) == (0, True), printed


def test_the_tests_of_the_reference_application_pass_with_canaries() -> None:
    chosen = "sqlite and (shows_its_own_entries or pages or feed)"
    done = subprocess.run(
        [*warm.python(), "-m", "pytest", *OPTIONS, "-p", "multisite.testing_plugin", "--multisite-leaks",
         "tests/content/test_content.py", "-k", chosen],
        cwd=ROOT, text=True, check=False, capture_output=True, env=ENVIRON,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d+ rows of canaries in \d\d tables", done.stdout)
    assert "not watched" not in done.stdout


def test_a_run_without_canaries_fails(project: Project) -> None:
    project.write("test_shop.py", "def test_nothing(): pass\n")
    status, printed = project.run("--multisite-leaks", "test_shop.py")
    assert (status, "No canary was planted" in printed) == (1, True), printed


def test_workers_of_xdist_report_what_was_watched(project: Project) -> None:
    project.write("test_shop.py", "def test_home(site, testapp_for): testapp_for(site).get('/')\n")
    status, printed = project.run("--multisite-leaks", "-p", "xdist", "-n", "1", "test_shop.py")
    assert (status, "4 rows of canaries in 1 tables." in printed) == (0, True), printed


@pytest.mark.parametrize("rows", [{}, {"books": 4}])
def test_workers_without_any_canaries_fail_the_run(rows: dict[str, int]) -> None:
    plugin = GatheringPlugin()
    for worker in ({}, rows):
        handed = json.dumps({"tests": 1, "rows": worker, "left_out": {}})
        plugin.pytest_testnodedown(SimpleNamespace(workeroutput={"multisite_leaks": handed}))
    session: Any = SimpleNamespace(exitstatus=0)
    plugin.pytest_sessionfinish(session)
    assert session.exitstatus == (0 if rows else 1)


def add_kind(project: Project, declaration: str) -> None:
    """Add a column to the books, with a CHECK that no canary satisfies."""
    text = (project.folder / "shop.py").read_text("utf-8")
    check = "sa.CheckConstraint(\"kind IN ('new', 'old')\")"
    column = f"title: Mapped[str]\n    kind: {declaration.format(f'sa.String(3), {check}')}"
    project.write("shop.py", text.replace("title: Mapped[str]", column))


def test_a_table_that_rejects_canaries_is_reported(project: Project) -> None:
    add_kind(project, "Mapped[str | None] = mapped_column({})")
    status, printed = project.run("--multisite-leaks", "-k", "empty")
    assert status == 1
    assert "not watched: books (CHECK constraint failed" in printed
    project.add("conftest.py", "def pytest_multisite_canaries():\n    return {'books.kind': 'old'}\n")
    project.write("pytest.ini", "[pytest]\nmultisite_leaks = true\n")  # Replaces the command-line option.
    status, printed = project.run("-k", "empty")
    assert status == 0, printed
    assert "4 rows of canaries" in printed
    assert "not watched: books.kind (3 characters are too few)" in printed


def test_a_column_that_rejects_canaries_gets_its_default(project: Project) -> None:
    add_kind(project, "Mapped[str] = mapped_column({}, default='new')")
    status, printed = project.run("--multisite-leaks", "-k", "empty")
    assert status == 0, printed
    assert "4 rows of canaries" in printed


def test_the_plugin_imports_nothing_before_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "test_modules.py").write_text(
        "import sys\n\n\ndef test_modules():\n"
        "    heavy = {'pyramid', 'sqlalchemy', 'mako', 'webtest', 'idna', 'click'} & set(sys.modules)\n"
        "    assert not heavy\n    assert 'multisite.testing_plugin' in sys.modules\n",
        "utf-8",
    )
    # A fresh Python process, in which nothing is imported yet.
    command = [sys.executable, "-m", "pytest", *OPTIONS[:5], "-p", "multisite.testing_plugin", "test_modules.py"]
    done = subprocess.run(command, cwd=tmp_path, text=True, check=False, capture_output=True, env=ENVIRON)
    assert done.returncode == 0, done.stdout
