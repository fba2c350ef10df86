"""Pictures and other files: what is stored of them, how they are served, and where they are kept."""

from __future__ import annotations

import io
import logging
import shutil
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from content_sites import GARDEN, ContentSites, content_sites
from hostile_uploads import animation
from media_files import add, photo, remove_all
from PIL import Image

from multisite import MultisiteError, SettingError
from multisite.core.settings import parse_settings
from multisite.sites.media_store import MediaStore

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    folder = tmp_path_factory.mktemp("media")
    with content_sites(f"sqlite:///{folder}/test.db", folder) as made:
        yield made


@pytest.fixture(autouse=True)
def empty(sites: ContentSites) -> None:
    remove_all(sites)


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
    ["other.jpg", "leaf-mould.JPG", "leaf-mould-321.webp", "leaf-mould.webp", "..", "%00", ""],
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
