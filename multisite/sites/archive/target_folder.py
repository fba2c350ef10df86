"""The folder of a site that is being imported.

It is filled under another name, and renamed before the transaction commits. Until then it holds a mark, by which the
next import recognizes what a killed process has left.
"""

from __future__ import annotations

import shutil
from typing import Self

from multisite.core.settings import Settings
from multisite.errors import MultisiteError

__all__ = ["TargetFolder"]

MARK = ".importing"
"""A file in the folder of a site whose transaction may not have been committed."""


class TargetFolder:
    """A context manager for the folder `name`, which is removed at the end unless `keep` has been called."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.name = name
        self._path = settings.sites_dir / name
        self.staging = settings.sites_dir / f".importing-{name}"[:255]
        self._is_in_place = False

    def __enter__(self) -> Self:
        if (self._path / MARK).is_file():
            shutil.rmtree(self._path)
        if self._path.is_symlink() or (self._path.exists() and (not self._path.is_dir() or any(self._path.iterdir()))):
            raise MultisiteError(
                f"the folder {self._path} exists already: move it away, and run the same command again"
            )
        shutil.rmtree(self.staging, ignore_errors=True)
        self.staging.mkdir(parents=True)
        (self.staging / MARK).touch()
        return self

    def put_in_place(self) -> None:
        """Give the folder its name."""
        if self._path.exists():
            self._path.rmdir()
        self.staging.rename(self._path)
        self._is_in_place = True

    def keep(self) -> None:
        """Keep the folder, because the site is committed."""
        (self._path / MARK).unlink()
        self._is_in_place = False

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.staging, ignore_errors=True)
        if self._is_in_place:
            shutil.rmtree(self._path, ignore_errors=True)
