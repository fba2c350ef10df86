"""The archive that is written before a site is removed, and the checks after which its rows may be deleted."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite.core import program
from multisite.core.current_site import all_sites
from multisite.core.settings import Settings
from multisite.directory.tables import AS_MULTISITE
from multisite.errors import MultisiteError
from multisite.sites.archive.contents import SiteContents
from multisite.sites.archive.exporting import export_site
from multisite.sites.archive.plan import make_plan
from multisite.sites.archive.reader import opening
from multisite.sites.removal_record import Removal, record_archive
from multisite.sites.site_tables import count_rows, reflect_tables

__all__ = ["check_archive_file", "sha256_of", "write_removal_archive"]


def write_removal_archive(
    engine: Engine,
    removal: Removal,
    settings: Settings,
    contents: SiteContents | None,
    progress: Callable[[str], None],
) -> tuple[Path, tuple[str, ...]]:
    """Write the archive of a site that is offline, check it, and record it.

    If the removal was interrupted after that, the archive of then is checked instead: rows may be gone already.

    Returns:
        The path of the archive, and what is not in it.

    Raises:
        MultisiteError: The archive cannot be written, is not complete, or is no longer that of the removal.
    """
    folder = settings.archives_dir
    if folder is None:
        raise MultisiteError(
            f"the removal of {removal.domain} began with an archive: set multisite.archives_dir to its former value, "
            "and run the same command again"
        )
    path = folder / removal.archive
    if removal.sha256 is not None:
        check_archive_file(path, removal.sha256)
        return path, ()
    if removal.was_served:
        # Until then, running servers may serve the site, and write what would not be in the archive.
        time.sleep(settings.refresh_seconds)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise MultisiteError(f"the folder {folder} cannot be created: {error.strerror or error}") from error
    try:
        done = export_site(
            engine,
            removal.domain,
            path,
            settings=settings,
            contents=contents,
            while_removing=True,
            progress=progress,
        )
        _check_archive(engine, removal, path, settings, contents)
    except MultisiteError as error:
        path.unlink(missing_ok=True)
        erase = program.command(f"remove-site {removal.domain} --yes --erase")
        raise MultisiteError(
            f"the site cannot be archived, so nothing was removed: {error}; to remove it for good: {erase}"
        ) from error
    try:
        record_archive(engine, removal, sha256_of(path))
    except MultisiteError:
        path.unlink(missing_ok=True)
        raise
    return path, done.left_out


def _check_archive(
    engine: Engine, removal: Removal, path: Path, settings: Settings, contents: SiteContents | None
) -> None:
    """Read the whole archive, and compare the numbers of its rows with those in the database."""
    with opening(path) as reader:
        for name in reader.manifest.members:
            with reader.open(name) as file:
                while file.read(1 << 20):
                    pass
        archived = {name: entry.rows for name, entry in reader.manifest.tables.items()}
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        schema = sa.inspect(connection).default_schema_name
        # The application says that no archive contains these, such as those of sessions.
        plan = make_plan(contents or SiteContents(), connection, global_tables=settings.global_tables)
        excluded = {table.fullname for table in plan.excluded}
        with all_sites(f"counting the rows of {removal.domain}"):
            groups = reflect_tables(connection, settings.global_tables)
            for each in (each for group in groups for each in group):
                count = count_rows(connection, each, removal.site_id)
                names = each.name, f"{schema}.{each.name}"
                if not set(names).isdisjoint(excluded):
                    continue
                found = next((archived[name] for name in names if name in archived), None)
                if count and found is None:
                    raise MultisiteError(f"the application has no model for the table {each.name}, with {count} rows")
                if count != (found or 0):
                    raise MultisiteError(f"the archive has {found} of the {count} rows of {each.name}")


def check_archive_file(path: Path, sha256: str) -> None:
    """Check that an archive is the one that multisite wrote. Raises `MultisiteError` if not."""
    try:
        found = sha256_of(path)
    except OSError as error:
        raise MultisiteError(f"the archive {path} cannot be read: {error.strerror or error}") from error
    if found != sha256:
        raise MultisiteError(f"the archive {path} was changed after it was written: put the original back")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
