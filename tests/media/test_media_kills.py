"""A process that is killed while it adds or removes media leaves no row without its files, and nothing to repair."""

from __future__ import annotations

import io
import os
import random
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from command_folder import Folder
from databases import closing_engine, fresh_database
from forking import KILLED, Forker, forker
from hostile_uploads import noise
from PIL import Image
from sqlalchemy.orm import Session

from multisite import Site
from multisite.content.models import Entry, Media
from multisite.content.tables import Base
from multisite.directory.records import get_site
from multisite.media import MediaLibrary
from multisite.media.library import ORPHAN_AGE
from multisite.sites.media_store import MediaStore

SOAK = bool(os.environ.get("MULTISITE_SOAK"))
MOMENTS = 100 if SOAK else 1
SEED = int(os.environ.get("MULTISITE_SEED", random.randrange(2**32)))  # pytest shows it if a test fails.

HOST = "a.example"
ADD = ("add-media", HOST, "a.jpg", "b.png")


class World:
    """A folder with the reference application, one site, and two pictures to add."""

    def __init__(self, folder: Folder, engine: sa.Engine, commands: Forker) -> None:
        self.folder = folder
        self.engine = engine
        self.commands = commands
        self.files = folder.path / "media"
        self.store = MediaStore(str(self.files))
        self.library = MediaLibrary(Media, self.store, lambda _site: 10**9, {Entry.body_html: Entry.slug})
        self.site: Site = get_site(engine, HOST).site

    def session(self) -> Session:
        return Session(self.engine, info={"site": self.site})

    def forget(self) -> None:
        with self.session() as session:
            session.execute(sa.delete(Media))
            session.commit()
        shutil.rmtree(self.files, ignore_errors=True)

    def stored(self) -> set[str]:
        return {path.relative_to(self.files).as_posix() for path in self.files.rglob("*") if path.is_file()}

    def rows(self) -> int:
        """Return the number of rows, after a look at all of their files."""
        with self.session() as session:
            found = list(self.library.list_all(session))
            for media in found:
                for name in (media.name, *map(media.smaller_name, media.widths)):
                    file, _size = self.store.open(self.site.id, f"{media.folder}/{name}")
                    with file, Image.open(io.BytesIO(file.read())) as image:
                        image.load()
        return len(found)

    def check(self, command: tuple[str, ...], rows: int) -> None:
        """Check that the same command completes the work, and that pruning leaves the files of rows."""
        self.rows()
        again = self.commands.run(*command)
        assert (again.code, again.stderr) == (0, ""), again
        assert self.rows() == rows
        with self.session() as session:
            self.library.prune(session, self.site, now=datetime.now(UTC) + 2 * ORPHAN_AGE)
            files = {
                f"{self.site.id}/{media.folder}/{name}"
                for media in self.library.list_all(session)
                for name in (media.name, *map(media.smaller_name, media.widths))
            }
        assert self.stored() == files


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    path = tmp_path_factory.mktemp("world")
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        folder = Folder(path, url)
        folder.write(app="multisite.media_url = %(here)s/media")
        (path / "a.jpg").write_bytes(noise("JPEG", (400, 300)))
        (path / "b.png").write_bytes(noise("PNG", (30, 30)))
        with forker(path, "multisite.content.media", "multisite.content.feeds", "multisite.media.images") as commands:
            assert commands.run("migrate").code == 0
            assert commands.run("add-site", HOST).code == 0
            Base.metadata.create_all(engine)
            yield World(folder, engine, commands)


@pytest.fixture(autouse=True)
def empty(world: World) -> None:
    world.forget()


def chosen(kinds: list[str]) -> list[int]:
    """Return the steps to kill the command at: all with MULTISITE_SOAK, otherwise those beside a change."""
    if SOAK:
        return list(range(1, len(kinds) + 1))
    return [step for step in range(2, len(kinds) + 1) if {kinds[step - 2], kinds[step - 1]} & {"open", "commit"}][::8]


def test_add_media_killed_at_every_step(world: World) -> None:
    whole = world.commands.run(*ADD)
    assert (whole.code, whole.stderr) == (0, ""), whole
    states = set()
    for step in chosen(whole.steps):
        world.forget()
        assert world.commands.killed_at(step, *ADD).code == KILLED
        states.add((world.rows(), len(world.stored())))
        world.check(ADD, 2)
    # The test is only meaningful if files without rows have occurred.
    assert any(files > 2 * rows for rows, files in states)
    assert len(states) > 2 or not SOAK


def test_add_media_killed_at_any_moment(world: World) -> None:
    whole = world.commands.run(*ADD)
    chance = random.Random(SEED)
    for _ in range(MOMENTS):
        world.forget()
        killed = world.commands.killed_after(chance.uniform(0.2, 1.1) * whole.seconds, *ADD)
        assert killed.code == KILLED or world.rows() == 2
        # What the command has reported is there.
        assert world.rows() >= len(killed.stdout.splitlines())
        world.check(ADD, 2)


def test_remove_media_killed_at_every_step(world: World) -> None:
    assert world.commands.run(*ADD).code == 0
    with world.session() as session:
        digests = [media.digest for media in world.library.list_all(session)]
    whole = world.commands.run("remove-media", HOST, *digests)
    assert (whole.code, whole.stderr, world.stored()) == (0, "", set())
    steps = range(1, len(whole.steps) + 1) if SOAK else (len(whole.steps) - 2,)
    states = set()
    for step in steps:
        world.forget()
        assert world.commands.run(*ADD).code == 0
        world.commands.killed_at(step, "remove-media", HOST, *digests)
        states.add(world.rows())
        assert world.rows() in (0, 2)
        world.check(ADD, 2)
    assert states == {0, 2} or not SOAK


def test_a_row_without_its_file_would_be_found(world: World) -> None:
    """Negative control: the check of the tests above sees a missing file."""
    assert world.commands.run(*ADD).code == 0
    assert world.rows() == 2
    next(iter(path for path in Path(world.files).rglob("*.webp"))).unlink()
    with pytest.raises(FileNotFoundError):
        world.rows()
