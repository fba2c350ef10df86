"""Hostile uploads are refused in one line with nothing left behind, or cleaned, in bounded memory."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from content_sites import ContentSites, content_sites
from hostile_uploads import CLEANED, LARGEST, PHP, REFUSED, SCRIPT, Endless, animation, picture
from paths import PYTHONPATH, SUPPORT
from PIL import Image
from sqlalchemy.orm import Session

from multisite.content.models import Media
from multisite.media import MEDIA_LIBRARY, MediaLibrary, MediaRefused, images, uploads

SOAK = bool(os.environ.get("MULTISITE_SOAK"))

REFUSED_MEGABYTES = 80
LARGEST_MEGABYTES = 400
"""How much memory one upload may take beside that of the process."""

IN_THE_ORDINARY_RUN = ("a picture of 31 MB", "PNG of zeros", "PNG with a text bomb", "GIF with a huge second frame")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    folder = tmp_path_factory.mktemp("hostile")
    with content_sites(f"sqlite:///{folder}/test.db", folder) as sites:
        yield sites


@pytest.fixture
def library(made: ContentSites) -> MediaLibrary:
    found: MediaLibrary = made.app.registry[MEDIA_LIBRARY]
    return found


@pytest.fixture
def session(made: ContentSites) -> Iterator[Session]:
    with Session(made.engine, info={"site": made.garden}) as session:
        yield session


def left_behind(made: ContentSites, session: Session) -> tuple[list[Path], int]:
    """Return the files in the store, and the number of rows."""
    files = [path for path in Path(made.settings["multisite.media_url"]).rglob("*") if path.is_file()]
    return files, session.scalar(sa.select(sa.func.count()).select_from(Media)) or 0


@pytest.mark.parametrize("label", REFUSED)
def test_a_hostile_upload_is_refused(
    label: str, made: ContentSites, session: Session, library: MediaLibrary, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    name, content, message = REFUSED[label]()
    with pytest.raises(MediaRefused) as caught:
        library.save_upload(session, made.garden, io.BytesIO(content), name)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200
    session.commit()
    assert left_behind(made, session) == ([], 0)
    assert list(tmp_path.iterdir()) == []


def test_a_stream_without_an_end_is_refused(
    made: ContentSites, session: Session, library: MediaLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_BYTES", 3_000_000)
    with pytest.raises(MediaRefused, match=r"a file has at most 3,000,000 bytes"):
        library.save_upload(session, made.garden, Endless(b"\xff\xd8\xff"), "a.jpg")
    assert left_behind(made, session) == ([], 0)


def test_an_animation_of_few_large_frames_is_refused(
    made: ContentSites, session: Session, library: MediaLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_ANIMATED_PIXELS", 1_000_000)
    with pytest.raises(MediaRefused, match=r"1,000,000 pixels in all of them"):
        library.save_upload(session, made.garden, io.BytesIO(animation("GIF", 26, (200, 200))), "a.gif")
    assert library.save_upload(session, made.garden, io.BytesIO(animation("GIF", 25, (200, 200))), "a.gif").width == 200
    session.rollback()
    assert left_behind(made, session) == ([], 0)


@pytest.mark.filterwarnings("ignore:Tag data larger than file:UserWarning")
@pytest.mark.filterwarnings("ignore:Truncated File Read:UserWarning")
@pytest.mark.parametrize("label", CLEANED)
def test_what_else_is_in_a_picture_is_removed(
    label: str, made: ContentSites, session: Session, library: MediaLibrary
) -> None:
    name, content = CLEANED[label]()
    assert any(each in content for each in (SCRIPT, PHP)) or "bomb" in label or "archive" in label
    media = library.save_upload(session, made.garden, io.BytesIO(content), name)
    files, _rows = left_behind(made, session)
    assert files
    for file in files:
        stored = file.read_bytes()
        assert not [each for each in (SCRIPT, PHP, b"alert", b"PK\x03\x04", b"evil", b"Exif") if each in stored]
        with Image.open(io.BytesIO(stored)) as image:
            assert not {"exif", "icc_profile", "xmp", "comment", "photoshop"} & set(image.info)
            assert image.width == media.width
    session.rollback()
    assert left_behind(made, session) == ([], 0)


def test_the_control_keeps_what_the_others_lose(tmp_path: Path) -> None:
    """Negative control: a picture that is only copied still has the script that the test above looks for."""
    name, content = CLEANED["a page in EXIF"]()
    (tmp_path / name).write_bytes(content)
    assert SCRIPT in (tmp_path / name).read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        assert "exif" in image.info


def measured(*labels: str) -> dict[str, tuple[str, int]]:
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "hostile_uploads.py"), *labels],
        env={**os.environ, "PYTHONPATH": PYTHONPATH}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, tuple[str, int]] = json.loads(done.stdout)
    return found


def test_memory_is_bounded() -> None:
    labels = tuple(REFUSED) if SOAK else IN_THE_ORDINARY_RUN
    for label, (message, megabytes) in measured(*labels).items():
        assert message, label
        assert megabytes < REFUSED_MEGABYTES, label


@pytest.mark.soak
@pytest.mark.parametrize("label", LARGEST)
def test_memory_is_bounded_for_the_largest_pictures(label: str) -> None:
    ((message, megabytes),) = measured(label).values()
    assert message == ""
    assert megabytes < LARGEST_MEGABYTES


def test_the_measurement_sees_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: a picture that is decoded shows in the measurement."""
    code = (
        "import hostile_uploads as h; h.CLEANED['large'] = lambda: ('a.png', h.picture('PNG', (3200, 3200))); "
        "h.main('large')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": PYTHONPATH}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    ((message, megabytes),) = json.loads(done.stdout).values()
    assert (message, megabytes > REFUSED_MEGABYTES) == ("", True)


def test_a_name_of_another_image_format_is_accepted(
    made: ContentSites, session: Session, library: MediaLibrary
) -> None:
    media = library.save_upload(session, made.garden, io.BytesIO(picture("PNG")), "Screenshot 10.30.12.JPG")
    assert (media.format, media.name) == ("PNG", "screenshot-10-30-12.png")
