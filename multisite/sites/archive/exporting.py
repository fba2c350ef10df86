"""Export a site into an archive, while it is served."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from sqlalchemy.engine import Connection, Engine

from multisite.core import domains
from multisite.core.current_site import using_site
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory.records import read_site
from multisite.sites.archive.contents import SiteContents
from multisite.sites.archive.files import export_files
from multisite.sites.archive.manifest import PARTS, SITE, Manifest
from multisite.sites.archive.ownerless import ownerless_rows
from multisite.sites.archive.plan import make_plan
from multisite.sites.archive.revisions import application_revisions
from multisite.sites.archive.row_export import export_rows
from multisite.sites.archive.site_record import ArchivedSite
from multisite.sites.archive.snapshot import snapshot
from multisite.sites.archive.undeclared import undeclared_rows
from multisite.sites.archive.writer import ArchiveWriter, writing
from multisite.sites.template_store.changes import refresh_folder
from multisite.sites.transaction import read_ready_site

__all__ = ["Exported", "export_site"]


@dataclass(frozen=True, slots=True)
class Exported:
    """An archive of a site: its path, the number of rows by table and of files, and what it does not contain."""

    site: Site
    path: Path
    rows: dict[str, int]
    files: int
    left_out: tuple[str, ...]


def export_site(
    engine: Engine,
    host: str,
    path: str | Path,
    *,
    settings: Settings,
    contents: SiteContents | None = None,
    users: Literal["keep", "none"] = "keep",
    while_removing: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Write an archive of the site with the domain `host`.

    The site can be served meanwhile. Its rows are those of one moment. A file that exists already is replaced once the
    archive is complete.

    Args:
        engine: The database of the directory and of the application.
        host: Any domain of the site.
        path: The archive to write.
        settings: Where the folder of the site is.
        contents: The application's declarations about the data of its sites; None for the rows of every MetaData of the
            process alone.
        users: "none" leaves out the users of the site, "keep" takes them with their passwords.
        while_removing: Also export a site that is being removed; some of its rows may be missing already.
        progress: Called with a line from time to time.

    Returns:
        What the archive contains.

    Raises:
        InvalidHost: `host` is not valid.
        UnknownSite: No site has this domain.
        MultisiteError: The site is not complete, a table cannot be exported, or the archive cannot be written.
    """
    contents = contents or SiteContents()
    domain, path = domains.existing(host), Path(path)
    with snapshot(engine) as connection:
        record = read_site(connection, domain)
        if not (while_removing and record.status == "removing"):
            record = read_ready_site(connection, domain)
        plan = make_plan(contents, connection, global_tables=settings.global_tables, users=users == "keep")
        manifest = Manifest(
            host=record.site.domain,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            multisite=_version(),
            dialect=connection.dialect.name,
            revisions=application_revisions(connection),
            left_out=[f"the rows of {name}" for name in plan.left_out],
        )
        with using_site(record.site), writing(path, manifest) as writer:
            writer.add(SITE, ArchivedSite.of(record).to_json())
            manifest.left_out += [
                f"{_rows(count)} of {name}, which no model declares"
                for name, count in undeclared_rows(connection, contents, settings.global_tables)
            ]
            manifest.left_out += [
                f"{_rows(count)} of {name} that no site has, because {column} is NULL"
                for name, column, count in ownerless_rows(connection, plan)
            ]
            rows = export_rows(connection, record.site, plan, writer, progress)
            refresh_folder(settings, record.site.folder)
            files = export_files(settings.sites_dir / record.site.folder, writer, progress)
            _export_parts(contents, record.site, connection, writer)
    return Exported(record.site, path, rows, files, tuple(manifest.left_out))


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _version() -> str:
    try:
        return version("pyramid-multisite")
    except PackageNotFoundError:
        return "unknown"


def _export_parts(contents: SiteContents, site: Site, connection: Connection, writer: ArchiveWriter) -> None:
    for name, part in sorted(contents.parts.items()):
        with tempfile.TemporaryDirectory(prefix="multisite-export-") as folder:
            part.export(site, connection, Path(folder))
            for file in _files(Path(folder)):
                writer.add_file(f"{PARTS}/{name}/{file.relative_to(folder).as_posix()}", file)


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
