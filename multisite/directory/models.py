"""The classes of the tables of sites, for scripts and for commands that change them.

A foreign key to `sites` from another MetaData must use the Column object: `ForeignKey(SiteRow.__table__.c.id)`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.orm import DeclarativeBase, Mapped, Mapper

from multisite.directory import tables
from multisite.directory.schema import metadata
from multisite.directory.tables import (
    AS_MULTISITE,
    CHANNEL,
    OWN_ACCESS,
    BigId,
    UtcDateTime,
    as_multisite,
    raise_version,
)

__all__ = [
    "AS_MULTISITE",
    "CHANNEL",
    "OWN_ACCESS",
    "BigId",
    "ChangeRow",
    "DirectoryVersion",
    "DomainRow",
    "RemovedRow",
    "SettingRow",
    "SiteRow",
    "UtcDateTime",
    "as_multisite",
    "metadata",
    "raise_version",
]


class _Base(DeclarativeBase):
    metadata = metadata


class SiteRow(_Base):
    """A site."""

    __table__ = tables.sites_table

    id: Mapped[int]
    name: Mapped[str]
    folder: Mapped[str]
    locale: Mapped[str]
    timezone: Mapped[str]
    status: Mapped[str]
    theme: Mapped[str | None]
    template_generation: Mapped[int]
    secret_generation: Mapped[int]
    availability: Mapped[str]
    maintenance_message: Mapped[str | None]
    maintenance_until: Mapped[datetime | None]
    maintenance_pass: Mapped[str | None]
    copy_of: Mapped[str | None]
    created: Mapped[datetime]


class DomainRow(_Base):
    """A domain of a site."""

    __table__ = tables.domains_table

    id: Mapped[int]
    site_id: Mapped[int]
    host: Mapped[str]
    port: Mapped[int]
    path: Mapped[str]
    kind: Mapped[str]


class SettingRow(_Base):
    """The value of a setting for one site."""

    __table__ = tables.settings_table

    site_id: Mapped[int]
    name: Mapped[str]
    value: Mapped[str]


class RemovedRow(_Base):
    """A site that is being removed, or was removed."""

    __table__ = tables.removed_table

    site_id: Mapped[int]
    domain: Mapped[str]
    availability: Mapped[str]
    archive: Mapped[str | None]
    sha256: Mapped[str | None]
    trash: Mapped[str | None]
    removed: Mapped[datetime | None]
    keep_until: Mapped[datetime | None]


class ChangeRow(_Base):
    """A counter of the changes of a site."""

    __table__ = tables.changes_table

    site_id: Mapped[int]
    version: Mapped[int]


class DirectoryVersion(_Base):
    """The version of the directory, and the generation of all templates."""

    __table__ = tables.version_table

    id: Mapped[int]
    version: Mapped[int]
    template_generation: Mapped[int]


def _raise_version_on_change(mapper: Mapper[Any], connection: Connection, row: object) -> None:
    raise_version(connection)


for _model in (SiteRow, DomainRow, SettingRow):
    for _change in ("after_insert", "after_update", "after_delete"):
        event.listen(_model, _change, _raise_version_on_change)
