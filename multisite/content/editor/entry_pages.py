"""The entries of a site: a list, and a form for each."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, cast

import sqlalchemy as sa
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPBadRequest, HTTPSeeOther
from pyramid.request import Request
from sqlalchemy.orm import load_only

from multisite.content.editor.addressed import addressed_entry, number_of
from multisite.content.editor.autosaves import forget_autosave, form_key, kept_form, list_autosaves
from multisite.content.editor.entries import (
    Collision,
    delete_entry,
    find_entry,
    save_entry,
)
from multisite.content.editor.entry_form import EntryForm
from multisite.content.editor.media_pages import answer, markdown_of, picture_choices, save_files
from multisite.content.editor.pages import STATES, add_page, logged_in, translate, variables
from multisite.content.editor.site_pages import is_page, page_choices
from multisite.content.entry_text import EntryText
from multisite.content.limits import TITLE_LENGTH
from multisite.content.listing import visible
from multisite.content.markup.dialects import Dialect
from multisite.content.markup.markdown import NestingTooDeep
from multisite.content.models import Entry, Tag, entry_search
from multisite.content.page_paths import is_page_slug, join_page_slug, parent_of
from multisite.content.revisions import entry_owners
from multisite.errors import MultisiteError
from multisite.language.local_time import local_bounds, zone_of
from multisite.private_pages import field

__all__ = ["includeme"]

LIST_SIZE = 50
"""Entries, revisions and deleted entries on one page."""

MAX_SUGGESTED_TAGS = 500
"""Tags that the form suggests, the first by name."""

SCRIPTS = ("editor", "tags", "toolbar", "preview", "pictures")
"""The scripts of the form, without which it works as well."""


def entries(request: Request) -> Any:
    """The entries that the user may change, newest first."""
    user, state, words = logged_in(request).user, request.GET.get("state", ""), request.GET.get("q", "").strip()
    columns = load_only(Entry.title, Entry.slug, Entry.published, Entry.updated, Entry.draft)
    statement = sa.select(Entry).where(~is_page()).options(columns).order_by(Entry.id.desc()).limit(LIST_SIZE + 1)
    now = datetime.now(UTC)
    if user.role == "author":
        own = sa.select(entry_owners.c.entry_id).where(entry_owners.c.user_id == user.id)
        statement = statement.where(Entry.id.in_(own))
    if state in STATES:
        conditions = {
            "draft": Entry.draft == sa.true(),
            "scheduled": sa.and_(Entry.draft == sa.false(), Entry.published > now),
            "published": visible(now),
        }
        statement = statement.where(conditions[state])
    if words and "\0" not in words:
        # The index finds whole words of the texts; it has no parts of words, by which titles are found.
        of_title = (Entry.title.icontains(words, autoescape=True), Entry.slug.icontains(words, autoescape=True))
        statement = statement.where(sa.or_(*of_title, entry_search.matches(request.dbsession, words)))
    since = _midnight(request, request.GET.get("since", ""))
    if since is not None:
        statement = statement.where(Entry.updated >= since)
    before = number_of(request.GET.get("before", ""))
    if before is not None:
        statement = statement.where(Entry.id < before)
    found = request.dbsession.scalars(statement).all()
    deleted = number_of(request.GET.get("deleted", ""))
    return variables(
        request,
        entries=found[:LIST_SIZE],
        more=found[LIST_SIZE - 1].id if len(found) > LIST_SIZE else None,
        state=state,
        states=STATES,
        words=words,
        since="" if since is None else request.GET["since"],
        deleted=deleted,
        state_of=lambda entry: "draft" if entry.draft else "scheduled" if entry.published > now else "published",
        when=request.format.datetime,
    )


def _midnight(request: Request, text: str) -> datetime | None:
    """Return when a day such as 2026-05-31 begins on the site; None for another text."""
    try:
        day = date.fromisoformat(text)
        return local_bounds(zone_of(request.site), day.year, day.month, day.day)[0]
    except ValueError:
        return None


def new_entry(request: Request) -> Any:
    """The form of a new entry, or with `?parent=` of a new page below that path."""
    if request.method != "POST":
        form = EntryForm()
        form.texts["parent"] = request.GET.get("parent", "")
        return _form(request, form, use_autosave=True)
    return _upload(request, None) if field(request, "action") == "upload" else _save(request, None)


def edit_entry(request: Request) -> Any:
    """The form of an entry, and what its buttons do."""
    is_save = request.method == "POST" and field(request, "action") not in {"delete", "duplicate"}
    if is_save and find_entry(request.dbsession, int(request.matchdict["id"])) is None:
        request.response.status_int = 404
        error = translate(request, "This entry is gone. Your text is below: saving it makes a new entry.")
        return _form(request, EntryForm.sent(request), error=error)
    entry = addressed_entry(request)
    if request.method == "POST" and field(request, "action") == "delete":
        kept = delete_entry(request.dbsession, entry)
        name = "editor_pages" if is_page_slug(kept.slug) else "editor_home"
        return HTTPSeeOther(request.route_path(name, _query={"deleted": kept.id}))
    if request.method == "POST" and field(request, "action") == "duplicate":
        return _duplicate(request, entry)
    if request.method == "POST" and field(request, "action") == "upload":
        return _upload(request, entry)
    if request.method == "POST":
        return _save(request, entry)
    done = None
    if request.GET.get("done"):
        done = translate(request, "The page is saved.") if entry.is_page else translate(request, "The entry is saved.")
    return _form(
        request,
        EntryForm.of(request, EntryText.of(entry), cast(Dialect, entry.dialect)),
        entry,
        use_autosave=True,
        done=done,
    )


def _upload(request: Request, entry: Entry | None) -> dict[str, Any]:
    """Return the form with the files that were sent at the end of its text, which is not saved. It needs no script."""
    form, version = EntryForm.sent(request), field(request, "version")
    alt, decorative = answer(request)
    if not alt and not decorative:
        request.response.status_int = 400
        error = translate(request, "Say what the picture shows, or that it is decorative.")
        return _form(request, form, entry, version=version, error=error)
    uploaded = save_files(request, alt=alt, decorative=decorative)
    written = [markdown_of(media, alt) for media in uploaded.media]
    form.texts["body"] = "\n\n".join([form.texts["body"].rstrip(), *written]).lstrip("\n")
    done = translate(request, "The file is at the end of the text, which is not saved yet.") if written else None
    if uploaded.refused:
        request.response.status_int = 400
    return _form(request, form, entry, version=version, error=uploaded.error, done=done)


def _duplicate(request: Request, entry: Entry) -> Any:
    """Add a draft with the text of a saved entry, and go to its form."""
    title = translate(request, "Copy of {title}", title=entry.title)[:TITLE_LENGTH]
    slug = join_page_slug(parent_of(entry.slug), title) if entry.is_page else ""
    text = replace(EntryText.of(entry), title=title, slug=slug, published=None, draft=True)
    dialect = cast(Dialect, entry.dialect)
    try:
        copy = save_entry(request.dbsession, logged_in(request).user, None, text, None, dialect=dialect)
    except NestingTooDeep:
        request.response.status_int = 400
        error = translate(request, "This text is nested too deep, or has too much markup.")
        return _form(request, EntryForm.of(request, EntryText.of(entry), dialect), entry, error=error)
    assert isinstance(copy, Entry)  # noqa: S101  A new entry collides with nothing.
    return HTTPSeeOther(request.route_path("editor_entry", id=copy.id, _query={"done": 1}))


def _form(
    request: Request, form: EntryForm, entry: Entry | None = None, *, use_autosave: bool = False, **values: Any
) -> dict[str, Any]:
    """Return the variables of the form; with `use_autosave`, also the texts that were typed and not saved."""
    text = None if entry is None else EntryText.of(entry)
    entry_id = None if entry is None else entry.id
    key, wanted = field(request, "key"), request.GET.get("autosave")
    if not key.startswith("new-" if entry is None else "entry-"):
        key = form_key(entry_id)
    autosaves = list_autosaves(request, entry_id) if use_autosave else []
    values.setdefault("version", "" if text is None else text.version)
    for each in autosaves:
        if each.key == wanted:
            form, key, autosaves = kept_form(each), each.key, []
            values |= {"version": each.version, "done": translate(request, "This text is not saved yet.")}
            break
    is_visible = entry is not None and not entry.draft
    shown: dict[str, Any] = {"form": form, "entry": entry, "collision": None, "key": key, "autosaves": autosaves}
    shown["parents"] = page_choices(request.dbsession, form.texts["parent"], entry) if form.is_page else []
    shown["pictures"] = picture_choices(request, form.texts["picture"])
    shown["title_of"] = lambda each: kept_form(each).texts["title"]
    shown["when"] = lambda seconds: request.format.datetime(datetime.fromtimestamp(seconds, UTC))
    shown["script_paths"] = [request.static_path(f"multisite.content.editor:static/{name}.js") for name in SCRIPTS]
    tags = sa.select(Tag.name).order_by(Tag.name).limit(MAX_SUGGESTED_TAGS)
    shown["known_tags"] = request.dbsession.scalars(tags).all()
    is_public = is_visible and entry is not None and (entry.published is None or entry.published <= datetime.now(UTC))
    return variables(request, **{**shown, "is_visible": is_visible, "is_public": is_public, **values})


def _save(request: Request, entry: Entry | None) -> Any:
    form = EntryForm.sent(request)
    # Without a button, as by the key Enter, an entry stays what it is.
    was_draft = entry is None or entry.draft
    draft = {"publish": False, "unpublish": True}.get(field(request, "action"), was_draft)
    if entry is not None and form.is_page != entry.is_page:
        raise HTTPBadRequest
    text = form.read(request, draft=draft)
    error = translate(request, "Nothing was saved: some values are not valid.")
    saved = None
    if text is not None:
        try:
            entry_id = None if entry is None else entry.id
            saved = save_entry(request.dbsession, logged_in(request).user, entry_id, text, field(request, "version"))
        except NestingTooDeep:
            form.faults["body"] = translate(request, "This text is nested too deep, or has too much markup.")
        except MultisiteError:
            error = translate(request, "Nothing was saved: somebody else is changing this entry. Try again.")
    if saved is None:
        request.response.status_int = 400
        # With the version that was edited, so that the next save collides as well if somebody else has saved since.
        return _form(request, form, entry, version=field(request, "version"), error=error)
    if isinstance(saved, Collision):
        return _collided(request, form, saved)
    forget_autosave(request, field(request, "key"))
    return HTTPSeeOther(request.route_path("editor_entry", id=saved.id, _query={"done": 1}))


def _collided(request: Request, form: EntryForm, collision: Collision) -> dict[str, Any]:
    """Return the form with the user's text, beside the text that somebody else has saved. Both are kept."""
    request.response.status_int = 409
    error = translate(request, "Somebody else has saved this entry. Your text is below, and kept as a revision.")
    return _form(request, form, addressed_entry(request), error=error, collision=collision.current)


def includeme(config: Configurator) -> None:
    """Add the pages."""
    add_page(config, "home", "/edit/", entries, "entries", role="author")
    add_page(config, "new_entry", "/edit/new", new_entry, "entry", role="author", takes_files=True)
    add_page(config, "entry", r"/edit/entries/{id:[1-9]\d{0,17}}", edit_entry, "entry", role="author", takes_files=True)
