"""A command that is killed at any step leaves no partial site visible, and the same command completes its work."""

from __future__ import annotations

import os
import random
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from command_folder import Folder
from databases import closing_engine, fresh_database
from forking import KILLED, Done, Forker, forker
from kill_tables import COMMENTS, NOTES, TABLES, numbers, write_notes
from pyramid.config import Configurator
from pyramid.request import Request
from sqlalchemy.orm import Session
from webtest import TestApp

from multisite.content.models import Entry
from multisite.content.tables import Base
from multisite.core.current_site import all_sites
from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.directory.models import DomainRow, SiteRow
from multisite.directory.records import get_site, list_sites
from multisite.sites.creation import add_site
from multisite.sites.removal import TRASH

pytestmark = pytest.mark.slow

SOAK = bool(os.environ.get("MULTISITE_SOAK"))
MOMENTS = 200 if SOAK else 4
SEED = int(os.environ.get("MULTISITE_SEED", random.randrange(2**32)))  # pytest shows it if a test fails.

ADD = ("add-site", "a.example", "--alias", "b.example", "--name", "The A")

STARTER = {
    "layout.mako": "layout of the starter: ${next.body()}",
    "static/site.css": "body {}",
    "static/site.js": "let site",
}
"""The files in the folder of a new site."""


