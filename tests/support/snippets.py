"""The examples in README.md and docs/: found in their fences, and the Python ones run, for tests/system/test_docs.py.

As a program, `python tests/support/snippets.py PAGE FOLDER` runs the Python examples of one page from top to bottom in
one namespace, working in FOLDER. Each page has a process of its own, because the register of scoped tables is one for
the process, and because that is how a reader runs them.
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
    """One fenced block: what is behind its backticks, its text, and where it begins (`line` is its first line)."""

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
    """Return the fenced blocks of `page`, of `languages` only where some are given."""
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
    """Return the headings of `page`, without the hashes; a hash in a fenced block is none."""
    return _HEADING.findall(prose(page))


# What the examples of a page find, as the page says they do.


@contextmanager
def _two_sites(folder: Path) -> Iterator[Namespace]:
    """Garden and kitchen in a fresh database, an engine on it, and settings for an application."""
    from multisite.alembic.migrate import upgrade_own
    from multisite.directory import engine_from_url
    from multisite.sites.updates import add_site

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
    """The two sites, an application that `using_site` finds them by, and a request of the garden."""

    from multisite.testing import request_for

    with _two_sites(folder) as namespace:
        with Configurator(settings=namespace["settings"]) as config:
            config.include("multisite")
        with request_for(config.make_wsgi_app(), "garden.example") as request:
            pass
        # Not current: the page says what it is about when it uses a site.
        request.tm.begin()
        namespace["request"] = request
        yield namespace
        request.tm.abort()
        _run_migration(namespace["engine"], namespace["upgrade"])
        _run_script(folder, namespace["settings"], namespace["greet"])


def _run_migration(engine: Any, upgrade: Callable[[], None]) -> None:
    """Run the `upgrade` of the page on a table as an application had it before."""
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
    """Run the script of the page and see that it has written."""
    from multisite.directory import engine_from_url

    ini = folder / "script.ini"
    _write_ini(ini, settings)
    greet(str(ini))
    engine = engine_from_url(settings["sqlalchemy.url"])
    with engine.connect() as connection:
        # A cursor of the driver, past the wall: what was committed is looked at, for whichever site.
        found = connection.connection.cursor().execute("SELECT site_id FROM books WHERE slug = 'hello'").fetchall()
    engine.dispose()
    assert found == [(1,)], found


@contextmanager
def _scripts(folder: Path) -> Iterator[Namespace]:
    """The two sites, a development.ini here that serves them, an application that knows them, and a model of books."""
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
    """The two sites, and a static file that they share."""
    with _two_sites(folder) as namespace:
        (folder / "templates" / "static").mkdir()
        (folder / "templates" / "static" / "style.css").write_text("body { color: #222 }\n", "utf-8")
        yield namespace


@contextmanager
def _caching(folder: Path) -> Iterator[Namespace]:
    """The two sites, and a directory that `using_site` finds them by."""
    from multisite.directory import Directory

    with _two_sites(folder) as namespace:
        directory = Directory(namespace["engine"])
        directory.activate()
        yield namespace
        directory.deactivate()


PREPARED: dict[str, Callable[[Path], AbstractContextManager[Namespace]]] = {
    "caching.md": _caching,
    "logging-and-metrics.md": _caching,
    "debugging.md": _two_sites,
    "python-api.md": _directives,
    "jinja2.md": _two_sites,
    "internationalization.md": _two_sites,
    "scripts-and-jobs.md": _scripts,
    "security.md": _two_sites,
    "sessions.md": _two_sites,
    "site-settings.md": _two_sites,
    "static-files.md": _static,
}
"""The namespace that the examples of a page begin with; an empty one for any other page."""


def run_python(page: Path, folder: Path) -> int:
    """Run the Python examples of `page` in order, and return how many there were.

    `python` is executed as it stands, `pycon` must print what stands there. Raises `AssertionError`, or what an
    example raises.
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
    """A command of a page, and what it prints there."""

    text: str
    expected: str

    def prints(self, printed: str) -> bool:
        """Tell whether that is what the page shows; a line of three dots stands for any lines, nothing for anything."""
        if not self.expected:
            return True
        # White space at the end of lines is not looked at, nor how a template indents what it writes.
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
