"""Read an upload once, within limits, and check it before anything is stored.

Pictures are read again by `multisite.media.images`. Video, audio and PDF are stored unchanged, since only programs
that play them interpret them; they are never served as anything else.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from multisite.media.errors import MediaRefused
from multisite.media.formats import HEAD_BYTES, Format, check_name, format_of

__all__ = ["MAX_BYTES", "Files", "Upload", "files_of", "open_upload"]

MAX_BYTES = 200_000_000
"""The largest file. Larger videos belong to a service that serves them in several qualities."""

_IN_MEMORY_BYTES = 1_000_000
_CHUNK_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was read completely: `file` is at its beginning, `digest` the SHA-256 of its `size` bytes."""

    name: str
    file: IO[bytes]
    size: int
    digest: str
    format: Format


@dataclass(frozen=True, slots=True)
class Files:
    """The stored files of an upload: the `main` file, and the `smaller` versions of a picture by their width."""

    format: Format
    main: IO[bytes]
    size: int
    width: int | None = None
    height: int | None = None
    smaller: tuple[tuple[int, bytes], ...] = ()


@contextmanager
def open_upload(stream: IO[bytes], name: str) -> Iterator[Upload]:
    """Read a stream into a temporary file, which is removed at the end of the block.

    Args:
        stream: Is read to its end, or to just behind `MAX_BYTES`.
        name: The name of the file, as the browser or the folder has it.

    Yields:
        The upload.

    Raises:
        MediaRefused: The name, the size or the format is not accepted.
    """
    check_name(name)
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
        digest, size = hashlib.sha256(), 0
        while chunk := stream.read(_CHUNK_BYTES):
            size += len(chunk)
            if size > MAX_BYTES:
                raise MediaRefused("a file has at most {limit:,} bytes", limit=MAX_BYTES)
            digest.update(chunk)
            file.write(chunk)
        file.seek(0)
        upload_format = format_of(file.read(HEAD_BYTES), name)
        file.seek(0)
        yield Upload(name, file, size, digest.hexdigest(), upload_format)


def files_of(upload: Upload) -> Files:
    """Return the files to store of an upload; decodes a picture.

    Raises:
        MediaRefused: A picture is too large, broken or not what it claims to be.
    """
    if upload.format.kind != "image":
        return Files(upload.format, upload.file, upload.size)
    # Imported here, since only pictures need Pillow.
    from multisite.media.images import read_picture

    picture = read_picture(upload.file, upload.format)
    size = len(picture.content) + sum(map(len, picture.smaller.values()))
    smaller = tuple(picture.smaller.items())
    return Files(picture.format, io.BytesIO(picture.content), size, picture.width, picture.height, smaller)