class World:
    """A folder with an application, its database, its commands, and a server that reads both at each request."""

    def __init__(self, folder: Folder, engine: sa.Engine, forker: Forker) -> None:
        self.folder = folder
        self.engine = engine
        self.commands = forker
        self.sites_dir = folder.path / "sites"
        self.takes_all = SOAK or engine.dialect.name == "sqlite"

    def write_templates(self) -> None:
        templates = self.folder.path / "templates"
        starter = {f"starter/{name}": text for name, text in STARTER.items()}
        page = '<%inherit file="layout.mako"/>page of ${request.site.name}'
        for name, text in {"layout.mako": "shared: ${next.body()}", "page.mako": page, **starter}.items():
            (templates / name).parent.mkdir(parents=True, exist_ok=True)
            (templates / name).write_text(text)

    def serve(self) -> None:
        config = Configurator(
            settings={
                "multisite.sites_dir": str(self.sites_dir),
                "multisite.templates_dir": str(self.folder.path / "templates"),
                "multisite.refresh_seconds": "0",
                "pyramid.reload_templates": "true",
            }
        )
        config.include("multisite")
        config.set_multisite_engine(self.engine)
        config.add_route("page", "/*rest")
        config.add_view(page_view, route_name="page", renderer="page.mako")
        self.app = TestApp(config.make_wsgi_app())

    def page(self, host: str) -> str | None:
        """Return the page of the host, or None if there is none."""
        answer = self.app.get("/", headers={"Host": host}, status="*")
        assert answer.status_int in {200, 404}, answer
        return answer.text if answer.status_int == 200 else None

    def forget(self) -> None:
        with all_sites("a test"), self.engine.begin() as connection:
            connection.execute(sa.delete(DomainRow))
            connection.execute(sa.delete(SiteRow))
        shutil.rmtree(self.sites_dir, ignore_errors=True)

    def state(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the status of each site and the names of the folders."""
        with all_sites("a test"), self.engine.connect() as connection:
            return tuple(connection.scalars(sa.select(SiteRow.status))), tuple(self.folder.folders())


def page_view(request: Request) -> dict[str, Any]:
    return {}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    path = tmp_path_factory.mktemp("world")
    with (
        fresh_database(request, tmp_path_factory) as url,
        closing_engine(url) as engine,
    ):
        folder = Folder(path, url)
        with forker(path, "kill_tables", "multisite.content.pages", "multisite.content.editor") as commands:
            assert commands.run("migrate").code == 0
            world = World(folder, engine, commands)
            world.write_templates()
            world.serve()
            yield world
            world.app.app.registry[DIRECTORY].deactivate()


@pytest.fixture(autouse=True)
def empty(world: World) -> None:
    """Remove the sites of earlier tests."""
    world.forget()


WHOLE = "layout of the starter: page of The A"


def check_completed(world: World, killed: Done) -> None:
    """Check that the site is served completely or not at all, and that the same command completes it."""
    served = world.page("a.example")
    assert served in {None, WHOLE}
    assert world.page("b.example") == served
    again = world.commands.run(*ADD)
    if served is None:
        assert (again.code, again.stderr) == (0, "")
    else:
        assert (again.code, again.stdout) == (1, "")
        assert again.stderr == "Error: 'a.example' is taken: it already leads to the site a.example\n"
    assert killed.code == KILLED or served == WHOLE
    assert world.page("a.example") == world.page("b.example") == WHOLE
    (info,) = list_sites(world.engine)
    assert (info.status, info.aliases) == ("active", ("b.example",))
    assert world.folder.folders() == ["a.example"]
    place = world.sites_dir / "a.example"
    files = {path.relative_to(place).as_posix(): path.read_text() for path in place.rglob("*") if path.is_file()}
    assert files == STARTER


CHANGING = {"commit", "shutil.rmtree", "os.mkdir", "os.rename", "open"}
"""Kinds of steps that change the state of the database or of the folder."""


def chosen_steps(kinds: list[str], world: World) -> list[int]:
    """Return the steps to kill the command at, counted from 1: all with MULTISITE_SOAK, otherwise one for each state.

    PostgreSQL is slower, so a third of the latter must suffice there; see `World.takes_all`.
    """
    if SOAK:
        return list(range(1, len(kinds) + 1))
    chosen = [step for step in range(1, len(kinds) + 1) if step == 1 or kinds[step - 2] in CHANGING]
    return chosen if world.takes_all else chosen[::3]


def test_add_site_killed_at_every_step(world: World) -> None:
    whole = world.commands.run(*ADD)
    world.forget()
    seen = set()
    for step in chosen_steps(whole.steps, world):
        killed = world.commands.killed_at(step, *ADD)
        assert killed.code == KILLED, killed
        seen.add(world.state())
        check_completed(world, killed)
        world.forget()
    # The test is only meaningful if each partial state of a site has occurred.
    halves = {
        ((), ()),
        (("pending",), ()),
        (("pending",), (".staging-a.example",)),
        (("pending",), ("a.example",)),
        (("active",), ("a.example",)),
    }
    assert halves <= seen or not world.takes_all


def test_what_is_half_made_would_be_served_were_it_not_pending(world: World) -> None:
    """Negative control: the test above can detect partial sites."""
    whole = world.commands.run(*ADD)
    world.forget()
    world.commands.killed_at(whole.steps.index("os.rename") + 1, *ADD)
    assert world.page("a.example") is None
    with all_sites("a test"), world.engine.begin() as connection:
        connection.execute(sa.update(SiteRow).values(status="active"))
    assert world.page("a.example") == "shared: page of The A"


def test_add_site_killed_at_any_moment(world: World) -> None:
    world.commands.run(*ADD)  # The first run takes longer than the later ones.
    world.forget()
    whole = world.commands.run(*ADD)
    assert (whole.code, whole.stderr) == (0, "")
    world.forget()
    chance = random.Random(SEED)
    codes = set()
    for _ in range(MOMENTS):
        killed = world.commands.killed_after(chance.uniform(0, 1.2) * whole.seconds, *ADD)
        codes.add(killed.code)
        check_completed(world, killed)
        world.forget()
    assert KILLED in codes


REMOVE = ("remove-site", "a.example", "--yes")
RESTORE = ("restore-site", "a.example")


@pytest.fixture
def notes(world: World) -> Iterator[None]:
    TABLES.create_all(world.engine)
    yield
    TABLES.drop_all(world.engine)


@pytest.mark.usefixtures("notes")
def test_remove_site_killed_at_every_step(world: World) -> None:
    settings = parse_settings(
        {"multisite.sites_dir": world.sites_dir, "multisite.templates_dir": world.folder.path / "templates"}
    )
    other = add_site(world.engine, "other.example", settings=settings)
    write_notes(world.engine, other.id)

    def prepare() -> int:
        site = add_site(world.engine, "a.example", settings=settings, aliases=["b.example"], name="The A")
        write_notes(world.engine, site.id)
        assert world.page("a.example") == WHOLE
        return site.id

    ids = [prepare()]
    whole = world.commands.run(*REMOVE)
    assert (whole.code, whole.stdout.splitlines()[-2]) == (0, "Removed a.example.")
    seen = set()
    for step in chosen_steps(whole.steps, world):
        ids.append(prepare())
        assert world.commands.killed_at(step, *REMOVE).code == KILLED
        served = world.page("a.example")
        state = (served, numbers(world.engine, ids[-1]), (world.sites_dir / "a.example").exists())
        seen.add(state)
        # The site is served completely or not at all.
        assert state in {(WHOLE, (2, 2), True)} or served is None
        again = world.commands.run(*REMOVE)
        if again.code:
            assert (again.stderr.splitlines(), numbers(world.engine, ids[-1])) == (
                ["Error: no site is known as 'a.example'; list all sites: multisite list-sites"],
                (0, 0),
            )
        assert numbers(world.engine, ids[-1]) == (0, 0)
        assert [info.site for info in list_sites(world.engine)] == [other]
        assert sorted(world.folder.folders()) == [TRASH, other.folder]
    assert len(list((world.sites_dir / TRASH).iterdir())) == len(ids)
    assert numbers(world.engine, other.id) == (2, 2)
    assert sorted(set(ids)) == ids
    # Each partial state of a removal has occurred.
    halves = {(WHOLE, (2, 2), True), (None, (2, 2), True), (None, (2, 2), False), (None, (2, 0), False)}
    assert {*halves, (None, (0, 0), False)} <= seen or not world.takes_all


# Removal with an archive, and restoring from it.

RESTORE_FROM = (*RESTORE, "--from", "site.zip", "--with-templates")

PART = 50
"""One of so many steps of these long commands is chosen, unless all of them are."""


@pytest.fixture
def archives(world: World, notes: None) -> Iterator[Path]:
    """Let the commands keep archives of removed sites."""
    folder = world.folder.path / "archives"
    Base.metadata.create_all(world.engine)
    world.folder.write(app=f"multisite.archives_dir = {folder}\nmultisite.refresh_seconds = 0")
    yield folder
    world.folder.write()
    Base.metadata.drop_all(world.engine)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(world.sites_dir, ignore_errors=True)


def some_steps(kinds: list[str]) -> list[int]:
    """Return the steps to kill a long command at, from 1: all with MULTISITE_SOAK, otherwise a fiftieth by chance."""
    steps = range(1, len(kinds) + 1)
    return list(steps) if SOAK else sorted(random.Random(SEED).sample(steps, -(-len(kinds) // PART)))


def prepare(world: World) -> int:
    """Add the site a.example with notes, and return its id."""
    settings = parse_settings(
        {"multisite.sites_dir": world.sites_dir, "multisite.templates_dir": world.folder.path / "templates"}
    )
    site = add_site(world.engine, "a.example", settings=settings, aliases=["b.example"], name="The A")
    write_notes(world.engine, site.id)
    return site.id


def check_whole(world: World) -> None:
    """Check that the site is served with all that it had, and that no row of it is there twice."""
    assert (world.page("a.example"), world.page("b.example")) == (WHOLE, WHOLE)
    (record,) = list_sites(world.engine)
    assert numbers(world.engine, record.site.id) == (2, 2)
    with all_sites("a test"), world.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(NOTES)) == 2


def check_erased(world: World, archives: Path) -> None:
    """Erase the site, and check that no file of it is left."""
    erased = world.commands.run(*REMOVE, "--erase")
    assert (erased.code, list(archives.iterdir()), list((world.sites_dir / TRASH).iterdir())) == (0, [], []), erased
    assert world.folder.folders() == [TRASH]


@pytest.mark.usefixtures("archives")
def test_a_table_without_a_model_keeps_the_site_from_being_removed(world: World) -> None:
    """In a process of its own, whose only MetaData are those of the application."""
    site_id = prepare(world)
    create = "CREATE TABLE unknown (id INTEGER PRIMARY KEY, note TEXT, site_id BIGINT NOT NULL REFERENCES sites)"
    with all_sites("a test"), world.engine.begin() as connection:
        connection.exec_driver_sql(create)
        connection.exec_driver_sql(f"INSERT INTO unknown VALUES (1, 'kept', {site_id})")
    refused = world.commands.run(*REMOVE)
    with all_sites("a test"), world.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE unknown")
    assert "the application has no model for the table unknown, with 1 rows" in refused.stderr, refused
    check_whole(world)


def test_remove_site_with_an_archive_killed_at_steps_keeps_the_whole_site(world: World, archives: Path) -> None:
    prepare(world)
    whole = world.commands.run(*REMOVE)
    assert whole.stdout.endswith("For 30 days it can be restored: multisite restore-site a.example\n"), whole
    assert world.commands.run(*RESTORE).code == 0
    check_whole(world)
    for step in some_steps(whole.steps):
        world.commands.killed_at(step, *REMOVE)
        assert world.page("a.example") in {None, WHOLE}
        again = world.commands.run(*REMOVE)
        assert again.code == 0 or "no site is known as 'a.example'" in again.stderr, (step, again)
        assert world.page("a.example") is None
        restored = world.commands.run(*RESTORE)
        assert restored.code == 0, (step, restored)
        check_whole(world)
    check_erased(world, archives)


def test_restore_site_killed_at_steps_is_completed_by_the_same_command(world: World, archives: Path) -> None:
    prepare(world)
    world.commands.run(*REMOVE)
    whole = world.commands.run(*RESTORE)
    check_whole(world)
    for step in some_steps(whole.steps):
        assert world.commands.run(*REMOVE).code == 0
        world.commands.killed_at(step, *RESTORE)
        assert world.page("a.example") in {None, WHOLE}
        again = world.commands.run(*RESTORE)
        # If it was killed after the commit, the host is that of the restored site, or nothing is left to restore.
        done = ("'a.example' is taken", "no removed site was known as 'a.example'")
        assert again.code == 0 or any(part in again.stderr for part in done), (step, again)
        check_whole(world)


def test_restore_in_place_killed_at_steps_leaves_the_earlier_site_or_the_archived_one(
    world: World, archives: Path
) -> None:
    """The site is served meanwhile, and the same command completes it."""
    site_id = prepare(world)
    world.commands.run(*EXPORT)
    # The first one also moves the sequences of PostgreSQL on.
    whole = [world.commands.run(*RESTORE_FROM) for _ in range(2)][-1]
    assert (whole.code, whole.stderr) == (0, "")
    for step in some_steps(whole.steps):
        delete_comments(world, site_id)
        assert world.commands.killed_at(step, *RESTORE_FROM).code == KILLED
        check_restored_in_place(world, site_id, step)


def delete_comments(world: World, site_id: int) -> None:
    with all_sites("a test"), world.engine.begin() as connection:
        connection.execute(sa.delete(COMMENTS).where(COMMENTS.c.site_id == site_id))


def check_restored_in_place(world: World, site_id: int, where: object) -> None:
    """Check that a.example has all of its comments or none, is served, and that RESTORE_FROM completes it."""
    assert numbers(world.engine, site_id) in {(2, 0), (2, 2)}, where
    assert world.page("a.example") == WHOLE
    again = world.commands.run(*RESTORE_FROM)
    assert again.code == 0, (where, again)
    check_whole(world)
    folders = [name for name in world.folder.folders() if name.startswith("a.example")]
    assert len(folders) == 1, (where, folders)


def test_erase_killed_at_steps_leaves_nothing(world: World, archives: Path) -> None:
    prepare(world)
    archives.mkdir()
    whole = world.commands.run(*REMOVE, "--erase")
    for step in some_steps(whole.steps):
        site_id = prepare(world)
        world.commands.killed_at(step, *REMOVE, "--erase")
        again = world.commands.run(*REMOVE, "--erase")
        assert again.code == 0 or "no site is known as 'a.example'" in again.stderr, (step, again)
        assert (list(archives.iterdir()), list((world.sites_dir / TRASH).iterdir())) == ([], [])
        assert (world.folder.folders(), numbers(world.engine, site_id)) == ([TRASH], (0, 0))


# Copying, exporting and importing.

EXPORT = ("export-site", "a.example", "site.zip")
IMPORT = ("import-site", "site.zip", "--with-templates", "--host", "c.example")
COPY = ("copy-site", "a.example", "c.example", "--live")
ERASE_NEW = ("remove-site", "c.example", "--yes", "--erase")


def test_copy_site_killed_at_every_step(world: World) -> None:
    """The copy is the import of an archive, so that both commands are killed at the steps of each."""
    settings = parse_settings(
        {"multisite.sites_dir": world.sites_dir, "multisite.templates_dir": world.folder.path / "templates"}
    )

    def prepare() -> None:
        Base.metadata.drop_all(world.engine)
        world.forget()
        Base.metadata.create_all(world.engine)
        site = add_site(world.engine, "a.example", settings=settings, name="The A")
        with Session(world.engine, info={"site": site}) as session:
            session.add_all([Entry(slug=f"entry-{number}", title="One", draft=True) for number in range(3)])
            session.commit()

    prepare()
    whole = world.commands.run(*COPY)
    assert (whole.code, whole.stderr) == (0, "")
    in_place = len(whole.steps) - whole.steps[::-1].index("os.rename")
    committed = len(whole.steps) - whole.steps[::-1].index("commit")
    steps = sorted({in_place + 1, committed + 1, *some_steps(whole.steps)})
    seen = set()
    for step in steps:
        prepare()
        assert world.commands.killed_at(step, *COPY).code == KILLED
        served = world.page("c.example")
        seen.add((served, (world.sites_dir / "c.example").exists()))
        again = world.commands.run(*COPY)
        assert served in {None, WHOLE}
        assert again.code == (0 if served is None else 1), again
        assert world.page("c.example") == world.page("a.example") == WHOLE
        sites = {info.site.host: info.site for info in list_sites(world.engine)}
        assert sorted(sites) == ["a.example", "c.example"]
        for site in sites.values():
            with Session(world.engine, info={"site": site}) as session:
                assert session.scalar(sa.select(sa.func.count(Entry.id))) == 3
        assert {"a.example", "c.example"} <= set(world.folder.folders())
    # The folder was there before the site, and the site before the end of the command.
    assert {(None, True), (WHOLE, True)} <= seen
    Base.metadata.drop_all(world.engine)


def test_export_and_import_killed_at_steps_are_completed_by_the_same_command(world: World, archives: Path) -> None:
    """An archive is there whole, the earlier one or the new one; the site is served whole or not at all."""
    site_id = prepare(world)
    file = world.folder.path / "site.zip"
    exported = world.commands.run(*EXPORT)
    assert (exported.code, exported.stderr) == (0, "")
    for step in some_steps(exported.steps):
        world.commands.killed_at(step, *EXPORT)
        with zipfile.ZipFile(file) as archive:
            assert archive.testzip() is None
        again = world.commands.run(*EXPORT)
        assert again.code == 0, (step, again)
    imported = world.commands.run(*IMPORT)
    assert (imported.code, imported.stderr) == (0, "")
    for step in some_steps(imported.steps):
        assert world.commands.run(*ERASE_NEW).code == 0
        world.commands.killed_at(step, *IMPORT)
        check_new_site(world, IMPORT, step)
    assert numbers(world.engine, site_id) == (2, 2)


def check_new_site(world: World, command: tuple[str, ...], where: object) -> None:
    """Check that c.example is served whole or not at all, and that `command` completes it."""
    served = world.page("c.example")
    assert served in {None, WHOLE}
    again = world.commands.run(*command)
    assert again.code == 0 or "'c.example' is taken" in again.stderr, (where, again)
    assert (again.code == 0) == (served is None), (where, again)
    assert world.page("a.example") == world.page("c.example") == WHOLE
    sites = {info.site.host: info.site for info in list_sites(world.engine)}
    assert sorted(sites) == ["a.example", "c.example"]
    assert [numbers(world.engine, site.id) for site in sites.values()] == [(2, 2)] * 2


@pytest.mark.parametrize("part", range(10 if SOAK else 1))
def test_commands_on_archives_killed_at_any_moment(world: World, archives: Path, part: int) -> None:
    """Each command a hundred times in the long run, and otherwise twice on SQLite and once on PostgreSQL."""
    prepare(world)
    chance = random.Random(f"{SEED} {part}")
    seconds = {
        command: world.commands.run(*command).seconds
        for command in (EXPORT, RESTORE_FROM, IMPORT, ERASE_NEW, COPY, ERASE_NEW, REMOVE, RESTORE)
    }
    codes = set()
    for _ in range(10 if SOAK else 1 + world.takes_all):
        site_id = get_site(world.engine, "a.example").site.id  # A site that was removed and restored has a new one.
        for command in (EXPORT, IMPORT, COPY):
            killed = world.commands.killed_after(chance.uniform(0, 1.2) * seconds[command], *command)
            codes.add(killed.code)
            if command == EXPORT:
                assert world.commands.run(*EXPORT).code == 0
                delete_comments(world, site_id)
                killed = world.commands.killed_after(chance.uniform(0, 1.2) * seconds[RESTORE_FROM], *RESTORE_FROM)
                check_restored_in_place(world, site_id, killed)
                continue
            check_new_site(world, command, killed)
            assert world.commands.run(*ERASE_NEW).code == 0
        for command, done in ((REMOVE, ["no site is known"]), (RESTORE, ["is taken", "no removed site was known"])):
            killed = world.commands.killed_after(chance.uniform(0, 1.2) * seconds[command], *command)
            codes.add(killed.code)
            assert world.page("a.example") in {None, WHOLE}
            again = world.commands.run(*command)
            assert again.code == 0 or any(part in again.stderr for part in done), (killed, again)
        check_whole(world)
    assert KILLED in codes
