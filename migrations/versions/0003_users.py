"""Users of a site"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "content_0003"
down_revision = "content_0002"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("login", sa.String(254), nullable=False),
        sa.Column("login_key", sa.String(254), nullable=False),
        sa.Column("password_hash", sa.String(255), nullable=True),
        sa.Column("email", sa.String(254), nullable=True),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("login_generation", sa.Integer(), nullable=False),
        sa.Column("link_hash", sa.String(64), nullable=True),
        sa.Column("link_expires", sa.BigInteger(), nullable=True),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_users_site_id"),
        sa.UniqueConstraint("site_id", "id", name="uq_users_site_id_id"),
        sa.UniqueConstraint("site_id", "login_key", name="uq_users_site_id_login_key"),
        sa.UniqueConstraint("site_id", "link_hash", name="uq_users_site_id_link_hash"),
    )


def downgrade() -> None:
    op.drop_table("users")
