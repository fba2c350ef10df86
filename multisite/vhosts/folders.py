"""Folders that applications write to: one each below a common root, and never a shared one.

Mako names compiled templates by their URI, and Beaker its entries by keys of the application: two applications that
share a folder would serve each other's pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

__all__ = ["WritableFolder", "first_clash", "own_folders", "writable_folders"]

PROVIDED = {"cache_dir": "cache", "data_dir": "data", "mako.module_directory": "mako"}
"""Settings that each application gets below the root, with the names of their folders."""

_WRITABLE = re.compile(r"(?:.*\.)?(?:cache_dir|data_dir|module_directory)")
"""Matches these settings, and similar ones of frameworks, such as `session.data_dir`."""

_BY_DATABASE = ("multisite.sites_dir", "multisite.snapshot")
"""Settings that belong to a database of sites. The second is a file, which is treated like a folder here."""

_DATABASES = ("multisite.database_url", "sqlalchemy.url")


class WritableFolder(NamedTuple):
    """A folder that an application writes to.

    `value` is that of the setting `key`, `path` the resolved path. `owner` is who may share it: the application, or for
    folders that belong to sites the applications with the same database.
    """

    application: str
    key: str
    value: str
    path: Path
    owner: str


def own_folders(root: Path | None, name: str) -> dict[str, str]:
    """Return settings with folders of its own below `root` for the application `name`; none without a root."""
    if root is None:
        return {}
    folder = quote(name, safe="")
    if not folder.strip("."):
        folder = folder.replace(".", "%2E")
    return {key: str(root / folder / kind) for key, kind in PROVIDED.items()}


def writable_folders(application: str, settings: Mapping[str, str]) -> Iterator[WritableFolder]:
    """Yield the folders that the application may write to by its `settings`."""
    database = next((settings[key] for key in _DATABASES if settings.get(key)), application)
    for key, value in settings.items():
        if value and (key in _BY_DATABASE or _WRITABLE.fullmatch(key)):
            owner = f"{_BY_DATABASE} {database}" if key in _BY_DATABASE else application
            yield WritableFolder(application, key, value, Path(value).resolve(), owner)


def first_clash(folders: Iterable[WritableFolder]) -> tuple[WritableFolder, WritableFolder] | None:
    """Return two folders that are equal or nested and have different owners and applications, in the given order.

    Returns None if there are no such folders.
    """
    by_path: dict[Path, list[tuple[int, WritableFolder]]] = {}
    for number, folder in enumerate(folders):
        by_path.setdefault(folder.path, []).append((number, folder))
    for path, here in by_path.items():
        around = [each for folder in (path, *path.parents) for each in by_path.get(folder, ())]
        for one in here:
            for other in around:
                if other[1].owner != one[1].owner and other[1].application != one[1].application:
                    (_, first), (_, second) = sorted([one, other])
                    return first, second
    return None
