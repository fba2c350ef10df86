"""A removed site is kept as an archive, can be restored for some days, and is then deleted."""

from __future__ import annotations

import sqlite3
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from content_sites import GARDEN, STERNWARTE, ContentSites
from sqlalchemy.orm import Session

from multisite import Site
from multisite.content.models import Base, Entry
from multisite.core.current_site import all_sites
from multisite.core.settings import Settings, parse_settings
from multisite.directory.models import ChangeRow, RemovedRow, SettingRow, SiteRow
from multisite.directory.records import get_site, list_sites
from multisite.errors import DomainTaken, MultisiteError, SettingError, UnknownSite
from multisite.sites import SiteContents, backups, removal, removal_archive, removed, restoring
from multisite.sites.archive.exporting import export_site
from multisite.sites.availability import disable_site, maintain_site
from multisite.sites.backups import export_sites
from multisite.sites.creation import add_site
from multisite.sites.domains import add_domain
from multisite.sites.removal import TRASH, remove_site
from multisite.sites.removed import erase_removed, list_removed, prune_removed
from multisite.sites.restoring import restore_site

CONTENTS = SiteContents(metadata=[Base.metadata])


class Killed(BaseException):
    """Ends a call as a kill would: nothing below it handles this."""


class World:
    """Two sites of the reference application, with a folder for archives."""

    def __init__(self, sites: ContentSites, folder: Path) -> None:
        self.sites = sites
        self.engine = sites.engine
        self.garden = sites.garden
        self.archives = folder / "archives"
        self.settings = replace(parse_settings(sites.settings), archives_dir=self.archives, refresh_seconds=0.0)
        for site in (sites.garden, sites.sternwarte):
            sites.add(site, "one", tags=["red", "blue"])
            sites.add(site, "two", tags=["red"])
        self.folder = self.settings.sites_dir / sites.garden.folder
        (self.folder / "own.mako").write_text("own")
        (self.folder / "static").mkdir(exist_ok=True)
        (self.folder / "static" / "own.css").write_text("body {}")
        self.other = self.whole(STERNWARTE)

    def remove(self, **options: Any) -> removal.RemovalPlan:
        return remove_site(self.engine, GARDEN, settings=self.settings, contents=CONTENTS, **options)

    def restore(self, host: str = GARDEN, **options: Any) -> Any:
        return restore_site(self.engine, host, settings=self.settings, contents=CONTENTS, **options)

    def whole(self, host: str) -> Any:
        """Return everything that a site has, except its id and what its secrets are derived from."""
        record = get_site(self.engine, host)
        folder = self.settings.sites_dir / record.site.folder
        files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        with Session(self.engine, info={"site": record.site}) as session:
            entries = [
                (entry.id, entry.slug, entry.body, entry.published, sorted(tag.name for tag in entry.tags))
                for entry in session.scalars(sa.select(Entry).order_by(Entry.slug))
            ]
        return replace(record, site=replace(record.site, id=0, secret_generation=0)), files, entries

    def rows(self, model: Any, site: Site) -> int:
        column = SiteRow.id if model is SiteRow else model.site_id
        with all_sites("a test"), self.engine.connect() as connection:
            found = sa.select(sa.func.count()).select_from(model).where(column == site.id)
            return connection.execute(found).scalar_one()

    def kept_files(self) -> list[str]:
        """Return the names of all files that hold something of a removed site."""
        trash = self.settings.sites_dir / TRASH
        return sorted(path.name for folder in (self.archives, trash) if folder.is_dir() for path in folder.iterdir())


@pytest.fixture
def world(sites: ContentSites, tmp_path: Path) -> World:
    return World(sites, tmp_path)


@pytest.fixture
def sqlite_world(sqlite_sites: ContentSites, tmp_path: Path) -> World:
    return World(sqlite_sites, tmp_path)


