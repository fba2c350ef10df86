"""Menus that owners arrange"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "content_0018"
down_revision = "content_0017"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "menu_items",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(300), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=True),
        sa.Column("target", sa.String(2000), nullable=True),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(entry_id IS NULL) <> (target IS NULL)", name=op.f("ck_menu_items_target")),
        sa.PrimaryKeyConstraint("id", name="pk_menu_items"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_menu_items_site_id"),
        sa.ForeignKeyConstraint(
            ["site_id", "entry_id"],
            ["entries.site_id", "entries.id"],
            name="fk_menu_items_site_id_entry_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["site_id", "parent_id"],
            ["menu_items.site_id", "menu_items.id"],
            name="fk_menu_items_site_id_parent_id",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("site_id", "id", name="uq_menu_items_site_id_id"),
    )
    op.create_index("ix_menu_items_site_id_entry_id", "menu_items", ["site_id", "entry_id"])
    op.create_index("ix_menu_items_site_id_parent_id", "menu_items", ["site_id", "parent_id"])


def downgrade() -> None:
    op.drop_table("menu_items")
