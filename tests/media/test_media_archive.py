"""The media of a site are in its archive, and an archive brings nothing else."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from content_sites import GARDEN, ContentSites
from hostile_uploads import picture
from sqlalchemy.orm import Session

from multisite import MultisiteError, Site
from multisite.content.models import Base, Media
from multisite.core.settings import Settings, parse_settings
from multisite.directory.records import get_site
from multisite.media import MEDIA_LIBRARY, MediaLibrary
from multisite.media import archive as media_archive
from multisite.sites import SiteContents, copy_site, export_site, import_site
from multisite.sites.media_store import MediaStore
from multisite.web.site_archive import site_contents

COPY = "copy.example"


@pytest.fixture
def library(sites: ContentSites) -> MediaLibrary:
    found: MediaLibrary = sites.app.registry[MEDIA_LIBRARY]
    return found


def settings_of(sites: ContentSites) -> Settings:
    return parse_settings(sites.settings)


def contents_of(sites: ContentSites) -> SiteContents:
    declared = site_contents(sites.app.registry)
    return replace(declared, metadata=[Base.metadata], parts=dict(declared.parts))


def add(sites: ContentSites, site: Site, content: bytes, name: str) -> str:
    library: MediaLibrary = sites.app.registry[MEDIA_LIBRARY]
    with Session(sites.engine, info={"site": site}) as session:
        path = library.save_upload(session, site, io.BytesIO(content), name).path
        session.commit()
    return path


def stored(sites: ContentSites, site_id: int) -> dict[str, bytes]:
    """Return the files of a site by digest and name, whatever their token."""
    folder = Path(sites.settings["multisite.media_url"], str(site_id))
    return {
        f"{path.parent.name.partition('-')[0]}/{path.name}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_copied_site_has_its_own_files(sites: ContentSites, library: MediaLibrary) -> None:
    path = add(sites, sites.garden, picture(size=(900, 300)), "a.jpg")
    add(sites, sites.garden, b"%PDF-1.7 slides", "talk.pdf")
    add(sites, sites.sternwarte, picture(color="red"), "other.jpg")
    copy_site(sites.engine, GARDEN, COPY, settings=settings_of(sites), contents=contents_of(sites), live=True)
    site = get_site(sites.engine, COPY).site
    assert stored(sites, site.id) == stored(sites, sites.garden.id)
    assert len(stored(sites, site.id)) == 4
    with Session(sites.engine, info={"site": site}) as session:
        assert library.used_bytes(session) == sum(map(len, stored(sites, site.id).values()))
        for media in list(library.list_all(session)):
            library.remove(session, site, media)
        session.commit()
    assert stored(sites, site.id) == {}
    assert sites.browser(GARDEN).get(path).content_type == "image/jpeg"


def test_an_import_that_fails_later_leaves_no_files(
    sqlite_sites: ContentSites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = sqlite_sites
    add(sites, sites.garden, picture(), "a.jpg")
    before = stored(sites, sites.garden.id)
    archive = tmp_path / "garden.zip"
    export_site(sites.engine, GARDEN, archive, settings=settings_of(sites), contents=contents_of(sites))

    def fail(*_: object) -> None:
        raise MultisiteError("after the files")

    contents = contents_of(sites)
    contents.parts["zzz"] = contents.parts["media"]._replace(import_=fail, export=lambda *_: None)
    original = media_archive.import_media
    seen = []

    def import_and_fail(site: Site, connection: sa.Connection, folder: Path) -> None:
        original(sites.app.registry[MEDIA_LIBRARY], site, connection, folder)
        seen.append(stored(sites, site.id))
        fail()

    contents.parts["media"] = contents.parts["media"]._replace(import_=import_and_fail)
    del contents.parts["zzz"]
    with pytest.raises(MultisiteError, match="after the files"):
        import_site(sites.engine, archive, settings=settings_of(sites), contents=contents, host=COPY)
    assert seen == [before]
    folders = Path(sites.settings["multisite.media_url"])
    assert [path.name for path in folders.rglob("*.jpg")] == ["a.jpg"]


@pytest.fixture
def changed(sqlite_sites: ContentSites, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Return a function that imports the archive of a site whose row and file have been changed before the export."""
    sites = sqlite_sites
    add(sites, sites.sternwarte, picture(color="red"), "secret.jpg")
    add(sites, sites.garden, picture(), "a.jpg")

    def change(content: bytes | None = None, *, has_files: bool = True, **values: object) -> None:
        (file,) = Path(sites.settings["multisite.media_url"], str(sites.garden.id)).rglob("*.jpg")
        export = contents_of(sites).parts["media"].export

        def forged(site: Site, connection: sa.Connection, folder: Path) -> None:
            export(site, connection, folder)
            (copied,) = folder.rglob("*.jpg")
            if content is not None:
                copied.write_bytes(content)

        contents = contents_of(sites)
        contents.parts["media"] = contents.parts["media"]._replace(export=forged)
        archive = tmp_path / "garden.zip"
        with Session(sites.engine, info={"site": sites.garden}) as session:
            session.execute(sa.update(Media).values(**values)) if values else None
            session.commit()
        shutil.copyfile(file, tmp_path / "kept.jpg")
        if values:
            contents.parts["media"] = contents.parts["media"]._replace(
                export=lambda _site, _connection, folder: has_files and (folder / "any.jpg").write_bytes(b"any")
            )
        export_site(sites.engine, GARDEN, archive, settings=settings_of(sites), contents=contents)
        import_site(sites.engine, archive, settings=settings_of(sites), contents=contents, host=COPY)

    yield change
    assert len(list(Path(sites.settings["multisite.media_url"]).rglob("*.jpg"))) == 2


