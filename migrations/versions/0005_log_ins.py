"""Log-ins, and attempts to log in"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "content_0005"
down_revision = "content_0004"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "log_ins",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("agent", sa.String(300), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_log_ins"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_log_ins_site_id"),
        sa.ForeignKeyConstraint(
            ["site_id", "user_id"], ["users.site_id", "users.id"], name="fk_log_ins_site_id_user_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("site_id", "id", name="uq_log_ins_site_id_id"),
        sa.UniqueConstraint("site_id", "token_hash", name="uq_log_ins_site_id_token_hash"),
    )
    op.create_index("ix_log_ins_site_id_user_id", "log_ins", ["site_id", "user_id"])
    op.create_table(
        "login_attempts",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("key_hash", sa.String(64), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_login_attempts"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_login_attempts_site_id"),
        sa.UniqueConstraint("site_id", "id", name="uq_login_attempts_site_id_id"),
        sa.UniqueConstraint("site_id", "key_hash", name="uq_login_attempts_site_id_key_hash"),
    )
    op.create_index("ix_login_attempts_site_id_until", "login_attempts", ["site_id", "until"])


def downgrade() -> None:
    op.drop_table("login_attempts")
    op.drop_table("log_ins")
