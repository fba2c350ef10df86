"""Export, import and copy of a site of the reference application."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from content_sites import GARDEN, STERNWARTE, ContentSites
from databases import closing_engine, make_own_tables
from sqlalchemy.orm import Session

from multisite import Site, all_sites
from multisite.content.models import Base, Entry, entry_counts
from multisite.content.users import LogIn, User
from multisite.core import domains
from multisite.core.settings import Settings, parse_settings
from multisite.directory.models import SiteRow
from multisite.directory.records import get_site
from multisite.errors import DomainTaken, MultisiteError
from multisite.sites import SiteContents, copy_site, export_site, import_site
from multisite.sites.archive.target_folder import MARK, TRASH, TargetFolder
from multisite.sites.domains import add_domain, remove_domain, set_canonical

CONTENTS = SiteContents(metadata=[Base.metadata])
COPY = "copy.example"


def settings_of(sites: ContentSites) -> Settings:
    return parse_settings(sites.settings)


def entries_of(engine: sa.Engine, site: Site) -> dict[str, tuple[str, list[str]]]:
    with Session(engine, info={"site": site}) as session:
        return {
            entry.slug: (entry.body_html, entry.published, [tag.name for tag in entry.tags])
            for entry in session.scalars(sa.select(Entry))
        }


def fill(sites: ContentSites) -> None:
    for site in (sites.garden, sites.sternwarte):
        sites.add(site, "one", tags=["red", "blue"])
        sites.add(site, "two", tags=["red"])
    folder = Path(sites.settings["multisite.sites_dir"], sites.garden.folder)
    (folder / "static").mkdir(exist_ok=True)
    (folder / "static" / "style.css").write_text("body {}")
    (folder / "locale" / "de" / "LC_MESSAGES").mkdir(parents=True)
    (folder / "locale" / "de" / "LC_MESSAGES" / "messages.mo").write_bytes(b"\0")
    (folder / "own.mako").write_text("own")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_copied_site_has_the_rows_and_files_of_the_original(sites: ContentSites) -> None:
    fill(sites)
    before = entries_of(sites.engine, sites.garden)
    copied = copy_site(sites.engine, GARDEN, COPY, settings=settings_of(sites), contents=CONTENTS, live=True)
    site = get_site(sites.engine, COPY).site
    assert copied.target.rows == {"entries": 2, "tags": 2, "entry_tags": 3, "entries_words": 2}
    assert entries_of(sites.engine, site) == before == entries_of(sites.engine, sites.garden)
    folders = Path(sites.settings["multisite.sites_dir"])
    assert files(folders / site.folder) == files(folders / sites.garden.folder)
    assert "own.mako" in files(folders / site.folder)
    assert len(entries_of(sites.engine, sites.sternwarte)) == 2


def test_import_into_another_backend_has_the_same_entries(
    sqlite_sites: ContentSites, postgresql_database_url: str, tmp_path: Path
) -> None:
    fill(sqlite_sites)
    archive = tmp_path / "garden.zip"
    exported = export_site(sqlite_sites.engine, GARDEN, archive, settings=settings_of(sqlite_sites), contents=CONTENTS)
    settings = Settings(sites_dir=tmp_path / "other", templates_dir=tmp_path / "templates")
    with closing_engine(postgresql_database_url) as engine:
        make_own_tables(engine)
        Base.metadata.create_all(engine)
        imported = import_site(engine, archive, settings=settings, contents=CONTENTS)
        site = get_site(engine, GARDEN).site
        assert imported.rows == exported.rows
        assert imported.left_out == (
            "2 templates: code that runs in the server, which is only taken with --with-templates",
        )
        assert entries_of(engine, site) == entries_of(sqlite_sites.engine, sqlite_sites.garden)
        assert get_site(engine, GARDEN).aliases == ("alias.example",)
        back = tmp_path / "back.zip"
        export_site(engine, GARDEN, back, settings=settings, contents=CONTENTS)
    import_site(sqlite_sites.engine, back, settings=settings_of(sqlite_sites), contents=CONTENTS, host=COPY)
    site = get_site(sqlite_sites.engine, COPY).site
    assert entries_of(sqlite_sites.engine, site) == entries_of(sqlite_sites.engine, sqlite_sites.garden)


def test_taken_host_is_refused_and_changes_nothing(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    fill(sqlite_sites)
    settings = settings_of(sqlite_sites)
    before = files(settings.sites_dir)
    archive = tmp_path / "garden.zip"
    export_site(sqlite_sites.engine, GARDEN, archive, settings=settings, contents=CONTENTS)
    for host in (None, STERNWARTE):
        with pytest.raises(DomainTaken):
            import_site(sqlite_sites.engine, archive, settings=settings, contents=CONTENTS, host=host)
    assert files(settings.sites_dir) == before


def test_damaged_archive_is_refused(sqlite_sites: ContentSites, tmp_path: Path) -> None:
    settings = settings_of(sqlite_sites)
    archive = tmp_path / "garden.zip"
    export_site(sqlite_sites.engine, GARDEN, archive, settings=settings, contents=CONTENTS)
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(MultisiteError, match="not a zip file"):
        import_site(sqlite_sites.engine, archive, settings=settings, contents=CONTENTS, host=COPY)


def test_replaced_site_keeps_its_id_and_its_keys(sites: ContentSites, tmp_path: Path) -> None:
    fill(sites)
    settings, archive = settings_of(sites), tmp_path / "garden.zip"
    before = entries_of(sites.engine, sites.garden)
    export_site(sites.engine, GARDEN, archive, settings=settings, contents=CONTENTS)
    with Session(sites.engine, info={"site": sites.garden}) as session:
        ids = {entry.slug: entry.id for entry in session.scalars(sa.select(Entry))}
        session.delete(session.scalars(sa.select(Entry).where(Entry.slug == "one")).one())
        session.commit()
    sites.add(sites.garden, "three", tags=["green"])
    templates = settings.sites_dir / sites.garden.folder
    (templates / "own.mako").write_text("changed")
    imported = import_site(
        sites.engine, archive, settings=settings, contents=CONTENTS, replace=True, keep_keys=True, with_templates=True
    )
    site = get_site(sites.engine, GARDEN).site
    assert (site.id, get_site(sites.engine, GARDEN).aliases) == (sites.garden.id, ("alias.example",))
    assert entries_of(sites.engine, site) == before
    assert (settings.sites_dir / site.folder / "own.mako").read_text() == "own"
    assert imported.record is not None
    assert imported.record.site == site
    assert site.template_generation > sites.garden.template_generation
    with Session(sites.engine, info={"site": site}) as session:
        assert {entry.slug: entry.id for entry in session.scalars(sa.select(Entry))} == ids
    sites.add(site, "four")  # Its id is not one of those that were kept.
    assert len(entries_of(sites.engine, sites.sternwarte)) == 2


def test_users_can_be_left_out(sites: ContentSites) -> None:
    fill(sites)
    with Session(sites.engine, info={"site": sites.garden}) as session:
        session.add(User(login="gardener", role="owner", password_hash="!"))
        session.commit()
    settings = settings_of(sites)
    copied = copy_site(sites.engine, GARDEN, COPY, settings=settings, contents=CONTENTS)
    assert copied.target.rows["users"] == 1
    without = copy_site(sites.engine, GARDEN, "two.example", settings=settings, contents=CONTENTS, users="none")
    assert "users" not in without.target.rows
    assert "the rows of users" in without.source.left_out
    record = get_site(sites.engine, COPY)
    assert (record.status, record.site.copy_of) == ("maintenance", GARDEN)


def test_folder_of_a_renamed_site_is_not_taken(sites: ContentSites) -> None:
    """A process that is killed after the commit leaves its mark in a folder that is used."""
    fill(sites)
    settings = settings_of(sites)
    copy_site(sites.engine, GARDEN, COPY, settings=settings, contents=CONTENTS, live=True)
    folder = settings.sites_dir / get_site(sites.engine, COPY).site.folder
    (folder / MARK).touch()
    add_domain(sites.engine, COPY, "renamed.example")
    set_canonical(sites.engine, "renamed.example")
    remove_domain(sites.engine, COPY)
    before = files(settings.sites_dir)
    with pytest.raises(MultisiteError, match="belongs to the site renamed.example: choose another host"):
        copy_site(sites.engine, STERNWARTE, COPY, settings=settings, contents=CONTENTS)
    assert files(settings.sites_dir) == before


def test_leftover_of_a_killed_import_is_replaced(sites: ContentSites) -> None:
    fill(sites)
    settings = settings_of(sites)
    leftover = settings.sites_dir / COPY
    leftover.mkdir()
    (leftover / MARK).touch()
    (leftover / "half.mako").touch()
    copy_site(sites.engine, GARDEN, COPY, settings=settings, contents=CONTENTS, live=True)
    assert files(leftover) == files(settings.sites_dir / sites.garden.folder)


def test_two_imports_of_one_host_do_not_share_a_folder(sites: ContentSites) -> None:
    fill(sites)
    settings = settings_of(sites)
    with TargetFolder(settings, domains.parse(COPY), None) as slow:
        (slow.staging / "half.mako").touch()
        copy_site(sites.engine, GARDEN, COPY, settings=settings, contents=CONTENTS, live=True)
        assert (slow.staging / "half.mako").is_file()
        with pytest.raises(MultisiteError, match="exists already"):
            slow.put_in_place()
    assert files(settings.sites_dir / COPY) == files(settings.sites_dir / sites.garden.folder)
    assert [path.name for path in settings.sites_dir.iterdir() if path.name.startswith(".importing")] == []


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_the_folder_left_by_a_restoration_killed_after_its_commit_is_moved_away(
    sites: ContentSites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    fill(sites)
    settings, archive = settings_of(sites), tmp_path / "garden.zip"
    export_site(sites.engine, GARDEN, archive, settings=settings, contents=CONTENTS)
    move = TargetFolder._move_to_trash

    def killed(folder: TargetFolder, path: Path) -> None:
        if moment == "after":
            move(folder, path)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(TargetFolder, "_move_to_trash", killed)
        import_site(sites.engine, archive, settings=settings, contents=CONTENTS, replace=True, with_templates=True)
    import_site(sites.engine, archive, settings=settings, contents=CONTENTS, replace=True, with_templates=True)

    folder = get_site(sites.engine, GARDEN).site.folder
    assert [path.name for path in settings.sites_dir.iterdir() if path.name.startswith(GARDEN)] == [folder]
    assert not (settings.sites_dir / folder / MARK).exists()
    assert len(list((settings.sites_dir / TRASH).iterdir())) == 2


@pytest.mark.parametrize("name", [STERNWARTE, f"../sites/{STERNWARTE}", f"{GARDEN}~x", f"{GARDEN}~1/..", "..", "", "."])
def test_a_marker_file_cannot_name_the_folder_of_another_site(sites: ContentSites, tmp_path: Path, name: str) -> None:
    """Whoever may change the templates of a site may write the file."""
    fill(sites)
    settings, archive = settings_of(sites), tmp_path / "garden.zip"
    export_site(sites.engine, GARDEN, archive, settings=settings, contents=CONTENTS)
    (settings.sites_dir / sites.garden.folder / MARK).write_text(name)
    other = files(settings.sites_dir / sites.sternwarte.folder)

    import_site(sites.engine, archive, settings=settings, contents=CONTENTS, replace=True, with_templates=True)

    assert files(settings.sites_dir / sites.sternwarte.folder) == other
    assert len(list((settings.sites_dir / TRASH).iterdir())) == 1


def test_a_marker_file_cannot_name_a_folder_that_a_site_has(sites: ContentSites, tmp_path: Path) -> None:
    fill(sites)
    settings, archive = settings_of(sites), tmp_path / "garden.zip"
    export_site(sites.engine, GARDEN, archive, settings=settings, contents=CONTENTS)
    used = f"{GARDEN}~7"
    (settings.sites_dir / sites.sternwarte.folder).rename(settings.sites_dir / used)
    with sites.engine.begin() as connection, all_sites("a test"):
        connection.execute(sa.update(SiteRow).where(SiteRow.id == sites.sternwarte.id).values(folder=used))
    (settings.sites_dir / sites.garden.folder / MARK).write_text(used)

    import_site(sites.engine, archive, settings=settings, contents=CONTENTS, replace=True, with_templates=True)

    assert (settings.sites_dir / used).is_dir()


def test_what_is_not_exported_stays_behind(sites: ContentSites, tmp_path: Path) -> None:
    """Counts are those that the database keeps for the copy, and log-ins are those of the original alone."""
    fill(sites)
    with Session(sites.engine, info={"site": sites.garden}) as session:
        user = User(login="anna", role="owner")
        session.add(user)
        session.flush()
        session.add(LogIn(user_id=user.id, token_hash="0" * 64, generation=0, created=1, seen=1, agent="a browser"))
        session.commit()
    settings = settings_of(sites)

    def rows(host: str) -> tuple[list[Any], list[str], int]:
        with Session(sites.engine, info={"site": get_site(sites.engine, host).site}) as session:
            counts = session.execute(sa.select(entry_counts.c.period, entry_counts.c.entries)).all()
            return counts, list(session.scalars(sa.select(User.login))), len(session.scalars(sa.select(LogIn)).all())

    copy_site(sites.engine, GARDEN, COPY, settings=settings, contents=CONTENTS, live=True)
    counts = [("2024-05", 2)]
    assert rows(GARDEN) == (counts, ["anna"], 1)
    assert rows(COPY) == (counts, ["anna"], 0)
    archive = tmp_path / "garden.zip"
    export_site(sites.engine, GARDEN, archive, settings=settings, contents=CONTENTS)
    import_site(sites.engine, archive, settings=settings, contents=CONTENTS, replace=True, with_templates=True)
    assert rows(GARDEN) == (counts, ["anna"], 0)


def test_incomplete_archive_of_a_killed_export_is_removed_a_day_later(
    sqlite_sites: ContentSites, tmp_path: Path
) -> None:
    """One of the last day may belong to an export that is running."""
    folder = tmp_path / "archives"
    folder.mkdir()
    names = [".one.zip.1.part", ".one.zip", ".one.zip.2.part", ".other.zip.1.part"]
    for name in names:
        (folder / name).touch()
        if name != ".one.zip.2.part":
            os.utime(folder / name, (time.time() - 90_000,) * 2)
    export_site(sqlite_sites.engine, GARDEN, folder / "one.zip", settings=settings_of(sqlite_sites), contents=CONTENTS)
    assert sorted(path.name for path in folder.iterdir()) == [*names[1:], "one.zip"]
