"""operators of the console

Who they are, their log-ins, their attempts to log in, and the links by which they sign in on a site.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0013"
down_revision = "0012"

_key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade(op: Operations) -> None:
    op.create_table(
        "multisite_operators",
        sa.Column("id", _key, nullable=False),
        sa.Column("login", sa.String(254), nullable=False),
        sa.Column("login_key", sa.String(254), nullable=False),
        sa.Column("role", sa.String(12), nullable=False),
        sa.Column("password_hash", sa.String(255)),
        sa.Column("code_secret", sa.String(64), nullable=False),
        sa.Column("code_counter", sa.BigInteger, nullable=False),
        sa.Column("link_hash", sa.String(64)),
        sa.Column("link_expires", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_multisite_operators"),
        sa.UniqueConstraint("login_key", name="uq_multisite_operators_login_key"),
        sa.UniqueConstraint("link_hash", name="uq_multisite_operators_link_hash"),
        sa.CheckConstraint("role IN ('look', 'run', 'everything')", name="ck_multisite_operators_role"),
    )
    op.create_table(
        "multisite_operator_log_ins",
        sa.Column("id", _key, nullable=False),
        sa.Column("operator_id", sa.BigInteger, nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("seen", sa.BigInteger, nullable=False),
        sa.Column("confirmed", sa.BigInteger, nullable=False),
        sa.Column("agent", sa.String(300), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_multisite_operator_log_ins"),
        sa.UniqueConstraint("token_hash", name="uq_multisite_operator_log_ins_token_hash"),
        sa.ForeignKeyConstraint(
            ["operator_id"],
            ["multisite_operators.id"],
            name="fk_multisite_operator_log_ins_operator_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_multisite_operator_log_ins_operator_id", "multisite_operator_log_ins", ["operator_id"])
    op.create_table(
        "multisite_operator_attempts",
        sa.Column("key_hash", sa.String(64), nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key_hash", name="pk_multisite_operator_attempts"),
    )
    op.create_index("ix_multisite_operator_attempts_until", "multisite_operator_attempts", ["until"])
    op.create_table(
        "multisite_sign_ins",
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("site_id", sa.BigInteger, nullable=False),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("operator", sa.String(254), nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name="pk_multisite_sign_ins"),
    )
    op.create_index("ix_multisite_sign_ins_expires", "multisite_sign_ins", ["expires"])


def downgrade(op: Operations) -> None:
    for table in (
        "multisite_sign_ins",
        "multisite_operator_attempts",
        "multisite_operator_log_ins",
        "multisite_operators",
    ):
        op.drop_table(table)
