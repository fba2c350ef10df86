"""secret generation of sites

The column is added on its own, since `sites` must never be rebuilt (see 0001).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0005"
down_revision = "0004"


def upgrade(op: Operations) -> None:
    op.add_column("sites", sa.Column("secret_generation", sa.BigInteger, nullable=False, server_default="0"))
