"""An upgrade without an interruption: workers of an earlier commit and of this one share a PostgreSQL, under load.

`upgrade_base` names the earlier commit. It is the oldest after which every revision only adds: tables, columns that may
be NULL, and indexes. The one before it, content_0016, drops the table of search terms that its predecessor writes; an
upgrade over that one needs maintenance mode.
"""

from __future__ import annotations

import ast
import http.client
import io
import os
import shutil
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest
import sqlalchemy as sa
from databases import closing_engine, fresh_postgresql
from directories import until
from machines import Worker, link_in
from paths import ROOT

from multisite.content.models import Entry
from multisite.core.current_site import all_sites

pytestmark = pytest.mark.slow

BASE = (Path(__file__).parent / "upgrade_base").read_text("ascii").strip()

SOAK = bool(os.environ.get("MULTISITE_SOAK"))
"""Whether two workers of each kind run, rather than one."""

KNOWN = {"shop.example": "The Shop", "blog.example": "The Blog"}
"""What the front page of each site has, and that of the other has not."""


def git(*arguments: str) -> bytes:
    program = shutil.which("git")
    command = [str(program), "-C", str(ROOT), *arguments]
    done = None if program is None else subprocess.run(command, capture_output=True, check=False)
    if done is None or done.returncode != 0:
        pytest.skip(f"no git history with the commit {BASE[:7]}, from which the upgrade starts")
    return done.stdout


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the earlier commit."""
    folder = tmp_path_factory.mktemp("base")
    archive = git("archive", "--format=zip", BASE, "multisite", "migrations", "templates")
    zipfile.ZipFile(io.BytesIO(archive)).extractall(folder)
    return folder


class Visitors:
    """Threads that read the known pages and write entries, by whichever workers are in service, as behind a proxy."""

    def __init__(self, cookie: str) -> None:
        self.in_service: list[Worker] = []
        self.pages = 0
        self.wrong: list[object] = []
        self.written: list[str] = []
        self._cookie = cookie
        self._end = threading.Event()
        self._threads = [threading.Thread(target=target) for target in (self._read, self._write)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def go_on(self, pages: int = 10, writes: int = 3) -> None:
        """Wait until more pages were read and more entries written."""
        wanted = self.pages + pages, len(self.written) + writes
        assert until(lambda: (self.pages >= wanted[0] and len(self.written) >= wanted[1]) or self.wrong)
        assert self.wrong == []

    def _read(self) -> None:
        number = 0
        while not self._end.wait(0.02):
            number += 1
            host = list(KNOWN)[number % 2]
            body = self._page(host, number)
            has = [name for name in KNOWN.values() if name.encode() in body]
            if has != [KNOWN[host]]:
                self.wrong.append((host, body[:200]))
            self.pages += 1

    def _page(self, host: str, number: int) -> bytes:
        """Return the front page; if a worker does not respond, another one is asked, as for any GET behind a proxy."""
        for attempt in range(20):
            workers = list(self.in_service)
            worker = workers[(number // 2 + attempt) % len(workers)]
            try:
                answer = worker.request("/", host=host)
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
                continue
            return answer.body if answer.status == 200 else f"status {answer.status}".encode()
        return b"no worker responds"

    def _write(self) -> None:
        number = 0
        while not self._end.wait(0.05):
            number += 1
            workers = list(self.in_service)
            title = f"Entry {number} of the upgrade"
            fields = {"title": title, "body": "Text.", "action": "publish"}
            try:
                workers[number % len(workers)].send("/edit/new", fields, cookie=self._cookie)
            except (OSError, http.client.HTTPException):
                continue  # Not acknowledged: the worker was stopped.
            except AssertionError as error:
                self.wrong.append(error)
                return
            self.written.append(title)


@pytest.fixture
def workers(postgresql_url: str, base: Path, tmp_path: Path) -> Iterator[list[tuple[Worker, Worker]]]:
    """Workers of the earlier commit, each with its successor, with the folders of sites and media on a volume."""
    app = f"multisite.media_url = {tmp_path}/media\nmultisite.page_cache_seconds = 1"
    with fresh_postgresql(postgresql_url) as url:
        (tmp_path / "sites").mkdir()

        def worker(name: str, code: Path) -> Worker:
            made = Worker(tmp_path / name, url, app=app, code=code)
            shutil.copytree(code / "templates", tmp_path / name / "templates")
            (tmp_path / name / "sites").symlink_to(tmp_path / "sites")
            return made

        yield [(worker(f"old{n}", base), worker(f"new{n}", ROOT)) for n in range(2 if SOAK else 1)]


def test_workers_are_replaced_one_by_one_under_load(workers: list[tuple[Worker, Worker]]) -> None:
    old, new = workers[0]
    output = old.run_with_its_code(
        ["migrate"],
        *(["add-site", host, "--name", name] for host, name in KNOWN.items()),
        ["add-user", "shop.example", "anna", "--role", "owner"],
    )
    with ExitStack() as stack:
        stopping = {each: stack.enter_context(ExitStack()) for each, _ in workers}
        for each, place in stopping.items():
            place.enter_context(each.serve())
        with Visitors(old.log_in(link_in(output))) as visitors:
            visitors.in_service[:] = stopping
            visitors.go_on()
            new.run("migrate")
            visitors.go_on()  # The earlier code works with the new tables.
            for before, after in workers:
                stack.enter_context(after.serve())
                visitors.in_service.append(after)
                visitors.go_on()  # Both are in service.
                visitors.in_service.remove(before)
                stopping[before].close()
            visitors.go_on()
        assert visitors.wrong == []
        # What the earlier workers wrote, the new ones find.
        assert new.shows(visitors.written[0], path="/search?q=" + visitors.written[0].replace(" ", "+"))
    with closing_engine(new.folder.database_url) as engine, all_sites("what was written"), engine.connect() as found:
        sites = dict(found.execute(sa.select(Entry.__table__.c.title, Entry.__table__.c.site_id)).all())
    assert len(visitors.written) >= 9
    assert set(visitors.written) <= set(sites)
    assert len(set(sites.values())) == 1


EXPANDING = {"create_table", "create_index", "add_column", "f", "get_bind", "get_context", "batch_alter_table"}
"""The operations of a revision that code from before it can work with."""


def test_the_revisions_since_then_only_add() -> None:
    before = set(git("ls-tree", "-r", "--name-only", BASE).decode().splitlines())
    folders = ("migrations/versions", "multisite/directory/migrations/versions")
    later = [path for name in folders for path in sorted((ROOT / name).glob("*.py"))]
    later = [path for path in later if path.relative_to(ROOT).as_posix() not in before]
    assert later
    for path in later:
        assert operations(path) <= EXPANDING, f"{path.name}: name a later commit in upgrade_base, and say so to users"


def test_a_revision_that_drops_a_table_does_not_only_add() -> None:
    assert "drop_table" in operations(ROOT / "migrations/versions/0016_packed_words_of_entries.py")


def operations(path: Path) -> set[str]:
    """Return the operations of alembic in everything but `downgrade`."""
    tree = ast.parse(path.read_text("utf-8"))
    parts = [node for node in tree.body if not (isinstance(node, ast.FunctionDef) and node.name == "downgrade")]
    return {
        node.attr
        for part in parts
        for node in ast.walk(part)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "op"
    }
