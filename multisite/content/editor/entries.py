"""Save, delete and bring back entries and pages, so that no text is lost.

Each function takes a session pinned to the site. Each save names the version that was edited. If the entry has another
one, the text is kept as a revision instead.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import cast

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload

from multisite.content.entry_text import EntryText
from multisite.content.limits import SLUG_LENGTH
from multisite.content.markup.dialects import Dialect
from multisite.content.markup.markdown import render_stored
from multisite.content.media import find_uploaded
from multisite.content.models import Entry, Tag
from multisite.content.page_paths import address_of, is_page_slug, join_page_slug
from multisite.content.redirects import move_address
from multisite.content.revisions import Revision, entry_owners
from multisite.content.slugs import slugify
from multisite.content.users import User
from multisite.errors import MultisiteError

__all__ = ["Collision", "bring_back", "delete_entry", "find_entry", "may_change", "save_entry"]

MAX_REVISIONS = 100
"""The revisions of an entry that are kept."""

DELETED_DAYS = 30
"""For how many days a deleted entry can be brought back."""

_ATTEMPTS = 3
"""How often a save is tried if somebody else takes the slug, or adds a tag, at the same time."""


@dataclass(frozen=True)
class Collision:
    """Somebody else has saved the entry in the meantime: the text that it has now."""

    current: EntryText


def find_entry(session: Session, entry_id: int) -> Entry | None:
    """Return an entry with its tags, read from the database again; None if the site has none with this id."""
    statement = sa.select(Entry).where(Entry.id == entry_id).options(selectinload(Entry.tags))
    return session.scalars(statement.execution_options(populate_existing=True)).one_or_none()


def may_change(session: Session, user: User, entry_id: int) -> bool:
    """Return whether `user` may change the entry: an author only own ones."""
    if user.role != "author":
        return True
    owner = sa.select(entry_owners.c.user_id).where(entry_owners.c.entry_id == entry_id)
    return session.scalar(owner) == user.id


def save_entry(
    session: Session,
    user: User,
    entry_id: int | None,
    text: EntryText,
    version: str | None,
    *,
    dialect: Dialect = "commonmark",
) -> Entry | Collision:
    """Save `text` as an entry, with a revision.

    Args:
        session: Pinned to the site.
        user: Who saves.
        entry_id: The entry, which exists; None for a new one.
        text: The text. An empty slug is made from the title, and one that is taken gets a number.
        version: The version of the text that was edited; None for a new entry.
        dialect: The dialect of the text of a new entry; another one keeps its own.

    Returns:
        The entry, or a `Collision`: then `text` is kept as a revision alone.

    Raises:
        MultisiteError: Other people keep taking the slug, or the entry is gone.
        NestingTooDeep: The text would take minutes to render.
    """
    dialect = _dialect(session, entry_id, dialect)
    rendered = render_stored(text.body, dialect, find_uploaded(session))
    values: dict[str, object] = {
        "dialect": dialect,
        "body": text.body,
        "body_html": rendered.html,
        "summary": text.summary or rendered.summary,
    }
    values |= {"title": text.title, "author": text.author, "published": text.published, "draft": text.draft}
    values["picture"] = text.picture
    for _attempt in range(_ATTEMPTS):
        _lock(session, entry_id)
        entry = None if entry_id is None else find_entry(session, entry_id)
        if entry_id is not None and entry is None:
            raise MultisiteError("the entry is gone")
        before = None if entry is None else EntryText.of(entry)
        if before is not None and before.version != version:
            _add_revision(session, user, entry_id, text, "collided")
            return Collision(before)
        try:
            with session.begin_nested():
                return _write(session, user, entry, before, replace(text, tags=_unique(text.tags)), values)
        except IntegrityError:
            session.expire_all()
    raise MultisiteError("somebody else keeps using this address")


def _dialect(session: Session, entry_id: int | None, of_new: Dialect) -> Dialect:
    """Return the dialect of an entry's text: an imported one keeps that of the tool that it was written for."""
    found: str | None = session.scalar(sa.select(Entry.dialect).where(Entry.id == entry_id))
    return cast(Dialect, found or of_new)


def _lock(session: Session, entry_id: int | None) -> None:
    """Lock the entry until the end of the transaction. On SQLite, this locks the database, for a new entry too."""
    lock = sa.update(Entry).where(Entry.id == (entry_id or 0)).values(title=Entry.title)
    session.execute(lock.execution_options(synchronize_session=False))


def _write(
    session: Session,
    user: User,
    entry: Entry | None,
    before: EntryText | None,
    text: EntryText,
    values: dict[str, object],
) -> Entry:
    slug = _free_slug(session, _wanted_slug(text), entry)
    if entry is None:
        entry = Entry(slug=slug, **values)
        session.add(entry)
    else:
        if before is not None and not _has_revisions(session, entry.id):
            _add_revision(session, None, entry.id, before, "saved")
        if entry.slug != slug:
            if entry.is_page:
                _move_pages_below(session, user, entry.slug, slug)
            _move(session, entry, slug)
        for name, value in values.items():
            setattr(entry, name, value)
    entry.updated = datetime.now(UTC)
    entry.tags = _tags(session, text.tags)
    session.flush()
    if before is None:
        session.execute(sa.insert(entry_owners).values(entry_id=entry.id, user_id=user.id))
    _add_revision(session, user, entry.id, EntryText.of(entry), "saved")
    return entry


