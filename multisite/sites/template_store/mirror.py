"""The local folders that are copies of trees in the store, and the pushes that change the store.

A new version is copied to a folder beside the old one, checked, and then exchanged with it in one step of the kernel:
no process of the machine sees a part of it. Several processes may share the folders.
"""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from multisite.core import program
from multisite.core.portable_names import is_portable
from multisite.core.settings import Settings
from multisite.errors import MultisiteError, escape_for_message
from multisite.sites.template_store.store import TemplateStore
from multisite.sites.template_store.trees import Tree, TreeFile, read_folder

__all__ = ["SHARED", "TemplateMirror", "site_tree"]

log = logging.getLogger(__name__)

SHARED = "shared"
"""The tree of the shared templates, with the themes."""

NOTES = ".store"
"""The folder in `multisite.sites_dir` with the tree of each local folder, as it was last copied or pushed."""

REPLACED = ".replaced"
"""The folder for local folders with changes that were not pushed, when the store had a newer version."""

_LOCKS = 64


def site_tree(folder: str) -> str:
    """Return the tree of the site with this folder.

    Raises:
        MultisiteError: It is not the name of a folder.
    """
    if "/" in folder or folder.startswith(".") or not is_portable(folder):
        raise MultisiteError(f"'{escape_for_message(folder)}' cannot be the name of a site's folder in the store")
    return f"sites/{folder}"


