"""Searches: no hit, no count and no rank comes from another site's rows, nor from its words in the index."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import select

from attack_catalogue import Context, add, exactly, own_rows, secrets
from attack_catalogue.models import Essay, essay_search

words, segments, postings = essay_search.tables.words, essay_search.tables.segments, essay_search.tables.postings


def found(ctx: Context, query: str, **options: Any) -> list[Essay]:
    return [hit.row for hit in essay_search.search(ctx.session, query, **options).hits]


def shown(ctx: Context, query: str) -> list[str]:
    """Return the titles and passages of hits, as a page shows them."""
    hits = essay_search.search(ctx.session, query).hits
    return ["".join(text for text, _ in [*hit.title, *hit.passage]) for hit in hits]


add(
    "reads",
    own_rows,
    {
        "search": lambda ctx: secrets(found(ctx, "secret")),
        "search for several words": lambda ctx: secrets(found(ctx, "alpha secret")),
        "search for a phrase": lambda ctx: secrets(found(ctx, '"alpha beta"')),
        "search for the beginning of a word": lambda ctx: secrets(found(ctx, "alph*")),
        "search, a later page": lambda ctx: secrets(found(ctx, "alpha", size=1, page=2)),
        "search, passages": lambda ctx: shown(ctx, "secret"),
        "search with a condition": lambda ctx: secrets(found(ctx, "alpha", where=(Essay.written > 0,))),
        "search with a condition on all rows": lambda ctx: secrets(found(ctx, "alpha", where=(sa.true(),))),
        "search as a condition": lambda ctx: secrets(
            ctx.scalars(select(Essay).where(essay_search.matches(ctx.session, "alpha")))
        ),
        "search as a condition, or": lambda ctx: secrets(
            ctx.scalars(select(Essay).where(sa.or_(essay_search.matches(ctx.session, "alpha"), sa.true())))
        ),
        "rows of the search index": lambda ctx: secrets(
            ctx.scalars(select(Essay).where(Essay.id.in_(select(words.c.row_id))))
        ),
    },
)
add(
    "reads",
    exactly([]),
    {
        "search for a word of another site": lambda ctx: found(ctx, "zebra"),
        "search for the beginning of a word of another site": lambda ctx: found(ctx, "zebr*"),
        "search for a phrase of another site": lambda ctx: found(ctx, '"alpha zebra"'),
        "search as a condition, a word of another site": lambda ctx: ctx.scalars(
            select(Essay.id).where(essay_search.matches(ctx.session, "zebra"))
        ),
        "a word of another site in the search index": lambda ctx: ctx.rows(
            select(postings.c.postings).where(postings.c.postings.contains("zebra"))
        ),
    },
)
add(
    "reads",
    exactly([12, 11, 10]),
    {
        "search, order": lambda ctx: [row.id for row in found(ctx, "alpha")],
        "search, order by rank": lambda ctx: [row.id for row in found(ctx, "alpha secret", size=3)],
    },
)
add(
    "reads",
    exactly(False),
    {
        "search, whether there are more": lambda ctx: essay_search.search(ctx.session, "alpha", size=3).has_more,
        "search for a phrase, whether there are more": lambda ctx: (
            essay_search.search(ctx.session, '"alpha beta"', size=1).has_more
        ),
    },
)
add(
    "reads",
    exactly([1]),
    {"segments of the search index": lambda ctx: ctx.scalars(select(segments.c.segment))},
)
