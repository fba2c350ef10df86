"""Find and read Markdown files; folders may also contain other files, broken links and unreadable ones."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from os.path import splitext
from pathlib import Path
from typing import BinaryIO

from multisite.content.errors import InvalidArticle

__all__ = ["MAX_FILE_BYTES", "find_files", "open_file", "printable", "read_text"]

_USUAL_BYTES = 16_384
MAX_FILE_BYTES = 2_000_000
"""Limit in bytes: a larger file is not an article, and would be held in memory several times."""

_SUFFIXES = frozenset({".md", ".markdown"})
_OTHERS = {
    ".adoc": "AsciiDoc",
    ".asciidoc": "AsciiDoc",
    ".ipynb": "a notebook",
    ".org": "Org-mode",
    ".rst": "reStructuredText",
    ".textile": "Textile",
}
"""Other formats that the same tools render."""


def find_files(
    paths: Iterable[str | Path],
    on_bad: Callable[[Path, str], None],
    on_skipped: Callable[[Path, str], None] = lambda _path, _reason: None,
) -> list[Path]:
    """Return the Markdown files in `paths` (files or folders), each once, in a stable order.

    Folders are walked recursively, without symbolic links to folders and names that start with a dot.
    `on_bad(path, reason)` is called for a path that does not exist and for an unreadable folder, and
    `on_skipped(path, reason)` for a text in another format than Markdown.
    """
    found: dict[str, Path] = {}
    for given in paths:
        path = Path(given)
        if path.is_dir():
            for real, file in _walk(path, on_bad, on_skipped):
                found.setdefault(real, file)
        elif not os.path.lexists(path):
            on_bad(path, "no such file or folder")
        elif path.suffix.lower() not in _SUFFIXES:
            on_bad(path, "its name does not end in .md or .markdown")
        else:
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _walk(
    folder: Path, on_bad: Callable[[Path, str], None], on_skipped: Callable[[Path, str], None]
) -> Iterator[tuple[str, Path]]:
    """Yield each file with its path without symbolic links."""

    def unreadable(error: OSError) -> None:
        on_bad(Path(error.filename), f"cannot be read: {error.strerror}")

    for parent, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        real = os.path.realpath(parent)
        for name in sorted(names):
            suffix = splitext(name)[1].lower()  # noqa: PTH122 (as below)
            if name.startswith("."):
                continue
            if suffix in _SUFFIXES:
                path = os.path.join(parent, name)  # noqa: PTH118 (a `Path` takes longer, for each of many files)
                is_link = os.path.islink(path)  # noqa: PTH114
                yield os.path.realpath(path) if is_link else f"{real}{os.sep}{name}", Path(path)
            elif suffix in _OTHERS:
                on_skipped(Path(parent, name), f"{_OTHERS[suffix]}, which is not supported")


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading. Raises `InvalidArticle` if it is something else, or cannot be read."""
    try:
        # Non-blocking, since opening a named pipe would wait for a writer.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise InvalidArticle(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InvalidArticle("not a file")
    return os.fdopen(handle, "rb")


def read_text(path: Path) -> str:
    """Return the text of the file. Raises `InvalidArticle` if it is not a readable text file, or too large."""
    with open_file(path) as file:
        try:
            # As many bytes as wanted are reserved before they are read, which takes longer than to read a small file.
            content = file.read(_USUAL_BYTES)
            if len(content) == _USUAL_BYTES:
                content += file.read(MAX_FILE_BYTES + 1 - _USUAL_BYTES)
        except OSError as error:
            raise InvalidArticle(f"cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise InvalidArticle(f"longer than {MAX_FILE_BYTES:,} bytes")
    if b"\0" in content:
        raise InvalidArticle("not a text file: it contains NUL bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidArticle(f"not UTF-8: byte 0x{content[error.start]:02x} in line {line}") from None


def printable(path: str | Path) -> str:
    """Return `path` as one printable line, even if it contains control characters or is not valid UTF-8."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
