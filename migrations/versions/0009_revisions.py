"""Owners and revisions of entries"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "content_0009"
down_revision = "content_0008"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "entry_owners",
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site_id", "entry_id", name="pk_entry_owners"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_entry_owners_site_id"),
        sa.ForeignKeyConstraint(
            ["site_id", "entry_id"],
            ["entries.site_id", "entries.id"],
            name="fk_entry_owners_site_id_entry_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["site_id", "user_id"],
            ["users.site_id", "users.id"],
            name="fk_entry_owners_site_id_user_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_entry_owners_site_id_user_id", "entry_owners", ["site_id", "user_id"])
    op.create_table(
        "revisions",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=True),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("login", sa.String(254), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("title", sa.String(300), nullable=False),
        sa.Column("slug", sa.String(200), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("author", sa.String(300), nullable=True),
        sa.Column("published", sa.DateTime(timezone=True), nullable=True),
        sa.Column("draft", sa.Boolean(), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_revisions"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_revisions_site_id"),
        sa.ForeignKeyConstraint(
            ["site_id", "entry_id"],
            ["entries.site_id", "entries.id"],
            name="fk_revisions_site_id_entry_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["site_id", "user_id"], ["users.site_id", "users.id"], name="fk_revisions_site_id_user_id"
        ),
        sa.UniqueConstraint("site_id", "id", name="uq_revisions_site_id_id"),
    )
    op.create_index("ix_revisions_site_id_entry_id_id", "revisions", ["site_id", "entry_id", "id"])
    op.create_index("ix_revisions_site_id_user_id", "revisions", ["site_id", "user_id"])
    op.create_index("ix_revisions_site_id_kind_id", "revisions", ["site_id", "kind", "id"])


def downgrade() -> None:
    op.drop_table("revisions")
    op.drop_table("entry_owners")
