"""The store of templates at a URL.

`files/` has each file once, under the SHA-256 of its content, and it is never changed. Each folder has a `head.json`,
the list of its files, which is replaced in one step after all of them are there: whoever reads it gets a complete
version.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from multisite.core import program
from multisite.errors import MultisiteError
from multisite.sites.file_store import open_file_store
from multisite.sites.template_store.trees import Tree, TreeFile

__all__ = ["StoreUnavailable", "TemplateStore"]

MARKER = "multisite-templates.json"
"""A file that each store has, by which it differs from an empty folder whose volume is not mounted."""

CHUNK_BYTES = 1 << 20

KEEP_SECONDS = 86_400
"""For how long a file that no tree has is kept: a push adds its files first, and another machine may still copy it."""

_TEMPORARY = "new-"
"""How the names of files begin that become others when they are complete."""


class StoreUnavailable(MultisiteError):
    """The store of templates cannot be reached."""


class TemplateStore:
    """The store at `url`; a tree is named by the path of its folder in the store, such as `sites/shop.example`.

    Raises:
        MultisiteError: fsspec or the driver of the URL is not installed, or the driver rejects the URL.
    """

    def __init__(self, url: str) -> None:
        self._fs, self._root = open_file_store(url, "multisite.templates_store")

    def head(self, name: str) -> Tree | None:
        """Return the tree `name`; None if the store has none.

        Raises:
            StoreUnavailable: The store cannot be reached, or nothing was ever pushed to it.
            MultisiteError: The tree is damaged, or has a name that is not allowed.
        """
        with _reaching("read"):
            try:
                text: bytes = self._fs.cat_file(self._head(name))
            except FileNotFoundError:
                if not self._fs.exists(f"{self._root}/{MARKER}"):
                    raise StoreUnavailable(
                        "multisite.templates_store has no templates: where they are, run "
                        f"{program.command('push-templates')}; or mount its volume"
                    ) from None
                return None
        return Tree.from_json(text)

    def create(self) -> None:
        """Create the store unless it exists."""
        with _reaching("written"):
            if not self._fs.exists(f"{self._root}/{MARKER}"):
                self._put(f"{self._root}/{MARKER}", b'{"format": 1}\n')

    def write_head(self, name: str, tree: Tree) -> None:
        """Make `tree`, all of whose files are in the store, the tree `name`."""
        with _reaching("written"):
            self._put(self._head(name), tree.to_json())

    def remove_head(self, name: str) -> None:
        """Remove the tree `name`, if there is one. Its files stay, because other trees may have the same."""
        with _reaching("written"), suppress(FileNotFoundError):
            self._fs.rm_file(self._head(name))

    def add_file(self, path: Path, file: TreeFile, *, is_known: bool) -> None:
        """Add a local file, which must still have the content that `file` describes.

        Args:
            path: The file.
            file: Its description.
            is_known: Whether the tree had this content before. If it did not, and the store has it from another tree
                or an older version, it is written again when it is old, so that `prune` does not remove it meanwhile.

        Raises:
            MultisiteError: It was changed meanwhile, or the store cannot be reached.
        """
        target = self._file(file.sha256)
        with _reaching("written"):
            age = self._age_seconds(target)
            if age is not None and (is_known or age < KEEP_SECONDS / 2):
                return
            with self._replacing(target) as temporary, path.open("rb") as source:
                with self._fs.open(temporary, "wb") as copy:
                    digest, _size = _copy(source, copy, file.size_bytes)
                if digest != file.sha256:
                    raise MultisiteError(f"{path} was changed while it was read: run the same command again")

    def prune(self) -> int:
        """Remove the files that no tree has, and those that interrupted pushes left, if they are older than a day.

        Returns:
            The number of removed files.

        Raises:
            StoreUnavailable: The store cannot be reached, or nothing was ever pushed to it.
            MultisiteError: A tree is damaged, so that its files are not known. Nothing is removed.
        """
        removed = 0
        with _reaching("pruned"):
            names = [path.removeprefix(f"{self._root}/") for path in self._fs.find(self._root)]
            # Read after the names: what a push adds from now on is not among them, or is written again.
            kept = {self._file(file.sha256) for tree in self._trees(names) for file in tree.files.values()}
            for name in names:
                path = f"{self._root}/{name}"
                is_temporary = name.rpartition("/")[2].startswith(_TEMPORARY)
                if not is_temporary and (not name.startswith("files/") or path in kept):
                    continue
                age = self._age_seconds(path)
                if age is not None and age > KEEP_SECONDS:
                    with suppress(FileNotFoundError):
                        self._fs.rm_file(path)
                        removed += 1
        return removed

    def _trees(self, names: list[str]) -> Iterator[Tree]:
        if MARKER not in names:
            raise StoreUnavailable("multisite.templates_store has no templates, or its volume is not mounted")
        for name in names:
            tree = self.head(name.removesuffix("/head.json")) if name.endswith("/head.json") else None
            if tree is not None:
                yield tree

    def _age_seconds(self, path: str) -> float | None:
        """Return how long ago a file was written; infinity if the driver does not tell it, None if there is none."""
        try:
            when: datetime = self._fs.modified(path)
        except FileNotFoundError:
            return None
        except NotImplementedError:
            return math.inf if self._fs.exists(path) else None
        aware = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
        return (datetime.now(UTC) - aware).total_seconds()

    def fetch_file(self, file: TreeFile, path: Path) -> None:
        """Write the content of `file` to the new local file `path`.

        Raises:
            MultisiteError: The store cannot be reached, or has another content.
        """
        with _reaching("read"), self._fs.open(self._file(file.sha256), "rb") as source, path.open("xb") as copy:
            found = _copy(source, copy, file.size_bytes)
        if found != (file.sha256, file.size_bytes):
            raise MultisiteError(f"the store of templates has another content for the file {path.name}")
        os.utime(path, ns=(file.modified_ns, file.modified_ns))

    def _head(self, name: str) -> str:
        return f"{self._root}/{name}/head.json"

    def _file(self, sha256: str) -> str:
        return f"{self._root}/files/{sha256[:2]}/{sha256}"

    def _put(self, path: str, content: bytes) -> None:
        with self._replacing(path) as temporary:
            self._fs.pipe_file(temporary, content)

    @contextmanager
    def _replacing(self, path: str) -> Iterator[str]:
        """Yield the path of a temporary file, which then becomes `path` in one step."""
        folder = path.rpartition("/")[0]
        self._fs.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            yield temporary
            self._fs.mv(temporary, path)
        except BaseException:
            with suppress(Exception):
                self._fs.rm_file(temporary)
            raise


def _copy(source: BinaryIO, target: BinaryIO, size_bytes: int) -> tuple[str, int]:
    """Copy a file that has at most `size_bytes`, and return its SHA-256 and its size; more is not copied."""
    digest, size = hashlib.sha256(), 0
    while size <= size_bytes and (chunk := source.read(CHUNK_BYTES)):
        target.write(chunk)
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


@contextmanager
def _reaching(what: str) -> Iterator[None]:
    """Raise `StoreUnavailable` for whatever error a driver raises: each has exceptions of its own."""
    try:
        yield
    except MultisiteError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StoreUnavailable(f"multisite.templates_store cannot be {what}: {reason}") from error
