"""Redirects of old addresses"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "content_0004"
down_revision = "content_0003"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "redirects",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("path", sa.String(500), nullable=False),
        sa.Column("target", sa.String(2000), nullable=True),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("imported", sa.Boolean(), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_redirects"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_redirects_site_id"),
        sa.UniqueConstraint("site_id", "id", name="uq_redirects_site_id_id"),
        sa.UniqueConstraint("site_id", "path", name="uq_redirects_site_id_path"),
        sa.CheckConstraint(
            "status IN (301, 302) AND target IS NOT NULL OR status = 410 AND target IS NULL",
            name="ck_redirects_target",
        ),
    )


def downgrade() -> None:
    op.drop_table("redirects")
