"""Pictures: read within limits, turned upright, and written again without metadata and in several sizes.

A picture is never stored as uploaded. Only the decoded pixels are kept, so that neither the place where it was taken
nor a script or an archive that was appended to it is published. The size in the header of a file is checked before
anything is decoded, and only the decoder of the format in its first bytes reads it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, Any

from multisite.media.errors import MediaRefused
from multisite.media.formats import Format, format_named

try:
    from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
except ModuleNotFoundError as error:
    if error.name != "PIL":
        raise
    raise ImportError("media need Pillow: pip install 'pyramid-multisite[media]'") from error

__all__ = ["Picture", "read_picture"]

MAX_IMAGE_BYTES = 30_000_000
"""The largest picture in bytes: twice that of a camera with 50 megapixels."""

MAX_JPEG_PIXELS = 51_000_000
"""The largest JPEG: the cameras of telephones have up to 50 megapixels. It is decoded at a reduced size, so that its
pixels take no more memory than those of other formats; a progressive one takes 6 bytes for each pixel besides."""

MAX_PIXELS = 25_000_000
"""The largest picture of other formats: 100 MB decoded."""

MAX_SIDE = 16_384
"""The longest side: the limit of WebP is 16,383, and a strip of one pixel's height is no picture."""

MAX_SCANS = 500
"""JPEG: each scan is a pass over all pixels, and may have a few bytes. A progressive picture has about ten."""

MAX_FRAMES = 500
"""Frames of an animation."""

MAX_ANIMATED_PIXELS = 100_000_000
"""Pixels of all frames of an animation: each of them is decoded and compressed."""

STORED_SIDE = 2560
"""The longest side of a stored picture in pixels: it fills a large screen."""

WIDTHS = (320, 640, 1280)
"""The widths of the smaller versions, in pixels."""

_QUALITY = {"JPEG": 85, "WEBP": 80}
_OPAQUE, _TRANSPARENT = "RGB", "RGBA"
_NO_METADATA: dict[str, Any] = {"exif": b"", "icc_profile": b"", "xmp": b""}


@dataclass(frozen=True, slots=True)
class Picture:
    """A stored picture: its `content`, and by width the `smaller` versions in WebP.

    `format` may differ from that of the upload: an animation becomes WebP.
    """

    format: Format
    width: int
    height: int
    content: bytes
    smaller: dict[int, bytes] = field(default_factory=dict)


def read_picture(file: IO[bytes], image_format: Format) -> Picture:
    """Return the picture in `file`, upright, in the colors of sRGB and without metadata.

    Raises:
        MediaRefused: It is too large, broken or not what it claims to be.
    """
    data = file.read(MAX_IMAGE_BYTES + 1)
    if len(data) > MAX_IMAGE_BYTES:
        raise MediaRefused("a picture has at most {limit:,} bytes", limit=MAX_IMAGE_BYTES)
    if image_format.name == "JPEG" and data.count(b"\xff\xda") > MAX_SCANS:
        raise MediaRefused("it has more than {limit} scans", limit=MAX_SCANS)
    with _decoding(image_format):
        image = Image.open(io.BytesIO(data), formats=[image_format.name])
        _check_size(image, image_format)
        if image_format.name != "JPEG" and getattr(image, "is_animated", False):
            return _read_animation(image, image_format)
        image.draft(_OPAQUE, (STORED_SIDE, STORED_SIDE))
        image.load()
        return _written(_upright(image), image_format)


@contextmanager
def _decoding(image_format: Format) -> Iterator[None]:
    try:
        yield
    except MediaRefused:
        raise
    except Image.DecompressionBombError as error:
        raise MediaRefused("it has far more than {limit:,} pixels", limit=MAX_JPEG_PIXELS) from error
    except UnidentifiedImageError as error:
        raise MediaRefused("it begins as {format}, but cannot be read as such", format=image_format.name) from error
    # Decoders raise anything for broken files, such as SyntaxError, struct.error and IndexError.
    except Exception as error:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise MediaRefused(
            "it cannot be read as {format} ({reason})", format=image_format.name, reason=reason
        ) from error


