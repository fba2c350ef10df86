"""A tree: the files of one folder, each by its name and the SHA-256 of its content."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from multisite.core.portable_names import is_portable
from multisite.errors import MultisiteError, escape_for_message

__all__ = ["Tree", "TreeFile", "read_folder"]

FORMAT = 1
MAX_FILES = 100_000


@dataclass(frozen=True, slots=True)
class TreeFile:
    """The content of a file by its SHA-256, its size, and when it was modified, in nanoseconds since 1970.

    The time is copied to each machine, so that all of them send the same `Last-Modified`.
    """

    sha256: str
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of a folder by name (`static/logo.svg`). `generation` counts the versions that were pushed."""

    generation: int
    files: Mapping[str, TreeFile]

    def contents(self) -> dict[str, str]:
        """Return the SHA-256 of each file by name."""
        return {name: file.sha256 for name, file in self.files.items()}

    def to_json(self) -> bytes:
        """Return the tree as it is stored."""
        files = {name: asdict(file) for name, file in sorted(self.files.items())}
        return json.dumps({"format": FORMAT, "generation": self.generation, "files": files}).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Tree:
        """Return the tree in `text`, which may come from anybody who can write to the store.

        Raises:
            MultisiteError: It is no tree, or a name in it would lead out of the folder or is hidden.
        """
        try:
            data = json.loads(text)
            files = {name: _file(values) for name, values in data["files"].items()}
            generation = data["generation"]
            is_valid = data["format"] == FORMAT and type(generation) is int and len(files) <= MAX_FILES
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
            is_valid = False
        if not is_valid:
            raise MultisiteError("the store of templates has a folder whose list of files is damaged")
        for name in files:
            if not is_portable(name) or any(segment.startswith(".") for segment in name.split("/")):
                shown = escape_for_message(name)
                raise MultisiteError(f"the store of templates has a file with the name '{shown}', which is not allowed")
        return cls(generation, files)


def _file(values: dict[str, Any]) -> TreeFile:
    file = TreeFile(**values)
    digest = file.sha256
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise ValueError
    if type(file.size_bytes) is not int or type(file.modified_ns) is not int or file.size_bytes < 0:
        raise ValueError
    return file


def read_folder(folder: Path) -> dict[str, TreeFile]:
    """Return the files in `folder` by name, without hidden ones.

    Raises:
        MultisiteError: A file is a link, or has a name that not every system allows.
        OSError: A file cannot be read.
    """
    found = {}
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise MultisiteError(f"{path} is a link, and other machines may not have its target: copy the file there")
        if not is_portable(name):
            raise MultisiteError(f"'{escape_for_message(path)}' has a name that not every system allows: rename it")
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[name] = TreeFile(digest, status.st_size, status.st_mtime_ns)
    return found


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        # A link to a folder is listed as a folder, and not followed.
        yield from (Path(parent, name) for name in folders if Path(parent, name).is_symlink())
        yield from (Path(parent, name) for name in sorted(files) if not name.startswith("."))
