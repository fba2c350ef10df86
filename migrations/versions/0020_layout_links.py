"""Links that show a site with another layout"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "content_0020"
down_revision = "content_0019"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "layout_links",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("changes", sa.Text(), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_layout_links"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_layout_links_site_id"),
        sa.ForeignKeyConstraint(
            ["site_id", "user_id"],
            ["users.site_id", "users.id"],
            name="fk_layout_links_site_id_user_id",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("site_id", "id", name="uq_layout_links_site_id_id"),
        sa.UniqueConstraint("site_id", "token_hash", name="uq_layout_links_site_id_token_hash"),
    )
    op.create_index("ix_layout_links_site_id_user_id", "layout_links", ["site_id", "user_id"])


def downgrade() -> None:
    op.drop_table("layout_links")
