"""Open a file, and learn from the open descriptor where the file really lies.

Whoever may write into a folder can put a link in the place of a file between the check of a name and its opening
(CWE-367). So a file is opened first, the descriptor is asked where it leads, and that same descriptor is read.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

__all__ = ["RealFile", "open_real_file"]

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)  # Opening a named pipe waits for a writer.
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)

_REMOVED = " (deleted)"
"""What Linux writes behind the path of a file that was removed or replaced after it was opened: proc(5)."""


@dataclass(frozen=True, slots=True)
class RealFile:
    """An open regular file; as a context manager it is closed at the end.

    `path` is where it lies, without links, and `status` what `os.fstat` said when it was opened.
    """

    file: BinaryIO
    path: Path
    status: os.stat_result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()


def open_real_file(path: Path, *, follow_links: bool = True) -> RealFile:
    """Open the regular file `path` for reading, as bytes.

    Without `follow_links` a link in the place of the file itself is refused, where the system can do that (not on
    Windows: compare the `path` of what is returned).

    Raises:
        OSError: It is not there, may not be read, or is not a regular file (`IsADirectoryError` for a folder).
        ValueError: The path holds a NUL character.
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
    except BaseException:  # At the limit of recursion, where templates include each other without end.
        file.close()
        raise


def _real_path(descriptor: int, path: Path) -> Path:
    """Return where the open file lies; `path` is the name that it was opened by."""
    try:
        target = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115  As text: something may be added to it.
    except OSError:  # Another system than Linux, or one where /proc is not mounted.
        return _resolved(descriptor, path)
    return Path(target.removesuffix(_REMOVED))


def _resolved(descriptor: int, path: Path) -> Path:
    """Return what `path` leads to, if that is the open file.

    This is weaker than asking the kernel: a folder that is exchanged for a link and back several times within these
    lines can still pass for the one that was resolved.
    """
    real = Path(os.path.realpath(path, strict=True))
    if not os.path.samestat(os.fstat(descriptor), real.lstat()):
        raise FileNotFoundError(errno.ENOENT, "was replaced while it was opened", str(path))
    return real
