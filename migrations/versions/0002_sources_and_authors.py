"""Where entries come from, and who wrote them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "content_0002"
down_revision = "content_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("entries", sa.Column("source", sa.String(500), nullable=True))
    op.add_column("entries", sa.Column("author", sa.String(300), nullable=True))


def downgrade() -> None:
    op.drop_column("entries", "author")
    op.drop_column("entries", "source")
