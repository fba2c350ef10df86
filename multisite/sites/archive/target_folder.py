"""The folder of a site that is being imported.

It is filled under a name of its own, and renamed before the transaction commits. Until then it has a marker file, by
which the next import recognizes a folder that a killed process has left. A site that is replaced gets another folder,
so that the row in the database decides which one is served; the marker file then has the name of the former one, for
the case that the process is killed before it has moved that away.
"""

from __future__ import annotations

import secrets
import shutil
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Self

from multisite.core.domains import Domain, folder_name
from multisite.core.settings import STATIC_FOLDER, Settings
from multisite.directory.records import SiteRecord
from multisite.errors import MultisiteError
from multisite.sites.archive.files import LOCALE_FOLDER
from multisite.sites.template_store.changes import (
    forget_folder,
    is_from_store,
    publish_folder,
    refresh_folder,
    withdraw_folder,
)
from multisite.sites.template_store.store import StoreUnavailable

__all__ = ["TargetFolder"]

MARK = ".importing"
"""A file in the folder of a site whose transaction may not have been committed."""

STAGING = ".importing-"
"""How the names of folders begin that are being filled."""

ABANDONED_SECONDS = 86_400

TRASH = ".trash"
"""The folder in `multisite.sites_dir` for folders that are no longer used. No site can have this name."""


class TargetFolder:
    """A context manager for the folder of a site, which is removed at the end unless `keep` has been called.

    Args:
        settings: Where the folders are.
        domain: The canonical domain of the site.
        existing: The site that is replaced; None for a new one.
    """

    staging: Path

    def __init__(self, settings: Settings, domain: Domain, existing: SiteRecord | None) -> None:
        self._settings = settings
        self._parent = settings.sites_dir
        self._former = None if existing is None else self._parent / existing.site.folder
        self._site_id = 0 if existing is None else existing.site.id
        base = folder_name(str(domain))
        self._base = base
        self.name = base if self._former is None else self._free_name()
        self._path = self._parent / self.name
        self._unused = [] if self._former is None else [self._former]
        self._is_in_place = False

    def _free_name(self) -> str:
        """Return a name for the new folder that no folder has, but for one that was left by a killed process."""
        names = (self._base if number == 0 else f"{self._base[:240]}~{number}" for number in count())
        return next(name for name in names if self._is_free(name))

    def left_behind(self) -> str | None:
        """Return the name of the folder that the last restoration of the site should have moved away.

        None unless its process was killed after the commit. Whoever may write to the folder of a site may write the
        marker file too, so that only a name of this site's folders is returned.
        """
        if self._former is None or not (self._former / MARK).is_file():
            return None
        name = (self._former / MARK).read_text(errors="replace")
        number = name.removeprefix(f"{self._base[:240]}~")
        is_own = name == self._base or (number != name and number.isascii() and number.isdecimal())
        return name if is_own and name != self.name and self._parent / name != self._former else None

    def remove_too(self, name: str) -> None:
        """Let `keep` move the folder `name` to the trash as well."""
        self._unused.append(self._parent / name)

    def _is_free(self, name: str) -> bool:
        path = self._parent / name
        return path != self._former and (not path.exists() or (path / MARK).is_file())

    def __enter__(self) -> Self:
        if self._former is not None:
            refresh_folder(self._settings, self._former.name)
        if not (self._path / MARK).is_file() and not is_from_store(self._settings, self.name):
            self._check_empty()
        self._parent.mkdir(parents=True, exist_ok=True)
        self._remove_abandoned()
        # Another process may import a site for the same host: only one of the two transactions will be committed.
        self.staging = self._parent / f"{STAGING}{secrets.token_hex(8)}"
        self.staging.mkdir()
        (self.staging / MARK).write_text("" if self._former is None else self._former.name)
        return self

    def _check_empty(self) -> None:
        if self._path.is_symlink() or (self._path.exists() and (not self._path.is_dir() or any(self._path.iterdir()))):
            raise MultisiteError(
                f"the folder {self._path} exists already: move it away, and run the same command again"
            )

    def _remove_abandoned(self) -> None:
        """Remove folders that killed processes have left. One of the last day may belong to a running process."""
        for path in self._parent.glob(f"{STAGING}*"):
            if path.stat().st_mtime < time.time() - ABANDONED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)

    def keep_templates(self) -> None:
        """Copy the templates of the site that is replaced."""
        if self._former is not None and self._former.is_dir():
            ignored = {STATIC_FOLDER, LOCALE_FOLDER, MARK}
            for path in self._former.iterdir():
                if path.name in ignored:
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.copytree(path, self.staging / path.name, symlinks=True, dirs_exist_ok=True)
                else:
                    shutil.copy2(path, self.staging / path.name, follow_symlinks=False)

    def put_in_place(self) -> None:
        """Give the folder its name, in the transaction that has stored the site and with it this name.

        No other site can have a folder of this name then, and no other process can be importing into it: a folder with
        a marker file was left by a killed process.

        Raises:
            MultisiteError: A folder of this name exists, and has no marker file; or the store of templates cannot be
                reached.
        """
        if (self._path / MARK).is_file():
            shutil.rmtree(self._path)
        forget_folder(self._settings, self.name)
        self._check_empty()
        if self._path.exists():
            self._path.rmdir()
        self.staging.rename(self._path)
        self._is_in_place = True
        publish_folder(self._settings, self.name)

    def keep(self) -> None:
        """Keep the folder, because the transaction is committed; move a former one to the trash."""
        self._is_in_place = False
        for path in self._unused:
            self._move_to_trash(path)
            withdraw_folder(self._settings, path.name)
        (self._path / MARK).unlink()

    def _move_to_trash(self, path: Path) -> None:
        if path.is_symlink() or not path.is_dir():
            return
        trash = self._parent / TRASH
        trash.mkdir(exist_ok=True)
        # No site's folder has a # in its name, so that the id in this one is certain (`removed.py`).
        names = (f"{path.name[:200]}#{self._site_id}-{number}" for number in count(1))
        path.rename(trash / next(name for name in names if not (trash / name).exists()))

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.staging, ignore_errors=True)
        if self._is_in_place:
            with suppress(StoreUnavailable):  # The next site with a folder of this name replaces what is left.
                withdraw_folder(self._settings, self.name)
            shutil.rmtree(self._path, ignore_errors=True)
