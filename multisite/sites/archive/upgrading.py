"""Turn an archive of an older revision of the application into one of the current revision.

The site is imported into an empty database of the older revision, which the application's own migrations then upgrade,
and is exported from there. So a migration changes the rows of an archive exactly as it changed those of the database.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from multisite.core.current_site import all_sites
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory.models import DomainRow, SiteRow
from multisite.directory.tables import AS_MULTISITE
from multisite.errors import MultisiteError
from multisite.scoping.tables import tables
from multisite.sites.archive.contents import SiteContents, SitePart
from multisite.sites.archive.exporting import export_site
from multisite.sites.archive.former_tables import former_tables
from multisite.sites.archive.importing import import_site
from multisite.sites.archive.manifest import TableEntry
from multisite.sites.archive.plan import EXPORT_KEY, column_of
from multisite.sites.archive.reader import opening
from multisite.sites.archive.revisions import application_revisions, named_revisions

__all__ = ["ScratchDatabase", "upgrade_archive"]


@dataclass(frozen=True)
class ScratchDatabase:
    """An empty database for an upgrade.

    `migrate` is called with revisions of the application, and upgrades the tables of multisite and of the application
    in this database to them.
    """

    engine: Engine
    migrate: Callable[[tuple[str, ...]], object]


def upgrade_archive(
    source: Path,
    target: Path,
    *,
    engine: Engine,
    scratch: ScratchDatabase,
    settings: Settings,
    contents: SiteContents,
    progress: Callable[[str], None] = lambda line: None,
) -> None:
    """Write an archive with the content of `source`, of the revision that the database of `engine` is at.

    Args:
        source: An archive of an older revision.
        target: The archive to write.
        engine: The database of the application. It is only read: rows that all sites share are copied from it, as far
            as archives refer to them.
        scratch: An empty database. It has the rows of the site afterwards.
        settings: As for `import_site`.
        contents: As for `import_site`.
        progress: Called with a line from time to time.

    Raises:
        MultisiteError: The archive is not valid, its revision is unknown, the scratch database is not empty, or a row
            cannot be migrated.
    """
    contents = contents.without_later_tables()
    with opening(source) as reader:
        manifest = reader.manifest
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        wanted = application_revisions(connection)
    if not manifest.revisions or not wanted:
        raise MultisiteError(
            "the archive cannot be upgraded: the application's tables were made without alembic, "
            + ("there" if wanted else "here")
        )
    _check_empty(scratch.engine)
    _migrate(scratch, manifest.revisions)
    metadata = sa.MetaData()
    try:
        with tempfile.TemporaryDirectory(prefix="multisite-upgrade-") as made:
            folder = Path(made)
            own = replace(settings, sites_dir=folder / "sites", templates_store=None, archives_dir=None)
            passed = {name: _passing(folder / "parts" / name) for name in contents.parts}
            with all_sites("upgrading an archive"), scratch.engine.begin() as connection:
                connection.execution_options(**AS_MULTISITE)
                _forget_sites(connection)
                former_tables(connection, manifest.tables, contents.tables(), metadata)
                with engine.connect().execution_options(**AS_MULTISITE) as source_connection:
                    _copy_shared_rows(source_connection, connection, metadata, manifest.tables)
            former = SiteContents([metadata], references=contents.references, parts=passed)
            import_site(
                scratch.engine,
                source,
                settings=own,
                contents=former,
                progress=progress,
                # No page is rendered there: whether the templates are taken is decided by the import that follows.
                with_templates=True,
                keep_keys=True,
            )
            tables.forget(metadata)
            _migrate(scratch, wanted)
            now = replace(contents, parts=passed)
            export_site(scratch.engine, manifest.host, target, settings=own, contents=now, progress=progress)
    finally:
        tables.forget(metadata)


def _check_empty(engine: Engine) -> None:
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        if found := inspector.get_table_names():
            raise MultisiteError(
                f"the scratch database is not empty, it has the table {found[0]}: name one that is, and that may be "
                "dropped afterwards"
            )


def _migrate(scratch: ScratchDatabase, revisions: list[str]) -> None:
    scratch.migrate(tuple(revisions))
    with scratch.engine.connect() as connection:
        found = application_revisions(connection)
    if found != sorted(revisions):
        raise MultisiteError(
            f"the application's migrations did not bring the scratch database to the revision "
            f"{named_revisions(revisions)}, but to {named_revisions(found)}: their env.py must take the URL from "
            "sqlalchemy.url in the ini file"
        )


def _forget_sites(connection: Connection) -> None:
    """Free the domains and folders of sites that a migration has added, such as the first one of an application."""
    connection.execute(sa.delete(DomainRow))
    connection.execute(sa.update(SiteRow).values(folder=sa.literal("#").concat(sa.cast(SiteRow.id, sa.String))))


def _copy_shared_rows(
    source: Connection, target: Connection, metadata: sa.MetaData, entries: dict[str, TableEntry]
) -> None:
    """Copy the rows to which those of archives refer by a key, unless the migrations have inserted some."""
    for table in metadata.sorted_tables:
        if table.fullname in entries or EXPORT_KEY not in table.info:
            continue
        if target.execute(sa.select(sa.exists(sa.select(sa.literal(1)).select_from(table)))).scalar_one():
            continue
        found = sa.Table(table.name, sa.MetaData(), schema=table.schema, autoload_with=source, resolve_fks=False)
        names = [column.name for column in table.columns if column.name in found.columns and column.computed is None]
        for row in source.execute(sa.select(*(found.columns[name] for name in names))):
            values = dict(zip(names, row, strict=True))
            target.execute(sa.insert(table).values({column_of(table, name).key: values[name] for name in names}))


def _passing(folder: Path) -> SitePart:
    """Return a part that keeps its files in `folder` as they are."""

    def import_(_site: Site, _connection: Connection, files: Path) -> None:
        shutil.copytree(files, folder)

    def export(_site: Site, _connection: Connection, files: Path) -> None:
        shutil.copytree(folder, files, dirs_exist_ok=True)

    return SitePart(export, import_)
