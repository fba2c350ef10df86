"""The tables of multisite: sites, domains, settings of sites, and the version that every change of them raises.

They have a MetaData of their own, so that an application's `create_all` and `--autogenerate` ignore them. A foreign key
to `sites` from another MetaData must use the Column object: `ForeignKey(SiteRow.__table__.c.id)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, Mapper, mapped_column
from sqlalchemy.types import TypeDecorator

from multisite.core.dialects import SUPPORTED

__all__ = [
    "AS_MULTISITE",
    "CHANNEL",
    "OWN_ACCESS",
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

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""A 64-bit key. SQLite generates keys only for the type INTEGER, which has 64 bits there."""


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time: accepts aware datetimes in any zone, and returns them in UTC, on every database."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert `value` to UTC. Raises `ValueError` for a naive datetime, whose zone is unknown."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the stored value in UTC, whatever the time zone of the database session."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


OWN_ACCESS = "multisite_own_access"
"""The execution option of connections with which multisite itself accesses these tables, across all sites.

On all other connections they are limited like an application's scoped tables, and a site cannot change its rows.
"""

AS_MULTISITE = {OWN_ACCESS: True}
"""For `engine.connect().execution_options(**AS_MULTISITE)`."""


@contextmanager
def as_multisite(connection: Connection) -> Iterator[None]:
    """Give a connection from elsewhere the option `OWN_ACCESS` inside the block."""
    before = bool(connection.get_execution_options().get(OWN_ACCESS))
    connection.execution_options(**AS_MULTISITE)
    try:
        yield
    finally:
        connection.execution_options(**{OWN_ACCESS: before})


class _Base(DeclarativeBase):
    metadata = metadata


def _now(context: Any) -> datetime:
    """Return the time. A module-level function, so that statements on tables that refer to sites can be pickled."""
    return datetime.now(UTC)


_NAME_STARTS = "abcdefghijklmnopqrstuvwxyz0123456789"

THEME_CHECK = (
    f"length(theme) BETWEEN 1 AND 64 AND ltrim(theme, '{_NAME_STARTS}-_') = '' "
    f"AND ltrim(substr(theme, 1, 1), '{_NAME_STARTS}') = ''"
)
"""The name of a theme is a portable folder name. `ltrim` strips the listed characters and leaves all others."""

HOST_CHECK = (
    f"ltrim(host, '{_NAME_STARTS}-_.:[]*') = '' AND length(host) > 0 AND replace(host, '..', '') = host "
    "AND substr(host, 1, 1) <> '.' AND substr(host, length(host), 1) <> '.'"
)
"""Excludes upper case, a trailing dot, and characters that no host has. A CHECK cannot express all rules of `hosts`.
Underscores pass, because a setting decides about them (`multisite.allow_underscores`)."""

AVAILABILITY_CHECK = "availability IN ('open', 'maintenance', 'disabled', 'removing', 'removed')"


