"""The dialect of Markdown of each entry"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "content_0012"
down_revision = "content_0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # An import of the same files again stores their dialect.
    op.add_column("entries", sa.Column("dialect", sa.String(20), nullable=False, server_default="commonmark"))


def downgrade() -> None:
    op.drop_column("entries", "dialect")
