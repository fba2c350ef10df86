"""List, unpublish and delete entries and pages of one site, for operators.

Each function takes a session pinned to the site. The functions that write leave the commit to the caller.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from multisite.content.listing import readable
from multisite.content.models import Entry, Redirect
from multisite.content.page_paths import address_of
from multisite.core import program
from multisite.errors import MultisiteError

__all__ = ["STATUSES", "EntryRecord", "Status", "delete_entry", "list_records", "unpublish_entry"]

Status = Literal["draft", "scheduled", "published"]
STATUSES: tuple[Status, ...] = ("draft", "scheduled", "published")
"""Drafts, entries with a publication time in the future, and visible entries."""

_COLUMNS = (Entry.slug, Entry.title, Entry.draft, Entry.published, Entry.updated, Entry.source)


@dataclass(frozen=True, slots=True)
class EntryRecord:
    """An entry or page without its text.

    `published` is None only for drafts and pages; `source` is the file it was imported from.
    """

    slug: str
    title: str
    status: Status
    published: datetime | None
    updated: datetime
    source: str | None


def list_records(
    session: Session,
    now: datetime,
    *,
    statuses: Collection[Status] = STATUSES,
    search: str = "",
    after: str | None = None,
    limit: int | None = None,
) -> list[EntryRecord]:
    """Return entries in the order of their slugs.

    Args:
        session: Pinned to the site.
        now: What is published later is scheduled.
        statuses: Only entries with one of these.
        search: Only entries with this text in their title, in upper or lower case (on SQLite only of ASCII letters).
        after: Begin after this slug, whether or not it exists; None for the first entries.
        limit: At most so many entries; None for all.
    """
    scheduled = sa.and_(Entry.draft == sa.false(), Entry.published > now)
    conditions = {"draft": Entry.draft == sa.true(), "scheduled": scheduled, "published": readable(now)}
    statement = (
        sa.select(*_COLUMNS)
        .where(sa.or_(*(conditions[status] for status in statuses)))
        .order_by(Entry.slug)
        .limit(limit)
    )
    if search:
        statement = statement.where(Entry.title.icontains(search, autoescape=True))
    if after is not None:
        statement = statement.where(Entry.slug > after)
    return [_record(row, now) for row in session.execute(statement)]


def unpublish_entry(session: Session, slug: str) -> EntryRecord:
    """Make the entry with `slug` a draft.

    Returns:
        What the entry was before.

    Raises:
        MultisiteError: The site has no such entry, or it is a draft already.
    """
    record = _read(session, slug)
    if record.status == "draft":
        raise MultisiteError(f"the entry '{slug}' is a draft already")
    session.execute(sa.update(Entry).where(Entry.slug == slug).values(draft=True))
    return record


def delete_entry(session: Session, slug: str) -> EntryRecord:
    """Delete the entry with `slug`, and the redirects to it that an import made; the editor can bring the entry back.

    Returns:
        What the entry was before.

    Raises:
        MultisiteError: The site has no such entry, or the extra `content` is not installed.
    """
    # This imports Pyramid, which an import of entries does not need.
    try:
        from multisite.content.editor import entries as editor_entries
    except ModuleNotFoundError as error:
        raise MultisiteError(f"{error.name} is not installed: pip install 'pyramid-multisite[content]'") from error

    record = _read(session, slug)
    editor_entries.delete_entry(session, session.scalars(sa.select(Entry).where(Entry.slug == slug)).one())
    is_to_it = Redirect.target == address_of(slug)
    session.execute(sa.delete(Redirect).where(is_to_it, Redirect.imported == sa.true()))
    return record


def _read(session: Session, slug: str) -> EntryRecord:
    row = session.execute(sa.select(*_COLUMNS).where(Entry.slug == slug)).one_or_none() if "\0" not in slug else None
    if row is None:
        command = program.command(f"list-entries {session.info['site']}")
        raise MultisiteError(f"the site has no entry with the slug '{slug}'; list all: {command}")
    return _record(row, datetime.now(UTC))


def _record(row: Any, now: datetime) -> EntryRecord:
    slug, title, draft, published, updated, source = row
    status: Status = "draft" if draft else "scheduled" if published is not None and published > now else "published"
    return EntryRecord(slug, title, status, published, updated, source)
