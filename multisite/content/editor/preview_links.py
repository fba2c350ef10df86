"""Links that show an entry without a log-in: for a week, or until they are withdrawn.

The token of a link is random, and the database holds only its hash, in which the site is included: at another site, a
link is not found. `multisite rotate-secret` ends all links of the site.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from multisite.content.models import Entry
from multisite.content.revisions import PreviewLink
from multisite.content.users import User
from multisite.core.site import Site
from multisite.people import hash_token

__all__ = ["LINK_DAYS", "MAX_LINKS", "find_linked", "list_links", "make_link", "withdraw_link"]

LINK_DAYS = 7
"""For how many days a link works."""

MAX_LINKS = 20
"""Links of one entry: a new one ends the oldest."""

_DAY = 86_400


def make_link(session: Session, site: Site, user: User, entry: Entry) -> str:
    """Add a link to an entry, and remove those of the site that have ended. Return its token."""
    now, token = int(time.time()), secrets.token_urlsafe(32)
    session.execute(sa.delete(PreviewLink).where(PreviewLink.expires <= now))
    session.add(
        PreviewLink(entry_id=entry.id, user_id=user.id, token_hash=_hash(site, token), expires=now + LINK_DAYS * _DAY)
    )
    session.flush()
    of_entry = sa.select(PreviewLink.id).where(PreviewLink.entry_id == entry.id).order_by(PreviewLink.id.desc())
    oldest = session.scalar(of_entry.offset(MAX_LINKS - 1).limit(1))
    if oldest is not None:
        session.execute(sa.delete(PreviewLink).where(PreviewLink.entry_id == entry.id, PreviewLink.id < oldest))
    return token


def list_links(session: Session, entry: Entry) -> Sequence[tuple[int, int, str]]:
    """Return the id, the end and the login of the maker of each link to an entry that works, the newest first."""
    statement = (
        sa.select(PreviewLink.id, PreviewLink.expires, User.login)
        .join(User, User.id == PreviewLink.user_id)
        .where(PreviewLink.entry_id == entry.id, PreviewLink.expires > int(time.time()))
        .order_by(PreviewLink.id.desc())
    )
    return [(link_id, expires, login) for link_id, expires, login in session.execute(statement)]


def withdraw_link(session: Session, entry: Entry, link_id: int) -> bool:
    """End a link to an entry. Return whether there was one with this id."""
    statement = sa.delete(PreviewLink).where(PreviewLink.entry_id == entry.id, PreviewLink.id == link_id)
    return session.scalar(statement.returning(PreviewLink.id)) is not None


def find_linked(session: Session, site: Site, token: str) -> Entry | None:
    """Return the entry of a link; None if there is no such link at the site, or it has ended."""
    statement = (
        sa.select(Entry)
        .join(PreviewLink, PreviewLink.entry_id == Entry.id)
        .where(PreviewLink.token_hash == _hash(site, token), PreviewLink.expires > int(time.time()))
        .options(selectinload(Entry.tags))
    )
    found: Entry | None = session.scalars(statement).one_or_none()
    return found


def _hash(site: Site, token: str) -> str:
    return hash_token(site, "preview", token)
