"""Files that somebody might upload to do harm, and the memory that the project takes to handle them.

`REFUSED` has a function for each that returns its name, its content and a part of the message. This module is also run
as a script, which measures each upload in a process of its own, since the peak memory of a process never falls.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from PIL import Image

from multisite.media import MediaRefused
from multisite.media.uploads import files_of, open_upload

SCRIPT = b"<script>alert(document.domain)</script>"
PHP = b"<?php system($_GET['c']); ?>"

Upload = tuple[str, bytes, str]


def picture(kind: str = "JPEG", size: tuple[int, int] = (64, 48), color: str = "teal", **options: Any) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", size, color).save(target, kind, **options)
    return target.getvalue()


def noise(kind: str, size: tuple[int, int] = (200, 150), **options: Any) -> bytes:
    target = io.BytesIO()
    Image.effect_noise(size, 90).convert("RGB").save(target, kind, **options)
    return target.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes, pixels: bytes = b"\0" * 4) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rest = png_chunk(b"IDAT", zlib.compress(pixels)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + rest


def jpeg_of_size(width: int, height: int) -> bytes:
    small = bytearray(picture("JPEG"))
    start = small.index(b"\xff\xc0")
    small[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(small)


def animation(kind: str, count: int, size: tuple[int, int] = (4, 4), **options: Any) -> bytes:
    frames = [Image.new("RGB", size, "black" if number % 2 else "white") for number in range(count)]
    target = io.BytesIO()
    frames[0].save(target, kind, save_all=True, append_images=frames[1:], duration=20, **options)
    return target.getvalue()


def gif_with_huge_frame() -> bytes:
    """Return a small GIF whose second frame claims 3.6 gigapixels."""
    before, found, after = animation("GIF", 2).rpartition(struct.pack("<cHHHH", b",", 0, 0, 4, 4))
    assert found
    return before + struct.pack("<cHHHH", b",", 0, 0, 60_000, 60_000) + after


def gif_of_size(width: int, height: int) -> bytes:
    small = picture("GIF")
    return small[:6] + struct.pack("<HH", width, height) + small[10:]


def zipped(content: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("evil.html", content)
    return target.getvalue()


class Endless(io.RawIOBase):
    """A stream that does not end."""

    def __init__(self, start: bytes) -> None:
        self._start = start

    def read(self, size: int = -1) -> bytes:
        assert size > 0, "the whole stream was asked for"
        chunk, self._start = self._start.ljust(size, b"\0"), b""
        return chunk


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><path d="M0 0"/></svg>'
UNKNOWN = "its format is not known"

REFUSED: dict[str, Callable[[], Upload]] = {
    "nothing": lambda: ("a.jpg", b"", "it is empty"),
    "HTML as a picture": lambda: ("a.jpg", b"<!doctype html>" + SCRIPT, UNKNOWN),
    "HTML": lambda: ("a.html", SCRIPT, UNKNOWN),
    "PHP as a picture": lambda: ("a.php.jpg", PHP, UNKNOWN),
    "a program as a picture": lambda: ("a.png", b"MZ\x90\0" + b"\0" * 999, UNKNOWN),
    "an archive as a picture": lambda: ("a.png", zipped(SCRIPT), UNKNOWN),
    "SVG": lambda: ("a.svg", SVG, "SVG can contain scripts"),
    "SVG as PNG": lambda: ("a.png", SVG, "SVG can contain scripts"),
    "SVG after a comment": lambda: ("a.png", b"\xef\xbb\xbf  <!-- PNG -->" + SVG, "SVG can contain scripts"),
    "SVG with an entity bomb": lambda: ("a.svg", b"<?xml version='1.0'?><!DOCTYPE l [<!ENTITY a 'aa'>]>" + SVG, "SVG"),
    "compressed SVG": lambda: ("a.svgz", gzip.compress(SVG), "SVG can contain scripts"),
    "BMP as PNG": lambda: ("a.png", picture("BMP"), UNKNOWN),
    "TIFF as JPEG": lambda: ("a.jpg", picture("TIFF"), UNKNOWN),
    "PostScript as PNG": lambda: ("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", UNKNOWN),
    "a picture named as HTML": lambda: ("a.html", picture(), "its name ends in .html, but its content is JPEG"),
    "a picture named as a program": lambda: ("a.exe", picture("PNG"), "its name ends in .exe"),
    "a picture named as SVG": lambda: ("a.svg", picture("PNG"), "its name ends in .svg, but its content is PNG"),
    "a picture named as PDF": lambda: ("a.pdf", picture("PNG"), "its name ends in .pdf, but its content is PNG"),
    "PDF named as a picture": lambda: ("a.jpg", b"%PDF-1.7\n", "its name ends in .jpg, but its content is PDF"),
    "a path": lambda: ("../../../etc/cron.d/a.jpg", picture(), "its name contains a path"),
    "an absolute path": lambda: ("/etc/passwd", picture(), "its name contains a path"),
    "a path of Windows": lambda: ("C:\\inetpub\\a.png", picture("PNG"), "its name contains a path"),
    "a NUL in the name": lambda: ("a.php\0.jpg", picture(), "its name contains unprintable characters"),
    "a header in the name": lambda: ("a\r\nSet-Cookie: a=b.jpg", picture(), "its name contains unprintable"),
    "a reversed name": lambda: ("a\u202egpj.exe", picture(), "its name contains unprintable characters"),
    "no name": lambda: ("  ", picture(), "it has no name"),
    "two dots": lambda: ("..", picture(), "it has no name"),
    "a long name": lambda: (f"{'a' * 5000}.jpg", picture(), "its name has more than 200 characters"),
    "the beginning of a JPEG": lambda: ("a.jpg", b"\xff\xd8\xff", "it begins as JPEG, but cannot be read as such"),
    "half a JPEG": lambda: ("a.jpg", noise("JPEG")[:3000], "it cannot be read as JPEG (image file is truncated"),
    "half a PNG": lambda: ("a.png", noise("PNG")[:3000], "it cannot be read as PNG"),
    "half a GIF": lambda: ("a.gif", noise("GIF")[:3000], "it cannot be read as GIF"),
    "half a WebP": lambda: ("a.webp", noise("WEBP")[:900], "it cannot be read as WebP"),
    "PNG without pixels": lambda: ("a.png", png(40, 40), "it cannot be read as PNG"),
    "PNG with noise for pixels": lambda: ("a.png", png(40, 40, png_chunk(b"IDAT", noise("JPEG"))), "PNG"),
    "PNG of 2.5 gigapixels": lambda: ("a.png", png(50_000, 50_000), "it has far more than"),
    "PNG of 4 billion by 4 billion": lambda: ("a.png", png(2**31 - 1, 2**31 - 1), "it has far more than"),
    "PNG of zeros": lambda: ("a.png", png(5001, 5000, pixels=bytes(75_020_000)), "5,001 × 5,000 pixels"),
    "a strip": lambda: ("a.png", png(1, 20_000, pixels=bytes(80_000)), "a side may have 16,383"),
    "PNG with a text bomb": lambda: (
        "a.png",
        png(9, 9, png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(80_000_000)))),
        "it cannot be read as PNG",
    ),
    "PNG with a bomb as color profile": lambda: (
        "a.png",
        png(9, 9, png_chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(80_000_000)))),
        "it cannot be read as PNG",
    ),
    "JPEG of 4 gigapixels": lambda: ("a.jpg", jpeg_of_size(65_000, 65_000), "it has far more than"),
    "JPEG of 52 megapixels": lambda: ("a.jpg", jpeg_of_size(8000, 6500), "8,000 × 6,500 pixels"),
    "JPEG with a thousand scans": lambda: ("a.jpg", picture() + b"\xff\xda" * 1000, "it has more than 500 scans"),
    "WebP of 268 megapixels": lambda: (
        "a.webp",
        b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4 + b"\xfe\x3f\0" * 2,
        "it ",  # By the release of Pillow, its decoder refuses it first.
    ),
    "GIF of 4 gigapixels": lambda: ("a.gif", gif_of_size(65_535, 65_535), "it has far more than"),
    "GIF with a huge second frame": lambda: ("a.gif", gif_with_huge_frame(), "it has far more than"),
    "GIF of 501 frames": lambda: ("a.gif", animation("GIF", 501), "an animation has at most 500 frames"),
    "PNG of 501 frames": lambda: ("a.png", animation("PNG", 501), "an animation has at most 500 frames"),
    "WebP of 501 frames": lambda: (
        "a.webp",
        animation("WEBP", 501, lossless=True),
        "an animation has at most 500 frames",
    ),
    "a picture of 31 MB": lambda: ("a.jpg", picture() + bytes(31_000_000), "a picture has at most 30,000,000 bytes"),
}


def with_exif(tag: int, value: Any, kind: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[tag] = value
    return picture(kind, exif=exif)


def exif_bomb() -> bytes:
    """Return a JPEG whose EXIF block claims four billion values, at an offset in itself, in a directory that loops."""
    entry = struct.pack("<HHII", 0x0112, 3, 0xFFFFFFFF, 8)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + struct.pack("<H", 4000) + entry * 4000 + struct.pack("<I", 8)
    small = picture()
    return small[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + small[2:]


CLEANED: dict[str, Callable[[], tuple[str, bytes]]] = {
    "a page behind JPEG": lambda: ("a.jpg", picture() + SCRIPT),
    "an archive behind JPEG": lambda: ("a.jpg", picture() + zipped(SCRIPT * 50)),
    "PHP in a comment of JPEG": lambda: ("a.jpg", picture(comment=PHP)),
    "a page in EXIF": lambda: ("a.jpg", with_exif(0x010E, SCRIPT.decode())),
    "a page in XMP": lambda: ("a.jpg", picture(xmp=SCRIPT)),
    "a page as color profile": lambda: ("a.jpg", picture(icc_profile=SCRIPT * 4)),
    "a page in a text of PNG": lambda: ("a.png", png(9, 9, png_chunk(b"tEXt", b"k\0" + SCRIPT), pixels=bytes(9 * 28))),
    "a page behind PNG": lambda: ("a.png", picture("PNG") + SCRIPT),
    "a page in a comment of GIF": lambda: ("a.gif", picture("GIF", comment=SCRIPT)),
    "a page behind GIF": lambda: ("a.gif", picture("GIF") + SCRIPT),
    "a page behind WebP": lambda: ("a.webp", picture("WEBP") + SCRIPT),
    "a page in EXIF of WebP": lambda: ("a.webp", with_exif(0x010E, SCRIPT.decode(), "WEBP")),
    "an animation with a page": lambda: ("a.gif", animation("GIF", 3) + SCRIPT),
    "a bomb in EXIF": lambda: ("a.jpg", exif_bomb()),
}
"""Pictures with something else in them, which are accepted and lose it."""

LARGEST: dict[str, Callable[[], tuple[str, bytes]]] = {
    "the largest PNG": lambda: ("a.png", picture("PNG", (5000, 5000))),
    "the largest JPEG": lambda: ("a.jpg", picture("JPEG", (8200, 6200), progressive=True)),
    "the largest GIF": lambda: ("a.gif", animation("GIF", 100, (1000, 1000))),
}
"""The largest pictures that are accepted."""


def outcome(name: str, stream: IO[bytes]) -> str:
    """Return the message of the refusal, or an empty string."""
    try:
        with open_upload(stream, name) as upload:
            files_of(upload)
    except MediaRefused as error:
        return str(error)
    return ""


def in_child(call: Callable[[], object]) -> None:
    """Call a function in a child process, whose memory is its own."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            call()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def peak_megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def measure(make: Callable[[], Any], folder: Path) -> tuple[str, int]:
    """Return the outcome of an upload, and by how many megabytes it raises the peak memory of a process."""
    file, result = folder / "upload", folder / "result"

    def write() -> None:
        name, content, *_ = make()
        with file.open("wb") as target:
            target.write(json.dumps(name).encode() + b"\n")
            target.write(content)

    def read() -> None:
        before = peak_megabytes()
        with file.open("rb") as stream:
            message = outcome(json.loads(stream.readline()), stream)
        result.write_text(json.dumps([message, peak_megabytes() - before]))

    in_child(write)
    in_child(read)
    message, megabytes = json.loads(result.read_text())
    return message, megabytes


def main(*labels: str) -> None:
    """Print for each of these uploads, or for all, the outcome and its peak memory in megabytes."""
    outcome("warm.jpg", io.BytesIO(picture()))
    every: dict[str, Callable[[], Any]] = {**REFUSED, **CLEANED, **LARGEST}
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({label: measure(every[label], Path(folder)) for label in labels or every}))


if __name__ == "__main__":
    main(*sys.argv[1:])
