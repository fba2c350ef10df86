"""The menu of a WordPress blog: items of the type `nav_menu_item` become those of the site's menu.

An export does not say which menu the theme shows. The one whose name says that it is the main one is used, else the
largest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.orm import Session

from multisite.content.exports.index import ExportIndex
from multisite.content.exports.links import OldBlog, tag_path
from multisite.content.exports.wordpress_posts import plain_text, read_number
from multisite.content.exports.wxr import WxrRecord
from multisite.content.limits import TITLE_LENGTH
from multisite.content.markup.markdown import shorten
from multisite.content.menu import MenuItem
from multisite.content.models import Entry
from multisite.content.redirect_rules import InvalidRedirect, parse_rule
from multisite.core import program

__all__ = ["ITEM", "OldItem", "OldMenus", "save_menu", "target_of"]

ITEM = "nav_menu_item"
"""The type of the items in the export."""

MAX_ITEMS = 50
"""Items of a menu, as in the editor."""

_MAX_OLD_ITEMS = 5000
_MAIN = ("main", "primary", "header", "top", "haupt", "principal")


@dataclass(frozen=True, slots=True)
class OldItem:
    """An item of a menu; `parent` is the number of the item above it, or 0. `number_of_object` is that of a post."""

    number: int
    parent: int
    order: int
    label: str
    kind: str
    number_of_object: int
    url: str


@dataclass(slots=True)
class OldMenus:
    """The menus of a blog by their names, and its categories by the numbers that menus use.

    `count` is the number of items, of which the first 5,000 are kept.
    """

    items: dict[str, list[OldItem]] = field(default_factory=dict)
    categories: dict[int, str] = field(default_factory=dict)
    count: int = 0

    def add(self, record: WxrRecord) -> None:
        """Add an item of the export."""
        name = next((nicename for domain, nicename, _ in record.terms if domain == "nav_menu"), "")
        self.count += 1
        if not name or record.fields.get("wp:status") != "publish" or self.count > _MAX_OLD_ITEMS:
            return
        values = {key: next(iter(texts), "") for key, texts in record.meta.items()}
        item = OldItem(
            number=read_number(record.fields.get("wp:post_id")),
            parent=read_number(values.get("_menu_item_menu_item_parent")),
            order=read_number(record.fields.get("wp:menu_order")),
            label=shorten(plain_text(record.fields.get("title", "")), TITLE_LENGTH - 1),
            kind=values.get("_menu_item_type", ""),
            number_of_object=read_number(values.get("_menu_item_object_id")),
            url=values.get("_menu_item_url", "").strip(),
        )
        self.items.setdefault(name, []).append(item)

    def main(self) -> tuple[str, list[OldItem]]:
        """Return the name and the items of the main menu, those at the top before those below them."""

        def rank(name: str) -> tuple[bool, int]:
            return any(word in name.lower() for word in _MAIN), len(self.items[name])

        name = max(self.items, key=rank)
        return name, sorted(self.items[name], key=lambda item: (item.parent != 0, item.order, item.number))


def save_menu(
    session: Session,
    menus: OldMenus,
    find: Callable[[OldItem], tuple[str | None, str | None]],
    note: Callable[[str, str, bool], None],
) -> None:
    """Save the main menu as that of the session's site, unless the site has items already. Flushes.

    Args:
        session: Pinned to the site; it has the entries of the blog.
        menus: The menus of the export.
        find: Returns the slug of the entry that an item leads to, or else the target; both None if neither is there.
        note: Called with a kind, a text and whether something is lost.
    """
    if not menus.items:
        return
    name, items = menus.main()
    if menus.count > _MAX_OLD_ITEMS:
        note("left out", f"items of menus after {_MAX_OLD_ITEMS:,}", True)
    if session.scalars(sa.select(MenuItem.id).limit(1)).first() is not None:
        note("menu", "the site has a menu already, which is kept", False)
        return
    for other in menus.items:
        if other != name:
            note("left out", f"menu {other}: {len(menus.items[other])} items", True)
    tops: dict[int, MenuItem] = {}
    saved: dict[int, MenuItem] = {}
    for item, label, entry, target in _targets(session, items, find, note):
        if len(saved) == MAX_ITEMS:
            note("left out", f"menu {name}: items after {MAX_ITEMS}", True)
            break
        top = tops.get(item.parent)
        row = MenuItem(
            label=label, entry_id=entry, target=target, position=len(saved) + 1, parent_id=top.id if top else None
        )
        session.add(row)
        session.flush()
        saved[item.number] = row
        tops[item.number] = top or row  # A menu has two levels.
    if saved:
        shown = program.command("set HOST own_menu=true")
        text = f"{len(saved)} items of menu {name}; pages show it after: {shown}"
        note("menu", text, False)


def _targets(
    session: Session,
    items: Sequence[OldItem],
    find: Callable[[OldItem], tuple[str | None, str | None]],
    note: Callable[[str, str, bool], None],
) -> Iterator[tuple[OldItem, str, int | None, str | None]]:
    """Yield each item with its label, and the key of its entry or its target."""
    for item in items:
        slug, target = find(item)
        entry = None
        if slug is not None:
            entry = session.execute(sa.select(Entry.id, Entry.title).where(Entry.slug == slug)).one_or_none()
        label = item.label or (entry.title if entry is not None else "")
        if (entry is None and target is None) or not label.isprintable() or not label:
            note("left out", f"menu item '{shorten(item.label or item.url, 80)}'", True)
            continue
        yield item, label, None if entry is None else entry.id, target if entry is None else None


def target_of(item: OldItem, menus: OldMenus, index: ExportIndex, blog: OldBlog) -> tuple[str | None, str | None]:
    """Return the slug of the entry of an item that is not for a post, or else its target; both may be None."""
    if item.kind == "taxonomy":
        tag = index.find_tag("category", menus.categories.get(item.number_of_object, ""))
        return None, None if tag is None else parse_rule("/menu", tag_path(tag)).target
    address = blog.address(item.url)
    if address is not None:
        slug = index.find_address(address)
        if slug is not None:
            return slug, None
        if address in ("/", blog.path):
            return None, "/"
        return None, None
    try:
        return None, parse_rule("/menu", item.url).target
    except InvalidRedirect:
        return None, None
