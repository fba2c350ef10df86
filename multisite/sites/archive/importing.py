"""Import an archive as a site.

Everything in the archive is checked before the database is changed. Then one transaction inserts the site, and its
folder gets its name immediately before the commit: a process that is killed leaves nothing that is served, and the same
call begins afresh. On SQLite, which has one writer, others wait for that transaction.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from sqlalchemy.engine import Connection, Engine

from multisite.core import domains
from multisite.core.current_site import all_sites
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory.records import SiteRecord
from multisite.directory.tables import AS_MULTISITE
from multisite.errors import MultisiteError
from multisite.sites.archive.addresses import AddressMap
from multisite.sites.archive.archived_rows import ArchivedTable, archived_tables, check_rows
from multisite.sites.archive.contents import SiteContents
from multisite.sites.archive.converted_rows import ConvertedRows
from multisite.sites.archive.files import extract_files, extract_folder, is_code
from multisite.sites.archive.import_transaction import ImportTransaction
from multisite.sites.archive.keys import KeyGroups, key_groups
from multisite.sites.archive.manifest import PARTS, ROWS, SITE
from multisite.sites.archive.plan import ArchivePlan, make_plan
from multisite.sites.archive.reader import ArchiveReader, opening
from multisite.sites.archive.revisions import application_revisions, check_revisions
from multisite.sites.archive.site_record import ArchivedSite
from multisite.sites.archive.target_folder import TargetFolder
from multisite.sites.archive.transform import Changes, Transform
from multisite.sites.archive.unique_values import check_unique_values
from multisite.sites.archive.values import holds_pickles
from multisite.sites.domains import check_canonical
from multisite.sites.themes import check_theme
from multisite.sites.transaction import check_domain_free, read_ready_site

__all__ = ["ImportOptions", "Imported", "import_site"]


class ImportOptions(TypedDict, total=False):
    """The options of an import.

    Attributes:
        host: The canonical domain of the new site, which then has no others. By default it has those of the archive.
        with_templates: Take the templates too, which are code that runs in the server.
        users: "none" leaves out the users of the site, "keep" takes them with their passwords.
        dry_run: Check everything, and change nothing.
        replace: Give the existing site `host` (by default the canonical domain of the archive) the content of the
            archive. It keeps its id and its domains.
        keep_keys: Keep the numbers of rows, such as those in URLs, where no other row has them.
        columns: Values for further columns of `SiteRow`, such as `availability`.
        logged_as: The action in the operator log, by default `import-site`.
        on_stored: Called with the connection and the site, in the transaction of the import.
        upgrade: Called with the path of an archive of another revision of the application, and with the path at which
            to write one of the revision of the database; by default such an archive is refused.
    """

    host: str | None
    with_templates: bool
    users: Literal["keep", "none"]
    dry_run: bool
    replace: bool
    keep_keys: bool
    columns: Mapping[str, Any]
    logged_as: str
    on_stored: Callable[[Connection, Site], object]
    upgrade: Callable[[Path, Path], object] | None


@dataclass(frozen=True, slots=True)
class Imported:
    """An imported site, known by `host`: the number of its rows by table and of its files.

    `left_out` says what was not taken from the archive, and `changes` which values were changed. `record` is None after
    a dry run.
    """

    host: str
    record: SiteRecord | None
    rows: dict[str, int]
    files: int
    left_out: tuple[str, ...]
    changes: Changes = field(default_factory=Changes)


def import_site(
    engine: Engine,
    path: str | Path,
    *,
    settings: Settings,
    contents: SiteContents | None = None,
    progress: Callable[[str], None] = lambda line: None,
    **options: Unpack[ImportOptions],
) -> Imported:
    """Import the archive `path` as a new site, or in place of an existing one.

    Args:
        engine: The database of the directory and of the application.
        path: The archive.
        settings: Where the folder of the site is created.
        contents: The application's declarations about the data of its sites; None for the rows of every MetaData of the
            process alone.
        progress: Called with a line from time to time.
        options: See `ImportOptions`.

    Returns:
        What was imported.

    Raises:
        InvalidHost: `host` is not valid.
        DomainTaken: A domain belongs to a site already.
        UnknownSite: There is no site to replace.
        MultisiteError: The archive is not valid, or does not fit the application or the database.
    """
    declared, upgrade = contents or SiteContents(), options.get("upgrade")
    with ExitStack() as stack:
        reader = stack.enter_context(opening(Path(path)))
        if upgrade is not None and not _fits(reader, engine):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="multisite-import-"))
            declared = declared.without_later_tables()
            upgrade(Path(path), Path(folder, "site.zip"))
            reader = stack.enter_context(opening(Path(folder, "site.zip")))
        return _Import(engine, reader, settings, declared, options, progress).run()


def _fits(reader: ArchiveReader, engine: Engine) -> bool:
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        return sorted(reader.manifest.revisions) == application_revisions(connection)


def _refuse_pickles(tables: list[ArchivedTable]) -> None:
    for each in tables:
        for column in each.table.columns:
            if each.entry.rows and holds_pickles(column.column.type):
                raise MultisiteError(
                    f"{each.table.name}.{column.name} holds pickles, which run as code when they are read: they are "
                    "only taken with --with-templates"
                )


class _Import:
    """The import of one archive."""

    def __init__(
        self,
        engine: Engine,
        reader: ArchiveReader,
        settings: Settings,
        contents: SiteContents,
        options: ImportOptions,
        progress: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._reader = reader
        self._settings = settings
        self._contents = contents
        self._options = options
        self._progress = progress
        archived = ArchivedSite.from_json(reader.read(SITE), underscores=settings.allow_underscores)
        self._site = archived
        host = options.get("host")
        if host is not None:
            domain = check_canonical(domains.to_ascii(host, underscores=settings.allow_underscores))
            self._site = replace(archived, domains=((domain, "canonical"),))
        self._addresses = AddressMap((domain for domain, _ in archived.domains), self._site.canonical)
        if host is None:
            self._addresses = AddressMap((), self._site.canonical)

    def run(self) -> Imported:
        """Check everything, and import it unless this is a dry run."""
        plan, tables, groups, existing = self._check()
        transform = Transform(self._contents, self._addresses, plan)
        with_templates = self._options.get("with_templates", False)
        with ExitStack() as stack:
            parts = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="multisite-import-")))
            extract_folder(self._reader, PARTS, parts)
            if self._options.get("dry_run"):
                extract_files(self._reader, parts / ".files", with_templates=with_templates)
                record, rows = None, self._try(tables, groups, transform)
            else:
                folder = stack.enter_context(TargetFolder(self._settings, self._site.canonical, existing))
                extract_files(self._reader, folder.staging, with_templates=with_templates)
                if existing is not None and not with_templates:
                    folder.keep_templates()
                columns, logged_as = self._options.get("columns", {}), self._options.get("logged_as", "import-site")
                transaction = ImportTransaction(self._site, plan, self._contents, transform, columns, logged_as)
                with transaction.begin(self._engine, folder, existing) as connection:
                    keep = self._options.get("keep_keys", False)
                    with all_sites(f"reserving keys for the rows of {self._site.canonical}"):
                        groups.allocate(connection, [each.table for each in tables], keep=keep)
                    rows = transaction.insert(connection, tables, groups, self._progress)
                    transaction.import_parts(connection, parts)
                    if on_stored := self._options.get("on_stored"):
                        on_stored(connection, transaction.site)
                record = transaction.record
        names = [name for name in self._reader.manifest.members if not name.startswith((f"{ROWS}/", SITE))]
        files = sum(1 for name in names if with_templates or not is_code(name))
        host = str(self._site.canonical if record is None else record.site)
        return Imported(host, record, rows, files, self._left_out(plan), transform.changes)

    def _check(self) -> tuple[ArchivePlan, list[ArchivedTable], KeyGroups, SiteRecord | None]:
        """Check the archive against the database, and read all of its rows once."""
        if self._site.theme is not None:
            check_theme(self._settings, self._site.theme)
        for member in self._reader.names(PARTS):
            name = member.split("/")[1]
            if name not in self._contents.parts:
                raise MultisiteError(f"the archive has data of {name!a}, which this application does not have")
        existing = None
        with self._engine.connect().execution_options(**AS_MULTISITE) as connection:
            if self._options.get("replace"):
                existing = read_ready_site(connection, self._site.canonical)
            else:
                check_domain_free(connection, *(domain for domain, _ in self._site.domains))
            check_revisions(self._reader.manifest.revisions, connection)
            users = self._options.get("users", "keep") == "keep"
            plan = make_plan(self._contents, connection, global_tables=self._settings.global_tables, users=users)
        tables, groups = archived_tables(self._reader, plan), key_groups(plan)
        if not self._options.get("with_templates"):
            _refuse_pickles(tables)
        check_rows(tables, groups, self._progress)
        with self._engine.connect().execution_options(**AS_MULTISITE) as connection:
            replaced = None if existing is None else existing.site.id
            check_unique_values(connection, tables, groups, self._contents, replaced)
        return plan, tables, groups, existing

    def _try(self, tables: list[ArchivedTable], groups: KeyGroups, transform: Transform) -> dict[str, int]:
        """Do everything with the rows but insert them, and return their number by table."""
        groups.keep_all()
        for name, text in self._site.settings.items():
            transform.setting(name, text)
        with self._engine.connect().execution_options(**AS_MULTISITE) as connection:
            counts = {
                each.table.name: sum(1 for _ in ConvertedRows(connection, 0, each, groups, transform))
                for each in tables
            }
        return {name: count for name, count in counts.items() if count}

    def _left_out(self, plan: ArchivePlan) -> tuple[str, ...]:
        count = sum(map(is_code, self._reader.manifest.members))
        left_out = [f"the rows of {name}" for name in plan.left_out if name in self._reader.manifest.tables]
        if count and not self._options.get("with_templates"):
            what = "template" if count == 1 else "templates"
            left_out.append(f"{count} {what}: code that runs in the server, which is only taken with --with-templates")
        return tuple(left_out)
