"""If a disk is full, a folder read-only, or a database down, behind or ahead, commands report it and change nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from command_folder import Folder
from databases import closing_engine, migrate_own

from multisite import all_sites
from multisite.alembic.migrate import _own_scripts
from multisite.alembic.sqlite_transaction import ddl_transaction
from multisite.core.settings import Settings
from multisite.directory.models import AS_MULTISITE, SiteRow
from multisite.directory.records import get_site, list_sites
from multisite.sites.creation import add_site
from multisite.sites.removal import TRASH

WRITING = [
    ["add-site", "new.example", "--alias", "www.new.example"],
    ["rename-site", "a.example", "Another"],
    ["set-theme", "a.example", "--none"],
    ["add-domain", "a.example", "c.example"],
    ["remove-domain", "b.example"],
    ["move-domain", "b.example", "z.example"],
    ["set-canonical", "b.example"],
    ["disable-site", "a.example"],
    ["enable-site", "a.example"],
    ["maintain-site", "a.example"],
    ["reload-templates", "a.example"],
    ["refresh"],
    ["remove-site", "a.example", "--yes"],
]
"""All commands that change sites and domains, for a.example with an alias, and z.example."""


@pytest.fixture
def folder(tmp_path: Path, database_url: str) -> Folder:
    return Folder(tmp_path, database_url)


def add_sites(folder: Folder) -> None:
    settings = Settings(sites_dir=folder.path / "sites", templates_dir=folder.path / "templates")
    with closing_engine(folder.database_url) as engine:
        migrate_own(engine)
        add_site(engine, "a.example", aliases=["b.example"], settings=settings)
        add_site(engine, "z.example", settings=settings)


def state(folder: Folder) -> tuple[object, ...]:
    """Return everything: the rows of all tables of multisite, and the folders."""
    with all_sites("a test"), closing_engine(folder.database_url) as engine, engine.connect() as connection:
        rows = [
            connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY id").all()
            for table in ("sites", "domains", "multisite_version")
        ]
    return rows, folder.folders()


def each_fails(folder: Folder, *reasons: str) -> None:
    """Check that every command fails with a line that says one of the reasons, and changes nothing."""
    before = state(folder)
    for arguments in WRITING:
        line = folder.fails(*arguments)
        assert any(reason in line for reason in reasons), line
    assert state(folder) == before


# The database.


def test_a_database_that_is_down(folder: Folder) -> None:
    add_sites(folder)
    before = state(folder)
    url = sa.make_url(folder.database_url)
    if folder.database_url.startswith("sqlite"):
        gone = url.set(database="/nowhere/at/all.db")
    else:
        gone = url.set(host="127.0.0.1", port=1, query={})
    folder.write(url=gone.render_as_string(hide_password=False))
    for arguments in WRITING:
        line = folder.fails(*arguments)
        assert "the database cannot be used (" in line
        assert "Connection refused" in line or "unable to open database file" in line
    assert state(folder) == before


def note_revision(folder: Folder, number: str) -> None:
    """Record that revision for the tables of multisite."""
    with all_sites("a test"), closing_engine(folder.database_url) as engine, engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE multisite_alembic_version SET version_num = '{number}'")


def test_a_database_that_is_behind_or_ahead(folder: Folder) -> None:
    add_sites(folder)
    head = str(_own_scripts().get_current_head())
    note_revision(folder, "0004")
    each_fails(folder, f"are out of date (revision 0004 instead of {head}): run 'multisite migrate'")
    note_revision(folder, "9999")
    each_fails(
        folder,
        "are of another version (revision 9999): install the version of multisite that created them, or a newer one",
    )
    assert "install the version of multisite that created them, or a newer one" in folder.fails("list-sites")
    # Noted as what they are, they are used.
    note_revision(folder, head)
    assert folder.invoke("rename-site", "a.example", "Another").exit_code == 0


@pytest.mark.parametrize("number", ["0001", "0002", "0003", "0004", "0005"])
def test_every_older_revision_is_told_by_itself_without_a_note(tmp_path: Path, number: str) -> None:
    """Without a recorded revision too, as in a partial copy, a change that needs a missing column is not half done."""
    folder = Folder(tmp_path, f"sqlite:///{tmp_path / 'test.db'}")
    with closing_engine(folder.database_url) as engine, engine.connect() as connection, ddl_transaction(connection):
        connection.execution_options(**AS_MULTISITE)
        operations = Operations(MigrationContext.configure(connection))
        for revision in reversed(list(_own_scripts().iterate_revisions(number, "base"))):
            revision.module.upgrade(operations)
    line = folder.fails("add-site", "new.example")
    assert "the tables of multisite are missing or out of date" in line
    assert (folder.rows(), folder.folders()) == (0, [])


# The disk.


@contextmanager
def small_disk(place: Path, *options: str) -> Iterator[None]:
    """Create `place`, and mount a disk of 1 MB in memory there."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", ",".join(["size=1m", *options]), "tmpfs", str(place)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def write_starter(folder: Folder, size: int) -> None:
    starter = folder.path / "templates" / "starter"
    starter.mkdir(parents=True)
    for number in range(4):
        (starter / f"picture{number}.jpg").write_bytes(b"x" * (size // 4))


def test_a_full_disk_of_folders(folder: Folder) -> None:
    with small_disk(folder.path / "sites"):
        add_sites(folder)
        write_starter(folder, 1_600_000)
        before = state(folder)
        line = folder.fails("add-site", "new.example")
        assert f"cannot create the folder {folder.path / 'sites' / 'new.example'}: " in line
        assert "No space left on device" in line
        assert line.endswith("fix this, and run the same command again")
        after = state(folder)
        # Only the version of the directory has gone on: somebody may have seen the site that was pending.
        assert (after[0][:2], after[1]) == (before[0][:2], before[1])
        for path in (folder.path / "templates" / "starter").iterdir():
            path.write_bytes(b"x")
        assert folder.invoke("add-site", "new.example").exit_code == 0


def test_a_full_disk_of_a_database(tmp_path: Path) -> None:
    folder = Folder(tmp_path, f"sqlite:///{tmp_path / 'disk' / 'test.db'}")
    with small_disk(tmp_path / "disk"):
        add_sites(folder)
        filler = tmp_path / "disk" / "filler"
        with filler.open("wb") as file:
            while chunk := _written(file.fileno()):
                assert chunk
        each_fails(folder, "database or disk is full): free space on its disk, and run", "disk I/O error): free space")
        filler.unlink()
        assert folder.invoke(*WRITING[0]).exit_code == 0
        assert folder.invoke(*WRITING[-1]).exit_code == 0


def _written(descriptor: int) -> int:
    """Write as much of 4 kB as fits, and return how much that was."""
    try:
        return os.write(descriptor, b"x" * 4096)
    except OSError:
        return 0


def test_a_disk_that_is_full_for_both_leaves_a_site_that_is_not_found_and_can_be_completed(tmp_path: Path) -> None:
    folder = Folder(tmp_path, f"sqlite:///{tmp_path / 'sites' / 'test.db'}")
    with small_disk(tmp_path / "sites"):
        add_sites(folder)
        write_starter(folder, 1_600_000)
        line = folder.fails("add-site", "new.example")
        assert "No space left on device" in line
        with closing_engine(folder.database_url) as engine:
            found = {info.site.host: info.status for info in list_sites(engine)}
            assert found in (
                {"a.example": "active", "z.example": "active"},
                {"a.example": "active", "new.example": "pending", "z.example": "active"},
            )
        for path in (folder.path / "templates" / "starter").iterdir():
            path.write_bytes(b"x")
        assert folder.invoke("add-site", "new.example").exit_code == 0


def test_a_folder_that_is_read_only(folder: Folder) -> None:
    add_sites(folder)
    sites = folder.path / "sites"
    sites.rename(folder.path / "elsewhere")
    with small_disk(sites):
        subprocess.run(["cp", "-a", f"{folder.path / 'elsewhere'}/.", str(sites)], check=True)
        subprocess.run(["mount", "-o", "remount,ro", str(sites)], check=True)
        before = state(folder)
        line = folder.fails("add-site", "new.example")
        assert "new.example: Read-only file system; fix this" in line
        after = state(folder)
        assert (after[0][:2], after[1]) == (before[0][:2], before[1])
        line = folder.fails("remove-site", "a.example", "--yes")
        assert f"cannot be moved to {sites / TRASH}: Read-only file system; nothing was removed" in line
        with closing_engine(folder.database_url) as engine:
            assert get_site(engine, "a.example").status == "active"
        subprocess.run(["mount", "-o", "remount,rw", str(sites)], check=True)
        assert folder.invoke("remove-site", "a.example", "--yes").exit_code == 0
        assert folder.folders() == [TRASH, "z.example"]


def test_a_database_that_is_read_only(folder: Folder) -> None:
    if folder.database_url.startswith("sqlite"):
        folder = Folder(folder.path, f"sqlite:///{folder.path / 'disk' / 'test.db'}")
        with small_disk(folder.path / "disk"):
            add_sites(folder)
            subprocess.run(["mount", "-o", "remount,ro", str(folder.path / "disk")], check=True)
            each_fails(
                folder, "attempt to write a readonly database): give this user write access to it", "unable to open"
            )
        return
    add_sites(folder)
    with closing_engine(folder.database_url) as engine:
        name = sa.make_url(folder.database_url).database
        with engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        each_fails(
            folder, "in a read-only transaction): give this user write access to it, and run the same command again"
        )


def test_a_missing_folder_of_sites_is_created(folder: Folder) -> None:
    add_sites(folder)
    assert folder.invoke("add-site", "new.example").exit_code == 0
    subprocess.run(["rm", "-r", str(folder.path / "sites")], check=True)
    assert folder.invoke("add-site", "newer.example").exit_code == 0
    assert folder.folders() == ["newer.example"]
    # A site whose folder is gone is removed all the same.
    assert folder.invoke("remove-site", "new.example", "--yes").exit_code == 0
    with all_sites("a test"), closing_engine(folder.database_url) as engine, engine.connect() as connection:
        gone = sa.select(SiteRow.availability).where(SiteRow.name == "new.example")
        assert connection.scalar(gone) == "removed"
