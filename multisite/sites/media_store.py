"""The files of sites' media: a folder, or a store such as S3 that fsspec has a driver for (`multisite.media_url`).

The files of a site are below its id, which is never used again. Each upload gets a folder of its own that is named by
its SHA-256 and a random token, so a file is written once and never replaced: `7/a3/a3f…-5d0c…/leaves.jpg`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from io import UnsupportedOperation
from typing import IO, Any, cast

from multisite.core.settings import Settings
from multisite.errors import MultisiteError
from multisite.sites.file_store import open_file_store

__all__ = ["MediaStore", "remove_media_files"]


_KEY = re.compile(r"(?:[0-9a-z]{2}(?:/[0-9a-z]+-[0-9a-z]+(?:/[0-9a-z][0-9a-z.-]*)?)?)?")
"""A part of `a3/a3f…-5d0c…/leaves.jpg`: the beginning of a SHA-256, the folder of an upload, the name of a file."""


class MediaStore:
    """The store of the files at `url`: the path of a folder, or a URL such as `s3://bucket/media`.

    Raises:
        MultisiteError: fsspec or the driver of the URL is not installed, or the driver rejects the URL.
    """

    def __init__(self, url: str) -> None:
        self._fs, self._root = open_file_store(url, "multisite.media_url")

    def write(self, site_id: int, key: str, file: IO[bytes]) -> None:
        """Write a new file of a site. Raises `MultisiteError` if the store cannot be written to."""
        path = self._path(site_id, key)
        try:
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            with self._fs.open(path, "wb") as target:
                shutil.copyfileobj(file, target, 1 << 20)
                target.flush()
                # On the disk before the row that names it. Drivers of other stores have no descriptor.
                with suppress(AttributeError, UnsupportedOperation):
                    os.fsync(target.fileno())
        except Exception as error:  # Each driver has exceptions of its own.
            raise MultisiteError(f"a file cannot be written to multisite.media_url: {error}") from error

    def open(self, site_id: int, key: str) -> tuple[IO[bytes], int]:
        """Open a file of a site for reading, and return it with its size in bytes. Raises `FileNotFoundError`."""
        path = self._path(site_id, key)
        file = self._fs.open(path, "rb")
        return file, cast(int, self._fs.size(path))

    def remove_folder(self, site_id: int, folder: str) -> None:
        """Remove the folder of an upload with its files, if it exists."""
        self._remove(self._path(site_id, folder))

    def remove_site(self, site_id: int) -> None:
        """Remove all files of a site.

        Raises:
            MultisiteError: The store cannot be changed.
        """
        try:
            self._remove(self._path(site_id, ""))
        except Exception as error:
            raise MultisiteError(
                f"the media of the site cannot be removed from multisite.media_url: {error}"
            ) from error

    def site_ids(self) -> list[int]:
        """Return the ids of the sites that have files."""
        return sorted(int(name) for name in self._names(self._root) if name.isdigit())

    def folders(self, site_id: int) -> Iterator[list[str]]:
        """Yield the folders of a site's uploads, in lists of a moderate size."""
        for shard in self._names(self._path(site_id, "")):
            if len(shard) == 2:
                yield [f"{shard}/{name}" for name in self._names(self._path(site_id, shard)) if "-" in name]

    def modified(self, site_id: int, folder: str) -> datetime:
        """Return when the newest file in the folder of an upload was written."""
        times = [self._time(path) for path in self._fs.find(self._path(site_id, folder))]
        # An empty folder is left by an interrupted removal, or the beginning of an upload.
        return max(times, default=datetime.now(UTC))

    def _time(self, path: str) -> datetime:
        when = cast(datetime, self._fs.modified(path))
        return when if when.tzinfo is not None else when.replace(tzinfo=UTC)

    def _names(self, path: str) -> list[str]:
        try:
            found: list[dict[str, Any]] = self._fs.ls(path, detail=True)
        except FileNotFoundError:
            return []
        return sorted(str(each["name"]).rstrip("/").rpartition("/")[2] for each in found if each["type"] == "directory")

    def _path(self, site_id: int, key: str) -> str:
        if not _KEY.fullmatch(key):
            # Tokens and names come from rows, which an archive may have brought: no key leads to another site.
            raise FileNotFoundError(f"{key!a} is not the name of a file of media")
        return f"{self._root}/{int(site_id)}/{key}".rstrip("/")

    def _remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._fs.rm(path, recursive=True)
        self._fs.invalidate_cache()


def remove_media_files(site_id: int, settings: Settings) -> None:
    """Remove the files of a site's media; without fsspec, there is no store that has any.

    Raises:
        MultisiteError: The store cannot be changed.
    """
    if importlib.util.find_spec("fsspec") is not None:
        MediaStore(settings.media_url).remove_site(site_id)
