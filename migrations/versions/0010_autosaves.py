"""Texts that are kept while they are typed"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "content_0010"
down_revision = "content_0009"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "autosaves",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=True),
        sa.Column("key", sa.String(40), nullable=False),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.Column("saved", sa.BigInteger(), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_autosaves"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_autosaves_site_id"),
        sa.ForeignKeyConstraint(
            ["site_id", "user_id"],
            ["users.site_id", "users.id"],
            name="fk_autosaves_site_id_user_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["site_id", "entry_id"],
            ["entries.site_id", "entries.id"],
            name="fk_autosaves_site_id_entry_id",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("site_id", "id", name="uq_autosaves_site_id_id"),
        sa.UniqueConstraint("site_id", "user_id", "key", name="uq_autosaves_site_id_user_id_key"),
    )
    op.create_index("ix_autosaves_site_id_entry_id", "autosaves", ["site_id", "entry_id"])


def downgrade() -> None:
    op.drop_table("autosaves")