def test_a_removed_site_is_restored_with_everything(world: World) -> None:
    add_domain(world.engine, GARDEN, "old.example", redirect=True)
    before = world.whole(GARDEN)
    done = world.remove()
    assert done.rows == {"entries": 2, "tags": 2, "entry_tags": 3, "entry_counts": 1, "entries_words": 2}
    assert done.archive is not None
    assert stat.S_IMODE(done.archive.stat().st_mode) == 0o600
    assert stat.S_IMODE(world.archives.stat().st_mode) == 0o700
    assert [record.site.host for record in list_sites(world.engine)] == [STERNWARTE]
    assert world.rows(Entry, world.garden) == 0
    (listed,) = list_removed(world.engine, settings=world.settings)
    assert (listed.id, listed.domain, listed.archive) == (world.garden.id, GARDEN, done.archive)
    assert listed.keep_until - listed.removed == timedelta(days=30)
    assert abs(datetime.now(UTC) - listed.removed) < timedelta(minutes=5)
    restored = world.restore()
    # The database counts entries itself.
    assert {**restored.rows, "entry_counts": 1} == done.rows
    assert world.whole(GARDEN) == before
    assert get_site(world.engine, GARDEN).site.id != world.garden.id
    assert world.whole(STERNWARTE) == world.other
    assert (list_removed(world.engine, settings=world.settings), world.kept_files()) == ([], [])
    with pytest.raises(UnknownSite, match="no removed site was known as .* multisite list-removed"):
        world.restore()


def test_the_host_is_free_at_once_and_the_site_can_have_another(world: World) -> None:
    _record, files, entries = world.whole(GARDEN)
    world.remove()
    taken = add_site(world.engine, "alias.example", settings=world.settings, aliases=[GARDEN])
    with pytest.raises(DomainTaken):
        world.restore()
    assert world.kept_files() != []
    world.restore(new_host="new.example")
    record, new_files, new_entries = world.whole("new.example")
    assert ([each.host for each in record.domains], new_files) == (["new.example"], files)
    assert [entry[1] for entry in new_entries] == [entry[1] for entry in entries]
    assert get_site(world.engine, GARDEN).site.id == taken.id


@pytest.mark.parametrize("close", ["disable", "maintain"])
def test_a_site_that_was_closed_is_restored_closed(sqlite_world: World, close: str) -> None:
    if close == "disable":
        disable_site(sqlite_world.engine, GARDEN)
    else:
        maintain_site(sqlite_world.engine, GARDEN, message="Soon")
    with all_sites("a test"), sqlite_world.engine.begin() as connection:
        connection.execute(sa.update(SiteRow).where(SiteRow.id == sqlite_world.garden.id).values(copy_of="x.example"))
    before = sqlite_world.whole(GARDEN)
    sqlite_world.remove()
    sqlite_world.restore()
    assert sqlite_world.whole(GARDEN) == before
    with all_sites("a test"), sqlite_world.engine.connect() as connection:
        message = sa.select(SiteRow.maintenance_message).where(SiteRow.folder == GARDEN)
        assert connection.scalar(message) == (None if close == "disable" else "Soon")


def test_the_same_host_can_be_removed_twice_and_the_last_one_is_restored(sqlite_world: World) -> None:
    sqlite_world.remove()
    second = add_site(sqlite_world.engine, GARDEN, settings=sqlite_world.settings, name="The second")
    sqlite_world.remove()
    listed = list_removed(sqlite_world.engine, settings=sqlite_world.settings)
    assert [each.id for each in listed] == [second.id, sqlite_world.garden.id]
    sqlite_world.restore()
    assert get_site(sqlite_world.engine, GARDEN).site.name == "The second"
    sqlite_world.restore(new_host="first.example")
    assert get_site(sqlite_world.engine, "first.example").site.name == sqlite_world.garden.name


def test_erase_leaves_nothing(world: World) -> None:
    with all_sites("a test"), world.engine.begin() as connection:
        connection.execute(sa.insert(ChangeRow).values(site_id=world.garden.id, version=1))
    done = world.remove(erase=True)
    assert (done.archive, done.folder, world.kept_files()) == (None, None, [])
    for model in (Entry, RemovedRow, ChangeRow, SettingRow):
        assert world.rows(model, world.garden) == 0
    with all_sites("a test"), world.engine.connect() as connection:
        row = connection.execute(sa.select(SiteRow.__table__).where(SiteRow.id == world.garden.id)).mappings().one()
    assert GARDEN not in str(dict(row))
    assert world.garden.name not in str(dict(row))
    with pytest.raises(UnknownSite):
        world.restore()
    assert world.whole(STERNWARTE) == world.other


