"""change counters of sites

One row for each site whose rows were changed while the page cache is on (`multisite.page_cache_seconds`).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0008"
down_revision = "0007"


def upgrade(op: Operations) -> None:
    op.create_table(
        "multisite_changes",
        sa.Column("site_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("site_id", name="pk_multisite_changes"),
    )


def downgrade(op: Operations) -> None:
    op.drop_table("multisite_changes")
