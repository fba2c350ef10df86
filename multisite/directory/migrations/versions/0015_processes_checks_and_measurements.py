"""processes, the last check, measurements of sites, and the paths of errors"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0015"
down_revision = "0014"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade(op: Operations) -> None:
    op.create_table(
        "multisite_processes",
        sa.Column("host", sa.String(150), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("started", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("directory_version", sa.BigInteger, nullable=False),
        sa.Column("template_generation", sa.BigInteger, nullable=False),
        sa.Column("directory_read", sa.DateTime(timezone=True)),
        sa.Column("versions", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("host", "pid", name="pk_multisite_processes"),
    )
    op.create_table(
        "multisite_checks",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("made", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("findings", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_multisite_checks"),
    )
    op.create_table(
        "multisite_measurements",
        sa.Column("site_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.Column("measured", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("site_id", name="pk_multisite_measurements"),
    )
    op.add_column("multisite_errors", sa.Column("path", sa.String(200)))
