"""The words of an entry in one row, and segments of entries by word, for the search"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "content_0016"
down_revision = "content_0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "entries_words",
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.Column("row_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("titles", sa.Text(), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site_id", "row_id", name="pk_entries_words"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_entries_words_site_id"),
        sa.ForeignKeyConstraint(
            ["site_id", "row_id"],
            ["entries.site_id", "entries.id"],
            name="fk_entries_words_site_id_row_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_entries_words_site_id_position", "entries_words", ["site_id", "position"])
    _create_segments()
    # The rows are in no segment at first. Flushes write segments, and `multisite reindex-search --all` all of them.
    join = "string_agg({}, ' ')" if op.get_bind().dialect.name == "postgresql" else "group_concat({}, ' ')"
    op.execute(
        "INSERT INTO entries_words (site_id, row_id, titles, terms) SELECT site_id, row_id, "
        f"' ' || coalesce({join.format('CASE WHEN in_title = 1 THEN term END')}, '') || ' ', "
        f"' ' || {join.format('term')} || ' ' FROM entries_terms GROUP BY site_id, row_id"
    )
    op.drop_table("entries_terms")


def _create_segments() -> None:
    op.create_table(
        "entries_segments",
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.Column("segment", sa.BigInteger(), nullable=False),
        sa.Column("dates", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("site_id", "segment", name="pk_entries_segments"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_entries_segments_site_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "entries_postings",
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.Column("segment", sa.BigInteger(), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column("postings", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site_id", "segment", "bucket", name="pk_entries_postings"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_entries_postings_site_id"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for name in ("entries_postings", "entries_segments", "entries_words"):
        op.drop_table(name)
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
