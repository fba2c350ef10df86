"""The revisions of an entry with their differences, and the entries that were deleted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import sqlalchemy as sa
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound, HTTPSeeOther
from pyramid.request import Request

from multisite.content.editor.addressed import addressed_entry, number_of
from multisite.content.editor.differences import Line, difference
from multisite.content.editor.entries import Collision, bring_back, save_entry
from multisite.content.editor.entry_form import own_summary
from multisite.content.editor.pages import N_, add_page, logged_in, variables
from multisite.content.entry_text import EntryText
from multisite.content.markup.dialects import Dialect
from multisite.content.models import Entry
from multisite.content.revisions import Revision
from multisite.private_pages import field

__all__ = ["includeme"]

REVISIONS_SIZE = 100
"""Revisions on the page of an entry: all that are kept."""

DELETED_SIZE = 50
"""Deleted entries on their page."""

FIELD_NAMES = {
    "title": N_("Title"),
    "body": N_("Text"),
    "tags": N_("Tags"),
    "summary": N_("Summary"),
    "slug": N_("Address"),
    "author": N_("Author's name"),
    "picture": N_("Picture"),
}
"""The fields that are compared, in the order in which they are shown."""


def revisions(request: Request) -> Any:
    """The revisions of an entry; a POST restores the text of one, and leaves address and publication as they are."""
    entry, session = addressed_entry(request), request.dbsession
    if request.method == "POST":
        found = _revision(request, entry, number_of(field(request, "revision")))
        current = EntryText.of(entry)
        text = replace(
            EntryText.of_revision(found), slug=current.slug, published=current.published, draft=current.draft
        )
        saved = save_entry(session, logged_in(request).user, entry.id, text, current.version)
        if isinstance(saved, Collision):  # In the moment since the version was read.
            return HTTPSeeOther(request.route_path("editor_revisions", id=entry.id))
        return HTTPSeeOther(request.route_path("editor_entry", id=entry.id, _query={"done": 1}))
    statement = sa.select(Revision).where(Revision.entry_id == entry.id).order_by(Revision.id.desc())
    return variables(
        request,
        entry=entry,
        revisions=session.scalars(statement.limit(REVISIONS_SIZE)).all(),
        current=EntryText.of(entry).version,
        version_of=lambda each: EntryText.of_revision(each).version,
        when=request.format.datetime,
    )


def changes(request: Request) -> Any:
    """What a revision has changed in the one before it."""
    entry, session = addressed_entry(request), request.dbsession
    found = _revision(request, entry, int(request.matchdict["revision"]))
    statement = sa.select(Revision).where(Revision.entry_id == entry.id, Revision.id < found.id)
    before = session.scalars(statement.order_by(Revision.id.desc()).limit(1)).one_or_none()
    return variables(
        request,
        entry=entry,
        revision=found,
        before=before,
        fields={} if before is None else _differences(entry, before, found),
        when=request.format.datetime,
    )


def _revision(request: Request, entry: Entry, revision_id: int | None) -> Revision:
    statement = sa.select(Revision).where(Revision.entry_id == entry.id, Revision.id == revision_id)
    found: Revision | None = request.dbsession.scalars(statement).one_or_none()
    if found is None:
        raise HTTPNotFound
    return found


def _differences(entry: Entry, before: Revision, after: Revision) -> dict[str, list[Line]]:
    """Return the differences of the fields that differ, by the name of the field."""
    old, new = (_shown(EntryText.of_revision(each), cast(Dialect, entry.dialect)) for each in (before, after))
    found = {label: difference(old[name], new[name]) for name, label in FIELD_NAMES.items()}
    return {label: lines for label, lines in found.items() if lines}


def _shown(text: EntryText, dialect: Dialect) -> dict[str, str]:
    return {
        "title": text.title,
        "body": text.body,
        "tags": "\n".join(sorted(text.tags)),
        "summary": own_summary(text, dialect),
        "slug": text.slug,
        "author": text.author or "",
        "picture": text.picture or "",
    }


def deleted(request: Request) -> Any:
    """The deleted entries, which a POST brings back."""
    user, session = logged_in(request).user, request.dbsession
    statement = sa.select(Revision).where(Revision.kind == "deleted").order_by(Revision.id.desc())
    if user.role == "author":
        statement = statement.where(Revision.user_id == user.id)
    if request.method == "POST":
        number = number_of(field(request, "revision"))
        found = session.scalars(statement.where(Revision.id == number)).one_or_none()
        if found is None:
            raise HTTPNotFound
        entry = bring_back(session, user, found)
        return HTTPSeeOther(request.route_path("editor_entry", id=entry.id, _query={"done": 1}))
    return variables(request, found=session.scalars(statement.limit(DELETED_SIZE)).all(), when=request.format.datetime)


def includeme(config: Configurator) -> None:
    """Add the pages."""
    entry = r"/edit/entries/{id:[1-9]\d{0,17}}"
    add_page(config, "revisions", f"{entry}/revisions", revisions, "revisions", role="author")
    add_page(config, "changes", rf"{entry}/revisions/{{revision:[1-9]\d{{0,17}}}}", changes, "changes", role="author")
    add_page(config, "deleted", "/edit/deleted", deleted, "deleted", role="author")
