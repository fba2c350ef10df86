"""Words of entries, for the search"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "content_0011"
down_revision = "content_0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Empty at first: `multisite reindex-search --all` adds the words of existing entries.
    op.create_table(
        "entries_terms",
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.Column("term", sa.String(64), nullable=False),
        sa.Column("row_id", sa.BigInteger(), nullable=False),
        sa.Column("in_title", sa.SmallInteger(), nullable=False),
        sa.Column("date", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("site_id", "row_id", "term", name="pk_entries_terms"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_entries_terms_site_id"),
        sa.ForeignKeyConstraint(
            ["site_id", "row_id"],
            ["entries.site_id", "entries.id"],
            name="fk_entries_terms_site_id_row_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        "ix_entries_terms_site_id_term_in_title_date_row_id",
        "entries_terms",
        ["site_id", "term", "in_title", "date", "row_id"],
    )


def downgrade() -> None:
    op.drop_table("entries_terms")
