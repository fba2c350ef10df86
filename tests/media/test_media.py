"""Media of two sites: added, served, removed; each site has its own rows and files."""

from __future__ import annotations

import io
import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from content_sites import GARDEN, STERNWARTE, ContentSites, content_sites
from databases import fresh_database
from hostile_uploads import picture
from media_files import add, photo, remove_all, session_of, stored
from pyramid.config import Configurator
from sqlalchemy.orm import Session
from webtest import TestApp

from multisite import MultisiteError, Site
from multisite.cli import main
from multisite.content.models import Media
from multisite.content.revisions import Revision
from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.media import MEDIA_LIBRARY, MediaLibrary, MediaRefused
from multisite.media.library import ORPHAN_AGE
from multisite.media.pruning import prune
from multisite.sites.availability import disable_site
from multisite.sites.removal import remove_site
from multisite.sites.settings.values import set_settings
from multisite.web.site_settings import SITE_SETTINGS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def sites(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    with (
        fresh_database(request, tmp_path_factory) as url,
        content_sites(url, tmp_path_factory.mktemp("media")) as made,
    ):
        yield made


@pytest.fixture(autouse=True)
def empty(sites: ContentSites) -> None:
    remove_all(sites)


@pytest.fixture
def library(sites: ContentSites) -> MediaLibrary:
    found: MediaLibrary = sites.app.registry[MEDIA_LIBRARY]
    return found


# Two sites.


def test_the_same_file_on_two_sites_is_two_rows_and_two_files(sites: ContentSites, library: MediaLibrary) -> None:
    content = photo()
    one, other = add(sites, sites.garden, content), add(sites, sites.sternwarte, content)
    assert one.path == other.path
    assert len(stored(sites)) == 2 * len([name for name in stored(sites) if name.startswith(f"{sites.garden.id}/")])
    with session_of(sites, sites.garden) as session:
        row = library.find(session, one.digest)
        assert row is not None
        library.remove(session, sites.garden, row)
        session.commit()
    assert {name.split("/")[0] for name in stored(sites)} == {str(sites.sternwarte.id)}
    sites.browser(GARDEN).get(one.path, status=404)
    sites.browser(STERNWARTE).get(other.path, status=200)


def test_every_address_is_a_404_on_another_site(sites: ContentSites) -> None:
    media = add(sites, sites.garden)
    names = [media.name, *map(media.smaller_name, media.widths)]
    for name in names:
        assert sites.browser(GARDEN).get(f"/media/{media.digest}/{name}").status_int == 200
        refused = sites.browser(STERNWARTE).get(f"/media/{media.digest}/{name}", status=404)
        missing = sites.browser(STERNWARTE).get(f"/media/{'0' * 64}/{name}", status=404)
        assert refused.text == missing.text


def test_a_session_of_another_site_is_refused(sites: ContentSites, library: MediaLibrary) -> None:
    media = add(sites, sites.garden)
    before = stored(sites)
    with session_of(sites, sites.sternwarte) as session:
        for call in (
            lambda: library.save_upload(session, sites.garden, io.BytesIO(photo((9, 9))), "a.jpg"),
            lambda: library.remove(session, sites.garden, media),
            lambda: library.prune(session, sites.garden, now=datetime.now(UTC) + 2 * ORPHAN_AGE),
        ):
            with pytest.raises(MultisiteError, match="the session is not for the site garden.example"):
                call()
    with Session(sites.engine, info={"all_sites": "a test"}) as session, pytest.raises(MultisiteError):
        library.save_upload(session, sites.garden, io.BytesIO(photo((9, 9))), "a.jpg")
    assert stored(sites) == before


def test_a_disabled_site_serves_no_media(sites: ContentSites, tmp_path: Path) -> None:
    settings = parse_settings(sites.settings)
    from multisite.sites.creation import add_site

    third = add_site(sites.engine, f"{uuid.uuid4().hex}.example", settings=settings, name="Third")
    media = add(sites, third)
    browser = sites.browser(third.host)
    browser.get(media.path, status=200)
    disable_site(sites.engine, third.host)
    time.sleep(float(sites.settings.get("multisite.refresh_seconds", 1)) + 0.1)
    browser.get(media.path, status=404)


def test_removing_a_site_removes_its_files(sites: ContentSites) -> None:
    from multisite.sites.creation import add_site

    settings = parse_settings(sites.settings)
    third = add_site(sites.engine, f"{uuid.uuid4().hex}.example", settings=settings, name="Third")
    add(sites, third)
    add(sites, sites.garden)
    assert {name.split("/")[0] for name in stored(sites)} == {str(third.id), str(sites.garden.id)}
    remove_site(sites.engine, third.host, settings=settings)
    assert {name.split("/")[0] for name in stored(sites)} == {str(sites.garden.id)}


# Files and rows.


def test_the_same_bytes_are_the_same_row(sites: ContentSites) -> None:
    content = photo()
    first = add(sites, sites.garden, content, alt="First")
    before = stored(sites)
    second = add(sites, sites.garden, content, "another-name.jpg", alt="Second")
    assert (second.id, second.name, second.alt) == (first.id, "leaf-mould.jpg", "First")
    assert stored(sites) == before


def test_a_rollback_removes_the_files(sites: ContentSites, library: MediaLibrary) -> None:
    with session_of(sites, sites.garden) as session:
        library.save_upload(session, sites.garden, io.BytesIO(photo()), "a.jpg")
        assert stored(sites)
        session.rollback()
        assert stored(sites) == []
        kept = library.save_upload(session, sites.garden, io.BytesIO(photo()), "b.jpg")
        session.commit()
        whole = stored(sites)
        assert len(whole) == 1 + len(kept.widths)
        library.remove(session, sites.garden, kept)
        session.rollback()
    assert stored(sites) == whole
    with session_of(sites, sites.garden) as session:
        library.save_upload(session, sites.garden, io.BytesIO(photo((30, 30))), "c.jpg")
    assert not [name for name in stored(sites) if name.endswith("c.jpg")]


def test_a_savepoint_decides_nothing(sites: ContentSites, library: MediaLibrary) -> None:
    with session_of(sites, sites.garden) as session:
        library.save_upload(session, sites.garden, io.BytesIO(photo()), "a.jpg")
        with session.begin_nested():
            session.execute(sa.select(Media))
        session.rollback()
    assert stored(sites) == []


def test_a_failed_request_leaves_no_file(sites: ContentSites) -> None:
    def upload(request: Any) -> str:
        with request.POST["file"].file as stream:
            media = request.media_library.save_upload(
                request.dbsession, request.site, stream, request.POST["file"].filename
            )
        if request.params.get("fail"):
            raise RuntimeError("after the upload")
        path: str = media.path
        return path

    config = Configurator(settings={**sites.settings, "tm.manager_hook": "pyramid_tm.explicit_manager"})
    for name in ("multisite", "multisite.content.settings", "multisite.content.media"):
        config.include(name)
    config.add_route("upload", "/upload")
    config.add_view(upload, route_name="upload", renderer="string")
    app = config.make_wsgi_app()
    browser = TestApp(app, extra_environ={"HTTP_HOST": GARDEN})
    files = [("file", "a.jpg", photo((30, 30)))]  # WebOb leaves the temporary file of a large body open.
    with pytest.raises(RuntimeError):
        browser.post("/upload?fail=1", upload_files=files)
    assert stored(sites) == []
    path = browser.post("/upload", upload_files=files).text
    assert browser.get(path).content_type == "image/jpeg"
    app.registry[DIRECTORY].engine.dispose()


def test_files_without_a_row_are_pruned_once_they_are_old(sites: ContentSites, library: MediaLibrary) -> None:
    media = add(sites, sites.garden)
    whole = stored(sites)
    store = library.store
    assert store is not None
    store.write(sites.garden.id, f"ab/{'ab' * 32}-00/a.jpg", io.BytesIO(b"left by a killed process"))
    store.write(sites.garden.id, f"{media.digest[:2]}/{media.digest}-00/a.jpg", io.BytesIO(b"left as well"))
    store.write(2**40, "ab/cd-00/a.jpg", io.BytesIO(b"of a site of another database"))
    with session_of(sites, sites.garden) as session:
        assert library.prune(session, sites.garden) == 0
        assert library.prune(session, sites.garden, now=datetime.now(UTC) + ORPHAN_AGE - timedelta(minutes=1)) == 0
        assert library.prune(session, sites.garden, now=datetime.now(UTC) + ORPHAN_AGE + timedelta(minutes=1)) == 2
    assert [name for name in stored(sites) if not name.startswith(str(2**40))] == whole
    assert prune(library, sites.engine, sites.engine) == 0
    assert len(stored(sites)) == len(whole) + 1


def test_files_of_a_removed_site_are_pruned(sites: ContentSites, library: MediaLibrary) -> None:
    from multisite.sites.creation import add_site

    settings = parse_settings(sites.settings)
    third = add_site(sites.engine, f"{uuid.uuid4().hex}.example", settings=settings, name="Third")
    remove_site(sites.engine, third.host, settings=settings)
    assert library.store is not None
    library.store.write(third.id, "ab/cd-00/a.jpg", io.BytesIO(b"written while the site was removed"))
    assert prune(library, sites.engine, sites.engine) == 1
    assert stored(sites) == []


# The quota.


@contextmanager
def quota(sites: ContentSites, site: Site, number: int) -> Iterator[Site]:
    from multisite.directory.records import get_site
    from multisite.sites.settings.values import unset_settings

    declared = sites.app.registry[SITE_SETTINGS]
    set_settings(sites.engine, site.host, {"media_bytes": str(number)}, declared=declared)
    yield get_site(sites.engine, site.host).site
    unset_settings(sites.engine, site.host, ["media_bytes"], declared=declared)


def test_the_quota_is_for_one_site(sites: ContentSites) -> None:
    content = photo()
    size = add(sites, sites.garden, content).bytes
    with quota(sites, sites.garden, size + 100) as garden:
        with pytest.raises(
            MediaRefused, match=f"of the {size + 100:,} bytes for media of this site {size:,} are in use"
        ):
            add(sites, garden, photo((400, 400)))
        assert add(sites, garden, content).bytes == size
        assert add(sites, sites.sternwarte, photo((400, 400)))
    assert add(sites, sites.garden, photo((400, 400)))


def test_the_quota_is_exact_for_uploads_at_once(sites: ContentSites) -> None:
    size = add(sites, sites.garden, photo((60, 60))).bytes
    contents = [photo((60, 60)) for _ in range(8)]
    outcomes: list[str] = []
    with quota(sites, sites.garden, 4 * size + size // 2) as garden:

        def upload(content: bytes) -> None:
            try:
                add(sites, garden, content)
                outcomes.append("added")
            except MediaRefused:
                outcomes.append("refused")

        threads = [threading.Thread(target=upload, args=[content]) for content in contents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with session_of(sites, garden) as session:
            used = sites.app.registry[MEDIA_LIBRARY].used_bytes(session)
        assert used <= 4 * size + size // 2
        assert len(outcomes) == 8
        assert outcomes.count("added") == len(stored(sites)) - 1
        assert "refused" in outcomes


def test_the_same_bytes_at_once_are_one_row(sites: ContentSites) -> None:
    content = photo((60, 60))
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(add(sites, sites.garden, content).id)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1
    assert len(stored(sites)) == 1


# Which entries use a file, and the commands.


@pytest.fixture
def ini(sites: ContentSites, tmp_path: Path) -> Path:
    path = tmp_path / "test.ini"
    lines = "\n".join(f"{key} = {value.replace('%', '%%')}" for key, value in sites.settings.items())
    path.write_text(f"[app:main]\nuse = egg:pyramid-multisite\n{lines}\n[server:main]\nuse = egg:waitress#main\n")
    return path


def run(ini: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["-c", str(ini), *map(str, arguments)])


def test_the_commands(sites: ContentSites, ini: Path, tmp_path: Path) -> None:
    for name, content in {"a.jpg": photo(), "b.jpg": photo((50, 50)), "c.svg": b"<svg/>"}.items():
        (tmp_path / name).write_bytes(content)
    added = run(ini, "add-media", GARDEN, *(tmp_path / name for name in ("a.jpg", "b.jpg", "c.svg", "d.jpg")))
    assert added.exit_code == 1
    assert added.stderr == (
        f"{tmp_path}/c.svg: SVG can contain scripts: convert it to PNG or WebP\n"
        f"{tmp_path}/d.jpg: No such file or directory\n"
    )
    assert len(added.stdout.splitlines()) == 2
    listed = json.loads(run(ini, "list-media", GARDEN, "--json").stdout)
    assert [media["name"] for media in listed] == ["b.jpg", "a.jpg"]
    used, unused = listed[1], listed[0]
    sites.add(sites.garden, "with-picture", body=f"![Leaves]({used['path']})")
    sites.add(sites.sternwarte, "of-another-site", body=f"![Leaves]({unused['path']})")
    assert [media["name"] for media in json.loads(run(ini, "list-media", GARDEN, "--unused", "--json").stdout)] == [
        "b.jpg"
    ]
    assert run(ini, "list-media", STERNWARTE).stdout == "sternwarte.example uses 0 bytes for media.\n"
    refused = run(ini, "remove-media", GARDEN, unused["digest"][:12], used["path"])
    assert refused.exit_code == 1
    assert refused.stderr == (
        f"Error: {used['path']} is used by with-picture: change them first, or pass --force; nothing was removed\n"
    )
    assert len(json.loads(run(ini, "list-media", GARDEN, "--json").stdout)) == 2
    assert run(ini, "remove-media", GARDEN, unused["path"]).stdout == "Removed 1 from the media of garden.example.\n"
    assert run(ini, "remove-media", GARDEN, used["digest"][:8], "--force").exit_code == 0
    assert stored(sites) == []
    assert run(ini, "prune-media").stdout == "Removed 0 uploads that belong to no site.\n"


def test_an_earlier_text_of_an_entry_uses_its_pictures(sites: ContentSites, library: MediaLibrary) -> None:
    media = add(sites, sites.garden)
    with session_of(sites, sites.garden) as session:
        assert (library.users_of(session, media), library.used_digests(session)) == ([], set())
        text = {"title": "A", "slug": "earlier", "summary": "", "tags": "", "draft": False}
        session.add(Revision(kind="saved", body=f"![A]({media.path})", **text))
        session.flush()
        assert (library.users_of(session, media), library.used_digests(session)) == (["earlier"], {media.digest})


def test_a_setting_of_the_site_uses_its_picture(sites: ContentSites, library: MediaLibrary) -> None:
    media = add(sites, sites.garden)
    own = replace(sites.garden, own_settings=json.dumps({"theme.logo": media.path}))
    with Session(sites.engine, info={"site": own}) as session:
        assert (library.users_of(session, media), library.used_digests(session)) == (
            ["the setting theme.logo"],
            {media.digest},
        )


def test_a_command_for_another_sites_file_finds_nothing(sites: ContentSites, ini: Path) -> None:
    media = add(sites, sites.garden)
    for name in (media.path, media.digest[:12], "%", "_" * 8, media.digest[:4]):
        done = run(ini, "remove-media", STERNWARTE, name, "--force")
        assert done.exit_code == 1
        assert (
            "sternwarte.example has no such media: 'multisite list-media sternwarte.example' lists them" in done.stderr
        )
    assert stored(sites)


def test_alt_describes_one_picture(ini: Path, sites: ContentSites, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture("PNG"))
    assert run(ini, "add-media", GARDEN, tmp_path / "a.png", tmp_path / "a.png", "--alt", "A").exit_code == 2
    done = run(ini, "add-media", GARDEN, tmp_path / "a.png", "--alt", "Leaves", "--json")
    assert [(media["alt"], media["decorative"]) for media in json.loads(done.stdout)] == [("Leaves", False)]
