"""Find the examples in README.md and docs/, and run those in Python, for tests/system/test_docs.py.

`python tests/support/snippets.py PAGE FOLDER` runs the Python examples of one page in order, in one namespace and in
the folder FOLDER. Each page runs in its own process, because a process has only one registry of scoped tables, and
because readers run the examples in this way.
"""

from __future__ import annotations

import dataclasses
import doctest
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

from paths import ROOT
from pyramid.config import Configurator

from multisite.core.settings import parse_settings

_FENCE = re.compile(r"^( *)```([^`\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)

Namespace = dict[str, Any]


@dataclass(frozen=True)
class Snippet:
    """One fenced block: its info string, its text, and its position (`line` is its first line)."""

    page: Path
    language: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def pages() -> list[Path]:
    """Return README.md and the pages of docs/ and docs/decisions/."""
    docs = ROOT / "docs"
    return [ROOT / "README.md", *sorted(docs.glob("*.md")), *sorted(docs.glob("decisions/*.md"))]


def snippets(page: Path, *languages: str) -> list[Snippet]:
    """Return the fenced blocks of `page`; if `languages` are given, only blocks in these."""
    text = page.read_text("utf-8")
    found = [
        Snippet(page, match[2], dedent(match[3]), text.count("\n", 0, match.start(3)) + 1)
        for match in _FENCE.finditer(text)
    ]
    return [snippet for snippet in found if not languages or snippet.language in languages]


def prose(page: Path) -> str:
    """Return the text of `page` without its fenced blocks."""
    return _FENCE.sub("", page.read_text("utf-8"))


def headings(page: Path) -> list[str]:
    """Return the headings of `page`, without the hashes; fenced blocks have no headings."""
    return _HEADING.findall(prose(page))


# The namespaces in which the examples of a page run, as the page describes them.


@contextmanager
def _two_sites(folder: Path) -> Iterator[Namespace]:
    """Yield the sites garden and kitchen in a fresh database, its engine, and settings for an application."""
    from multisite.alembic.migrate import upgrade_own
    from multisite.directory import engine_from_url
    from multisite.sites.creation import add_site

    settings = {
        "sqlalchemy.url": f"sqlite:///{folder / 'docs.db'}",
        "multisite.sites_dir": str(folder / "sites"),
        "multisite.templates_dir": str(folder / "templates"),
        "multisite.secret": "of these examples, and as secret as they are".replace(" ", "-"),
    }
    (folder / "templates").mkdir()
    engine = engine_from_url(settings["sqlalchemy.url"])
    upgrade_own(engine)
    garden, kitchen = (
        add_site(engine, host, settings=parse_settings(settings), name=name)
        for host, name in (("garden.example", "The Garden"), ("kitchen.example", "The Kitchen"))
    )
    yield {"engine": engine, "settings": settings, "garden": garden, "kitchen": kitchen}
    engine.dispose()


@contextmanager
def _directives(folder: Path) -> Iterator[Namespace]:
    """Yield the two sites, with an application for `using_site`, and a request of the garden."""

    from multisite.testing import request_for

    with _two_sites(folder) as namespace:
        with Configurator(settings=namespace["settings"]) as config:
            config.include("multisite")
        with request_for(config.make_wsgi_app(), "garden.example") as request:
            pass
        # The request is not current: the examples of the page select a site themselves.
        request.tm.begin()
        namespace["request"] = request
        yield namespace
        request.tm.abort()
        _run_migration(namespace["engine"], namespace["upgrade"])
        _run_script(folder, namespace["settings"], namespace["greet"])


def _run_migration(engine: Any, upgrade: Callable[[], None]) -> None:
    """Run the `upgrade` of the page on a table that was not scoped before."""
    import sqlalchemy as sa
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    from multisite import all_sites

    with engine.connect() as connection:
        connection.execute(sa.text("CREATE TABLE notes (id INTEGER PRIMARY KEY, name VARCHAR, "
                                   "CONSTRAINT uq_notes_name UNIQUE (name))"))  # fmt: skip
        connection.execute(sa.text("INSERT INTO notes (name) VALUES ('first')"))
        connection.commit()
        with Operations.context(MigrationContext.configure(connection)):
            upgrade()
        with all_sites("what the migration has done"):
            found = connection.execute(sa.text("SELECT notes.name, host FROM notes JOIN domains USING (site_id)")).all()
    assert found == [("first", "www.example.com")], found


def _write_ini(ini: Path, settings: dict[str, str]) -> None:
    lines = "\n".join(f"{key} = {value}" for key, value in settings.items())
    ini.write_text(f"[app:main]\nuse = egg:pyramid-multisite\n{lines}\n", "utf-8")


def _run_script(folder: Path, settings: dict[str, str], greet: Callable[[str], None]) -> None:
    """Run the script of the page and check that it has written its row."""
    from multisite.directory import engine_from_url

    ini = folder / "script.ini"
    _write_ini(ini, settings)
    greet(str(ini))
    engine = engine_from_url(settings["sqlalchemy.url"])
    with engine.connect() as connection:
        # A cursor of the driver is not scoped, so this finds the committed rows of any site.
        found = connection.connection.cursor().execute("SELECT site_id FROM books WHERE slug = 'hello'").fetchall()
    engine.dispose()
    assert found == [(1,)], found


@contextmanager
def _scripts(folder: Path) -> Iterator[Namespace]:
    """Yield the two sites, with a development.ini for them, an application, and a model of books."""
    import sqlalchemy as sa
    from pyramid.paster import get_app
    from sqlalchemy.orm import DeclarativeBase, Session, mapped_column

    from multisite import SiteScoped

    class Base(DeclarativeBase):
        pass

    class Book(SiteScoped, Base):
        __tablename__ = "books"

        id = mapped_column(sa.Integer, primary_key=True)
        slug = mapped_column(sa.String, nullable=False)

    with _two_sites(folder) as namespace:
        Base.metadata.create_all(namespace["engine"])
        _write_ini(folder / "development.ini", namespace["settings"])
        app = get_app(str(folder / "development.ini"))
        yield namespace | {"sa": sa, "Book": Book, "Session": Session, "app": app}


@contextmanager
def _static(folder: Path) -> Iterator[Namespace]:
    """Yield the two sites, with a static file that they share."""
    with _two_sites(folder) as namespace:
        (folder / "templates" / "static").mkdir()
        (folder / "templates" / "static" / "style.css").write_text("body { color: #222 }\n", "utf-8")
        yield namespace


@contextmanager
def _media(folder: Path) -> Iterator[Namespace]:
    """Yield the two sites, and then upload a picture and a page with the view of the page."""
    with _two_sites(folder) as namespace:
        namespace["settings"]["multisite.media_url"] = str(folder / "media")
        yield namespace
        from hostile_uploads import picture
        from webtest import TestApp

        from multisite.core.keys import DIRECTORY

        namespace["Base"].metadata.create_all(namespace["engine"])
        config = namespace["config"]
        config.add_route("upload", "/upload")
        config.add_view(namespace["upload"], route_name="upload", renderer="json")
        app = TestApp(config.make_wsgi_app(), extra_environ={"HTTP_HOST": "garden.example"})
        found = app.post("/upload", {"alt": "Teal"}, upload_files=[("file", "a.jpg", picture())]).json
        assert (found["width"], found["height"]) == ("64", "48")
        assert app.get(found["src"]).content_type == "image/jpeg"
        refused = app.post("/upload", {"alt": ""}, upload_files=[("file", "a.svg", b"<svg/>")]).json
        assert refused == {"error": "SVG can contain scripts: convert it to PNG or WebP"}
        app.app.registry[DIRECTORY].engine.dispose()


@contextmanager
def _caching(folder: Path) -> Iterator[Namespace]:
    """Yield the two sites, with a directory for `using_site`."""
    from multisite.directory import Directory

    with _two_sites(folder) as namespace:
        directory = Directory(namespace["engine"])
        directory.activate()
        yield namespace
        directory.deactivate()


@contextmanager
def _provisioning(folder: Path) -> Iterator[Namespace]:
    """Yield the two sites, with a folder for the archives of removed sites."""
    with _two_sites(folder) as namespace:
        namespace["settings"]["multisite.archives_dir"] = str(folder / "archives")
        namespace["settings"]["multisite.refresh_seconds"] = "0"
        yield namespace


PREPARED: dict[str, Callable[[Path], AbstractContextManager[Namespace]]] = {
    "caching.md": _caching,
    "logging-and-metrics.md": _caching,
    "debugging.md": _two_sites,
    "provisioning.md": _provisioning,
    "python-api.md": _directives,
    "jinja2.md": _two_sites,
    "internationalization.md": _two_sites,
    "media.md": _media,
    "scripts-and-jobs.md": _scripts,
    "security.md": _two_sites,
    "sessions.md": _two_sites,
    "site-settings.md": _two_sites,
    "static-files.md": _static,
}
"""The initial namespace for the examples of a page; it is empty for any other page."""


def run_python(page: Path, folder: Path) -> int:
    """Run the Python examples of `page` in order, and return their number.

    `python` blocks are executed, and `pycon` blocks must print the output that they show. Raises `AssertionError`, or
    the exception of an example.
    """
    examples = snippets(page, "python", "pycon")
    with ExitStack() as stack:
        prepared = PREPARED.get(page.name)
        namespace = {} if prepared is None else stack.enter_context(prepared(folder))
        for snippet in examples:
            if snippet.language == "python":
                code = compile("\n" * (snippet.line - 1) + snippet.text, str(page), "exec", dont_inherit=True)
                exec(code, namespace)
            else:
                _run_session(snippet, namespace)
    return len(examples)


def _run_session(snippet: Snippet, namespace: Namespace) -> None:
    test = doctest.DocTestParser().get_doctest(snippet.text, {}, str(snippet), str(snippet.page), snippet.line - 1)
    test.globs = namespace
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert test.examples, f"{snippet} has no examples"
    assert runner.run(test, clear_globs=False).failed == 0, f"{snippet} does not print what it says"


if __name__ == "__main__":
    os.chdir(sys.argv[2])
    print(run_python(Path(sys.argv[1]), Path(sys.argv[2])))


@dataclasses.dataclass(frozen=True)
class Command:
    """A command of a page, and the output that the page shows."""

    text: str
    expected: str

    def prints(self, printed: str) -> bool:
        """Return whether the output matches the page: `...` matches any lines, and no output matches anything."""
        if not self.expected:
            return True
        # Leading and trailing white space of lines is ignored, since templates indent their output.
        one, other = ("\n".join(line.strip() for line in text.splitlines()) + "\n" for text in (self.expected, printed))
        return doctest.OutputChecker().check_output(one, other, doctest.ELLIPSIS)


def commands_in(snippet: Snippet) -> list[Command]:
    """Return the commands of a console example."""
    found: list[Command] = []
    for line in snippet.text.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:], ""))
        else:
            assert found, f"{snippet} does not begin with a command"
            found[-1] = Command(found[-1].text, f"{found[-1].expected}{line}\n")
    return found
