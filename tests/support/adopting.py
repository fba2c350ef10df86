"""Support for tests of docs/existing-application.md: the changes on the page, and a working copy of an application.

Commands and servers run in their own processes, and requests are sent over a socket.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import warm

__all__ = ["FIRST", "PAGE", "SECOND", "SERVE", "Application", "added_lines", "convert", "diffs_of_page", "set_up"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "existing-application.md"
WIKI = "## An application with log-ins"
"""The heading of the section about the wiki tutorial of Pyramid."""

FIRST, SECOND = "www.example.com", "second.example.com"
SERVE = "pserve development.ini"

Hunk = tuple[list[str], list[str]]
"""Lines before and after a change."""


def diffs_of_page(*, wiki: bool = False) -> dict[str, list[Hunk]]:
    """Return the changes of the page to each file of the cookiecutter's application, or of the wiki."""
    before, _, after = PAGE.read_text("utf-8").partition(WIKI)
    found: dict[str, list[Hunk]] = {}
    for diff in re.findall(r"```diff\n(.*?)```\n", after if wiki else before, re.DOTALL):
        heading, *hunks = re.split(r"^@@ .* @@\n", diff, flags=re.MULTILINE)
        name = heading.split()[1]
        for hunk in hunks:
            lines = hunk.splitlines()
            old, new = ([line[1:] for line in lines if line[0] in marks] for marks in (" -", " +"))
            found.setdefault(name, []).append((old, new))
    return found


def added_lines(diffs: dict[str, list[Hunk]]) -> int:
    """Return the number of lines that are added or changed."""
    return sum(len([line for line in new if line not in old]) for hunks in diffs.values() for old, new in hunks)


def convert(folder: Path, diffs: dict[str, list[Hunk]]) -> None:
    """Apply the changes of the page to the files in `folder`; each must match exactly once."""
    for name, hunks in diffs.items():
        lines = (folder / name).read_text("utf-8").splitlines()
        for old, new in hunks:
            places = [place for place in range(len(lines)) if lines[place : place + len(old)] == old]
            assert len(places) == 1, f"{name}: {old} is there {len(places)} times"
            lines[places[0] : places[0] + len(old)] = new
        (folder / name).write_text("\n".join(lines) + "\n", "utf-8")


PROGRAMS = {
    "alembic": ["-m", "alembic"],
    "initialize_myapp_db": ["-c", "from myapp.scripts.initialize_db import main; main()"],
    "initialize_tutorial_db": ["-c", "from tutorial.scripts.initialize_db import main; main()"],
    "multisite": ["-c", "from multisite.cli import main; main(prog_name='multisite')"],
    "pserve": ["-m", "pyramid.scripts.pserve"],
    "pshell": ["-m", "pyramid.scripts.pshell"],
    "pytest": ["-m", "pytest", "-q", "-p", "no:cacheprovider"],
    "python": [],
}


@dataclass(frozen=True)
class Application:
    """A working copy of the application, installed like `pip install -e`, by metadata beside the package."""

    folder: Path
    shown_before: dict[str, str] = field(default_factory=dict)
    """The home page for each host before the application was converted."""

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
        """Serve with waitress; yield a function that sends a request to a host and returns its status and text."""
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


def set_up(source: Path, folder: Path, database_urls: dict[str, str]) -> Application:
    """Copy the application in `source` to `folder`, and set its databases if they are given.

    `database_urls` are for the ini files "development" and "testing".
    """
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("development", "testing"):
        ini = folder / f"{name}.ini"
        text = re.sub("listen = .*", "listen = 127.0.0.1:0", ini.read_text("utf-8"))
        before, key, rest = text.partition("sqlalchemy.url = ")
        own, end, rest = rest.partition("\n")
        url = database_urls[name].replace("%", "%%") if name in database_urls else own
        ini.write_text(before + key + url + end + rest, "utf-8")
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    metadata = folder / f"{project['name']}.egg-info"
    metadata.mkdir()
    (metadata / "PKG-INFO").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n", "utf-8")
    groups = project["entry-points"].items()
    lines = [line for group, names in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in names.items()))]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n", "utf-8")
    return Application(folder)
