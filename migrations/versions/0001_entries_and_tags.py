"""Entries and tags"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from multisite.alembic import upgrade_own

revision = "content_0001"
down_revision = None
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    if not context.is_offline_mode():
        # `multisite migrate` has already done this; under plain alembic the table `sites` may be missing.
        upgrade_own(op.get_bind())
    op.create_table(
        "entries",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("slug", sa.String(200), nullable=False),
        sa.Column("title", sa.String(300), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("body_html", sa.Text(), nullable=False),
        sa.Column("published", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=False),
        sa.Column("draft", sa.Boolean(), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_entries"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_entries_site_id"),
        sa.UniqueConstraint("site_id", "id", name="uq_entries_site_id_id"),
        sa.UniqueConstraint("site_id", "slug", name="uq_entries_site_id_slug"),
        sa.CheckConstraint("draft OR published IS NOT NULL", name="ck_entries_published"),
    )
    op.create_index("ix_entries_site_id_draft_published_id", "entries", ["site_id", "draft", "published", "id"])
    op.create_table(
        "tags",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("slug", sa.String(200), nullable=False),
        sa.Column("name", sa.String(300), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tags"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_tags_site_id"),
        sa.UniqueConstraint("site_id", "id", name="uq_tags_site_id_id"),
        sa.UniqueConstraint("site_id", "slug", name="uq_tags_site_id_slug"),
        sa.UniqueConstraint("site_id", "name", name="uq_tags_site_id_name"),
    )
    op.create_table(
        "entry_tags",
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=False),
        sa.Column("tag_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site_id", "entry_id", "tag_id", name="pk_entry_tags"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_entry_tags_site_id"),
        sa.ForeignKeyConstraint(
            ["site_id", "entry_id"],
            ["entries.site_id", "entries.id"],
            name="fk_entry_tags_site_id_entry_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["site_id", "tag_id"], ["tags.site_id", "tags.id"], name="fk_entry_tags_site_id_tag_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_entry_tags_site_id_tag_id", "entry_tags", ["site_id", "tag_id"])


def downgrade() -> None:
    op.drop_table("entry_tags")
    op.drop_table("tags")
    op.drop_table("entries")
