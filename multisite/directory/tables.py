"""The tables of sites: sites, domains, settings of sites, and the version that every change of them raises.

They have a MetaData of their own, so that an application's `create_all` and `--autogenerate` ignore them.
`multisite.directory.models` maps them to classes: servers and commands that only read do not need these, nor
SQLAlchemy's ORM. Whoever needs all tables of this MetaData imports it from `multisite.directory.schema`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.types import TypeDecorator

from multisite.core.dialects import SUPPORTED

__all__ = [
    "AS_MULTISITE",
    "CHANNEL",
    "OWN_ACCESS",
    "BigId",
    "UtcDateTime",
    "as_multisite",
    "changes_table",
    "domains_table",
    "metadata",
    "raise_version",
    "removed_table",
    "settings_table",
    "sites_table",
    "version_table",
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

sites_table = sa.Table(
    "sites",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("folder", sa.String(253), unique=True, nullable=False),
    sa.Column("locale", sa.String(35), server_default="en", default="en", nullable=False),
    sa.Column("timezone", sa.String(64), server_default="UTC", default="UTC", nullable=False),
    sa.Column("status", sa.String(10), server_default="active", default="active", nullable=False),
    sa.Column("theme", sa.String(64)),
    sa.Column("template_generation", sa.BigInteger, server_default="0", default=0, nullable=False),
    sa.Column("secret_generation", sa.BigInteger, server_default="0", default=0, nullable=False),
    sa.Column("availability", sa.String(12), server_default="open", default="open", nullable=False),
    sa.Column("maintenance_message", sa.String(500)),
    sa.Column("maintenance_until", sa.DateTime(timezone=True)),
    sa.Column("maintenance_pass", sa.String(64)),
    sa.Column("copy_of", sa.String(460)),
    sa.Column(
        "created",
        sa.DateTime(timezone=True),
        server_default=sa.func.current_timestamp(),
        default=_now,
        nullable=False,
    ),
    sa.CheckConstraint("status IN ('pending', 'active')", name="status"),
    sa.CheckConstraint(THEME_CHECK, name="theme"),
    sa.CheckConstraint(AVAILABILITY_CHECK, name="availability"),
    sa.CheckConstraint("copy_of <> ''", name="copy_of"),
    sa.Index("ix_sites_status_availability", "status", "availability"),  # These two are for lists of sites.
    sa.Index("ix_sites_name_id", "name", "id"),
)
"""The sites. `status` is `pending` while `add-site` creates the site's folder, then `active`.

The `availability` of an active site is `open`, `maintenance`, `disabled` or `removing`. Of a `removed` site only this
row remains, so that its id is never reused. The columns of maintenance hold the message for visitors, the announced
end, and the SHA-256 of the token with which operators bypass it.

`theme` is the name of a folder below `themes` in the shared templates, or NULL. Raising `template_generation` makes
running servers look up the site's templates again; that of `version_table` applies to all sites. Raising
`secret_generation` replaces everything that is derived from secrets for the site.

`copy_of` is the domain of the site that this one was copied from, or NULL.
"""

domains_table = sa.Table(
    "domains",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("site_id", sa.BigInteger, sa.ForeignKey(sites_table.c.id, ondelete="CASCADE"), nullable=False),
    sa.Column("host", sa.String(253), nullable=False),
    sa.Column("port", sa.Integer, server_default="0", default=0, nullable=False),
    sa.Column("path", sa.String(200), server_default="", default="", nullable=False),
    sa.Column("kind", sa.String(10), server_default="alias", default="alias", nullable=False),
    sa.CheckConstraint("kind IN ('canonical', 'alias', 'redirect')", name="kind"),
    sa.CheckConstraint(HOST_CHECK, name="host"),
    sa.CheckConstraint("port BETWEEN 0 AND 65535", name="port"),
    sa.CheckConstraint("path = '' OR (substr(path, 1, 1) = '/' AND substr(path, length(path), 1) <> '/')", name="path"),
    sa.CheckConstraint("kind <> 'canonical' OR substr(host, 1, 1) <> '*'", name="canonical"),
    sa.UniqueConstraint("host", "port", "path", name="uq_domains_host_port_path"),
    # These two are for canonical domains only: _limit_indexes.
    sa.Index("uq_domains_canonical", "site_id", unique=True),
    sa.Index("ix_domains_canonical", "host", "port", "path", "site_id"),
    sa.Index("ix_domains_site_id", "site_id"),
)
"""The domains of sites: the `canonical` one, an `alias`, or a `redirect` to the canonical one.

