"""availability of sites

In separate columns beside `status`, whose CHECK SQLite cannot change without rebuilding the table; and `sites` must
never be rebuilt (see 0001).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0004"
down_revision = "0003"


def upgrade(op: Operations) -> None:
    known = sa.CheckConstraint(
        "availability IN ('open', 'maintenance', 'disabled', 'removing', 'removed')", name="ck_sites_availability"
    )
    op.add_column("sites", sa.Column("availability", sa.String(12), known, nullable=False, server_default="open"))
    op.add_column("sites", sa.Column("maintenance_message", sa.String(500)))
    op.add_column("sites", sa.Column("maintenance_until", sa.DateTime(timezone=True)))
    op.add_column("sites", sa.Column("maintenance_pass", sa.String(64)))
