"""passkeys of operators"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0016"
down_revision = "0015"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade(op: Operations) -> None:
    op.create_table(
        "multisite_operator_passkeys",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("operator_id", sa.BigInteger, nullable=False),
        sa.Column("credential_id", sa.LargeBinary, nullable=False),
        sa.Column("credential_hash", sa.String(64), nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("sign_count", sa.BigInteger, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("used", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_multisite_operator_passkeys"),
        sa.ForeignKeyConstraint(
            ["operator_id"],
            ["multisite_operators.id"],
            name="fk_multisite_operator_passkeys_operator_id",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("credential_hash", name="uq_multisite_operator_passkeys_credential_hash"),
    )
    op.create_index("ix_multisite_operator_passkeys_operator_id", "multisite_operator_passkeys", ["operator_id"])
    op.create_table(
        "multisite_operator_challenges",
        sa.Column("challenge_hash", sa.String(64), nullable=False),
        sa.Column("operator_id", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("challenge_hash", name="pk_multisite_operator_challenges"),
    )
    op.create_index("ix_multisite_operator_challenges_expires", "multisite_operator_challenges", ["expires"])
