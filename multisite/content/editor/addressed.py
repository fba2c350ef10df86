"""The rows that an address, or a field, of the editor names."""

from __future__ import annotations

from pyramid.httpexceptions import HTTPForbidden, HTTPNotFound
from pyramid.request import Request

from multisite.content.editor.entries import find_entry, may_change
from multisite.content.editor.pages import logged_in
from multisite.content.models import Entry

__all__ = ["addressed_entry", "number_of"]


def addressed_entry(request: Request) -> Entry:
    """Return the entry of the address. 404 if the site has none, 403 if the user may not change it."""
    entry = find_entry(request.dbsession, int(request.matchdict["id"]))
    if entry is None:
        raise HTTPNotFound
    if not may_change(request.dbsession, logged_in(request).user, entry.id):
        raise HTTPForbidden
    return entry


def number_of(text: str) -> int | None:
    """Return `text` as the id of a row, None if it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else None
