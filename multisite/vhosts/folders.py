"""Folders that applications write to: one each below a common root, and never two of them in the same one.

Mako names the modules it compiles by the address of a template, and Beaker its entries by a key of the application:
two applications in one folder get each other's pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

__all__ = ["Claim", "claims_of", "first_clash", "own_folders"]

GIVEN = {"cache_dir": "cache", "data_dir": "data", "mako.module_directory": "mako"}
"""The settings that each application gets below the root, and the names of the folders there."""

_WRITTEN = re.compile(r"(?:.*\.)?(?:cache_dir|data_dir|module_directory)")
"""Those, and what frameworks call theirs, such as `session.data_dir`."""

_OF_SITES = ("multisite.sites_dir", "multisite.snapshot")
"""What belongs to a database of sites. The second is a file, which is as good as a folder here."""

_DATABASES = ("multisite.database_url", "sqlalchemy.url")


class Claim(NamedTuple):
    """A folder that an application writes to: `value` as the setting `key` has it, `path` with its links followed.

    `owner` is who may share it: the application, or for what belongs to sites whoever has the same database.
    """

    application: str
    key: str
    value: str
    path: Path
    owner: str


def own_folders(root: Path | None, name: str) -> dict[str, str]:
    """Return the settings that give the application `name` folders of its own below `root`; none without a root."""
    if root is None:
        return {}
    folder = quote(name, safe="")
    if not folder.strip("."):
        folder = folder.replace(".", "%2E")
    return {key: str(root / folder / kind) for key, kind in GIVEN.items()}


def claims_of(application: str, settings: Mapping[str, str]) -> Iterator[Claim]:
    """Yield the folders that `settings` let an application write to."""
    database = next((settings[key] for key in _DATABASES if settings.get(key)), application)
    for key, value in settings.items():
        if value and (key in _OF_SITES or _WRITTEN.fullmatch(key)):
            owner = f"{_OF_SITES} {database}" if key in _OF_SITES else application
            yield Claim(application, key, value, Path(value).resolve(), owner)


def first_clash(claims: Iterable[Claim]) -> tuple[Claim, Claim] | None:
    """Return two claims to one folder, or to one within the other, of different owners and applications, or None.

    They come in the order in which they were given.
    """
    by_path: dict[Path, list[tuple[int, Claim]]] = {}
    for number, claim in enumerate(claims):
        by_path.setdefault(claim.path, []).append((number, claim))
    for path, here in by_path.items():
        around = [each for folder in (path, *path.parents) for each in by_path.get(folder, ())]
        for one in here:
            for other in around:
                if other[1].owner != one[1].owner and other[1].application != one[1].application:
                    (_, first), (_, second) = sorted([one, other])
                    return first, second
    return None
