"""Links that show an entry before it is published"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "content_0013"
down_revision = "content_0012"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "preview_links",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_preview_links"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_preview_links_site_id"),
        sa.ForeignKeyConstraint(
            ["site_id", "entry_id"],
            ["entries.site_id", "entries.id"],
            name="fk_preview_links_site_id_entry_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["site_id", "user_id"],
            ["users.site_id", "users.id"],
            name="fk_preview_links_site_id_user_id",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("site_id", "id", name="uq_preview_links_site_id_id"),
        sa.UniqueConstraint("site_id", "token_hash", name="uq_preview_links_site_id_token_hash"),
    )
    op.create_index("ix_preview_links_site_id_entry_id", "preview_links", ["site_id", "entry_id"])
    op.create_index("ix_preview_links_site_id_user_id", "preview_links", ["site_id", "user_id"])


def downgrade() -> None:
    op.drop_table("preview_links")
