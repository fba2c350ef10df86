"""`python3 dev.py screenshots` takes the screenshots of the documentation from the demo sites."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

PICTURE = ROOT / "docs" / "screenshots" / "one-entry.png"
EDITOR = PICTURE.with_name("editor.png")
CONSOLE = PICTURE.with_name("console.png")


def size_of(picture: Path) -> tuple[int, int]:
    """Return the width and height of a PNG."""
    head = picture.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:])
    return width, height


@pytest.mark.parametrize(
    ("picture", "pages", "page"), [(PICTURE, 4, "templates.md"), (EDITOR, 3, "reference-application.md")]
)
def test_a_picture_shows_pages_side_by_side_and_is_small(picture: Path, pages: int, page: str) -> None:
    assert size_of(picture) == (pages * 450 + (pages - 1) * 16, 600)
    assert 20_000 < picture.stat().st_size < 400_000
    assert f"(screenshots/{picture.name})" in (ROOT / "docs" / page).read_text("utf-8")


def test_the_picture_of_the_console_shows_two_pages_and_is_small() -> None:
    assert size_of(CONSOLE) == (2 * 600 + 16, 380)
    assert 20_000 < CONSOLE.stat().st_size < 400_000
    assert f"(screenshots/{CONSOLE.name})" in (ROOT / "docs" / "console.md").read_text("utf-8")


@pytest.mark.soak
@pytest.mark.skipif(os.environ.get("MULTISITE_SOAK") != "1", reason="runs long: set MULTISITE_SOAK=1")
def test_the_command_takes_them_again(tmp_path: Path) -> None:
    picture = tmp_path / "new" / "one-entry.png"
    subprocess.run([sys.executable, "-W", "ignore", ROOT / "docs" / "screenshots.py", picture], check=True, cwd=ROOT)
    for new, kept in (
        (picture, PICTURE),
        (picture.with_name(EDITOR.name), EDITOR),
        (picture.with_name(CONSOLE.name), CONSOLE),
    ):
        assert size_of(new) == size_of(kept)
        assert abs(new.stat().st_size - kept.stat().st_size) < kept.stat().st_size / 2
