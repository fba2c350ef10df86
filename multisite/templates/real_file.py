"""Open a file and get its real path from the open descriptor.

Anyone who may write to a folder can replace a file by a link between the check of its path and its opening (CWE-367).
So the file is opened first; its real path is then read from the descriptor, and the same descriptor is read.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

__all__ = ["FileVersion", "RealFile", "open_real_file", "reopen_real_file"]

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)  # Without it, opening a named pipe waits for a writer.
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)

_REMOVED = " (deleted)"
"""Linux appends this to the path of a file that was removed or replaced after it was opened: proc(5)."""


class FileVersion(NamedTuple):
    """A file by its real path, with what changes if its content does.

    The inode and its change time distinguish a replacement with the same size and modification time.
    """

    path: str
    size_bytes: int
    modified_ns: int
    changed_ns: int
    inode: int
    device: int


@dataclass(frozen=True, slots=True)
class RealFile:
    """An open regular file, to be used as a context manager.

    `path` is its real path, without links; `status` is the result of `os.fstat` when it was opened.
    """

    file: BinaryIO
    path: Path
    status: os.stat_result

    @property
    def version(self) -> FileVersion:
        """The version of the file when it was opened."""
        return _version(str(self.path), self.status)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()


def open_real_file(path: Path, *, follow_links: bool = True) -> RealFile:
    """Open the regular file `path` for reading, as bytes.

    Args:
        path: The file.
        follow_links: Whether `path` itself may be a link. False has no effect on Windows: there, compare the `path` of
            the result.

    Returns:
        The open file, its real path and its status.

    Raises:
        IsADirectoryError: The path is a folder.
        OSError: The file is missing, not readable, or not a regular file.
        ValueError: The path contains a NUL character.
    """
    descriptor = os.open(path, _FLAGS | (0 if follow_links else getattr(os, "O_NOFOLLOW", 0)))
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        real_path = _real_path(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    file = os.fdopen(descriptor, "rb")
    try:
        return RealFile(file, real_path, status)
    except BaseException:  # RecursionError, if templates include each other endlessly.
        file.close()
        raise


def reopen_real_file(version: FileVersion) -> int:
    """Open a file again that was open and checked before.

    With the same inode, size and times, it is the file that was checked then, even if folders and links that led to it
    have changed.

    Returns:
        Its descriptor.

    Raises:
        FileNotFoundError: Its path leads to another file by now, or it was changed.
        OSError: It cannot be opened.
    """
    descriptor = os.open(version.path, _FLAGS | getattr(os, "O_NOFOLLOW", 0))
    try:
        if _version(version.path, os.fstat(descriptor)) != version:
            raise FileNotFoundError(errno.ENOENT, "was replaced since it was opened", version.path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _version(path: str, status: os.stat_result) -> FileVersion:
    return FileVersion(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)


def _real_path(descriptor: int, path: Path) -> Path:
    """Return the real path of the open file, which was opened as `path`."""
    try:
        target = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115  As a string, because of _REMOVED.
    except OSError:  # Not Linux, or /proc is not mounted.
        return _resolved(descriptor, path)
    return Path(target.removesuffix(_REMOVED))


def _resolved(descriptor: int, path: Path) -> Path:
    """Return the real path of `path`, which must still lead to the open file.

    This is weaker than asking the kernel: a folder that is replaced by a link and restored several times during this
    call can still pass the check.

    Raises:
        FileNotFoundError: `path` leads to another file by now.
    """
    real = Path(os.path.realpath(path, strict=True))
    if not os.path.samestat(os.fstat(descriptor), real.lstat()):
        raise FileNotFoundError(errno.ENOENT, "was replaced while it was opened", str(path))
    return real