`host`, `port` and `path` are those of a `multisite.core.domains.Domain`, with 0 for any port. They are stored in
canonical form, which the CHECKs enforce in part, so that the unique constraint decides a race for a domain.
"""


@event.listens_for(domains_table, "before_create")
def _limit_indexes(table: sa.Table, connection: Connection, **_: Any) -> None:
    """Limit two indexes to canonical domains, on the dialect in use.

    An option of a dialect in the table itself imports that dialect, which takes a tenth of an application's start.
    """
    if connection.dialect.name not in SUPPORTED:
        return
    for index in table.indexes:
        if index.name in {"uq_domains_canonical", "ix_domains_canonical"}:
            index.dialect_options[connection.dialect.name]["where"] = sa.text("kind = 'canonical'")


settings_table = sa.Table(
    "multisite_settings",
    metadata,
    sa.Column(
        "site_id",
        sa.BigInteger,
        sa.ForeignKey(sites_table.c.id, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
"""The values of settings for one site each, as the texts that `multisite set` was given.

The application declares which settings exist and their types. Rows of undeclared settings are ignored.
"""

removed_table = sa.Table(
    "multisite_removed",
    metadata,
    sa.Column(
        "site_id",
        sa.BigInteger,
        sa.ForeignKey(sites_table.c.id, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("domain", sa.String(460), nullable=False),
    sa.Column("availability", sa.String(12), nullable=False),
    sa.Column("archive", sa.String(255)),
    sa.Column("sha256", sa.String(64)),
    sa.Column("trash", sa.String(255)),
    sa.Column("removed", sa.DateTime(timezone=True)),
    sa.Column("keep_until", sa.DateTime(timezone=True)),
)
"""The sites that are being removed, or were removed, with archives from which they can be restored.

`domain` is a site's canonical domain and `availability` that from before. `archive` is the name of a file in
`multisite.archives_dir`, `sha256` its checksum, which is NULL until the archive is complete; no row of the site is
deleted before. `trash` is the name of the site's folder in the trash. `removed` and `keep_until` are NULL until the
removal is complete. Of a site that is restored already, `domain` is # and the new id, and `sha256` is NULL, until its
archive is deleted.
"""

changes_table = sa.Table(
    "multisite_changes",
    metadata,
    sa.Column("site_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("version", sa.BigInteger, nullable=False),
)
"""For each site a counter of the transactions that changed its rows: each raises `version` in its last statement.

Only the page cache (`multisite.page_cache`) uses it. `site_id` is 0 for changes of all sites, and therefore no foreign
key.
"""

version_table = sa.Table(
    "multisite_version",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.BigInteger, server_default="0", default=0, nullable=False),
    sa.Column("template_generation", sa.BigInteger, server_default="0", default=0, nullable=False),
    sa.CheckConstraint("id = 1", name="one_row"),
)
"""A single row, whose `version` is raised by every change of the tables above, in the same transaction.

Raising `template_generation`, and the version with it, makes running servers look up all templates again.
"""

CHANNEL = "multisite"
"""The PostgreSQL channel for changes of the directory."""


def raise_version(connection: Connection) -> None:
    """Raise the directory's version in the transaction of `connection`.

    On commit PostgreSQL notifies all listeners (`multisite.notify`); after a rollback nothing is sent.
    """
    version = version_table.c
    connection.execute(sa.update(version_table).where(version.id == 1).values(version=version.version + 1))
    if connection.dialect.name == "postgresql":
        # Unconditionally, because a script or command that changes the directory cannot know whether others listen.
        connection.execute(sa.select(sa.func.pg_notify(CHANNEL, "")))
