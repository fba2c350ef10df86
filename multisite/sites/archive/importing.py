"""Import an archive as a new site.

Everything in the archive is checked before the database is changed. Then one transaction inserts the site, and its
folder gets its name immediately before the commit: a process that is killed leaves nothing that is served, and the same
call begins afresh.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from multisite.core import domains
from multisite.core.current_site import using_site
from multisite.core.domains import Domain, folder_name
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory.models import AS_MULTISITE, SettingRow, SiteRow, raise_version
from multisite.directory.records import SiteRecord, read_site
from multisite.errors import MultisiteError
from multisite.sites.archive.contents import SiteContents
from multisite.sites.archive.files import extract_files, extract_folder
from multisite.sites.archive.keys import KeyGroups, key_groups
from multisite.sites.archive.manifest import PARTS, SITE, TEMPLATES
from multisite.sites.archive.plan import ArchivePlan, make_plan
from multisite.sites.archive.reader import ArchiveReader, opening
from multisite.sites.archive.revisions import check_revisions
from multisite.sites.archive.rows_check import ArchivedTable, archived_tables, check_rows
from multisite.sites.archive.rows_in import insert_rows
from multisite.sites.archive.site_record import ArchivedSite
from multisite.sites.archive.target_folder import TargetFolder
from multisite.sites.domains import check_canonical
from multisite.sites.themes import check_theme
from multisite.sites.transaction import check_domain_free, insert_domain

__all__ = ["ImportOptions", "Imported", "import_site"]


class ImportOptions(TypedDict, total=False):
    """The options of an import.

    `host` is the canonical domain of the new site, which then has no others; by default it has those of the archive.
    `with_templates` takes the templates too, which are code that runs in the server. `dry_run` checks everything, and
    changes nothing. `columns` are values for further columns of `SiteRow`, such as `availability`.
    """

    host: str | None
    with_templates: bool
    dry_run: bool
    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Imported:
    """An imported site: the number of its rows by table and of its files, and what was not taken from the archive.

    `record` is None after a dry run.
    """

    host: str
    record: SiteRecord | None
    rows: dict[str, int]
    files: int
    left_out: tuple[str, ...]


def import_site(
    engine: Engine,
    path: str | Path,
    *,
    settings: Settings,
    contents: SiteContents | None = None,
    progress: Callable[[str], None] = lambda line: None,
    **options: Unpack[ImportOptions],
) -> Imported:
    """Import the archive `path` as a new site.

    Args:
        engine: The database of the directory and of the application.
        path: The archive.
        settings: Where the folder of the site is created.
        contents: What the application declares about the data of its sites; None for the rows of every MetaData of the
            process alone.
        progress: Called with a line from time to time.
        options: See `ImportOptions`.

    Returns:
        What was imported.

    Raises:
        InvalidHost: `host` is not valid.
        DomainTaken: A domain belongs to a site already.
        MultisiteError: The archive is not valid, or does not fit the application or the database.
    """
    with_templates = options.get("with_templates", False)
    with opening(Path(path)) as reader, ExitStack() as stack:
        site = _archived_site(reader, settings, options.get("host"))
        new = _Import(engine, reader, settings, contents or SiteContents(), site, progress)
        new.check()
        left_out = [] if with_templates else _left_out(reader)
        names = [name for name in reader.manifest.members if not name.startswith(("rows/", SITE))]
        files = sum(1 for name in names if with_templates or not name.startswith(f"{TEMPLATES}/"))
        if options.get("dry_run"):
            new.read_files(with_templates)
            rows = {name: entry.rows for name, entry in reader.manifest.tables.items() if entry.rows}
            return Imported(str(new.site.canonical), None, rows, files, tuple(left_out))
        folder = stack.enter_context(TargetFolder(settings, folder_name(str(new.site.canonical))))
        extract_files(reader, folder.staging, with_templates=with_templates)
        parts = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="multisite-import-")))
        extract_folder(reader, PARTS, parts)
        record, rows = new.insert(folder, parts, options.get("columns", {}))
        return Imported(str(new.site.canonical), record, rows, files, tuple(left_out))


def _archived_site(reader: ArchiveReader, settings: Settings, host: str | None) -> ArchivedSite:
    site = ArchivedSite.from_json(reader.read(SITE), underscores=settings.allow_underscores)
    if host is None:
        return site
    domain = check_canonical(domains.to_ascii(host, underscores=settings.allow_underscores))
    return replace(site, domains=((domain, "canonical"),))


def _left_out(reader: ArchiveReader) -> list[str]:
    count = len(reader.names(TEMPLATES))
    if not count:
        return []
    return [f"{count} templates: they are code that runs in the server, and are only taken with --with-templates"]


class _Import:
    """The import of one archive."""

    def __init__(
        self,
        engine: Engine,
        reader: ArchiveReader,
        settings: Settings,
        contents: SiteContents,
        site: ArchivedSite,
        progress: Callable[[str], None],
    ) -> None:
        self.site = site
        self._engine = engine
        self._reader = reader
        self._settings = settings
        self._contents = contents
        self._progress = progress
        self._plan = ArchivePlan({}, ())
        self._tables: list[ArchivedTable] = []
        self._groups = KeyGroups({})

    @property
    def _domains(self) -> list[Domain]:
        return [domain for domain, _ in self.site.domains]

    def check(self) -> None:
        """Check the archive against the database, and read all of its rows once."""
        if self.site.theme is not None:
            check_theme(self._settings, self.site.theme)
        for part in self._reader.names(PARTS):
            name = part.split("/")[1]
            if name not in self._contents.parts:
                raise MultisiteError(
                    f"the archive has data of '{ascii(name)[1:-1]}', which this application does not have"
                )
        with self._engine.connect().execution_options(**AS_MULTISITE) as connection:
            check_domain_free(connection, *self._domains)
            check_revisions(self._reader.manifest.revisions, connection)
            self._plan = make_plan(self._contents, connection, global_tables=self._settings.global_tables)
        self._tables = archived_tables(self._reader, self._plan)
        self._groups = key_groups(self._plan)
        check_rows(self._tables, self._groups, self._progress)

    def read_files(self, with_templates: bool) -> None:
        """Read all files, to check them."""
        with tempfile.TemporaryDirectory(prefix="multisite-import-") as folder:
            extract_files(self._reader, Path(folder, "files"), with_templates=with_templates)
            extract_folder(self._reader, PARTS, Path(folder, "parts"))

    def insert(
        self, folder: TargetFolder, parts: Path, columns: Mapping[str, Any]
    ) -> tuple[SiteRecord, dict[str, int]]:
        """Insert the site, in one transaction."""
        values = {
            "name": self.site.name,
            "locale": self.site.locale,
            "timezone": self.site.timezone,
            "theme": self.site.theme,
            "folder": folder.name,
            **columns,
        }
        with self._engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
            statement = sa.insert(SiteRow).values(**values).returning(SiteRow.id)
            canonical = self.site.canonical
            site = Site(
                connection.execute(statement).scalar_one(),
                canonical.name,
                self.site.name,
                folder.name,
                self.site.locale,
                self.site.timezone,
                self.site.theme,
                port=canonical.port,
                path=canonical.path,
            )
            rows = insert_rows(connection, site, self._tables, self._groups, self._progress)
            self._compare_counts(connection, site)
            self._insert_settings(connection, site)
            with using_site(site):
                for name, part in sorted(self._contents.parts.items()):
                    if (parts / name).is_dir():
                        part.import_(site, connection, parts / name)
            # Last, because from here on other changes of the directory wait for the commit.
            raise_version(connection)
            check_domain_free(connection, *self._domains)
            for domain, kind in self.site.domains:
                insert_domain(connection, site.id, domain, kind)
            record = read_site(connection, canonical)
            folder.put_in_place()
        folder.keep()
        return record, rows

    def _insert_settings(self, connection: Connection, site: Site) -> None:
        rows = [{"site_id": site.id, "name": name, "value": text} for name, text in self.site.settings.items()]
        if rows:
            connection.execute(sa.insert(SettingRow), rows)

    def _compare_counts(self, connection: Connection, site: Site) -> None:
        """Compare the numbers of rows in the database with those in the manifest."""
        with using_site(site):
            for each in self._tables:
                source = self._plan.source(each.table)
                count = connection.execute(sa.select(sa.func.count()).select_from(source)).scalar_one()
                if count != each.entry.rows:
                    raise MultisiteError(
                        f"the database has {count} rows of {each.table.name} after the import, and the archive has "
                        f"{each.entry.rows}: nothing was imported"
                    )
