"""Write an archive: members one after the other, each hashed as it is written, and the manifest at the end."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from multisite.errors import MultisiteError
from multisite.sites.archive.manifest import MANIFEST, Manifest, Member
from multisite.sites.archive.reader import FREE_RATIO_BYTES, MAX_RATIO, check_name

__all__ = ["ArchiveWriter", "writing"]

CHUNK_BYTES = 1 << 20
MEMORY_BYTES = 1 << 20
"""Larger members are first written to a temporary file."""

MAX_ATTEMPTS = 5
"""How often a file is read if it changes meanwhile."""

ABANDONED_SECONDS = 86_400
"""After this time, an incomplete archive is one that a killed process has left."""


class ArchiveWriter:
    """Writes the members of an archive, and adds each to the manifest."""

    def __init__(self, archive: zipfile.ZipFile, manifest: Manifest) -> None:
        self._archive = archive
        self.manifest = manifest

    @contextmanager
    def member(self, name: str) -> Iterator[IO[bytes]]:
        """Yield a file whose content becomes the member `name`."""
        with tempfile.SpooledTemporaryFile(MEMORY_BYTES) as spool:
            yield spool
            self._write(name, spool)

    def add(self, name: str, content: bytes) -> None:
        """Write `content` as the member `name`."""
        with self.member(name) as file:
            file.write(content)

    def add_file(self, name: str, path: Path) -> None:
        """Write the file `path` as the member `name`, in one state even if it is changed meanwhile.

        Raises:
            MultisiteError: It is changed again and again.
        """
        for _ in range(MAX_ATTEMPTS):
            with path.open("rb") as file, tempfile.SpooledTemporaryFile(MEMORY_BYTES) as spool:
                before = _state(os.fstat(file.fileno()))
                while chunk := file.read(CHUNK_BYTES):
                    spool.write(chunk)
                if before == _state(os.fstat(file.fileno())) == _state(path.stat()):
                    self._write(name, spool)
                    return
        raise MultisiteError(f"the file {path} changed each time it was read: try again later")

    def _write(self, name: str, content: IO[bytes]) -> None:
        check_name(name)
        size = content.tell()
        info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        info.compress_type = zipfile.ZIP_STORED if _compresses_too_well(content, size) else zipfile.ZIP_DEFLATED
        info.external_attr = 0o644 << 16
        digest = hashlib.sha256()
        content.seek(0)
        with self._archive.open(info, "w", force_zip64=True) as member:
            while chunk := content.read(CHUNK_BYTES):
                digest.update(chunk)
                member.write(chunk)
        if name != MANIFEST:
            self.manifest.members[name] = Member(size, digest.hexdigest())

    def finish(self) -> None:
        """Write the manifest."""
        self.add(MANIFEST, self.manifest.to_json().encode())


def _compresses_too_well(content: IO[bytes], size: int) -> bool:
    """Return whether a reader would take the member for a bomb, so that it has to be stored uncompressed."""
    if size <= FREE_RATIO_BYTES:
        return False
    compressor, compressed = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -15), 0
    content.seek(0)
    while chunk := content.read(CHUNK_BYTES):
        compressed += len(compressor.compress(chunk))
    return size > MAX_RATIO / 2 * (compressed + len(compressor.flush()))


def _state(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


@contextmanager
def writing(path: Path, manifest: Manifest) -> Iterator[ArchiveWriter]:
    """Yield a writer of the archive `path`, which gets its name only when it is complete.

    Only its owner can read it, since it holds everything that the site has.

    Yields:
        The writer.

    Raises:
        MultisiteError: It cannot be written.
    """
    begins = f".{path.name[:200]}."
    partial = path.with_name(f"{begins}{os.getpid()}.part")
    try:
        _remove_abandoned(path.parent, begins)
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w+b") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                writer = ArchiveWriter(archive, manifest)
                yield writer
                writer.finish()
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise MultisiteError(f"the archive {path} cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _remove_abandoned(folder: Path, begins: str) -> None:
    """Remove the incomplete archives of killed processes. One of the last day may belong to a running process."""
    for partial in folder.glob(f"{glob.escape(begins)}*.part"):
        with suppress(FileNotFoundError):
            if partial.stat().st_mtime < time.time() - ABANDONED_SECONDS:
                partial.unlink()


def member_name(table: str, used: set[str]) -> str:
    """Return a name for the member with the rows of `table` that no other table has."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", table)[:100].strip(".") or "table"
    name, number = f"rows/{plain}.jsonl", 1
    while name.lower() in used:
        number += 1
        name = f"rows/{plain}-{number}.jsonl"
    used.add(name.lower())
    return name
