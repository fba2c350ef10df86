"""removed sites whose archives are kept

One row for each site that is being removed, or was removed, with an archive (`multisite.archives_dir`).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0011"
down_revision = "0010"


def upgrade(op: Operations) -> None:
    op.create_table(
        "multisite_removed",
        sa.Column("site_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("domain", sa.String(460), nullable=False),
        sa.Column("availability", sa.String(12), nullable=False),
        sa.Column("archive", sa.String(255)),
        sa.Column("sha256", sa.String(64)),
        sa.Column("trash", sa.String(255)),
        sa.Column("removed", sa.DateTime(timezone=True)),
        sa.Column("keep_until", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("site_id", name="pk_multisite_removed"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_multisite_removed_site_id", ondelete="CASCADE"),
    )


def downgrade(op: Operations) -> None:
    op.drop_table("multisite_removed")
