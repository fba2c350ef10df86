"""Media of two sites: added, served, removed; each site has its own rows and files."""

from __future__ import annotations

import io
import json
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from content_sites import GARDEN, STERNWARTE, ContentSites, content_sites
from databases import fresh_database
from hostile_uploads import animation, picture
from PIL import Image
from pyramid.config import Configurator
from sqlalchemy.orm import Session
from webtest import TestApp

from multisite import MultisiteError, SettingError, Site
from multisite.cli import main
from multisite.content.models import Entry, Media
from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.media import MEDIA_LIBRARY, MediaLibrary, MediaRefused
from multisite.media.library import ORPHAN_AGE
from multisite.media.pruning import prune
from multisite.sites.availability import disable_site
from multisite.sites.media_store import MediaStore
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
    for site in (sites.garden, sites.sternwarte):
        with Session(sites.engine, info={"site": site}) as session:
            session.execute(sa.delete(Media))
            session.execute(sa.delete(Entry))
            session.commit()
    shutil.rmtree(sites.settings["multisite.media_url"], ignore_errors=True)


@pytest.fixture
def library(sites: ContentSites) -> MediaLibrary:
    found: MediaLibrary = sites.app.registry[MEDIA_LIBRARY]
    return found


def session_of(sites: ContentSites, site: Site) -> Session:
    return Session(sites.engine, info={"site": site}, expire_on_commit=False)


def add(
    sites: ContentSites, site: Site, content: bytes | None = None, name: str = "Leaf mould.JPEG", **options: Any
) -> Media:
    library: MediaLibrary = sites.app.registry[MEDIA_LIBRARY]
    with session_of(sites, site) as session:
        media = library.save_upload(session, site, io.BytesIO(content or photo()), name, **options)
        session.commit()
        assert isinstance(media, Media)
        return media


def photo(size: tuple[int, int] = (900, 600)) -> bytes:
    target = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").resize(size).save(target, "JPEG")
    return target.getvalue()


def stored(sites: ContentSites) -> list[str]:
    folder = Path(sites.settings["multisite.media_url"])
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# Pictures.


