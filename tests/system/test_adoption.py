"""The official cookiecutter's application and Pyramid's wiki tutorial, converted by docs/existing-application.md.

`PYRAMID_COOKIECUTTER` is the path of a copy of https://github.com/Pylons/pyramid-cookiecutter-starter, `PYRAMID_WIKI2`
that of docs/tutorials/wiki2/src/tests in https://github.com/Pylons/pyramid. This project may not distribute either of
them, so the tests of a missing copy are skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import jinja2
import pytest
from adopting import FIRST, SECOND, Application, convert, diffs_of_page, set_up
from databases import fresh_postgresql

COOKIECUTTER, WIKI = os.environ.get("PYRAMID_COOKIECUTTER"), os.environ.get("PYRAMID_WIKI2")

with_cookiecutter = pytest.mark.skipif(not COOKIECUTTER, reason="PYRAMID_COOKIECUTTER names no copy of the template")
with_wiki = pytest.mark.skipif(
    not WIKI or not find_spec("bcrypt") or not find_spec("docutils"),
    reason="PYRAMID_WIKI2 names no copy of the wiki, or bcrypt or docutils is not installed",
)

TODO = "TODO: the host of the site that these rows belong to"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_urls(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Return new databases for the ini files "development" and "testing"; on SQLite, the application's own."""
    with ExitStack() as stack:
        names = ("development", "testing") if request.param == "postgresql" else ()
        yield {name: stack.enter_context(fresh_postgresql(request.getfixturevalue("postgresql_url"))) for name in names}


def generate(folder: Path, language: str) -> Path:
    """Generate the application `myapp` from the cookiecutter's template, run its hook, and return the folder."""
    template = Path(str(COOKIECUTTER))
    answers = {
        "project_name": "myapp",
        "repo_name": "myapp",
        "template_language": language,
        "backend": "sqlalchemy",
    }
    environment = jinja2.Environment(keep_trailing_newline=True, autoescape=False)

    def render(text: str) -> str:
        return environment.from_string(text).render(cookiecutter=answers)

    for path in sorted(template.glob("{{cookiecutter.repo_name}}/**/*")):
        target = folder / render(path.relative_to(template).as_posix())
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif path.suffix in {".png", ".css"}:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(render(path.read_text("utf-8")), "utf-8")
    hook = render((template / "hooks" / "post_gen_project.py").read_text("utf-8"))
    subprocess.run([sys.executable, "-c", hook], cwd=folder / "myapp", check=True, capture_output=True)
    return folder / "myapp"


def migrate_by_autogenerate(app: Application, package: str) -> list[str]:
    """Generate a migration with alembic, fill in the host and run it; return its operations."""
    versions = app.folder / package / "alembic" / "versions"
    before = set(versions.glob("*.py"))
    app.run('alembic -c development.ini revision --autogenerate -m "sites"')
    (written,) = set(versions.glob("*.py")) - before
    source = written.read_text("utf-8").replace(TODO, FIRST)
    written.write_text(source, "utf-8")
    app.run("multisite migrate")
    assert "No new upgrade operations detected." in app.run("alembic -c development.ini check")
    return re.findall(r"op\.add_site_scope\(.*\)", source)


@with_cookiecutter
@pytest.mark.parametrize("language", ["mako", "jinja2"])
def test_the_application_of_the_cookiecutter(tmp_path: Path, language: str, database_urls: dict[str, str]) -> None:
    app = set_up(generate(tmp_path / "made", language), tmp_path / "app", database_urls)
    app.run('alembic -c development.ini revision --autogenerate -m "init"')
    app.run("alembic -c development.ini upgrade head")
    app.run("initialize_myapp_db development.ini")
    assert "5 passed" in app.run("pytest")
    convert(app.folder, diffs_of_page())
    assert migrate_by_autogenerate(app, "myapp") == [f"op.add_site_scope('models', site='{FIRST}')"]
    assert "5 passed" in app.run("pytest")
    app.run(f"multisite add-domain {FIRST} localhost")
    app.run(f"multisite add-site {SECOND}")
    with app.serving() as ask:
        assert (ask(FIRST)[0], ask("localhost")[0], ask("third.example.com")[0]) == (200, 200, 404)
        # The view of the application responds with an error if it finds no row.
        assert ask(SECOND)[0] == 500
        app.run(f"initialize_myapp_db development.ini {SECOND}")
        assert ask(SECOND)[0] == 200
        if language == "mako":
            (app.folder / "sites" / SECOND).mkdir(parents=True, exist_ok=True)
            layout = "<p>The second site's layout.</p>${next.body()}"
            (app.folder / "sites" / SECOND / "layout.mako").write_text(layout, "utf-8")
            assert ("second site's layout" in ask(FIRST)[1], "second site's layout" in ask(SECOND)[1]) == (False, True)


@with_wiki
def test_the_wiki_of_pyramids_documentation(tmp_path: Path, database_urls: dict[str, str]) -> None:
    app = set_up(Path(str(WIKI)), tmp_path / "app", database_urls)
    app.run("alembic -c development.ini upgrade head")
    app.run("initialize_tutorial_db development.ini")
    assert "27 passed" in app.run("pytest")
    convert(app.folder, diffs_of_page(wiki=True))
    assert migrate_by_autogenerate(app, "tutorial") == [
        f"op.add_site_scope('users', site='{FIRST}')",
        "op.add_site_scope('pages', parent='users')",
    ]
    assert "27 passed" in app.run("pytest")
    app.run(f"multisite add-site {SECOND}")
    with app.serving() as ask:
        assert ask(FIRST, "/FrontPage")[0] == 200
        assert ask(SECOND, "/FrontPage")[0] == 404
    left = {line.split()[1] for line in app.run("multisite check", status=1).splitlines() if line.startswith("fault")}
    assert left == ({"missing-index"} if database_urls else {"missing-index", "foreign-keys-off"})
