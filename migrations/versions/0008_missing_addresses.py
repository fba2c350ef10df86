"""Counts of missing addresses"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "content_0008"
down_revision = "content_0007"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "missing_addresses",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("path", sa.String(500), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_missing_addresses"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_missing_addresses_site_id"),
        sa.UniqueConstraint("site_id", "id", name="uq_missing_addresses_site_id_id"),
        sa.UniqueConstraint("site_id", "path", name="uq_missing_addresses_site_id_path"),
    )


def downgrade() -> None:
    op.drop_table("missing_addresses")