def test_without_a_folder_for_archives_no_archive_is_written(sqlite_world: World) -> None:
    for change in ({"archives_dir": None}, {"keep_removed_days": 0}):
        settings = replace(sqlite_world.settings, **change)
        done = remove_site(sqlite_world.engine, GARDEN, settings=settings, contents=CONTENTS)
        assert done.archive is None
        assert done.folder is not None
        assert done.folder.is_dir()
        add_site(sqlite_world.engine, GARDEN, settings=settings)
    assert list_removed(sqlite_world.engine, settings=sqlite_world.settings) == []


def test_rows_without_a_model_keep_the_site_from_being_removed(world: World) -> None:
    with all_sites("a test"), world.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE unknown (id INTEGER PRIMARY KEY, site_id BIGINT NOT NULL REFERENCES sites)"
        )
        connection.exec_driver_sql(f"INSERT INTO unknown VALUES (1, {world.garden.id})")
    before = world.whole(GARDEN)
    with pytest.raises(MultisiteError, match="no model for the table unknown, with 1 rows; .*--erase"):
        world.remove()
    assert world.whole(GARDEN) == before
    assert (world.kept_files(), world.rows(RemovedRow, world.garden)) == ([], 0)
    assert world.remove(erase=True).rows["unknown"] == 1


