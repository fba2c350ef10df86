"""The tables of multisite: `sites`, `domains`, the settings of sites, and the version that every change of them raises.

They have a MetaData of their own, so that an application's `create_all` and `--autogenerate` leave them alone. A
foreign key to `sites` from another MetaData must name the Column object: `ForeignKey(SiteRow.__table__.c.id)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.orm import DeclarativeBase, Mapped, Mapper, mapped_column

__all__ = [
    "AS_MULTISITE",
    "CHANNEL",
    "OWN_ACCESS",
    "ChangeRow",
    "DirectoryVersion",
    "DomainRow",
    "SettingRow",
    "SiteRow",
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
"""A 64-bit key. SQLite numbers rows by itself only where the type is spelt INTEGER, which is 64 bits there."""


OWN_ACCESS = "multisite_own_access"
"""The execution option of connections with which multisite itself reads and changes these tables, for every site.

For all others they are limited like an application's scoped tables: a site reads its own rows, and changes none.
"""

AS_MULTISITE = {OWN_ACCESS: True}
"""What such a connection is made with: `engine.connect().execution_options(**AS_MULTISITE)`."""


@contextmanager
def as_multisite(connection: Connection) -> Iterator[None]:
    """Let `connection`, which somebody else has made, be such a one inside the block."""
    before = bool(connection.get_execution_options().get(OWN_ACCESS))
    connection.execution_options(**AS_MULTISITE)
    try:
        yield
    finally:
        connection.execution_options(**{OWN_ACCESS: before})


class _Base(DeclarativeBase):
    metadata = metadata


def _now(context: Any) -> datetime:
    """Return the time; a function of this form can be pickled, and with it statements on tables that refer to sites."""
    return datetime.now(UTC)


_NAME_STARTS = "abcdefghijklmnopqrstuvwxyz0123456789"

THEME_CHECK = (
    f"length(theme) BETWEEN 1 AND 64 AND ltrim(theme, '{_NAME_STARTS}-_') = '' "
    f"AND ltrim(substr(theme, 1, 1), '{_NAME_STARTS}') = ''"
)
"""The name of a theme is that of a folder, the same on every file system. `ltrim` leaves what it does not list."""

HOST_CHECK = (
    f"ltrim(host, '{_NAME_STARTS}-_.:[]*') = '' AND length(host) > 0 AND replace(host, '..', '') = host "
    "AND substr(host, 1, 1) <> '.' AND substr(host, length(host), 1) <> '.'"
)
"""Upper case, a trailing dot and what else is in no host. The whole of the canonical form no CHECK can say; whether
underscores are allowed is a setting (`multisite.allow_underscores`)."""

AVAILABILITY_CHECK = "availability IN ('open', 'maintenance', 'disabled', 'removing', 'removed')"


class SiteRow(_Base):
    """A site. `status` is `pending` while `add-site` is making its folder, then `active`.

    An active site is `open`, in `maintenance`, `disabled` or `removing`, as `availability` says; what is left of one
    that was `removed` is this row, so that its id is never used again. The three columns of maintenance hold what its
    visitors are told, until when it is announced, and the SHA-256 of the word by which operators pass.

    `theme` names a folder below `themes` in the shared templates, NULL for none. `template_generation` is raised to
    let running servers look for the site's templates again; `DirectoryVersion` has the one of all sites.
    `secret_generation` is raised to replace everything that is derived from secrets for the site.
    """

    __tablename__ = "sites"
    __table_args__ = (
        sa.CheckConstraint("status IN ('pending', 'active')", name="status"),
        sa.CheckConstraint(THEME_CHECK, name="theme"),
        sa.CheckConstraint(AVAILABILITY_CHECK, name="availability"),
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
    created: Mapped[datetime] = mapped_column(
        sa.DateTime(timezone=True), server_default=sa.func.current_timestamp(), default=_now
    )


class DomainRow(_Base):
    """A domain that leads to a site: its one `canonical`, an `alias`, or a `redirect` to the canonical.

    `host`, `port` and `path` are those of a `multisite.domains.Domain`, with 0 for any port. That the form is the
    canonical one the CHECKs guard only in part: the unique constraint on that one form decides a race for a domain.
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
        sa.Index(
            "uq_domains_canonical",
            "site_id",
            unique=True,
            sqlite_where=sa.text("kind = 'canonical'"),
            postgresql_where=sa.text("kind = 'canonical'"),
        ),
        sa.Index("ix_domains_site_id", "site_id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    site_id: Mapped[int] = mapped_column(sa.BigInteger, sa.ForeignKey(SiteRow.id, ondelete="CASCADE"))
    host: Mapped[str] = mapped_column(sa.String(253))
    port: Mapped[int] = mapped_column(sa.Integer, server_default="0", default=0)
    path: Mapped[str] = mapped_column(sa.String(200), server_default="", default="")
    kind: Mapped[str] = mapped_column(sa.String(10), server_default="alias", default="alias")


class SettingRow(_Base):
    """A setting that a site has for itself. `value` is what `multisite set` was given, as text.

    What settings there are, of which types, an application declares: a name that none declares is left alone.
    """

    __tablename__ = "multisite_settings"

    site_id: Mapped[int] = mapped_column(
        sa.BigInteger, sa.ForeignKey(SiteRow.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    name: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    value: Mapped[str] = mapped_column(sa.Text)


class ChangeRow(_Base):
    """How often the rows of a site were changed, by transactions that raise `version` as the last thing they do.

    Only where pages are kept (`multisite.page_cache`). `site_id` 0 stands for all sites; nothing refers to `sites`,
    since no site is ever without its row there.
    """

    __tablename__ = "multisite_changes"

    site_id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(sa.BigInteger)


class DirectoryVersion(_Base):
    """One row, whose `version` every change of the tables above raises in its own transaction.

    `template_generation` is raised, and the version with it, to let running servers look for all templates again.
    """

    __tablename__ = "multisite_version"
    __table_args__ = (sa.CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(sa.BigInteger, server_default="0", default=0)
    template_generation: Mapped[int] = mapped_column(sa.BigInteger, server_default="0", default=0)


CHANNEL = "multisite"
"""The channel on which PostgreSQL notifies that the directory was changed."""


def raise_version(connection: Connection) -> None:
    """Raise the directory's version in the transaction of `connection`; others see it once that commits.

    PostgreSQL tells those who listen at that moment (`multisite.notify`), and nobody if the change is rolled back.
    """
    table = DirectoryVersion.__table__
    connection.execute(sa.update(DirectoryVersion).where(table.c.id == 1).values(version=table.c.version + 1))
    if connection.dialect.name == "postgresql":
        # Always: who changes the directory, a script or the command line, need not know who listens.
        connection.execute(sa.select(sa.func.pg_notify(CHANNEL, "")))


def _raise_version_on_change(mapper: Mapper[Any], connection: Connection, row: object) -> None:
    raise_version(connection)


for _model in (SiteRow, DomainRow, SettingRow):
    for _change in ("after_insert", "after_update", "after_delete"):
        event.listen(_model, _change, _raise_version_on_change)
