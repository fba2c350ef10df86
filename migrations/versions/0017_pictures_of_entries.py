"""The picture of an entry, which links to it show"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "content_0017"
down_revision = "content_0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("entries", "revisions"):
        op.add_column(table, sa.Column("picture", sa.String(200), nullable=True))


def downgrade() -> None:
    for table in ("entries", "revisions"):
        op.drop_column(table, "picture")
