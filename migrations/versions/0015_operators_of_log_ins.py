"""The operator of a log-in"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "content_0015"
down_revision = "content_0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("log_ins", sa.Column("operator", sa.String(254)))


def downgrade() -> None:
    op.drop_column("log_ins", "operator")
