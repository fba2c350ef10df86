"""The transaction that inserts an archived site, or puts it in the place of an existing one."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError

from multisite.core.current_site import using_site
from multisite.core.site import Site
from multisite.directory.models import SettingRow, SiteRow
from multisite.directory.records import SiteRecord, read_site_by_id
from multisite.directory.tables import AS_MULTISITE, raise_version
from multisite.errors import MultisiteError
from multisite.sites.archive.archived_rows import ArchivedTable
from multisite.sites.archive.comparing import RowSum, different_columns, stable_texts, stored_rows
from multisite.sites.archive.contents import SiteContents
from multisite.sites.archive.converted_rows import ConvertedRows
from multisite.sites.archive.keys import KeyGroups
from multisite.sites.archive.plan import ArchivePlan
from multisite.sites.archive.row_deletion import delete_rows
from multisite.sites.archive.row_insertion import insert_rows
from multisite.sites.archive.site_record import ArchivedSite
from multisite.sites.archive.target_folder import TargetFolder
from multisite.sites.archive.transform import Transform
from multisite.sites.operator_log import record_site_change
from multisite.sites.transaction import check_domain_free, insert_domain

__all__ = ["ImportTransaction"]


class ImportTransaction:
    """The transaction that stores one archived site. `site` is known inside the transaction, and `record` after it."""

    site: Site
    record: SiteRecord

    def __init__(
        self,
        archived: ArchivedSite,
        plan: ArchivePlan,
        contents: SiteContents,
        transform: Transform,
        columns: Mapping[str, Any],
        logged_as: str,
    ) -> None:
        self._archived = archived
        self._plan = plan
        self._contents = contents
        self._transform = transform
        self._columns = columns
        self._logged_as = logged_as

    @contextmanager
    def begin(self, engine: Engine, folder: TargetFolder, existing: SiteRecord | None) -> Iterator[Connection]:
        """Yield a connection for the rows, and store everything else before and after.

        The version of the directory is raised last, because from there on its other changes wait for the commit.

        Args:
            engine: The database of the directory and of the application.
            folder: The folder of the site, complete.
            existing: The site to replace; None for a new one.

        Yields:
            The connection.

        Raises:
            DomainTaken: A domain belongs to a site already.
            MultisiteError: The database refuses the site.
        """
        values = {
            "name": self._archived.name,
            "locale": self._archived.locale,
            "timezone": self._archived.timezone,
            "theme": self._archived.theme,
            "folder": folder.name,
            "availability": self._archived.availability,
            "copy_of": self._archived.copy_of,
            **self._columns,
        }
        try:
            with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
                _check_folder_free(connection, folder.name)
                if existing is None:
                    self._insert_site(connection, values)
                else:
                    self._update_site(connection, existing.site, values)
                yield connection
                self._insert_settings(connection)
                raise_version(connection)
                if existing is None:
                    check_domain_free(connection, *(domain for domain, _ in self._archived.domains))
                    for domain, kind in self._archived.domains:
                        insert_domain(connection, self.site.id, domain, kind)
                found = read_site_by_id(connection, self.site.id)
                if found is None:
                    raise MultisiteError("the site was removed meanwhile: nothing was imported")
                self.record = found
                record_site_change(connection, self._logged_as, existing, found)
                left_behind = folder.left_behind()
                if left_behind is not None and _owner_of(connection, left_behind) is None:
                    folder.remove_too(left_behind)
                folder.put_in_place()
            folder.keep()
        except IntegrityError as error:
            raise MultisiteError(f"the database refuses the site: {error.orig}") from error

    def _insert_site(self, connection: Connection, values: dict[str, Any]) -> None:
        # Another server with the same secret may have a site with this id: secrets derived there are not valid here.
        generation = secrets.randbelow(2**31)
        statement = sa.insert(SiteRow).values(secret_generation=generation, **values).returning(SiteRow.id)
        domain = self._archived.canonical
        self.site = Site(
            connection.execute(statement).scalar_one(),
            domain.name,
            values["name"],
            values["folder"],
            values["locale"],
            values["timezone"],
            values["theme"],
            port=domain.port,
            path=domain.path,
        )

    def _update_site(self, connection: Connection, site: Site, values: dict[str, Any]) -> None:
        self.site = site
        values = {name: value for name, value in values.items() if name not in ("availability", "copy_of")}
        generation = {"template_generation": SiteRow.template_generation + 1}
        connection.execute(sa.update(SiteRow).where(SiteRow.id == site.id).values(**values, **generation))
        connection.execute(sa.delete(SettingRow).where(SettingRow.site_id == site.id))
        delete_rows(connection, site, self._plan)

    def _insert_settings(self, connection: Connection) -> None:
        rows = [
            {"site_id": self.site.id, "name": name, "value": self._transform.setting(name, text)}
            for name, text in self._archived.settings.items()
        ]
        if rows:
            connection.execute(sa.insert(SettingRow), rows)

    def insert(
        self,
        connection: Connection,
        tables: list[ArchivedTable],
        groups: KeyGroups,
        progress: Callable[[str], None],
    ) -> dict[str, int]:
        """Insert the rows, and compare them with what the database has afterwards.

        Returns:
            The number of rows, by table that has any.

        Raises:
            MultisiteError: The database refuses a row, or has other rows afterwards.
        """
        rows = [ConvertedRows(connection, self.site.id, each, groups, self._transform) for each in tables]
        counts = insert_rows(connection, self.site, rows, progress)
        with using_site(self.site), stable_texts(connection):
            for each in rows:
                self._compare(connection, each, progress)
        return counts

    def _compare(self, connection: Connection, rows: ConvertedRows, progress: Callable[[str], None]) -> None:
        """Raise `MultisiteError` if the database has other rows of a table than those that were inserted."""
        table, wanted = rows.table, rows.archived.entry.rows
        found = RowSum(table.columns, connection.dialect)
        for values in stored_rows(connection, self._plan, table):
            found.add_values(values)
            if found.rows % 10_000 == 0:
                progress(f"{table.name}: {found.rows} of {wanted} rows compared")
        if found.rows != wanted:
            raise MultisiteError(
                f"the database has {found.rows} rows of {table.name} after the import, and the archive has {wanted}: "
                "nothing was imported"
            )
        if found.total != rows.sum.total:
            columns = ", ".join(different_columns(connection, self._plan, table, rows)) or "several columns"
            raise MultisiteError(
                f"the database has other values in {table.name} after the import than the archive, in {columns}: "
                'nothing was imported. A trigger or the type of the column changes them; info={"export": False} '
                "leaves out a column that the database fills itself"
            )

    def import_parts(self, connection: Connection, folder: Path) -> None:
        """Call the parts of the application, with an empty folder if the archive has none.

        A part also checks the rows that its files belong to: an archive must not avoid that by having no files.
        """
        with using_site(self.site):
            for name, part in sorted(self._contents.parts.items()):
                (folder / name).mkdir(parents=True, exist_ok=True)
                part.import_(self.site, connection, folder / name)


def _check_folder_free(connection: Connection, name: str) -> None:
    """Raise `MultisiteError` if a site has the folder `name`, such as one that had another canonical domain before."""
    owner = _owner_of(connection, name)
    if owner is not None:
        record = read_site_by_id(connection, owner)
        raise MultisiteError(
            f"the folder {name} belongs to the site {owner if record is None else record.site}: choose another host"
        )


def _owner_of(connection: Connection, folder: str) -> int | None:
    """Return the id of the site with this folder, or None."""
    owner: int | None = connection.scalars(sa.select(SiteRow.id).where(SiteRow.folder == folder)).first()
    return owner