def test_an_archive_that_misses_rows_or_is_damaged_is_found_before_rows_are_deleted(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sqlite_world.whole(GARDEN)

    def export_and_write(*arguments: Any, **options: Any) -> Any:
        done = export_site(*arguments, **options)
        sqlite_world.sites.add(sqlite_world.garden, "late")
        return done

    def export_and_damage(engine: sa.Engine, host: str, path: Path, **options: Any) -> Any:
        done = export_site(engine, host, path, **options)
        content = bytearray(path.read_bytes())
        content[100] ^= 1
        path.write_bytes(content)
        return done

    for replacement, expected in (
        (export_and_damage, "damaged"),
        (export_and_write, "the archive has 2 of the 3 rows of entries_words"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(removal_archive, "export_site", replacement)
            with pytest.raises(MultisiteError, match=f"nothing was removed: .*{expected}"):
                sqlite_world.remove()
        assert sqlite_world.kept_files() == []
        assert get_site(sqlite_world.engine, GARDEN).status == "active"
    assert [entry[1] for entry in sqlite_world.whole(GARDEN)[2]] == ["late", "one", "two"]
    assert sqlite_world.whole(GARDEN)[1] == before[1]


def test_a_restored_site_whose_archive_is_not_deleted_yet_is_not_listed(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_world.remove()

    def killed(*arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(removed, "delete_archive", killed)
        with pytest.raises(Killed):
            sqlite_world.restore()
    assert get_site(sqlite_world.engine, GARDEN).status == "active"
    with pytest.raises(UnknownSite):
        sqlite_world.restore(new_host="second.example")
    assert (sqlite_world.kept_files(), sqlite_world.rows(RemovedRow, sqlite_world.garden)) == ([], 0)


def test_an_archive_that_was_changed_is_not_restored(sqlite_world: World) -> None:
    done = sqlite_world.remove()
    assert done.archive is not None
    content = done.archive.read_bytes()
    export_site(sqlite_world.engine, STERNWARTE, done.archive, settings=sqlite_world.settings, contents=CONTENTS)
    with pytest.raises(MultisiteError, match="was changed after it was written"):
        sqlite_world.restore()
    done.archive.unlink()
    with pytest.raises(MultisiteError, match="cannot be read: No such file"):
        sqlite_world.restore()
    done.archive.write_bytes(content)
    sqlite_world.restore()


def test_an_interrupted_removal_keeps_the_archive_of_the_whole_site(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sqlite_world.whole(GARDEN)

    def killed(*arguments: Any) -> Any:
        raise Killed

    # Before the archive is recorded: the next call writes another one, and deletes what is left of this one.
    with monkeypatch.context() as patch:
        patch.setattr(removal_archive, "record_archive", killed)
        with pytest.raises(Killed):
            sqlite_world.remove()
    assert len(sqlite_world.kept_files()) == 1
    assert get_site(sqlite_world.engine, GARDEN).status == "removing"

    # After the first batch of rows: the next call must not write an archive of what is left.
    def killed_after_rows(line: str) -> None:
        if line.startswith("entr"):
            raise Killed

    with pytest.raises(Killed):
        sqlite_world.remove(batch_rows=1, progress=killed_after_rows)
    assert sum(name.endswith(".zip") for name in sqlite_world.kept_files()) == 1
    (archive,) = sqlite_world.archives.iterdir()
    content = archive.read_bytes()
    archive.write_bytes(b"")
    with pytest.raises(MultisiteError, match="was changed"):
        sqlite_world.remove()
    assert get_site(sqlite_world.engine, GARDEN).status == "removing"
    archive.write_bytes(content)
    done = sqlite_world.remove()
    assert done.archive == archive
    sqlite_world.restore()
    assert sqlite_world.whole(GARDEN) == before


def test_what_an_interrupted_erase_has_left_is_not_archived(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: Any) -> Any:
        raise Killed

    def killed_after_rows(line: str) -> None:
        if line.startswith("entr"):
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(removal_archive, "record_archive", killed)
        with pytest.raises(Killed):
            sqlite_world.remove()
    with pytest.raises(Killed):
        sqlite_world.remove(erase=True, batch_rows=1, progress=killed_after_rows)
    assert sqlite_world.remove().archive is None
    assert list_removed(sqlite_world.engine, settings=sqlite_world.settings) == []


def test_archives_are_not_forgotten_while_their_folder_is_not_set(sqlite_world: World) -> None:
    sqlite_world.remove()
    with all_sites("a test"), sqlite_world.engine.begin() as connection:
        connection.execute(sa.update(RemovedRow).values(keep_until=datetime.now(UTC) - timedelta(seconds=1)))
    assert prune_removed(sqlite_world.engine, settings=replace(sqlite_world.settings, archives_dir=None)) == []
    assert len(prune_removed(sqlite_world.engine, settings=sqlite_world.settings)) == 1
    assert sqlite_world.kept_files() == []


def test_a_removal_that_began_without_an_archive_gets_none(sqlite_world: World) -> None:
    def killed_after_rows(line: str) -> None:
        raise Killed

    without = replace(sqlite_world.settings, archives_dir=None)
    with pytest.raises(Killed):
        remove_site(sqlite_world.engine, GARDEN, settings=without, progress=killed_after_rows)
    assert sqlite_world.remove().archive is None
    assert list_removed(sqlite_world.engine, settings=sqlite_world.settings) == []


def test_a_call_that_was_overtaken_deletes_nothing(sqlite_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two calls at once, only the one whose archive is recorded deletes rows; the other leaves its archive alone."""
    before = sqlite_world.whole(GARDEN)
    calls = []

    def export_while_another_removes(*arguments: Any, **options: Any) -> Any:
        done = export_site(*arguments, **options)
        calls.append(done.path)
        if len(calls) == 1:
            sqlite_world.remove()
        return done

    monkeypatch.setattr(removal_archive, "export_site", export_while_another_removes)
    with pytest.raises(MultisiteError):
        sqlite_world.remove()
    assert calls[0] != calls[1]
    assert [each.archive for each in list_removed(sqlite_world.engine, settings=sqlite_world.settings)] == [calls[1]]
    sqlite_world.restore()
    assert sqlite_world.whole(GARDEN) == before


def test_expired_archives_are_deleted(world: World) -> None:
    world.remove()
    assert prune_removed(world.engine, settings=world.settings) == []
    with all_sites("a test"), world.engine.begin() as connection:
        connection.execute(sa.update(RemovedRow).values(keep_until=datetime.now(UTC) - timedelta(seconds=1)))
    (pruned,) = prune_removed(world.engine, settings=world.settings)
    assert pruned.domain == GARDEN
    assert (world.kept_files(), list_removed(world.engine, settings=world.settings)) == ([], [])


def test_a_site_is_restored_in_place_from_an_archive(world: World, tmp_path: Path) -> None:
    archive = tmp_path / "yesterday.zip"
    before = world.whole(GARDEN)
    export_site(world.engine, GARDEN, archive, settings=world.settings, contents=CONTENTS)
    world.sites.add(world.garden, "three")
    (world.folder / "own.mako").write_text("changed")
    (world.folder / "static" / "own.css").unlink()
    world.restore(archive=archive)
    _record, files, entries = world.whole(GARDEN)
    assert (entries, files["static/own.css"], files["own.mako"]) == (before[2], b"body {}", b"changed")
    assert get_site(world.engine, GARDEN).site.id == world.garden.id
    world.restore(archive=archive, with_templates=True)
    assert world.whole(GARDEN)[1] == before[1]
    assert world.whole(STERNWARTE) == world.other
    with pytest.raises(UnknownSite):
        world.restore("nowhere.example", archive=archive)


def test_backups_are_kept_by_site_and_follow_it(sqlite_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, settings = sqlite_world.engine, sqlite_world.settings
    sites = [record.site for record in list_sites(engine)]

    def fail_for_the_garden(engine: sa.Engine, host: str, path: Path, **options: Any) -> Any:
        if host == GARDEN:
            raise MultisiteError("no")
        return export_site(engine, host, path, **options)

    folder = sqlite_world.archives / "backups" / str(sqlite_world.garden.id)
    folder.mkdir(parents=True)
    for name in ("20200101T000000Z.zip", "20200102T000000Z.zip", "20200103T000000Z.zip", "notes.txt"):
        (folder / name).write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(backups, "export_site", fail_for_the_garden)
        failed, done = export_sites(engine, sites, settings=settings, contents=CONTENTS, keep=2)
    # A failure deletes nothing, and does not keep other sites from being exported.
    assert (failed.path, failed.reason, failed.deleted, len(list(folder.iterdir()))) == (None, "no", (), 4)
    assert done.path is not None
    assert done.site.host == STERNWARTE
    (backup,) = export_sites(engine, sites[:1], settings=settings, contents=CONTENTS, keep=2)
    assert backup.path is not None
    assert sorted(path.name for path in folder.iterdir()) == ["20200103T000000Z.zip", backup.path.name, "notes.txt"]
    before = sqlite_world.whole(GARDEN)
    sqlite_world.sites.add(sqlite_world.garden, "three")
    sqlite_world.restore(archive=backup.path)
    assert sqlite_world.whole(GARDEN)[2] == before[2]
    sqlite_world.remove()
    sqlite_world.restore()
    restored = get_site(engine, GARDEN).site
    assert (sqlite_world.archives / "backups" / str(restored.id) / backup.path.name).is_file()
    sqlite_world.remove(erase=True)
    assert sqlite_world.kept_files() == ["backups"]
    assert [path.name for path in (sqlite_world.archives / "backups").iterdir()] == [str(done.site.id)]


def test_backups_need_a_folder(sqlite_world: World) -> None:
    without = replace(sqlite_world.settings, archives_dir=None)
    (failed,) = export_sites(sqlite_world.engine, [sqlite_world.garden], settings=without, contents=CONTENTS)
    assert "set multisite.archives_dir" in (failed.reason or "")


def test_archives_must_not_be_in_a_folder_that_is_served(tmp_path: Path) -> None:
    for folder in ("sites", "sites/archives", "templates/static"):
        with pytest.raises(SettingError, match="multisite.archives_dir.*a folder outside of"):
            parse_settings(
                {
                    "multisite.sites_dir": str(tmp_path / "sites"),
                    "multisite.templates_dir": str(tmp_path / "templates"),
                    "multisite.archives_dir": str(tmp_path / folder),
                }
            )
    assert Settings().archives_dir is None


def test_tables_of_a_catalog_are_not_the_applications() -> None:
    metadata = sa.MetaData()
    sa.Table("pg_class", metadata, sa.Column("oid", sa.Integer, primary_key=True), schema="pg_catalog")
    own = sa.Table("class", metadata, sa.Column("id", sa.Integer, primary_key=True))
    assert list(SiteContents(metadata=[metadata]).tables()) == [own]


def test_a_removed_site_is_erased_although_another_has_its_host(world: World) -> None:
    site = get_site(world.engine, GARDEN).site
    export_sites(world.engine, [site], settings=world.settings, contents=CONTENTS)
    with all_sites("a test"), world.engine.begin() as connection:
        connection.execute(sa.insert(ChangeRow).values(site_id=site.id, version=1))
    world.remove()
    add_site(world.engine, GARDEN, settings=world.settings, name="The second")
    world.sites.add(get_site(world.engine, GARDEN).site, "three")
    second = world.remove().record.site
    third = add_site(world.engine, GARDEN, settings=world.settings, name="The third")
    kept = {path for path in world.kept_files() if f"-{second.id}-" in path or f"#{second.id}-" in path}
    for unknown in (third.id, 99):
        with pytest.raises(UnknownSite, match=f"no removed site had the id {unknown}; .* multisite list-removed"):
            erase_removed(world.engine, unknown, settings=world.settings)
    assert erase_removed(world.engine, site.id, settings=world.settings).domain == GARDEN
    assert set(world.kept_files()) == kept | {"backups"}
    assert list((world.archives / "backups").iterdir()) == []
    assert [each.id for each in list_removed(world.engine, settings=world.settings)] == [second.id]
    assert get_site(world.engine, GARDEN).site.name == "The third"
    for model in (RemovedRow, ChangeRow, SettingRow):
        assert world.rows(model, site) == 0
    with all_sites("a test"), world.engine.connect() as connection:
        row = connection.execute(sa.select(SiteRow.__table__).where(SiteRow.id == site.id)).mappings().one()
    assert site.name not in str(dict(row))
    world.restore(new_host="second.example")
    assert [entry[1] for entry in world.whole("second.example")[2]] == ["three"]
    assert world.whole(STERNWARTE) == world.other


def test_erase_finds_the_folder_that_a_killed_removal_without_an_archive_has_moved(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_world.settings = replace(sqlite_world.settings, archives_dir=None)

    def killed(*arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(removal, "delete_site_rows", killed)
        with pytest.raises(Killed):
            sqlite_world.remove()
    assert len(sqlite_world.kept_files()) == 1
    sqlite_world.remove(erase=True)
    assert sqlite_world.kept_files() == []


@pytest.mark.parametrize("end", ["restore", "prune"])
def test_a_restore_that_is_killed_after_its_commit_is_not_repeated(
    world: World, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """The backups follow the site, and its archive is deleted by the next command."""
    export_sites(world.engine, [world.garden], settings=world.settings, contents=CONTENTS)
    before = world.whole(GARDEN)
    world.remove()
    finished = []

    def killed(*arguments: Any) -> None:
        finished.append(arguments)
        if len(finished) == 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(restoring, "finish_restored", killed)
        with pytest.raises(Killed):
            world.restore()
    site = get_site(world.engine, GARDEN).site
    assert list_removed(world.engine, settings=world.settings) == []
    if end == "restore":
        with pytest.raises(UnknownSite, match="no removed site was known as"):
            world.restore(new_host="again.example")
    else:
        assert prune_removed(world.engine, settings=world.settings) == []
    assert world.whole(GARDEN) == before
    assert world.kept_files() == ["backups"]
    assert [path.name for path in (world.archives / "backups").iterdir()] == [str(site.id)]
    assert world.rows(RemovedRow, world.garden) == 0


def test_backups_of_many_sites_need_one_copy_of_the_database(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite without a write-ahead log: a copy for each site would read the whole database as often."""
    copies = []

    class Raw(sqlite3.Connection):
        def backup(self, *arguments: Any, **options: Any) -> None:
            copies.append(1)
            super().backup(*arguments, **options)

    url = sqlite_world.engine.url
    engine = sa.create_engine(url, connect_args={"factory": Raw}, poolclass=sa.NullPool)
    sites = [record.site for record in list_sites(engine)]
    done = export_sites(engine, sites, settings=sqlite_world.settings, contents=CONTENTS)
    assert ([backup.reason for backup in done], len(copies)) == ([None, None], 1)


def test_no_backup_is_kept_of_a_site_that_is_removed_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def export_and_erase(*arguments: Any, **options: Any) -> Any:
        done = export_site(*arguments, **options)
        world.remove(erase=True)
        return done

    monkeypatch.setattr(backups, "export_site", export_and_erase)
    (backup,) = export_sites(world.engine, [world.garden], settings=world.settings, contents=CONTENTS)
    assert (backup.path, backup.reason) == (None, "the site was removed meanwhile")
    assert [path for path in world.archives.rglob("*") if path.is_file()] == []
