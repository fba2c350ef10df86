"""Articles into the tables: what the importer does with the database, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload

from multisite.content.frontmatter import Article
from multisite.content.markdown import Rendered
from multisite.content.models import Entry, Tag
from multisite.content.slugs import slugify
from multisite.errors import MultisiteError

__all__ = ["Counts", "Prepared", "save_batch"]

_Model = TypeVar("_Model", Entry, Tag)

_ATTEMPTS = 3
"""How often a batch is tried when another import adds the same slugs at the same time."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An article that is ready to be saved."""

    article: Article
    rendered: Rendered


@dataclass(slots=True)
class Counts:
    """What became of entries: how many were added, updated, and found unchanged."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0


def save_batch(session: Session, batch: Sequence[Prepared], *, commit: bool) -> Counts:
    """Add or update the entries of `batch` by slug, let go of the objects, and return what was done.

    Without `commit` everything stays in the session's transaction. Raises `MultisiteError` where another import is
    in the way and goes on being so.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        counts = Counts()
        try:
            _save(session, batch, counts)
            if commit:
                session.commit()
            break
        except IntegrityError as error:
            session.rollback()
            if not commit or attempt == _ATTEMPTS:
                raise MultisiteError(
                    f"the database refused an entry ({error.orig}): another import may be running, try again after it"
                ) from error
    session.expunge_all()
    return counts


def _save(session: Session, batch: Sequence[Prepared], counts: Counts) -> None:
    entries = _existing(session, Entry, [item.article.slug for item in batch])
    names = {slugify(name): name for item in batch for name in item.article.tags}
    tags = _existing(session, Tag, list(names))
    for slug, name in names.items():
        if slug not in tags:
            tags[slug] = Tag(slug=slug, name=name)
            session.add(tags[slug])
    for item in batch:
        entry = entries.get(item.article.slug)
        wanted = [tags[slugify(name)] for name in item.article.tags]
        if entry is None:
            session.add(_new_entry(item, wanted))
            counts.added += 1
        elif _update_entry(entry, item, wanted):
            counts.updated += 1
        else:
            counts.unchanged += 1
    session.flush()


def _existing(session: Session, model: type[_Model], slugs: Sequence[str]) -> dict[str, _Model]:
    statement = sa.select(model).where(model.slug.in_(slugs))
    if model is Entry:
        statement = statement.options(selectinload(Entry.tags))
    return {row.slug: row for row in session.scalars(statement)}


def _values(item: Prepared) -> dict[str, Any]:
    article = item.article
    return {
        "title": article.title,
        "summary": article.summary or item.rendered.summary,
        "body": article.body,
        "body_html": item.rendered.html,
        "published": article.published,
        "draft": article.draft,
    }


def _new_entry(item: Prepared, tags: list[Tag]) -> Entry:
    article = item.article
    updated = article.updated or article.published or datetime.now(UTC)
    return Entry(slug=article.slug, updated=updated, tags=tags, **_values(item))


def _update_entry(entry: Entry, item: Prepared, tags: list[Tag]) -> bool:
    """Make `entry` what the file says, and return whether anything had to be changed."""
    changed = False
    for name, value in _values(item).items():
        if getattr(entry, name) != value:
            setattr(entry, name, value)
            changed = True
    if {tag.slug for tag in entry.tags} != {tag.slug for tag in tags}:
        entry.tags = tags
        changed = True
    wanted = item.article.updated or (datetime.now(UTC) if changed else entry.updated)
    if entry.updated != wanted:
        entry.updated = wanted
        changed = True
    return changed
