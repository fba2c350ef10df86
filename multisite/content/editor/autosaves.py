"""Keep the text of a form while it is typed: it never publishes anything, and touches no entry.

A script sends the form from time to time. Texts are written in transactions of their own, so that cached pages stay.
Only the user who typed a text sees it again.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Sequence

import sqlalchemy as sa
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPBadRequest, HTTPForbidden, HTTPNoContent, HTTPNotFound, HTTPSeeOther
from pyramid.request import Request
from pyramid.response import Response

from multisite.content.editor.attempts import own_transaction
from multisite.content.editor.entries import may_change
from multisite.content.editor.entry_form import FIELDS, EntryForm
from multisite.content.editor.pages import add_page, logged_in
from multisite.content.models import Entry
from multisite.content.revisions import Autosave
from multisite.private_pages import field

__all__ = ["entry_of_key", "forget_autosave", "form_key", "includeme", "kept_form", "list_autosaves"]

MAX_AUTOSAVES = 20
"""The texts that are kept for one user, the newest ones."""

_KEY = re.compile(r"(?:entry-(?P<entry>[1-9]\d{0,17})|new-[0-9a-f]{16})")


def form_key(entry_id: int | None) -> str:
    """Return the key of the form of an entry; a new one for a new entry, since several may be written at once."""
    return f"new-{secrets.token_hex(8)}" if entry_id is None else f"entry-{entry_id}"


def list_autosaves(request: Request, entry_id: int | None) -> Sequence[Autosave]:
    """Return the texts that the user has typed for the entry, or for new ones, the newest first."""
    is_wanted = Autosave.entry_id.is_(None) if entry_id is None else Autosave.entry_id == entry_id
    statement = sa.select(Autosave).where(Autosave.user_id == logged_in(request).user.id, is_wanted)
    found: Sequence[Autosave] = request.dbsession.scalars(statement.order_by(Autosave.saved.desc(), Autosave.id)).all()
    return found


def kept_form(found: Autosave) -> EntryForm:
    """Return the form with the texts of an autosave; empty for what no form has sent, which an archive may have."""
    try:
        texts = json.loads(found.fields)
    except (ValueError, RecursionError):
        texts = None
    known = texts if isinstance(texts, dict) else {}
    return EntryForm({name: str(known.get(name, "")) for name in FIELDS})


def forget_autosave(request: Request, key: str) -> None:
    """Remove the text of a form that was saved, or discarded."""
    is_own = Autosave.user_id == logged_in(request).user.id
    request.dbsession.execute(sa.delete(Autosave).where(is_own, Autosave.key == key))


def autosave(request: Request) -> Response:
    """Keep the fields of a form, or discard them."""
    if request.method != "POST":
        raise HTTPNotFound
    entry, key = entry_of_key(request), field(request, "key")
    entry_id = None if entry is None else entry.id
    if field(request, "action") == "discard":
        forget_autosave(request, key)
        name, values = ("editor_new_entry", {}) if entry_id is None else ("editor_entry", {"id": entry_id})
        return HTTPSeeOther(request.route_path(name, **values))
    _keep(request, key, entry_id)
    return HTTPNoContent()


def entry_of_key(request: Request) -> Entry | None:
    """Return the entry to which a form that was sent belongs, which the user may change; None for a new one.

    Raises:
        HTTPBadRequest: No form has the key.
        HTTPNotFound: The site has no such entry.
        HTTPForbidden: The user may not change it.
    """
    match = _KEY.fullmatch(field(request, "key"))
    if match is None:
        raise HTTPBadRequest
    if match["entry"] is None:
        return None
    entry = request.dbsession.get(Entry, int(match["entry"]))
    if entry is None:
        raise HTTPNotFound
    if not may_change(request.dbsession, logged_in(request).user, entry.id):
        raise HTTPForbidden
    found: Entry = entry
    return found


def _keep(request: Request, key: str, entry_id: int | None) -> None:
    user_id, texts = logged_in(request).user.id, EntryForm.sent(request).texts
    is_own = Autosave.user_id == user_id
    with own_transaction(request) as session:
        session.execute(sa.delete(Autosave).where(is_own, Autosave.key == key))
        session.add(
            Autosave(
                user_id=user_id,
                entry_id=entry_id,
                key=key,
                version=field(request, "version")[:32],
                fields=json.dumps(texts),
                saved=int(time.time()),
            )
        )
        session.flush()
        newest = sa.select(Autosave.id).where(is_own).order_by(Autosave.id.desc())
        oldest = session.scalar(newest.offset(MAX_AUTOSAVES - 1).limit(1))
        if oldest is not None:
            session.execute(sa.delete(Autosave).where(is_own, Autosave.id < oldest))


def includeme(config: Configurator) -> None:
    """Add the address to which the script sends the form."""
    add_page(config, "autosave", "/edit/autosave", autosave, role="author")
