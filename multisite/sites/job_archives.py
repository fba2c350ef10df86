"""The archives of jobs: those that they have written, and those that were uploaded for them to import.

Both are in folders of `multisite.archives_dir`. The name of an export begins with the id of its site, because another
site can have the same host later. An upload has a random name, and is deleted when its job has ended.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from multisite.core.settings import Settings
from multisite.errors import MultisiteError

__all__ = [
    "EXPORTS_FOLDER",
    "UPLOADS_FOLDER",
    "Export",
    "delete_export",
    "delete_exports",
    "export_path",
    "find_export",
    "list_exports",
    "move_exports",
    "new_upload",
    "prune_exports",
    "prune_uploads",
    "upload_path",
]

EXPORTS_FOLDER, UPLOADS_FOLDER = "exports", "uploads"
"""The folders in `multisite.archives_dir` for the archives that jobs write, and for those that they import."""

UPLOAD_SECONDS = 86_400
"""An upload that no job waits for is deleted after this time: until then, its form may still be on the way."""

_EXPORT = re.compile(r"([1-9]\d*)-([0-9A-Za-z]+)\.zip")
_UPLOAD = re.compile(r"[0-9a-f]{32}\.zip")


@dataclass(frozen=True, slots=True)
class Export:
    """An archive that a job has written: its `name`, without the folder, its size, and when it was complete."""

    name: str
    path: Path
    size_bytes: int
    made: datetime


def _folder(settings: Settings, name: str) -> Path:
    if settings.archives_dir is None:
        raise MultisiteError("there is no folder for archives: set multisite.archives_dir in the ini file")
    folder = settings.archives_dir / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise MultisiteError(f"the folder {folder} cannot be created: {error.strerror or error}") from error
    return folder


def export_path(settings: Settings, site_id: int, label: str) -> Path:
    """Return the path of the export `label` of a site. Raises `MultisiteError` if there is no folder for archives."""
    return _folder(settings, EXPORTS_FOLDER) / f"{site_id}-{label}.zip"


def list_exports(settings: Settings, site_id: int) -> list[Export]:
    """Return the exports of a site, beginning with the newest."""
    if settings.archives_dir is None:
        return []
    found = []
    for path in (settings.archives_dir / EXPORTS_FOLDER).glob(f"{site_id}-*.zip"):
        if _EXPORT.fullmatch(path.name) and not path.is_symlink() and path.is_file():
            about = path.stat()
            made = datetime.fromtimestamp(about.st_mtime, UTC)
            found.append(Export(path.name, path, about.st_size, made))
    return sorted(found, key=lambda each: (each.made, each.name), reverse=True)


def find_export(settings: Settings, site_id: int, name: str) -> Export | None:
    """Return the export `name` of a site; None if the site has none of that name, such as that of another site."""
    return next((each for each in list_exports(settings, site_id) if each.name == name), None)


def delete_export(export: Export) -> None:
    """Delete an export. Raises `MultisiteError` if that fails."""
    try:
        export.path.unlink(missing_ok=True)
    except OSError as error:
        raise MultisiteError(f"{export.path} cannot be deleted: {error.strerror or error}") from error


def prune_exports(settings: Settings, *, days: int) -> int:
    """Delete the exports of all sites that are older than `days` days, and return their number."""
    if settings.archives_dir is None:
        return 0
    oldest, deleted = time.time() - days * 86_400, 0
    for path in (settings.archives_dir / EXPORTS_FOLDER).glob("*.zip"):
        if _EXPORT.fullmatch(path.name) and path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)
            deleted += 1
    return deleted


def delete_exports(site_id: int, settings: Settings) -> None:
    """Delete all exports of a site. Raises `MultisiteError` if that fails."""
    for each in list_exports(settings, site_id):
        delete_export(each)


def move_exports(site_id: int, new_id: int, settings: Settings) -> None:
    """Give the exports of a removed site to the site that was restored from it."""
    for each in list_exports(settings, site_id):
        each.path.rename(each.path.with_name(f"{new_id}-{each.name.partition('-')[2]}"))


def new_upload(settings: Settings) -> Path:
    """Return the path of a new upload. Raises `MultisiteError` if there is no folder for archives."""
    return _folder(settings, UPLOADS_FOLDER) / f"{secrets.token_hex(16)}.zip"


def upload_path(settings: Settings, name: str) -> Path:
    """Return the path of the upload `name`. Raises `MultisiteError` if this is not the name of one."""
    if Path(name).name != name:
        raise MultisiteError(f"'{name}' is not the name of a file in {UPLOADS_FOLDER}")
    return _folder(settings, UPLOADS_FOLDER) / name


def prune_uploads(settings: Settings, *, wanted: Collection[str]) -> int:
    """Delete old uploads, but those with a name in `wanted`, and return their number."""
    if settings.archives_dir is None:
        return 0
    oldest, deleted = time.time() - UPLOAD_SECONDS, 0
    for path in (settings.archives_dir / UPLOADS_FOLDER).glob("*.zip"):
        if _UPLOAD.fullmatch(path.name) and path.name not in wanted and path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)
            deleted += 1
    return deleted
