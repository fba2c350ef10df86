"""Backups of sites: an archive of each site in `multisite.archives_dir`, of which the newest ones are kept.

The folder of a site's backups is named by the id of the site, because another site can have the same host later.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from sqlalchemy.engine import Engine

from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory.records import read_site_by_id
from multisite.directory.tables import AS_MULTISITE
from multisite.errors import MultisiteError
from multisite.sites.archive.contents import SiteContents
from multisite.sites.archive.exporting import export_site
from multisite.sites.archive.snapshot import readable
from multisite.sites.job_archives import delete_exports, move_exports
from multisite.sites.operator_log import record_export

__all__ = ["Backup", "delete_backups", "export_sites", "move_backups"]

BACKUPS_FOLDER = "backups"

SITES_OF_A_COPY = 100
"""How many sites are exported from one copy of a SQLite database, whose rows are those of the moment of the copy."""

_BACKUP = re.compile(r"\d{8}T\d{6}Z\.zip")


@dataclass(frozen=True, slots=True)
class Backup:
    """The outcome of the backup of a site: the `path` of the archive, or the `reason` why there is none.

    `deleted` are older archives of the site that were deleted.
    """

    site: Site
    path: Path | None
    reason: str | None = None
    deleted: tuple[Path, ...] = ()


def export_sites(
    engine: Engine,
    sites: Iterable[Site],
    *,
    settings: Settings,
    contents: SiteContents | None = None,
    keep: int | None = None,
    on_done: Callable[[Backup], object] = lambda backup: None,
) -> list[Backup]:
    """Write an archive of each of the `sites`, and continue with the others if one cannot be written.

    Args:
        engine: The database of the directory and of the application.
        sites: The sites.
        settings: Where the folders of the sites and the archives are.
        contents: The application's declarations about the data of its sites.
        keep: How many archives of each site are kept, the newest ones; None for all. Older ones are deleted only after
            a new one was written.
        on_done: Called with each backup.

    Returns:
        The backups, in the order of `sites`.

    Raises:
        MultisiteError: `multisite.archives_dir` is not set, or cannot be written to.
    """
    done, left = [], iter(sites)
    while group := list(islice(left, SITES_OF_A_COPY)):
        with readable(engine) as source:
            for site in group:
                try:
                    path = _new_path(site, settings)
                    export_site(source, site.domain, path, settings=settings, contents=contents)
                    _check_not_removed(engine, site, path)
                    record_export(engine, site, path)
                    backup = Backup(site, path, deleted=_delete_older(path.parent, keep))
                except MultisiteError as error:
                    backup = Backup(site, None, str(error))
                done.append(backup)
                on_done(backup)
    return done


def _check_not_removed(engine: Engine, site: Site, path: Path) -> None:
    """Delete an archive, and raise `MultisiteError`, if its site was removed while it was written from a copy."""
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        record = read_site_by_id(connection, site.id)
    if record is None or record.status in {"removing", "removed"}:
        path.unlink(missing_ok=True)
        raise MultisiteError("the site was removed meanwhile")


def _folder(settings: Settings) -> Path:
    if settings.archives_dir is None:
        raise MultisiteError("there is no folder for archives: set multisite.archives_dir in the ini file")
    return settings.archives_dir / BACKUPS_FOLDER


def _new_path(site: Site, settings: Settings) -> Path:
    folder = _folder(settings) / str(site.id)
    try:
        for each in (folder.parents[1], folder.parent, folder):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise MultisiteError(f"the folder {folder} cannot be created: {error.strerror or error}") from error
    return folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.zip"


def _delete_older(folder: Path, keep: int | None) -> tuple[Path, ...]:
    """Delete all but the newest `keep` archives in `folder`, and return them. Other files are left alone."""
    found = sorted(path for path in folder.iterdir() if _BACKUP.fullmatch(path.name))
    older = () if keep is None else tuple(found[: max(0, len(found) - keep)])
    for path in older:
        path.unlink(missing_ok=True)
    return older


def delete_backups(site_id: int, settings: Settings) -> None:
    """Delete all backups of a site, and the exports that jobs have made. Raises `MultisiteError` if that fails."""
    if settings.archives_dir is None:
        return
    delete_exports(site_id, settings)
    try:
        shutil.rmtree(_folder(settings) / str(site_id))
    except FileNotFoundError:
        return
    except OSError as error:
        raise MultisiteError(f"{error.filename} cannot be deleted: {error.strerror or error}") from error


def move_backups(site_id: int, new_id: int, settings: Settings) -> None:
    """Give the backups and the exports of a removed site to the site that was restored from it."""
    move_exports(site_id, new_id, settings)
    if settings.archives_dir is not None and (_folder(settings) / str(site_id)).is_dir():
        (_folder(settings) / str(site_id)).rename(_folder(settings) / str(new_id))