@pytest.mark.parametrize(
    "values",
    [
        {"token": "00/../../../2/ab/cd-00"},
        {"token": ""},
        {"name": "../../a.jpg"},
        {"name": "a.jpg/../../b.jpg"},
        {"name": "a.html\r\nX: y"},
        {"digest": "../" * 20 + "abcd"},
        {"format": "SVG"},
        {"widths": ["../a"]},
        {"widths": "12"},
        {"widths": [True]},
    ],
)
def test_rows_that_no_upload_creates_are_refused(changed: Callable[..., None], values: dict[str, object]) -> None:
    with pytest.raises(MultisiteError, match=r"the (?:media|sizes|format) .* (?:are not valid|is not known)"):
        changed(**values)


def test_rows_are_checked_although_the_archive_has_no_files(changed: Callable[..., None]) -> None:
    with pytest.raises(MultisiteError, match="the format 'SVG' .* is not known"):
        changed(has_files=False, format="SVG")


@pytest.mark.parametrize("content", [b"<script>alert(1)</script>", b"%PDF-1.7", picture("PNG"), b"", b"<svg/>"])
def test_files_that_are_not_what_their_row_says_are_refused(changed: Callable[..., None], content: bytes) -> None:
    with pytest.raises(MultisiteError, match="the archive has a file for /media/"):
        changed(content)


def test_no_key_leads_out_of_the_folder_of_a_site(tmp_path: Path) -> None:
    store = MediaStore(str(tmp_path))
    store.write(2, f"ab/{'ab' * 32}-00/secret.jpg", io.BytesIO(b"of another site"))
    for key in (
        f"../2/ab/{'ab' * 32}-00/secret.jpg",
        f"ab/{'ab' * 32}-/../../../2/ab/{'ab' * 32}-00/secret.jpg",
        "..",
        "ab/..",
        f"ab/{'ab' * 32}-00/../secret.jpg",
        f"/ab/{'ab' * 32}-00/secret.jpg",
    ):
        with pytest.raises(FileNotFoundError):
            store.open(1, key)
        with pytest.raises((FileNotFoundError, MultisiteError)):
            store.write(1, key, io.BytesIO(b"x"))
        with pytest.raises(FileNotFoundError):
            store.remove_folder(1, key)
    assert store.open(2, f"ab/{'ab' * 32}-00/secret.jpg")[1] == 15
