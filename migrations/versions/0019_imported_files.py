"""Digests of imported files, which the next import of an unchanged file compares"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "content_0019"
down_revision = "content_0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Empty at first: the next import adds the files that it reads.
    op.create_table(
        "imported_files",
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(500), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(40), nullable=False),
        sa.Column("entry_digest", sa.String(40), nullable=False),
        sa.Column("day", sa.Date(), nullable=True),
        sa.PrimaryKeyConstraint("site_id", "source", name="pk_imported_files"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_imported_files_site_id"),
        sa.ForeignKeyConstraint(
            ["site_id", "entry_id"],
            ["entries.site_id", "entries.id"],
            name="fk_imported_files_site_id_entry_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_imported_files_site_id_entry_id", "imported_files", ["site_id", "entry_id"])


def downgrade() -> None:
    op.drop_table("imported_files")