class TemplateMirror:
    """Keeps the folders of this machine equal to the trees of the store.

    Args:
        settings: Where the folders are, and the URL of the store.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.templates_store is None:
            raise MultisiteError("set multisite.templates_store to the URL of a store of templates")
        self.store = TemplateStore(settings.templates_store)
        self._sites_dir = settings.sites_dir.absolute()
        self._templates_dir = settings.templates_dir.absolute()
        self._notes = self._sites_dir / NOTES

    def folder_of(self, name: str) -> Path:
        """Return the local folder of the tree `name`."""
        return self._templates_dir if name == SHARED else self._sites_dir / name.removeprefix("sites/")

    def is_known(self, name: str) -> bool:
        """Return whether this machine has ever read from the store that it has the tree `name`, or that it has none."""
        return self._note(name).is_file()

    def claim(self, name: str, site_id: int) -> None:
        """Note that the local folder of the tree `name` is a copy for the site `site_id`."""
        owner = self._owner(name)
        if not self.is_claimed(name, site_id):
            owner.parent.mkdir(parents=True, exist_ok=True)
            owner.write_text(str(site_id), "ascii")

    def is_claimed(self, name: str, site_id: int) -> bool:
        """Return whether the local folder is a copy for the site `site_id`, and not of a removed one of that name."""
        try:
            return self.is_known(name) and self._owner(name).read_text("ascii") == str(site_id)
        except FileNotFoundError:
            return False

    def is_copy(self, name: str) -> bool:
        """Return whether the local folder is a copy of the tree `name`."""
        return self._read_note(name) is not None

    def refresh(self, name: str) -> bool:
        """Copy the tree `name` from the store if it has changed.

        Returns:
            Whether the local folder was changed.

        Raises:
            StoreUnavailable: The store cannot be reached. The local folder is as before.
            MultisiteError: The store has a damaged tree, or the local folder cannot be written.
        """
        with self._writing(name):
            # Read while nobody else copies: otherwise an older version could replace a newer one.
            head = self.store.head(name)
            if self._is_current(name, head):
                return False
            folder = self.folder_of(name)
            before = self._read_note(name)
            if head is not None:
                changed = self._copy(head, before, folder)
            else:
                # The site was removed. A folder that never was in the store is not touched.
                changed = before is not None and folder.is_dir()
                if changed:
                    self._discard(folder, folder, before)
            self._write_note(name, head)
            return changed

    def push(self, name: str, *, force: bool = False, announce: Callable[[], object] = lambda: None) -> bool:
        """Make the local folder the tree `name` of the store.

        Args:
            name: The tree.
            force: Also replace a version that this machine has not seen.
            announce: Called when the store has the new version, to tell running servers. If the process is killed
                before, the next push calls it.

        Returns:
            Whether the store or what this machine knew of it has changed.

        Raises:
            StoreUnavailable: The store cannot be reached. It has the former version.
            MultisiteError: The store has a newer version, or a file of the folder cannot be pushed.
        """
        self.store.create()
        with self._writing(name):
            head = self.store.head(name)
            folder, before = self.folder_of(name), self._read_note(name)
            if not folder.is_dir():
                raise MultisiteError(f"the folder {folder} does not exist")
            tree = Tree(1 if head is None else head.generation + 1, read_folder(folder))
            if head is not None and head.contents() == tree.contents():
                if before == head:
                    return False
                tree = head
            elif head is not None and before != head and not force:
                raise MultisiteError(
                    f"the store has a version of {folder.name} that this machine has not seen: run "
                    f"{program.command('pull-templates')} first, which keeps a copy of the local files, or pass --force"
                )
            else:
                known = set() if head is None else set(head.contents().values())
                for file, described in tree.files.items():
                    self.store.add_file(folder / file, described, is_known=described.sha256 in known)
                self.store.write_head(name, tree)
            announce()
            self._write_note(name, tree)
            return True

    def remove(self, name: str) -> None:
        """Remove the tree `name` from the store; the local folder stays."""
        self.store.remove_head(name)
        with self._writing(name):
            self._note(name).unlink(missing_ok=True)

    def forget(self, name: str) -> None:
        """Delete the local folder if it is a copy of the tree `name`; the store is not changed."""
        if not self.is_copy(name):
            return
        with self._writing(name):
            folder, before = self.folder_of(name), self._read_note(name)
            if before is not None and folder.is_dir():
                self._discard(folder, folder, before)
            self._note(name).unlink(missing_ok=True)

    def _is_current(self, name: str, head: Tree | None) -> bool:
        if head is None:
            return self.is_known(name) and self._read_note(name) is None
        return self._read_note(name) == head and self.folder_of(name).is_dir()

    def _copy(self, head: Tree, before: Tree | None, folder: Path) -> bool:
        """Replace `folder` by the files of `head`; return False if it has them already."""
        local = _files_or_none(folder)
        if local is not None and {name: file.sha256 for name, file in local.items()} == head.contents():
            return False
        staging = folder.with_name(f".staging-store-{zlib.crc32(os.fsencode(folder.name)):08x}")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            for name, file in head.files.items():
                target = staging / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if local is not None and local.get(name) == file:
                    shutil.copy2(folder / name, target)
                else:
                    self.store.fetch_file(file, target)
            if folder.is_dir() or folder.is_symlink():
                _exchange(staging, folder)
                self._discard(staging, folder, before)
            else:
                staging.rename(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return True

    def _discard(self, path: Path, folder: Path, before: Tree | None) -> None:
        """Delete `path`, the former `folder`; keep a copy if it has changes that were not pushed."""
        local = _files_or_none(path)
        contents = None if local is None else {name: file.sha256 for name, file in local.items()}
        if contents == {} or (before is not None and contents == before.contents()):
            shutil.rmtree(path)
            return
        kept = folder.parent / REPLACED / f"{folder.name[:200]}-{time.time_ns()}"
        kept.parent.mkdir(exist_ok=True)
        path.rename(kept)
        log.warning("%s had changes that were not pushed: they are kept in %s", folder, kept)

    def _note(self, name: str) -> Path:
        return self._notes / name

    def _owner(self, name: str) -> Path:
        return self._notes / "owners" / name.removeprefix("sites/")

    def _read_note(self, name: str) -> Tree | None:
        """Return the tree that was last copied or pushed; None if there was none."""
        try:
            text = self._note(name).read_bytes()
        except FileNotFoundError:
            return None
        return Tree.from_json(text) if text else None

    def _write_note(self, name: str, tree: Tree | None) -> None:
        note = self._note(name)
        note.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._notes / f"{zlib.crc32(name.encode()):08x}.new"
        temporary.write_bytes(b"" if tree is None else tree.to_json())
        temporary.replace(note)

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        """Let one thread of one process at a time change the folder of the tree `name`."""
        import fcntl  # POSIX only, as is the exchange of two folders.

        try:
            self._notes.mkdir(parents=True, exist_ok=True)
            with (self._notes / f"lock-{zlib.crc32(name.encode()) % _LOCKS}").open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            reason = error.strerror or error
            raise MultisiteError(f"{error.filename or self.folder_of(name)} cannot be written: {reason}") from error


def _files_or_none(folder: Path) -> dict[str, TreeFile] | None:
    """Return the files of a folder; None if there is none, or if it has files that a tree cannot have."""
    if folder.is_symlink() or not folder.is_dir():
        return None
    try:
        return read_folder(folder)
    except MultisiteError:
        return None


def _exchange(one: Path, other: Path) -> None:
    """Exchange the names of two folders in one step, by renameat2(2).

    Raises:
        MultisiteError: The system or its file system cannot do that.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    rename = getattr(libc, "renameat2", None)
    here, flag = -100, 2  # AT_FDCWD of fcntl.h, and RENAME_EXCHANGE of linux/fs.h.
    if rename is None or rename(here, os.fsencode(one), here, os.fsencode(other), flag) != 0:
        reason = "it needs Linux" if rename is None else os.strerror(ctypes.get_errno())
        raise MultisiteError(f"{other} cannot be exchanged with its new version in one step: {reason}")