def _check_size(image: Image.Image, image_format: Format) -> None:
    limit = MAX_JPEG_PIXELS if image_format.name == "JPEG" else MAX_PIXELS
    width, height = image.size
    if width * height > limit:
        raise MediaRefused(
            "it has {width:,} × {height:,} pixels, and the limit is {limit:,}", width=width, height=height, limit=limit
        )
    if max(width, height) >= MAX_SIDE:
        raise MediaRefused(
            "it has {width:,} × {height:,} pixels, and a side may have {limit:,}",
            width=width,
            height=height,
            limit=MAX_SIDE - 1,
        )


def _read_animation(image: Any, image_format: Format) -> Picture:
    durations: list[int] = []
    loop = image.info.get("loop", 1)
    while True:
        _check_size(image, image_format)  # A frame of a GIF may be larger than the picture.
        width, height = image.size
        if len(durations) == MAX_FRAMES or (len(durations) + 1) * width * height > MAX_ANIMATED_PIXELS:
            raise MediaRefused(
                "an animation has at most {frames} frames and {pixels:,} pixels in all of them",
                frames=MAX_FRAMES,
                pixels=MAX_ANIMATED_PIXELS,
            )
        durations.append(round(image.info.get("duration") or 100))
        try:
            image.seek(len(durations))
        except EOFError:
            break
    image.seek(0)
    target = io.BytesIO()
    # WebP is compressed frame by frame, so that one of them is in memory, whatever their number.
    image.save(
        target, "WEBP", save_all=True, duration=durations, loop=loop, quality=_QUALITY["WEBP"], method=2, **_NO_METADATA
    )
    return Picture(format_named("WebP"), image.width, image.height, target.getvalue())


def _upright(image: Image.Image) -> Image.Image:
    """Return the picture with upright pixels, in sRGB or grey, and with an alpha channel only if it needs one."""
    profile = image.info.get("icc_profile")
    with suppress(Exception):  # A broken EXIF block may raise anything, and does not make the picture unusable.
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):  # Grey with 16 bits, which Pillow would clip.
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    has_alpha = image.has_transparency_data
    if profile and image.mode in ("RGB", "RGBA", "CMYK", "L"):
        image = _in_srgb(image, profile)
    if has_alpha:
        return image.convert(_TRANSPARENT)
    return image if image.mode == "L" else image.convert(_OPAQUE)


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert from the color profile of the picture, which is dropped; a broken profile is ignored."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _TRANSPARENT if image.mode == "RGBA" else _OPAQUE
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    return image if converted is None else converted


def _written(image: Image.Image, image_format: Format) -> Picture:
    image.thumbnail((STORED_SIDE, STORED_SIDE), Image.Resampling.LANCZOS)
    name = {"JPEG": "JPEG", "WebP": "WEBP"}.get(image_format.name, "PNG")  # A still GIF is smaller as PNG.
    content = _encoded(image, name)
    smaller = {}
    for width in WIDTHS:
        if width < image.width:
            height = max(1, round(image.height * width / image.width))
            version = _encoded(image.resize((width, height), Image.Resampling.LANCZOS), "WEBP")
            if len(version) < len(content):
                smaller[width] = version
    stored = image_format if image_format.name != "GIF" else format_named("PNG")
    return Picture(stored, image.width, image.height, content, smaller)


def _encoded(image: Image.Image, name: str) -> bytes:
    target = io.BytesIO()
    # The attribute `info` holds metadata of the source, and some encoders write parts of it, such as comments.
    image.info.clear()
    options = {"quality": _QUALITY[name], **_NO_METADATA} if name in _QUALITY else {}
    image.save(target, name, **options)
    return target.getvalue()
