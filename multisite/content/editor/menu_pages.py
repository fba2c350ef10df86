"""The main menu, which an owner arranges: items are added, changed, moved and removed, each by a button."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import sqlalchemy as sa
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound, HTTPSeeOther
from pyramid.request import Request
from sqlalchemy.orm import Session

from multisite.content.editor.addressed import number_of
from multisite.content.editor.pages import N_, add_page, translate, variables
from multisite.content.editor.site_pages import page_choices
from multisite.content.limits import TITLE_LENGTH
from multisite.content.menu import SETTING, MenuItem, list_items
from multisite.content.models import Entry
from multisite.content.page_paths import ROOT, address_of
from multisite.content.redirect_rules import InvalidRedirect, parse_rule
from multisite.core.keys import DIRECTORY
from multisite.private_pages import field
from multisite.sites.settings.values import set_settings, unset_settings
from multisite.web.site_settings import SITE_SETTINGS

__all__ = ["includeme"]

MAX_ITEMS = 50
"""Items of a menu."""


ACTIONS = {"save": N_("Save"), "up": N_("Up"), "down": N_("Down"), "remove": N_("Remove")}
"""The texts of the buttons of an item."""


class _InvalidItem(ValueError):
    """An item that is not valid; the message is for the owner."""


def menu(request: Request) -> Any:
    """The items, and what a POST does to one of them."""
    error = None
    if request.method == "POST":
        try:
            _change(request)
            return HTTPSeeOther(request.route_path("editor_menu"))
        except _InvalidItem as invalid:
            error = str(invalid)
            request.response.status_int = 400
    items = list_items(request.dbsession)
    pages = [address_of(path) for path, _ in page_choices(request.dbsession, ROOT, None) if path != ROOT]
    return variables(
        request,
        items=[each for top in items if top[0].parent_id is None for each in (top, *_below(items, top[0]))],
        tops=[item for item, _ in items if item.parent_id is None],
        targets=["/", "/archive", "/search", *pages],
        actions=ACTIONS,
        error=error,
        sent={name: field(request, name) for name in ("label", "target", "parent")} if error else {},
    )


def _below(items: Sequence[tuple[MenuItem, str]], item: MenuItem) -> list[tuple[MenuItem, str]]:
    return [each for each in items if each[0].parent_id == item.id]


def _change(request: Request) -> None:
    session, action = request.dbsession, field(request, "action")
    if action == "default":
        # The setting first: SQLite has one writer at a time.
        _write_setting(request, own=False)
        session.execute(sa.delete(MenuItem))
    elif action == "add":
        _add(request)
    else:
        item = session.scalars(
            sa.select(MenuItem).where(MenuItem.id == (number_of(field(request, "item")) or 0))
        ).one_or_none()
        if item is None:
            raise HTTPNotFound
        if action == "save":
            item.label, item.entry_id, item.target = _values(request)
        elif action in ("up", "down"):
            _move(session, item, -1 if action == "up" else 1)
        elif action == "remove":
            session.delete(item)
    session.flush()


def _add(request: Request) -> None:
    session = request.dbsession
    label, entry_id, target = _values(request)
    parent_id = number_of(field(request, "parent"))
    known = {item.id: item for item, _ in list_items(session)}
    if parent_id is not None and (parent_id not in known or known[parent_id].parent_id is not None):
        raise HTTPNotFound
    if len(known) >= MAX_ITEMS:
        raise _InvalidItem(translate(request, "A menu has at most {count} links.", count=MAX_ITEMS))
    _write_setting(request, own=True)
    position = max((item.position for item in known.values()), default=0) + 1
    session.add(MenuItem(label=label, entry_id=entry_id, target=target, parent_id=parent_id, position=position))


def _values(request: Request) -> tuple[str, int | None, str | None]:
    """Return label, entry and target. The address of an entry or page leads to it also after it has moved."""
    label, written = " ".join(field(request, "label").split()), field(request, "target").strip()
    if not label or len(label) > TITLE_LENGTH or not label.isprintable():
        raise _InvalidItem(translate(request, "A link needs a text of at most {count} characters.", count=TITLE_LENGTH))
    try:
        target = parse_rule("/menu", written).target or ""
    except InvalidRedirect:
        target = ""
    if not target or "*" in target:
        raise _InvalidItem(
            translate(request, "A link leads to a path such as /about/, or to an address with https://.")
        )
    path = unquote(target)
    slug = path.removeprefix("/entries/") if path.startswith("/entries/") else path.rstrip("/")
    found = request.dbsession.scalar(sa.select(Entry.id).where(Entry.slug == slug)) if "\0" not in slug else None
    return label, found, None if found is not None else target


def _move(session: Session, item: MenuItem, step: int) -> None:
    """Exchange an item with the one before or after it."""
    beside = [each for each, _ in list_items(session) if each.parent_id == item.parent_id]
    place = beside.index(item) + step
    if 0 <= place < len(beside):
        beside.remove(item)
        beside.insert(place, item)
    for position, each in enumerate(beside, start=1):
        each.position = position


def _write_setting(request: Request, *, own: bool) -> None:
    """Tell the site's pages whether to look for items."""
    if bool(request.site.settings[SETTING]) == own:
        return
    directory, host = request.registry[DIRECTORY], request.site.domain
    declared = request.registry[SITE_SETTINGS]
    if own:
        set_settings(directory.engine, host, {SETTING: "true"}, declared=declared)
    else:
        unset_settings(directory.engine, host, [SETTING], declared=declared)
    directory.refresh_soon()


def includeme(config: Configurator) -> None:
    """Add the page."""
    add_page(config, "menu", "/edit/menu", menu, "menu", role="owner")
