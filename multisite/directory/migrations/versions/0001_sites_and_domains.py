"""the tables sites, domains and multisite_version

Multisite's revisions take `op` as an argument instead of importing `alembic.op`: they also run in the middle of an
application's revision (see `multisite.alembic.migrate.first_site`), whose `alembic.op` must stay in place. For the same
reason a later revision may add columns to `sites` but never rebuild it: SQLite would delete the rows that refer to it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0001"
down_revision = None

big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade(op: Operations) -> None:
    _create_sites(op)
    _create_domains(op)
    version = op.create_table(
        "multisite_version",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("id", name="pk_multisite_version"),
        sa.CheckConstraint("id = 1", name="ck_multisite_version_one_row"),
    )
    op.bulk_insert(version, [{"id": 1, "version": 0}])


def _create_sites(op: Operations) -> None:
    op.create_table(
        "sites",
        sa.Column("id", big_id, nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("folder", sa.String(253), nullable=False),
        sa.Column("locale", sa.String(35), nullable=False, server_default="en"),
        sa.Column("timezone", sa.String(64), nullable=False, server_default="UTC"),
        sa.Column("status", sa.String(10), nullable=False, server_default="active"),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.current_timestamp()),
        sa.PrimaryKeyConstraint("id", name="pk_sites"),
        sa.CheckConstraint("status IN ('pending', 'active')", name="ck_sites_status"),
        sa.UniqueConstraint("folder", name="uq_sites_folder"),
    )


def _create_domains(op: Operations) -> None:
    op.create_table(
        "domains",
        sa.Column("id", big_id, nullable=False),
        sa.Column("site_id", sa.BigInteger, nullable=False),
        sa.Column("host", sa.String(253), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False, server_default="alias"),
        sa.PrimaryKeyConstraint("id", name="pk_domains"),
        sa.CheckConstraint("kind IN ('canonical', 'alias', 'redirect')", name="ck_domains_kind"),
        sa.CheckConstraint("host = lower(host) AND length(host) > 0", name="ck_domains_host"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_domains_site_id", ondelete="CASCADE"),
        sa.UniqueConstraint("host", name="uq_domains_host"),
    )
    op.create_index(
        "uq_domains_canonical",
        "domains",
        ["site_id"],
        unique=True,
        sqlite_where=sa.text("kind = 'canonical'"),
        postgresql_where=sa.text("kind = 'canonical'"),
    )
    op.create_index("ix_domains_site_id", "domains", ["site_id"])
