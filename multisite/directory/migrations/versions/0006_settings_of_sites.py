"""the settings of sites

One row for each setting that a site overrides.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0006"
down_revision = "0005"


def upgrade(op: Operations) -> None:
    op.create_table(
        "multisite_settings",
        sa.Column("site_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("site_id", "name", name="pk_multisite_settings"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_multisite_settings_site_id", ondelete="CASCADE"),
    )
