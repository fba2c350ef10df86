"""Write the segments of a search index, and dissolve those of which most rows have changed.

A segment is written by the flush that makes `SEGMENT_ROWS` rows of a site be in none, so that a search never reads many
more of them. Two transactions do not write the same segment: the second one leaves it to the next flush.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from multisite.search.postings import make_buckets, pack_dates, sort_key
from multisite.search.tables import SEGMENT_ROWS, SEGMENT_SIZE, SearchTables

__all__ = ["MAX_IN_FLUSH", "write_segments"]

MAX_IN_FLUSH = 2
"""Segments that a flush writes at most, after an upgrade or an import by an archive for example."""


def write_segments(
    tables: SearchTables, model: type[Any], date_name: str, connection: Connection, *, at_most: int | None
) -> None:
    """Write segments for the rows of the site that are in none, as long as they fill one, and dissolve old ones.

    Args:
        tables: The tables of the index.
        model: The model of the index.
        date_name: The attribute of the model with the date.
        connection: A connection of a session for the site.
        at_most: Segments to write at most; None for no limit.
    """
    written = 0
    while at_most is None or written < at_most:
        if not _write_segment(tables, model, date_name, connection):
            break
        written += 1
    if written:
        _dissolve(tables, connection)


def _write_segment(tables: SearchTables, model: type[Any], date_name: str, connection: Connection) -> bool:
    words = tables.words
    free = sa.select(sa.func.count()).select_from(words).where(words.c.position == 0)
    if connection.execute(free).scalar_one() < SEGMENT_ROWS:
        return False
    date_of = sa.select(getattr(model, date_name)).where(model.id == words.c.row_id).scalar_subquery()
    statement = (
        sa.select(words.c.row_id, words.c.titles, words.c.terms, date_of)
        .where(words.c.position == 0)
        .order_by(words.c.row_id)
        .limit(SEGMENT_ROWS)
        # A row that another transaction is changing is left out.
        .with_for_update(of=words, skip_locked=True)
    )
    rows = [(row_id, titles, terms, sort_key(when)) for row_id, titles, terms, when in connection.execute(statement)]
    if len(rows) < SEGMENT_ROWS:
        return False
    rows.sort(key=lambda row: (row[3], row[0]), reverse=True)
    segment = _new_segment(tables.segments, [row[3] for row in rows], connection)
    if segment is None:
        return False
    buckets = make_buckets([row[2] for row in rows], [row[1] for row in rows])
    connection.execute(
        sa.insert(tables.postings),
        [{"segment": segment, "bucket": bucket, "postings": text} for bucket, text in buckets],
    )
    connection.execute(
        sa.update(words).where(words.c.row_id == sa.bindparam("key")).values(position=sa.bindparam("place")),
        [{"key": row[0], "place": segment * SEGMENT_SIZE + number} for number, row in enumerate(rows)],
    )
    return True


def _new_segment(segments: sa.Table, dates: Sequence[int], connection: Connection) -> int | None:
    """Return the number of a new segment; None if another transaction has taken it."""
    segment = (connection.scalar(sa.select(sa.func.max(segments.c.segment))) or 0) + 1
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(segments).values(segment=segment, dates=pack_dates(dates))
    return segment if connection.execute(statement.on_conflict_do_nothing()).rowcount else None


def _dissolve(tables: SearchTables, connection: Connection) -> None:
    """Delete the segments of which more than half of the rows have changed; the others of their rows are in none."""
    words, segments, postings = tables.words, tables.segments, tables.postings
    segment_of = words.c.position // SEGMENT_SIZE
    counts = sa.select(segment_of, sa.func.count()).where(words.c.position > 0).group_by(segment_of)
    current = {segment: number for segment, number in connection.execute(counts)}  # noqa: C416  # Rows are not pairs.
    for segment, dates in connection.execute(sa.select(segments.c.segment, segments.c.dates)).all():
        if 2 * current.get(segment, 0) >= len(dates) // 8:
            continue
        here = words.c.position.between(segment * SEGMENT_SIZE, (segment + 1) * SEGMENT_SIZE - 1)
        connection.execute(sa.update(words).where(here).values(position=0))
        connection.execute(sa.delete(postings).where(postings.c.segment == segment))
        connection.execute(sa.delete(segments).where(segments.c.segment == segment))