def test_a_picture_is_kept_in_several_sizes(sites: ContentSites) -> None:
    media = add(sites, sites.garden, photo((3000, 1500)), alt="Leaves")
    folder = f"/media/{media.digest}"
    assert media.image_attributes() == {
        "src": f"{folder}/leaf-mould.jpg",
        "width": "2560",
        "height": "1280",
        "srcset": f"{folder}/leaf-mould-320.webp 320w, {folder}/leaf-mould-640.webp 640w, "
        f"{folder}/leaf-mould-1280.webp 1280w, {folder}/leaf-mould.jpg 2560w",
        "sizes": "auto, 100vw",
    }
    browser = sites.browser(GARDEN)
    for name, width, kind in [("leaf-mould.jpg", 2560, "jpeg"), ("leaf-mould-640.webp", 640, "webp")]:
        response = browser.get(f"{folder}/{name}")
        assert response.content_type == f"image/{kind}"
        with Image.open(io.BytesIO(response.body)) as image:
            assert (image.format or "").lower() == kind
            assert image.size == (width, width // 2)
    assert media.bytes == sum(
        len(browser.get(f"{folder}/{name}").body)
        for name in ("leaf-mould.jpg", "leaf-mould-320.webp", "leaf-mould-640.webp", "leaf-mould-1280.webp")
    )
    assert (media.alt, media.decorative) == ("Leaves", False)


def test_a_picture_is_upright_without_its_exif(sites: ContentSites) -> None:
    image = Image.new("RGB", (80, 40), "red")
    image.paste("blue", (0, 0, 40, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # Turn by 90 degrees clockwise.
    exif.get_ifd(0x8825)[2] = (48.0, 8.0, 1.0)  # Where it was taken.
    target = io.BytesIO()
    image.save(target, "JPEG", exif=exif, quality=95)
    media = add(sites, sites.garden, target.getvalue())
    assert (media.width, media.height) == (40, 80)
    body = sites.browser(GARDEN).get(media.path).body
    assert b"Exif" not in body
    with Image.open(io.BytesIO(body)) as upright:
        assert upright.size == (40, 80)
        top, bottom = upright.convert("RGB").getpixel((20, 10)), upright.convert("RGB").getpixel((20, 70))
    assert isinstance(top, tuple)
    assert isinstance(bottom, tuple)
    assert top == pytest.approx((0, 0, 254), abs=20)
    assert bottom == pytest.approx((254, 0, 0), abs=20)


@pytest.mark.parametrize(
    ("mode", "kind", "stored_mode"),
    [("RGBA", "PNG", "RGBA"), ("LA", "PNG", "RGBA"), ("P", "GIF", "RGB"), ("1", "PNG", "RGB"), ("L", "JPEG", "L"),
     ("CMYK", "JPEG", "RGB"), ("I;16", "PNG", "L"), ("RGBA", "WEBP", "RGBA")],
)  # fmt: skip
def test_every_kind_of_pixels(sites: ContentSites, mode: str, kind: str, stored_mode: str) -> None:
    target = io.BytesIO()
    Image.new(mode, (400, 30), 0 if mode in ("P", "1", "L", "I;16") else None).save(target, kind)
    media = add(sites, sites.garden, target.getvalue(), "a")
    assert (media.width, media.height) == (400, 30)
    body = sites.browser(GARDEN).get(media.path).body
    with Image.open(io.BytesIO(body)) as image:
        assert image.mode == stored_mode


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_stays_one_and_becomes_webp(sites: ContentSites, kind: str) -> None:
    media = add(sites, sites.garden, animation(kind, 7, (20, 10), lossless=True, loop=0), "Dance")
    assert (media.format, media.name, media.widths) == ("WebP", "dance.webp", [])
    body = sites.browser(GARDEN).get(media.path).body
    with Image.open(io.BytesIO(body)) as image:
        assert getattr(image, "n_frames", 1) == 7
        assert image.info["loop"] == 0


def test_a_wide_color_profile_becomes_srgb(sites: ContentSites) -> None:
    from PIL import ImageCms

    target = io.BytesIO()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (9, 9), (200, 30, 60)).save(target, "PNG", icc_profile=profile)
    media = add(sites, sites.garden, target.getvalue(), "a.png")
    body = sites.browser(GARDEN).get(media.path).body
    with Image.open(io.BytesIO(body)) as image:
        assert "icc_profile" not in image.info
        assert image.getpixel((1, 1)) == pytest.approx((200, 30, 60), abs=2)


# Other files.

FILES = {
    "talk.mp4": (b"\0\0\0\x18ftypisom" + bytes(900_000), "video/mp4"),
    "talk.webm": (b"\x1aE\xdf\xa3\x01\0\0\0\0\0\0\x1fB\x86\x81\x01B\x82\x84webm" + bytes(99), "video/webm"),
    "talk.mp3": (b"ID3\x04" + bytes(99), "audio/mpeg"),
    "talk.m4a": (b"\0\0\0\x18ftypM4A " + bytes(99), "audio/mp4"),
    "talk.opus": (b"OggS\0" + bytes(99), "audio/ogg"),
    "talk.wav": (b"RIFF\0\0\0\0WAVE" + bytes(99), "audio/wav"),
    "talk.flac": (b"fLaC" + bytes(99), "audio/flac"),
    "talk.pdf": (b"%PDF-1.7\n" + b"<script>alert(1)</script>", "application/pdf"),
}


@pytest.mark.parametrize("name", FILES)
def test_other_files_are_served_as_they_are(sites: ContentSites, name: str) -> None:
    content, content_type = FILES[name]
    media = add(sites, sites.garden, content, name)
    assert media.image_attributes() == {"src": media.path}
    response = sites.browser(GARDEN).get(media.path)
    assert response.body == content
    assert response.headers["Content-Type"] == content_type
    assert ("attachment" in response.headers.get("Content-Disposition", "")) == name.endswith(".pdf")


# Serving.


def test_headers_ranges_and_revalidation(sites: ContentSites) -> None:
    content = b"\0\0\0\x18ftypisom" + bytes(range(256)) * 4000
    media = add(sites, sites.garden, content, "talk.mp4")
    browser = sites.browser(GARDEN)
    response = browser.get(media.path)
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "Set-Cookie" not in response.headers
    assert "Vary" not in response.headers
    part = browser.get(media.path, headers={"Range": "bytes=500000-700009"})
    assert part.status_int == 206
    assert part.body == content[500_000:700_010]
    assert part.headers["Content-Range"] == f"bytes 500000-700009/{len(content)}"
    assert browser.get(media.path, headers={"Range": "bytes=-10"}).body == content[-10:]
    assert browser.get(media.path, headers={"Range": "bytes=99999999-"}, status=416)
    assert browser.get(media.path, headers={"If-None-Match": response.headers["ETag"]}, status=304).body == b""
    head = browser.head(media.path)
    assert (head.body, head.headers["Content-Length"]) == (b"", str(len(content)))
    assert browser.post(media.path, status=405)


def test_each_size_has_its_own_etag(sites: ContentSites) -> None:
    media = add(sites, sites.garden, photo((900, 600)))
    browser = sites.browser(GARDEN)
    names = [media.path, *(f"/media/{media.digest}/{media.smaller_name(width)}" for width in media.widths)]
    assert len(names) == 3
    assert len({browser.get(name).headers["ETag"] for name in names}) == 3


@pytest.mark.parametrize(
    "name",
    ["other.jpg", "leaf-mould.JPG", "leaf-mould-321.webp", "leaf-mould.webp", "..", "leaf-mould.jpg/", "%00", ""],
)
def test_a_file_has_no_other_names(sites: ContentSites, name: str) -> None:
    media = add(sites, sites.garden)
    browser = sites.browser(GARDEN)
    assert browser.get(media.path, status=200)
    browser.get(f"/media/{media.digest}/{name}", status=404)
    browser.get(f"/media/{media.digest[:-1]}/{media.name}", status=404)
    browser.get(f"/media/{media.digest.upper()}/{media.name}", status=404)
    folder = f"{media.digest[:2]}/{media.digest}-{media.token}/{media.name}"
    browser.get(f"/media/{sites.garden.id}/{folder}", status=404)
    browser.get(f"/static/{folder}", status=404)


def test_a_missing_file_is_logged(sites: ContentSites, caplog: pytest.LogCaptureFixture) -> None:
    media = add(sites, sites.garden)
    shutil.rmtree(sites.settings["multisite.media_url"])
    with caplog.at_level(logging.ERROR, "multisite.media"):
        sites.browser(GARDEN).get(media.path, status=404)
    assert f"the file of {media.path} is missing in multisite.media_url" in caplog.text


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
    from multisite.sites.updates import add_site

    third = add_site(sites.engine, f"{uuid.uuid4().hex}.example", settings=settings, name="Third")
    media = add(sites, third)
    browser = sites.browser(third.host)
    browser.get(media.path, status=200)
    disable_site(sites.engine, third.host)
    time.sleep(float(sites.settings.get("multisite.refresh_seconds", 1)) + 0.1)
    browser.get(media.path, status=404)


def test_removing_a_site_removes_its_files(sites: ContentSites) -> None:
    from multisite.sites.updates import add_site

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
    from multisite.sites.updates import add_site

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
    assert run(ini, "remove-media", GARDEN, unused["path"]).stdout == "Removed 1 of the media of garden.example.\n"
    assert run(ini, "remove-media", GARDEN, used["digest"][:8], "--force").exit_code == 0
    assert stored(sites) == []
    assert run(ini, "prune-media").stdout == "Removed 0 uploads that no site has.\n"


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


# The store.


def test_a_store_in_memory() -> None:
    store = MediaStore(f"memory://{uuid.uuid4().hex}")
    store.write(7, "ab/abcd-00/a.jpg", io.BytesIO(b"content"))
    store.write(8, "ab/abcd-00/a.jpg", io.BytesIO(b"of another site"))
    file, size = store.open(7, "ab/abcd-00/a.jpg")
    with file:
        assert (file.read(), size) == (b"content", 7)
    assert store.site_ids() == [7, 8]
    assert list(store.folders(7)) == [["ab/abcd-00"]]
    assert datetime.now(UTC) - store.modified(7, "ab/abcd-00") < timedelta(minutes=1)
    store.remove_site(7)
    with pytest.raises(FileNotFoundError):
        store.open(7, "ab/abcd-00/a.jpg")
    assert store.site_ids() == [8]
    store.remove_folder(8, "ab/abcd-00")
    store.remove_folder(8, "ab/abcd-00")
    assert list(store.folders(8)) in ([], [[]])


def test_an_unknown_store_is_an_error_that_hides_the_password() -> None:
    with pytest.raises(MultisiteError, match=r"multisite.media_url = nosuch://... cannot be used") as caught:
        MediaStore("nosuch://user:hunter2@host/media")
    assert "hunter2" not in str(caught.value)


def test_a_store_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "media").write_text("a file")
    with pytest.raises(MultisiteError, match="a file cannot be written to multisite.media_url"):
        MediaStore(str(tmp_path / "media")).write(7, "ab/abcd-00/a.jpg", io.BytesIO(b"content"))


@pytest.mark.parametrize("folder", ["sites/media", "sites", "templates/static/media"])
def test_media_are_not_kept_among_sites_or_templates(tmp_path: Path, folder: str) -> None:
    settings = {
        "multisite.sites_dir": str(tmp_path / "sites"),
        "multisite.templates_dir": str(tmp_path / "templates"),
        "multisite.media_url": str(tmp_path / folder),
    }
    with pytest.raises(SettingError, match="a folder outside of"):
        parse_settings(settings)
