"""The store of templates: two machines with folders of their own, and one store."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine, migrate_own
from pyramid.config import Configurator
from pyramid.response import Response
from webtest import TestApp

from multisite.core.settings import Settings, parse_settings
from multisite.core.site import Site
from multisite.directory.records import get_site
from multisite.errors import MultisiteError, SettingError
from multisite.sites.archive import copy_site, export_site, import_site
from multisite.sites.archive.contents import SiteContents
from multisite.sites.creation import add_site
from multisite.sites.jobs import add_job
from multisite.sites.removal import remove_site
from multisite.sites.template_store.mirror import REPLACED, SHARED, TemplateMirror, site_tree
from multisite.sites.template_store.store import StoreUnavailable, TemplateStore
from multisite.sites.template_store.trees import Tree
from multisite.sites.themes import list_themes
from multisite.sites.updates import reload_templates
from multisite.sites.worker import Worker
from multisite.templates import SiteTemplates, real_file
from multisite.templates.assets import open_asset, static_roots
from multisite.web.template_store import KEEPER, RETRY_SECONDS, FolderKeeper

SHOP = site_tree("shop.example")


class Machine:
    """A machine with folders of its own."""

    def __init__(self, root: Path, store: str) -> None:
        self.root = root
        self.settings = Settings(sites_dir=root / "sites", templates_dir=root / "templates", templates_store=store)
        self.mirror = TemplateMirror(self.settings)

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        return file

    def files(self, folder: str = "sites/shop.example") -> dict[str, str]:
        root = self.root / folder
        return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def machines(tmp_path: Path) -> tuple[Machine, Machine]:
    store = f"file://{tmp_path / 'store'}"
    first, second = Machine(tmp_path / "first", parse(store)), Machine(tmp_path / "second", parse(store))
    first.write("sites/shop.example/page.mako", "one")
    first.write("sites/shop.example/static/site.css", "a {}")
    first.write("templates/layout.mako", "shared")
    first.write("templates/themes/plain/layout.mako", "theme")
    return first, second


def parse(store: str) -> str:
    found = parse_settings({"multisite.templates_store": store}).templates_store
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_what_one_machine_pushes_the_other_copies(tmp_path: Path, kind: str) -> None:
    store = f"file://{tmp_path / 'store'}" if kind == "file" else f"memory://{tmp_path.name}"
    first, second = Machine(tmp_path / "first", parse(store)), Machine(tmp_path / "second", parse(store))
    first.write("sites/shop.example/page.mako", "one")
    first.write("sites/shop.example/locale/de/app.po", "two")
    first.write("sites/shop.example/.hidden", "no")
    first.write("templates/themes/plain/layout.mako", "theme")
    assert first.mirror.push(SHOP)
    assert first.mirror.push(SHARED)
    assert not first.mirror.push(SHOP)
    assert second.mirror.refresh(SHOP)
    assert second.mirror.refresh(SHARED)
    assert second.files() == {"page.mako": "one", "locale/de/app.po": "two"}
    assert second.files("templates") == {"themes/plain/layout.mako": "theme"}
    times = [(each.root / "sites/shop.example/page.mako").stat().st_mtime_ns for each in (first, second)]
    assert times[0] == times[1]
    first.write("sites/shop.example/page.mako", "three")
    (first.root / "sites/shop.example/locale/de/app.po").unlink()
    assert first.mirror.push(SHOP)
    assert second.mirror.refresh(SHOP)
    assert not second.mirror.refresh(SHOP)
    assert second.files() == {"page.mako": "three"}
    assert first.mirror.store.head(SHOP).generation == 2  # type: ignore[union-attr]


def test_only_what_changed_is_fetched(machines: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = machines
    first.mirror.push(SHOP)
    second.mirror.refresh(SHOP)
    fetched: list[str] = []
    real = TemplateStore.fetch_file

    def fetch(self: TemplateStore, file: Any, path: Path) -> None:
        fetched.append(path.name)
        real(self, file, path)

    monkeypatch.setattr(TemplateStore, "fetch_file", fetch)
    first.write("sites/shop.example/page.mako", "two")
    first.mirror.push(SHOP)
    second.mirror.refresh(SHOP)
    assert fetched == ["page.mako"]
    assert second.files() == first.files()


@pytest.mark.parametrize("fails_at", range(3))
def test_a_copy_that_fails_changes_nothing(
    machines: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    first, second = machines
    first.write("sites/shop.example/z.mako", "z")
    first.mirror.push(SHOP)
    second.mirror.refresh(SHOP)
    before = second.files()
    for name in before:
        first.write(f"sites/shop.example/{name}", f"new {name}")
    first.mirror.push(SHOP)
    calls, real = [], TemplateStore.fetch_file

    def fetch(self: TemplateStore, file: Any, path: Path) -> None:
        if len(calls) == fails_at:
            raise StoreUnavailable("the network is gone")
        calls.append(path)
        real(self, file, path)

    with monkeypatch.context() as patch, pytest.raises(StoreUnavailable):
        patch.setattr(TemplateStore, "fetch_file", fetch)
        second.mirror.refresh(SHOP)
    assert second.files() == before
    assert sorted(path.name for path in (second.root / "sites").iterdir()) == [".store", "shop.example"]
    assert second.mirror.refresh(SHOP)
    assert second.files() == first.files()


def test_of_two_processes_that_copy_the_later_version_stays(
    machines: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = machines
    first.mirror.push(SHOP)
    real, has_read, may_go_on = TemplateStore.head, threading.Event(), threading.Event()

    def head(self: TemplateStore, name: str) -> Tree | None:
        found = real(self, name)
        if threading.current_thread() is slow:
            has_read.set()
            may_go_on.wait(0.5)  # Less than forever, because the other one may have to wait for this one.
        return found

    monkeypatch.setattr(TemplateStore, "head", head)
    slow = threading.Thread(target=second.mirror.refresh, args=(SHOP,))
    slow.start()
    has_read.wait(60)
    first.write("sites/shop.example/page.mako", "two")
    first.mirror.push(SHOP)
    TemplateMirror(second.settings).refresh(SHOP)
    may_go_on.set()
    slow.join()
    assert second.files()["page.mako"] == "two"


def test_no_reader_sees_a_part_of_a_version(machines: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = machines
    rename = Path.rename
    # If the folder was moved away for the new one, readers would have the time to see that.
    monkeypatch.setattr(Path, "rename", lambda path, target: (rename(path, target), time.sleep(0.005)))
    names = [f"{number}.mako" for number in range(5)]
    for name in names:
        first.write(f"sites/shop.example/{name}", "0")
    first.mirror.push(SHOP)
    second.mirror.refresh(SHOP)
    seen: set[tuple[str, ...]] = set()
    faults: list[Exception] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                folder = os.open(second.root / "sites/shop.example", os.O_RDONLY)
            except OSError as error:  # The folder is never missing.
                faults.append(error)
                continue
            try:
                seen.add(tuple(_content(folder, name) for name in names))
            except FileNotFoundError:
                pass  # It was replaced meanwhile, and is being deleted.
            finally:
                os.close(folder)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(1, 11):
            for name in names:
                first.write(f"sites/shop.example/{name}", str(number))
            first.mirror.push(SHOP)
            second.mirror.refresh(SHOP)
    finally:
        done.set()
        reader.join()
    assert faults == []
    assert all(len(set(version)) == 1 for version in seen)
    assert len(seen) > 1


def _content(folder: int, name: str) -> str:
    with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=folder), encoding="utf-8") as file:
        return file.read()


@pytest.mark.parametrize(
    "name",
    ["../escaped.mako", "/escaped.mako", "a/../../escaped.mako", "a//b.mako", "./a.mako", ".importing", "a/.git/b",
     "a\\b.mako", "c:d.mako", "nul\0.mako", "trailing.", "", "x" * 256],
)  # fmt: skip
def test_a_hostile_name_in_the_store_is_refused(machines: tuple[Machine, Machine], tmp_path: Path, name: str) -> None:
    first, second = machines
    first.mirror.push(SHOP)
    second.mirror.refresh(SHOP)
    head = tmp_path / "store/sites/shop.example/head.json"
    tree = json.loads(head.read_text())
    tree["files"][name] = tree["files"]["page.mako"]
    head.write_text(json.dumps(tree))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(MultisiteError, match="not allowed"):
        second.mirror.refresh(SHOP)
    assert sorted(tmp_path.rglob("*")) == before
    assert second.files() == first.files()


@pytest.mark.parametrize(
    "damage",
    [
        lambda tree: tree["files"]["page.mako"].update(sha256="../../../etc/passwd"),
        lambda tree: tree["files"]["page.mako"].update(sha256="A" * 64),
        lambda tree: tree["files"]["page.mako"].update(size_bytes=-1),
        lambda tree: tree["files"]["page.mako"].update(size_bytes="1"),
        lambda tree: tree["files"]["page.mako"].update(more=1),
        lambda tree: tree.update(format=2),
        lambda tree: tree.update(generation="1"),
        lambda tree: tree.update(files=[]),
    ],
)
def test_a_damaged_list_of_files_is_refused(
    machines: tuple[Machine, Machine], tmp_path: Path, damage: Callable[[Any], None]
) -> None:
    first, second = machines
    first.mirror.push(SHOP)
    head = tmp_path / "store/sites/shop.example/head.json"
    tree = json.loads(head.read_text())
    damage(tree)
    head.write_text(json.dumps(tree))
    with pytest.raises(MultisiteError, match="damaged"):
        second.mirror.refresh(SHOP)
    assert not (second.root / "sites/shop.example").exists()


@pytest.mark.parametrize("content", ["two", "one and more", ""])
def test_another_content_than_the_digest_says_is_refused(
    machines: tuple[Machine, Machine], tmp_path: Path, content: str
) -> None:
    first, second = machines
    first.mirror.push(SHOP)
    for path in (tmp_path / "store/files").rglob("*"):
        if path.is_file() and path.read_text() == "one":
            path.write_text(content)
    with pytest.raises(MultisiteError, match=r"another content for the file page\.mako"):
        second.mirror.refresh(SHOP)
    assert not (second.root / "sites/shop.example").exists()


def make_old(store: Path, *, hours: float = 25) -> set[Path]:
    """Let all files of the store be written so long ago; return them."""
    found = {path for path in store.rglob("*") if path.is_file()}
    for path in found:
        os.utime(path, (time.time() - hours * 3600,) * 2)
    return found


def test_files_that_no_folder_has_are_pruned_when_they_are_old(
    machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    first, second = machines
    store = tmp_path / "store"
    first.mirror.push(SHARED)
    first.mirror.push(SHOP)
    first.write("sites/shop.example/page.mako", "two")
    first.mirror.push(SHOP)
    (store / "files/ab").mkdir(exist_ok=True)
    (store / "files/ab/new-0123").write_text("of a push that was killed")
    (store / "sites/shop.example/new-0123").write_text("of another one")
    before = make_old(store, hours=23)
    assert first.mirror.store.prune() == 0
    make_old(store)
    assert first.mirror.store.prune() == 3
    left = {path for path in store.rglob("*") if path.is_file()}
    names = sorted(path.name for path in before - left)
    assert names == [hashlib.sha256(b"one").hexdigest(), "new-0123", "new-0123"]
    assert second.mirror.refresh(SHOP)
    assert second.mirror.refresh(SHARED)
    assert second.files() == first.files()
    assert second.files("templates") == first.files("templates")
    first.mirror.remove(SHOP)
    make_old(store)
    assert first.mirror.store.prune() == 2
    assert not second.mirror.refresh(SHARED)


def test_a_file_that_is_pushed_again_is_not_pruned_meanwhile(
    machines: tuple[Machine, Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old file of an earlier version gets a new folder that names it, and the list of files is not there yet."""
    first, second = machines
    first.mirror.push(SHOP)
    first.mirror.remove(SHOP)
    make_old(tmp_path / "store")
    write_head = TemplateStore.write_head

    def prune_before(store: TemplateStore, name: str, tree: Tree) -> None:
        assert second.mirror.store.prune() == 0
        write_head(store, name, tree)

    monkeypatch.setattr(TemplateStore, "write_head", prune_before)
    first.mirror.push(SHOP)
    assert second.mirror.refresh(SHOP)
    assert second.files() == first.files()