def _wanted_slug(text: EntryText) -> str:
    if is_page_slug(text.slug):
        return join_page_slug(text.slug)
    return slugify(text.slug) or slugify(text.title) or "entry"


def _move(session: Session, entry: Entry, slug: str) -> None:
    """Change the slug of an entry, and redirect its old address if it had readers."""
    if not entry.draft:
        move_address(session, address_of(entry.slug), address_of(slug))
    entry.slug = slug
    session.flush()


def _move_pages_below(session: Session, user: User, old: str, new: str) -> None:
    """Change the addresses of the pages below a page whose path changes, each with a revision."""
    below = sa.select(Entry.id).where(Entry.slug.startswith(f"{old}/", autoescape=True)).order_by(Entry.slug)
    for page_id in session.scalars(below).all():
        _lock(session, page_id)
        page = find_entry(session, page_id)
        if page is None or not page.slug.startswith(f"{old}/"):  # Somebody else was faster.
            continue
        if not _has_revisions(session, page_id):
            _add_revision(session, None, page_id, EntryText.of(page), "saved")
        _move(session, page, _free_slug(session, join_page_slug(new + page.slug.removeprefix(old)), page))
        _add_revision(session, user, page_id, EntryText.of(page), "saved")


def _free_slug(session: Session, wanted: str, entry: Entry | None) -> str:
    """Return `wanted`, or with the lowest number from 2 on if another entry has it."""
    others = sa.select(Entry.slug).where(Entry.id != (0 if entry is None else entry.id))
    if session.scalar(others.where(Entry.slug == wanted)) is None:
        return wanted
    beginning = f"{wanted[: SLUG_LENGTH - 10]}-"
    taken = set(session.scalars(others.where(Entry.slug.startswith(beginning, autoescape=True))))
    number = 2
    while f"{beginning}{number}" in taken:
        number += 1
    return f"{beginning}{number}"


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple({slugify(name): name for name in reversed(names) if slugify(name)}.values())[::-1]


def _tags(session: Session, names: tuple[str, ...]) -> list[Tag]:
    """Return the tags with these names, and add those that the site does not have."""
    wanted = {slugify(name): name for name in names}
    found = {tag.slug: tag for tag in session.scalars(sa.select(Tag).where(Tag.slug.in_(wanted)))}
    for slug, name in wanted.items():
        if slug not in found:
            found[slug] = Tag(slug=slug, name=name)
            session.add(found[slug])
    return list(found.values())


def _has_revisions(session: Session, entry_id: int) -> bool:
    return session.scalar(sa.select(Revision.id).where(Revision.entry_id == entry_id).limit(1)) is not None


def _add_revision(session: Session, user: User | None, entry_id: int | None, text: EntryText, kind: str) -> Revision:
    """Add a revision, and remove the oldest ones of the entry."""
    values = {**asdict(text), "tags": "\n".join(text.tags)}
    login, user_id = (None, None) if user is None else (user.login, user.id)
    found = Revision(entry_id=entry_id, user_id=user_id, login=login, kind=kind, **values)
    session.add(found)
    session.flush()
    if entry_id is not None:
        ids = sa.select(Revision.id).where(Revision.entry_id == entry_id).order_by(Revision.id.desc())
        oldest = session.scalar(ids.offset(MAX_REVISIONS - 1).limit(1))
        if oldest is not None:
            session.execute(sa.delete(Revision).where(Revision.entry_id == entry_id, Revision.id < oldest))
    return found


def delete_entry(session: Session, entry: Entry) -> Revision:
    """Delete an entry, and remove those that were deleted a month ago.

    Returns:
        The revision by which `bring_back` restores it. Its other revisions are gone.
    """
    owner_id = session.scalar(sa.select(entry_owners.c.user_id).where(entry_owners.c.entry_id == entry.id))
    owner = None if owner_id is None else session.get(User, owner_id)
    kept = _add_revision(session, owner, None, EntryText.of(entry), "deleted")
    session.delete(entry)
    month_ago = datetime.now(UTC) - timedelta(days=DELETED_DAYS)
    session.execute(sa.delete(Revision).where(Revision.kind == "deleted", Revision.created < month_ago))
    session.flush()
    return kept


def bring_back(session: Session, user: User, revision: Revision) -> Entry:
    """Restore a deleted entry, under another slug if its own was taken since. Raises as `save_entry` does."""
    owner = user if revision.user_id is None else session.get(User, revision.user_id) or user
    entry = save_entry(session, owner, None, EntryText.of_revision(revision), None)
    assert isinstance(entry, Entry)  # noqa: S101  A new entry collides with nothing.
    session.delete(revision)
    session.flush()
    return entry
