"""The tables of a search index: the words of each row, and segments, which list rows by their words.

`<table>_words` has one row for each row of the model, with its words in two texts. That is all a flush writes. Once a
site has `SEGMENT_ROWS` of them that are in no segment, `multisite.search.segments` writes a segment: it lists for each
word of these rows the numbers of the rows that have it. These lists are in the `BUCKETS` rows of `<table>_postings`,
by a hash of the word, since a row for each word takes much longer to write and has more overhead than content.

A row's `position` is `segment * SEGMENT_SIZE + number`, or 0 in no segment. When a row changes, its position becomes 0:
what the segment says about it is not true any more, and no row is found by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from multisite.scoping import scoped_reference, site_id_column

__all__ = ["BUCKETS", "BUCKET_PREFIX", "SEGMENT_ROWS", "SEGMENT_SIZE", "SearchTables", "make_tables"]

SEGMENT_ROWS = 1000
"""Rows of a segment. At most about as many rows of a site are in no segment, and are read by each search."""

SEGMENT_SIZE = 65_536
"""Positions of a segment: a number in it has 16 bits."""

BUCKETS = 256
"""Rows of postings of a segment."""

BUCKET_PREFIX = 3
"""Words that begin with the same characters are in the same bucket, so that they can be found by a prefix."""


@dataclass(frozen=True, slots=True)
class SearchTables:
    """The tables of an index.

    `words` has the different terms of a row, and those of its title, each between spaces. `segments` has the dates of a
    segment's rows, as 64-bit integers in the order of their numbers: later ones first. `postings` has `term:all:title`
    for each term of a bucket, between spaces: the numbers of the segment's rows that contain it, and of those with it
    in the title, as 16-bit integers in hexadecimal digits.
    """

    words: sa.Table
    segments: sa.Table
    postings: sa.Table


def make_tables(table: sa.Table) -> SearchTables:
    """Return the tables of the index of a model with this table, in its MetaData."""
    reference = scoped_reference(f"{table.name}.id", ondelete="CASCADE")
    words = sa.Table(
        f"{table.name}_words",
        table.metadata,
        site_id_column(),
        sa.Column("row_id", sa.BigInteger, reference, nullable=False),
        # Segments are in no archive: after an import, all rows are in none, and the next flush makes new ones.
        sa.Column("position", sa.BigInteger, nullable=False, server_default="0", info={"export": False}),
        sa.Column("titles", sa.Text, nullable=False),
        sa.Column("terms", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("site_id", "row_id"),
        sa.Index(f"ix_{table.name}_words_site_id_position", "site_id", "position"),
    )
    return SearchTables(words, *_segment_tables(table))


def _segment_tables(table: sa.Table) -> tuple[sa.Table, sa.Table]:
    options: dict[str, Any] = {"info": {"export": False}, "sqlite_with_rowid": False}
    segments = sa.Table(
        f"{table.name}_segments",
        table.metadata,
        site_id_column(),
        sa.Column("segment", sa.BigInteger, nullable=False),
        sa.Column("dates", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("site_id", "segment"),
        **options,
    )
    postings = sa.Table(
        f"{table.name}_postings",
        table.metadata,
        site_id_column(),
        sa.Column("segment", sa.BigInteger, nullable=False),
        sa.Column("bucket", sa.Integer, nullable=False),
        sa.Column("postings", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("site_id", "segment", "bucket"),
        **options,
    )
    return segments, postings