@pytest.mark.parametrize("damage", ["no json", '{"format": 1}', ""])
def test_with_a_damaged_list_of_files_nothing_is_pruned(
    machines: tuple[Machine, Machine], tmp_path: Path, damage: str
) -> None:
    first, _second = machines
    first.mirror.push(SHARED)
    first.mirror.push(SHOP)
    (tmp_path / "store/sites/shop.example/head.json").write_text(damage)
    before = make_old(tmp_path / "store")
    with pytest.raises(MultisiteError, match="damaged"):
        first.mirror.store.prune()
    assert {path for path in (tmp_path / "store").rglob("*") if path.is_file()} == before
    (tmp_path / "store/multisite-templates.json").unlink()
    with pytest.raises(StoreUnavailable, match="not mounted"):
        first.mirror.store.prune()


def test_links_are_neither_pushed_nor_followed(machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    first, second = machines
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    link = first.root / "sites/shop.example/link.mako"
    for target in (outside / "secret", outside):
        link.symlink_to(target)
        with pytest.raises(MultisiteError, match="is a link"):
            first.mirror.push(SHOP)
        link.unlink()
    first.mirror.push(SHOP)
    # A folder that is a link is replaced, and its target is not.
    (second.root / "sites").mkdir(parents=True)
    (second.root / "sites/shop.example").symlink_to(outside)
    second.mirror.refresh(SHOP)
    assert second.files() == first.files()
    assert not (second.root / "sites/shop.example").is_symlink()
    assert [path.name for path in outside.iterdir()] == ["secret"]


@pytest.mark.parametrize("folder", ["../shop", "a/b", ".store", "..", ""])
def test_a_folder_with_a_hostile_name_has_no_tree(folder: str) -> None:
    with pytest.raises(MultisiteError, match="cannot be the name of a site's folder"):
        site_tree(folder)


def test_changes_that_were_not_pushed_are_kept(
    machines: tuple[Machine, Machine], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = machines
    first.mirror.push(SHOP)
    second.mirror.refresh(SHOP)
    second.write("sites/shop.example/page.mako", "edited here")
    first.write("sites/shop.example/page.mako", "edited there")
    first.mirror.push(SHOP)
    with pytest.raises(MultisiteError, match="has not seen: run multisite pull-templates first"):
        second.mirror.push(SHOP)
    assert second.mirror.refresh(SHOP)
    assert second.files()["page.mako"] == "edited there"
    (kept,) = (second.root / "sites" / REPLACED).iterdir()
    assert (kept / "page.mako").read_text() == "edited here"
    assert str(kept) in caplog.text
    second.write("sites/shop.example/page.mako", "once more")
    assert second.mirror.push(SHOP)
    first.write("sites/shop.example/page.mako", "by force")
    assert first.mirror.push(SHOP, force=True)
    assert second.mirror.refresh(SHOP)
    assert second.files()["page.mako"] == "by force"
    assert len(list((second.root / "sites" / REPLACED).iterdir())) == 1


def test_a_push_that_was_killed_before_it_told_the_servers_is_announced_by_the_next(
    machines: tuple[Machine, Machine],
) -> None:
    first, _second = machines
    told: list[str] = []

    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.mirror.push(SHOP, announce=killed)
    assert first.mirror.push(SHOP, announce=lambda: told.append("yes"))
    assert not first.mirror.push(SHOP, announce=lambda: told.append("twice"))
    assert told == ["yes"]


def test_a_store_that_is_not_mounted_is_no_empty_store(machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    first, second = machines
    first.mirror.push(SHOP)
    second.mirror.refresh(SHOP)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    (tmp_path / "store").mkdir()
    with pytest.raises(StoreUnavailable, match="mount its volume"):
        second.mirror.refresh(SHOP)
    assert second.files() == first.files()


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    folders = {"multisite.sites_dir": str(tmp_path / "sites"), "multisite.templates_dir": str(tmp_path / "templates")}
    for store in (tmp_path, tmp_path / "sites", tmp_path / "templates/store"):
        with pytest.raises(SettingError, match="templates_store"):
            parse_settings({**folders, "multisite.templates_store": str(store)})
    inside = {**folders, "multisite.sites_dir": str(tmp_path / "templates/sites")}
    parse_settings(inside)
    with pytest.raises(SettingError, match="sites_dir"):
        parse_settings({**inside, "multisite.templates_store": "memory://x"})
    with pytest.raises(MultisiteError, match=r"templates_store = nothing://\.\.\. cannot be used"):
        TemplateStore("nothing://x")


class Served:
    """An application on one machine that renders page.mako, and static files."""

    def __init__(self, machine: Machine, database_url: str) -> None:
        settings = {
            "sqlalchemy.url": database_url,
            "multisite.sites_dir": str(machine.settings.sites_dir),
            "multisite.templates_dir": str(machine.settings.templates_dir),
            "multisite.templates_store": str(machine.settings.templates_store),
            "multisite.refresh_seconds": "0",
        }
        with Configurator(settings=settings) as config:
            config.include("multisite")
            config.include("multisite.static")
            config.add_route("page", "/")
            config.add_view(lambda _request: {}, route_name="page", renderer="page.mako")
            config.add_route("plain", "/plain")
            config.add_view(lambda request: Response(request.site.folder), route_name="plain")
            self.app = config.make_wsgi_app()
        self.registry = config.registry

    def page(self, host: str = "shop.example", path: str = "/") -> str:
        response = TestApp(self.app, extra_environ={"HTTP_HOST": host}).get(path, status="*")
        return response.text if response.status_int == 200 else str(response.status_int)


@pytest.fixture
def served(machines: tuple[Machine, Machine], tmp_path: Path) -> Iterator[Callable[[Machine], Served]]:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    made: list[Served] = []
    with closing_engine(url) as engine:
        migrate_own(engine)
        machines[0].mirror.push(SHARED)
        for host in ("shop.example", "blog.example"):
            add_site(engine, host, settings=machines[0].settings)

    def serve(machine: Machine) -> Served:
        made.append(Served(machine, url))
        return made[-1]

    yield serve
    from multisite.core.keys import DIRECTORY

    for each in made:
        each.registry[DIRECTORY].engine.dispose()


@pytest.fixture
def engine(served: object, tmp_path: Path) -> Iterator[Any]:
    with closing_engine(f"sqlite:///{tmp_path / 'test.db'}") as engine:
        yield engine


def push(machine: Machine, engine: Any, host: str = "shop.example") -> None:
    machine.mirror.push(site_tree(host), announce=lambda: reload_templates(engine, host))


def test_a_change_of_one_site_reaches_a_running_server_and_only_that_site_is_reloaded(
    machines: tuple[Machine, Machine], served: Callable[[Machine], Served], engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = machines
    for host in ("shop.example", "blog.example"):
        first.write(f"sites/{host}/page.mako", f"{host} one")
        push(first, engine, host)
    server = served(second)
    assert [server.page(host) for host in ("shop.example", "blog.example")] == ["shop.example one", "blog.example one"]
    first.write("sites/shop.example/page.mako", "shop.example two")
    first.write("sites/shop.example/static/new.css", "b {}")
    # Also changed in the store, but nobody was told: another site's news are no reason to look.
    first.write("sites/blog.example/page.mako", "blog.example two")
    first.mirror.push(site_tree("blog.example"))
    asked: list[str] = []
    real = TemplateStore.head
    monkeypatch.setattr(TemplateStore, "head", lambda self, name: (asked.append(name), real(self, name))[1])
    push(first, engine)
    asked.clear()
    assert server.page() == "shop.example two"
    assert server.page(path="/static/new.css") == "b {}"
    assert server.page("blog.example") == "blog.example one"
    assert asked == [SHOP]
    assert server.page("blog.example", "/static/new.css") == "404"


def test_the_shared_templates_and_themes_reach_a_running_server(
    machines: tuple[Machine, Machine], served: Callable[[Machine], Served], engine: Any
) -> None:
    first, second = machines
    first.write("templates/page.mako", "shared one")
    first.mirror.push(SHARED, announce=lambda: reload_templates(engine))
    server = served(second)
    assert server.page("blog.example") == "shared one"
    first.write("templates/page.mako", "shared two")
    first.mirror.push(SHARED, announce=lambda: reload_templates(engine))
    assert server.page("blog.example") == "shared two"


def test_while_the_store_is_down_the_last_copies_are_served(
    machines: tuple[Machine, Machine], served: Callable[[Machine], Served], engine: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    first, second = machines
    first.write("sites/shop.example/page.mako", "one")
    push(first, engine)
    server = served(second)
    assert server.page() == "one"
    first.write("sites/shop.example/page.mako", "two")
    push(first, engine)
    (tmp_path / "store").rename(tmp_path / "gone")
    assert server.page() == "one"
    assert "the last copies are used" in caplog.text
    # A server that starts now uses what was copied before. It has nothing of the other site.
    caplog.clear()
    started = served(second)
    assert "the templates of the last start are used" in caplog.text
    assert started.page() == "one"
    assert started.page("blog.example", "/plain") == "503"
    assert started.page("blog.example", "/plain") == "503"
    # One that never reached the store does not start.
    with pytest.raises(StoreUnavailable, match=r"templates_store has no templates|cannot be read"):
        served(Machine(tmp_path / "third", str(first.settings.templates_store)))
    (tmp_path / "gone").rename(tmp_path / "store")
    for each in (server, started):
        monkeypatch.setattr(each.registry[KEEPER], "_retry_at", 0.0)
        assert each.page() == "two"
    assert started.page("blog.example", "/plain") == "blog.example"


def test_the_store_is_not_asked_by_every_request_while_it_is_down(
    machines: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = machines
    first.mirror.push(SHOP)
    now = [1000.0]
    keeper = FolderKeeper(second.settings, lambda: 0, clock=lambda: now[0])
    site = Site(7, "shop.example", "Shop", "shop.example")
    assert keeper.keep(site) is site
    tries: list[str] = []

    def head(_self: TemplateStore, name: str) -> Tree | None:
        tries.append(name)
        raise StoreUnavailable("it is down")

    monkeypatch.setattr(TemplateStore, "head", head)
    newer = replace(site, template_generation=1)
    assert [keeper.keep(newer).template_generation for _ in range(3)] == [0, 0, 0]
    assert tries == [SHOP]
    now[0] += RETRY_SECONDS
    assert keeper.keep(newer).template_generation == 0
    assert tries == [SHOP, SHOP]


def test_a_theme_of_another_machine_is_there_before_a_page_asks_for_the_themes(
    machines: tuple[Machine, Machine],
) -> None:
    first, second = machines
    first.mirror.push(SHOP)
    first.mirror.push(SHARED)
    generation = [0]
    keeper = FolderKeeper(second.settings, lambda: generation[0])
    site = Site(7, "shop.example", "Shop", "shop.example")
    keeper.keep(site)
    first.write("templates/themes/harbour/layout.mako", "theme")
    first.mirror.push(SHARED)
    generation[0] += 1
    assert keeper.keep(site) is site  # Its own templates have not changed.
    assert list_themes(second.settings) == ["harbour", "plain"]


def test_a_command_and_a_job_find_the_theme_of_another_machine(machines: tuple[Machine, Machine], engine: Any) -> None:
    first, second = machines
    first.mirror.push(SHARED)
    site = add_site(engine, "tea.example", settings=second.settings, theme="plain")
    assert site.theme == "plain"
    first.write("templates/themes/harbour/layout.mako", "theme")
    first.mirror.push(SHARED)
    add_job(engine, "bulk", arguments={"action": "set-theme", "theme": "harbour", "hosts": [str(site)]})
    worker = Worker(engine, second.settings, SiteContents(metadata=(sa.MetaData(),)))
    ended: list[str] = []
    worker.run(once=True, on_done=lambda _job, status: ended.append(status))
    assert ended == ["done"]
    assert get_site(engine, "tea.example").site.theme == "harbour"


def test_the_folder_of_a_removed_site_is_not_that_of_its_successor(
    machines: tuple[Machine, Machine], served: Callable[[Machine], Served], engine: Any, tmp_path: Path
) -> None:
    first, second = machines
    first.write("sites/shop.example/page.mako", "of the first owner")
    push(first, engine)
    server = served(second)
    assert server.page() == "of the first owner"
    remove_site(engine, "shop.example", settings=first.settings, erase=True)
    assert first.mirror.store.head(SHOP) is None
    # The second machine still has the folder, and adds the next site of that name.
    assert second.files()["page.mako"] == "of the first owner"
    site = add_site(engine, "shop.example", settings=second.settings)
    assert second.files() == {"layout.mako": "shared"}
    assert first.mirror.refresh(site_tree(site.folder))
    assert first.files() == second.files()


def test_without_the_store_a_site_is_not_served_from_the_folder_of_one_that_was_removed(
    machines: tuple[Machine, Machine], served: Callable[[Machine], Served], engine: Any, tmp_path: Path
) -> None:
    first, second = machines
    first.write("sites/shop.example/page.mako", "of the first owner")
    push(first, engine)
    assert served(second).page() == "of the first owner"
    remove_site(engine, "shop.example", settings=first.settings, erase=True)
    site = add_site(engine, "shop.example", settings=first.settings)
    (tmp_path / "store").rename(tmp_path / "gone")
    with pytest.raises(MultisiteError, match=r"no copy of shop\.example"):
        FolderKeeper(second.settings, lambda: 0).keep(site)
    assert served(second).page(path="/plain") == "503"


def test_archives_and_copies_have_the_templates_of_the_store(
    machines: tuple[Machine, Machine], served: object, engine: Any, tmp_path: Path
) -> None:
    first, second = machines
    first.write("sites/shop.example/page.mako", "one")
    push(first, engine)
    # The second machine has nothing of the site before.
    export_site(engine, "shop.example", tmp_path / "shop.zip", settings=second.settings)
    copy_site(engine, "shop.example", "copy.example", settings=second.settings)
    assert first.mirror.refresh(site_tree("copy.example"))
    assert first.files("sites/copy.example")["page.mako"] == "one"
    import_site(engine, tmp_path / "shop.zip", host="imported.example", settings=second.settings, with_templates=True)
    assert first.mirror.refresh(site_tree("imported.example"))
    assert first.files("sites/imported.example")["page.mako"] == "one"


def test_logging_names_no_password(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(MultisiteError) as caught, caplog.at_level(logging.DEBUG):
        TemplateStore("nothing://user:hunter2@x")
    assert "hunter2" not in str(caught.value) + caplog.text


def test_a_file_that_is_opened_while_its_folder_is_replaced_is_still_served(
    machines: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = machines
    first.mirror.push(SHOP)
    second.mirror.refresh(SHOP)
    site = Site(1, "shop.example", "Shop", "shop.example")
    templates = SiteTemplates(second.settings.sites_dir, second.settings.templates_dir)
    found = templates.overlay.find("/page.mako", site)
    real = real_file._real_path
    versions: list[str] = []

    def replace_first(descriptor: int, path: Path) -> Path:
        if len(versions) % 2 == 0:  # Only during the first of the two attempts.
            versions.append(str(path))
            first.write("sites/shop.example/page.mako", f"version {len(versions)}")
            first.write("sites/shop.example/static/site.css", f"version {len(versions)}")
            first.mirror.push(SHOP)
            with monkeypatch.context() as patch:
                patch.setattr(real_file, "_real_path", real)
                second.mirror.refresh(SHOP)
        else:
            versions.append(str(path))
        return real(descriptor, path)

    monkeypatch.setattr(real_file, "_real_path", replace_first)
    with found.open() as opened:
        assert opened.file.read() == b"version 1"
    asset = open_asset(static_roots(second.settings, site), ["site.css"])
    assert asset is not None
    with asset:
        assert asset.file.read() == b"version 3"