class SiteRow(_Base):
    """A site. `status` is `pending` while `add-site` creates its folder, then `active`.

    The `availability` of an active site is `open`, `maintenance`, `disabled` or `removing`. Of a `removed` site only
    this row remains, so that its id is never reused. The columns of maintenance hold the message for visitors, the
    announced end, and the SHA-256 of the token with which operators bypass it.

    `theme` is the name of a folder below `themes` in the shared templates, or NULL. Raising `template_generation` makes
    running servers look up the site's templates again; that of `DirectoryVersion` applies to all sites. Raising
    `secret_generation` replaces everything that is derived from secrets for the site.

    `copy_of` is the domain of the site that this one was copied from, or NULL.
    """

    __tablename__ = "sites"
    __table_args__ = (
        sa.CheckConstraint("status IN ('pending', 'active')", name="status"),
        sa.CheckConstraint(THEME_CHECK, name="theme"),
        sa.CheckConstraint(AVAILABILITY_CHECK, name="availability"),
        sa.CheckConstraint("copy_of <> ''", name="copy_of"),
        sa.Index("ix_sites_status_availability", "status", "availability"),  # These two are for lists of sites.
        sa.Index("ix_sites_name_id", "name", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(200))
    folder: Mapped[str] = mapped_column(sa.String(253), unique=True)
    locale: Mapped[str] = mapped_column(sa.String(35), server_default="en", default="en")
    timezone: Mapped[str] = mapped_column(sa.String(64), server_default="UTC", default="UTC")
    status: Mapped[str] = mapped_column(sa.String(10), server_default="active", default="active")
    theme: Mapped[str | None] = mapped_column(sa.String(64))
    template_generation: Mapped[int] = mapped_column(sa.BigInteger, server_default="0", default=0)
    secret_generation: Mapped[int] = mapped_column(sa.BigInteger, server_default="0", default=0)
    availability: Mapped[str] = mapped_column(sa.String(12), server_default="open", default="open")
    maintenance_message: Mapped[str | None] = mapped_column(sa.String(500))
    maintenance_until: Mapped[datetime | None] = mapped_column(sa.DateTime(timezone=True))
    maintenance_pass: Mapped[str | None] = mapped_column(sa.String(64))
    copy_of: Mapped[str | None] = mapped_column(sa.String(460))
    created: Mapped[datetime] = mapped_column(
        sa.DateTime(timezone=True), server_default=sa.func.current_timestamp(), default=_now
    )


class DomainRow(_Base):
    """A domain of a site: the `canonical` one, an `alias`, or a `redirect` to the canonical one.

    `host`, `port` and `path` are those of a `multisite.core.domains.Domain`, with 0 for any port. They are stored in
    canonical form, which the CHECKs enforce in part, so that the unique constraint decides a race for a domain.
    """

    __tablename__ = "domains"
    __table_args__ = (
        sa.CheckConstraint("kind IN ('canonical', 'alias', 'redirect')", name="kind"),
        sa.CheckConstraint(HOST_CHECK, name="host"),
        sa.CheckConstraint("port BETWEEN 0 AND 65535", name="port"),
        sa.CheckConstraint(
            "path = '' OR (substr(path, 1, 1) = '/' AND substr(path, length(path), 1) <> '/')", name="path"
        ),
        sa.CheckConstraint("kind <> 'canonical' OR substr(host, 1, 1) <> '*'", name="canonical"),
        sa.UniqueConstraint("host", "port", "path", name="uq_domains_host_port_path"),
        # These two are for canonical domains only: _limit_indexes.
        sa.Index("uq_domains_canonical", "site_id", unique=True),
        sa.Index("ix_domains_canonical", "host", "port", "path", "site_id"),
        sa.Index("ix_domains_site_id", "site_id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    site_id: Mapped[int] = mapped_column(sa.BigInteger, sa.ForeignKey(SiteRow.id, ondelete="CASCADE"))
    host: Mapped[str] = mapped_column(sa.String(253))
    port: Mapped[int] = mapped_column(sa.Integer, server_default="0", default=0)
    path: Mapped[str] = mapped_column(sa.String(200), server_default="", default="")
    kind: Mapped[str] = mapped_column(sa.String(10), server_default="alias", default="alias")


@event.listens_for(DomainRow.__table__, "before_create")
def _limit_indexes(table: sa.Table, connection: Connection, **_: Any) -> None:
    """Limit two indexes to canonical domains, on the dialect in use.

    An option of a dialect in the model itself imports that dialect, which takes a tenth of an application's start.
    """
    if connection.dialect.name not in SUPPORTED:
        return
    for index in table.indexes:
        if index.name in {"uq_domains_canonical", "ix_domains_canonical"}:
            index.dialect_options[connection.dialect.name]["where"] = sa.text("kind = 'canonical'")


class SettingRow(_Base):
    """The value of a setting for one site, as the text that `multisite set` was given.

    The application declares which settings exist and their types. Rows of undeclared settings are ignored.
    """

    __tablename__ = "multisite_settings"

    site_id: Mapped[int] = mapped_column(
        sa.BigInteger, sa.ForeignKey(SiteRow.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    name: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    value: Mapped[str] = mapped_column(sa.Text)


class RemovedRow(_Base):
    """A site that is being removed, or was removed, with an archive from which it can be restored.

    `domain` is its canonical domain and `availability` that from before. `archive` is the name of a file in
    `multisite.archives_dir`, `sha256` its checksum, which is NULL until the archive is complete; no row of the site is
    deleted before. `trash` is the name of the site's folder in the trash. `removed` and `keep_until` are NULL until
    the removal is complete. Of a site that is restored already, `domain` is # and the new id, and `sha256` is NULL,
    until its archive is deleted.
    """

    __tablename__ = "multisite_removed"

    site_id: Mapped[int] = mapped_column(
        sa.BigInteger, sa.ForeignKey(SiteRow.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    domain: Mapped[str] = mapped_column(sa.String(460))
    availability: Mapped[str] = mapped_column(sa.String(12))
    archive: Mapped[str | None] = mapped_column(sa.String(255))
    sha256: Mapped[str | None] = mapped_column(sa.String(64))
    trash: Mapped[str | None] = mapped_column(sa.String(255))
    removed: Mapped[datetime | None] = mapped_column(sa.DateTime(timezone=True))
    keep_until: Mapped[datetime | None] = mapped_column(sa.DateTime(timezone=True))


class ChangeRow(_Base):
    """A counter of the transactions that changed rows of a site: each raises `version` in its last statement.

    Only the page cache (`multisite.page_cache`) uses it. `site_id` is 0 for changes of all sites, and therefore no
    foreign key.
    """

    __tablename__ = "multisite_changes"

    site_id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(sa.BigInteger)


class DirectoryVersion(_Base):
    """A single row, whose `version` is raised by every change of the tables above, in the same transaction.

    Raising `template_generation`, and the version with it, makes running servers look up all templates again.
    """

    __tablename__ = "multisite_version"
    __table_args__ = (sa.CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(sa.BigInteger, server_default="0", default=0)
    template_generation: Mapped[int] = mapped_column(sa.BigInteger, server_default="0", default=0)


CHANNEL = "multisite"
"""The PostgreSQL channel for changes of the directory."""


def raise_version(connection: Connection) -> None:
    """Raise the directory's version in the transaction of `connection`.

    On commit PostgreSQL notifies all listeners (`multisite.notify`); after a rollback nothing is sent.
    """
    table = DirectoryVersion.__table__
    connection.execute(sa.update(DirectoryVersion).where(table.c.id == 1).values(version=table.c.version + 1))
    if connection.dialect.name == "postgresql":
        # Unconditionally, because a script or command that changes the directory cannot know whether others listen.
        connection.execute(sa.select(sa.func.pg_notify(CHANNEL, "")))


def _raise_version_on_change(mapper: Mapper[Any], connection: Connection, row: object) -> None:
    raise_version(connection)


for _model in (SiteRow, DomainRow, SettingRow):
    for _change in ("after_insert", "after_update", "after_delete"):
        event.listen(_model, _change, _raise_version_on_change)
