"""Read an untrusted archive.

Opening it checks the zip file as a whole: the names, kinds, sizes and places of its members, and that the manifest
lists exactly these. The content of a member is hashed while it is read. Nothing is extracted to a name that the archive
chooses before that name has been checked.
"""

from __future__ import annotations

import hashlib
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from multisite.core.portable_names import is_portable
from multisite.errors import MultisiteError, escape_for_message
from multisite.sites.archive.manifest import FOLDERS, MANIFEST, SITE, Manifest

__all__ = ["FREE_RATIO_BYTES", "MAX_RATIO", "ArchiveReader", "check_name", "opening"]

MAX_MEMBERS = 200_000
MAX_MEMBER_BYTES = 16 << 30
MAX_TOTAL_BYTES = 64 << 30
MAX_MANIFEST_BYTES = 64 << 20
MAX_LINE_BYTES = 256 << 20
MAX_RATIO = 200
"""How many times larger than in the archive a member may be."""

FREE_RATIO_BYTES = 10 << 20
"""The ratio of members up to this size is not limited."""


def check_name(name: str) -> None:
    """Check that `name` is the name of a member: a relative path below one of the folders of an archive.

    Raises:
        MultisiteError: It is not.
    """
    if name in (MANIFEST, SITE):
        return
    segments = name.split("/")
    fits = len(segments) > 1 and segments[0] in FOLDERS and is_portable(name)
    if not fits:
        raise MultisiteError(
            f"the archive has a member with the name '{escape_for_message(name)}', which is not allowed"
        )


class ArchiveReader:
    """The checked members of an archive, and its manifest."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive
        self._infos = _checked_members(archive, path.stat().st_size)
        with archive.open(self._infos[MANIFEST]) as file:
            self.manifest = Manifest.from_json(file.read())
        self._compare_with_manifest()

    def _compare_with_manifest(self) -> None:
        listed = self.manifest.members
        if different := sorted(listed.keys() ^ (self._infos.keys() - {MANIFEST})):
            raise _fault(f"its manifest and its members differ in '{escape_for_message(different[0])}'")
        for name, member in listed.items():
            if member.bytes != self._infos[name].file_size:
                raise _fault(f"the size of '{escape_for_message(name)}' is not that in its manifest")
        if SITE not in listed:
            raise _fault(f"it has no {SITE}")
        members = [entry.member for entry in self.manifest.tables.values()]
        if len(set(members)) != len(members) or set(members) != set(self.names("rows")):
            raise _fault("the rows of its tables are not those in its manifest")

    def names(self, folder: str) -> list[str]:
        """Return the names of the members below a folder, sorted."""
        return sorted(name for name in self._infos if name.startswith(f"{folder}/"))

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Yield a member, and compare its checksum after the block. Raises `MultisiteError` if it is damaged."""
        digest = hashlib.sha256()
        try:
            with self._archive.open(self._infos[name]) as file:
                yield _Hashing(file, digest)  # type: ignore[misc]  # It has the methods that are used.
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise _fault(f"'{escape_for_message(name)}' cannot be read ({error})") from error
        if digest.hexdigest() != self.manifest.members[name].sha256:
            raise _fault(f"the checksum of '{escape_for_message(name)}' is not that in its manifest")

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield the lines of a member; raises as `open` does, and for a line that is too long."""
        with self.open(name) as file:
            while line := file.readline(MAX_LINE_BYTES):
                if not line.endswith(b"\n"):
                    raise _fault(f"'{escape_for_message(name)}' has a line that is too long or not complete")
                yield line

    def read(self, name: str) -> bytes:
        """Return the content of a small member."""
        if self._infos[name].file_size > MAX_MANIFEST_BYTES:
            raise _fault(f"'{escape_for_message(name)}' is too large")
        with self.open(name) as file:
            return file.read()


class _Hashing:
    """A file whose content is hashed as it is read."""

    def __init__(self, file: IO[bytes], digest: hashlib._Hash) -> None:
        self._file = file
        self._digest = digest

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        return data

    def readline(self, limit: int = -1) -> bytes:
        line = self._file.readline(limit)
        self._digest.update(line)
        return line


@contextmanager
def opening(path: Path) -> Iterator[ArchiveReader]:
    """Yield the archive in the file `path`. Raises `MultisiteError` if it is not an archive of a site."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield ArchiveReader(path, archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise MultisiteError(f"{path} is not a zip file, or is damaged or cut off ({error})") from error
    except OSError as error:
        if error.filename is None or str(error.filename) == str(path):
            raise MultisiteError(f"the archive {path} cannot be read: {error.strerror or error}") from error
        raise


def _fault(reason: str) -> MultisiteError:
    return MultisiteError(f"the archive is damaged or was changed: {reason}")


def _checked_members(archive: zipfile.ZipFile, archive_bytes: int) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise _fault(f"it has more than {MAX_MEMBERS} members")
    found: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        check_name(info.filename)
        if info.orig_filename != info.filename:
            raise _fault("a member has two names")
        if found.setdefault(info.filename, info) is not info:
            raise _fault(f"it has two members with the name '{escape_for_message(info.filename)}'")
        _check_member(info)
    if MANIFEST not in found:
        raise MultisiteError(f"the archive has no {MANIFEST}: it is not an archive of a site")
    if found[MANIFEST].file_size > MAX_MANIFEST_BYTES:
        raise _fault(f"{MANIFEST} is too large")
    if sum(info.file_size for info in infos) > MAX_TOTAL_BYTES:
        raise _fault(f"its members are larger than {MAX_TOTAL_BYTES >> 30} GiB together")
    _check_folders(found)
    _check_places(infos, archive_bytes)
    return found


def _check_member(info: zipfile.ZipInfo) -> None:
    name = escape_for_message(info.filename)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise _fault(f"'{name}' is a link or a device")
    if info.flag_bits & 0x1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _fault(f"'{name}' is encrypted, or compressed in a way that is not supported")
    if info.file_size > MAX_MEMBER_BYTES:
        raise _fault(f"'{name}' is larger than {MAX_MEMBER_BYTES >> 30} GiB")
    if info.file_size > FREE_RATIO_BYTES and info.file_size > MAX_RATIO * info.compress_size:
        raise _fault(f"'{name}' is more than {MAX_RATIO} times larger than in the archive")


def _check_folders(found: dict[str, zipfile.ZipInfo]) -> None:
    """Check that no member is a file and a folder at the same time."""
    for name in found:
        parent = name
        while parent := parent.rpartition("/")[0]:
            if parent in found:
                raise _fault(f"'{escape_for_message(parent)}' is a file and a folder")


def _check_places(infos: list[zipfile.ZipInfo], archive_bytes: int) -> None:
    """Check that members do not overlap: many of them could share one that is compressed well."""
    end = 0
    for info in sorted(infos, key=lambda each: each.header_offset):
        if info.header_offset < end:
            raise _fault("two members overlap")
        end = info.header_offset + info.compress_size
    if end > archive_bytes:
        raise _fault("a member is longer than the file")
