"""The pages of a site: their list, and the choice of the page that another one is below.

Their forms, revisions and autosaves are those of entries (`entry_pages`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from pyramid.config import Configurator
from pyramid.request import Request
from sqlalchemy.orm import Session, load_only
from sqlalchemy.sql.elements import ColumnElement

from multisite.content.editor.addressed import number_of
from multisite.content.editor.pages import add_page, logged_in, variables
from multisite.content.models import Entry
from multisite.content.page_paths import ROOT
from multisite.content.revisions import entry_owners

__all__ = ["includeme", "is_page", "page_choices"]

LIST_SIZE = 200
"""Pages in one part of the list, and in the choice."""


def is_page() -> ColumnElement[bool]:
    """Return the condition for pages."""
    # The date lets an index find them.
    return sa.and_(Entry.published.is_(None), Entry.slug.startswith("/"))


def page_choices(session: Session, chosen: str, entry: Entry | None) -> Sequence[tuple[str, str]]:
    """Return the paths, each with a name, that a page may be below: not itself, and no page below it.

    Args:
        session: Pinned to the site.
        chosen: The path that is chosen already, whether or not there is such a page.
        entry: The page; None for a new one.
    """
    statement = sa.select(Entry.slug, Entry.title).where(is_page()).order_by(Entry.slug).limit(LIST_SIZE)
    own = None if entry is None else f"{entry.slug}/"
    found = {slug: f"{title} ({slug})" for slug, title in session.execute(statement)}
    allowed = {slug: name for slug, name in found.items() if own is None or not f"{slug}/".startswith(own)}
    return sorted({ROOT: ROOT, chosen: chosen, **allowed}.items())


def pages(request: Request) -> Any:
    """The pages that the user may change, by path."""
    user, after = logged_in(request).user, request.GET.get("after", "")
    columns = load_only(Entry.title, Entry.slug, Entry.updated, Entry.draft)
    statement = sa.select(Entry).where(is_page()).options(columns).order_by(Entry.slug).limit(LIST_SIZE + 1)
    if user.role == "author":
        own = sa.select(entry_owners.c.entry_id).where(entry_owners.c.user_id == user.id)
        statement = statement.where(Entry.id.in_(own))
    if after and "\0" not in after:
        statement = statement.where(Entry.slug > after)
    found = request.dbsession.scalars(statement).all()
    return variables(
        request,
        pages=found[:LIST_SIZE],
        more=found[LIST_SIZE - 1].slug if len(found) > LIST_SIZE else None,
        deleted=number_of(request.GET.get("deleted", "")),
        when=request.format.datetime,
    )


def includeme(config: Configurator) -> None:
    """Add the list."""
    add_page(config, "pages", "/edit/pages", pages, "pages", role="author")
