"""The main menu of a site: the items that its owner has arranged, or a default one.

Only a site with the setting `own_menu` has items, so the pages of other sites look for none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from pyramid.request import Request
from sqlalchemy.orm import Mapped, Session, mapped_column

from multisite.content.limits import TARGET_LENGTH, TITLE_LENGTH
from multisite.content.listing import readable
from multisite.content.models import Base, Entry
from multisite.content.page_paths import address_of
from multisite.content.redirect_rules import is_target
from multisite.directory.tables import BigId
from multisite.scoping import SiteScoped, scoped_reference

__all__ = ["SETTING", "MenuItem", "NavItem", "list_items", "menu_of"]

SETTING = "own_menu"
"""The site setting that tells whether the site has items."""


ListOwn = Callable[[Request], "Sequence[tuple[MenuItem, str]]"]
"""Returns the items of the request's site in their order, each with its path or URL."""


class MenuItem(SiteScoped, Base):
    """A link of a site's main menu: to the entry or page `entry_id`, or to `target`, a path of the site or a URL.

    Items are in the order of `position`; those with a `parent_id` are below that item, which has none itself.
    """

    __tablename__ = "menu_items"
    __table_args__ = (
        sa.CheckConstraint("(entry_id IS NULL) <> (target IS NULL)", name="target"),
        sa.Index(None, "site_id", "entry_id"),
        sa.Index(None, "site_id", "parent_id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(sa.BigInteger, scoped_reference("menu_items.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(sa.Integer)
    label: Mapped[str] = mapped_column(sa.String(TITLE_LENGTH))
    entry_id: Mapped[int | None] = mapped_column(sa.BigInteger, scoped_reference("entries.id", ondelete="CASCADE"))
    target: Mapped[str | None] = mapped_column(sa.String(TARGET_LENGTH))


@dataclass(frozen=True, slots=True)
class NavItem:
    """A link of the main menu; `current` is whether it is a link to the current page."""

    label: str
    url: str
    current: bool
    children: Sequence[NavItem] = ()


def list_items(session: Session, now: datetime | None = None) -> list[tuple[MenuItem, str]]:
    """Return the items in their order, each with its path or URL.

    Args:
        session: Pinned to the site.
        now: Leave out items of entries that readers do not see at this time; None for all items.
    """
    statement = sa.select(MenuItem, Entry.slug).outerjoin(Entry, Entry.id == MenuItem.entry_id)
    if now is not None:
        statement = statement.where(sa.or_(MenuItem.entry_id.is_(None), readable(now)))
    rows = session.execute(statement.order_by(MenuItem.position, MenuItem.id))
    return [(item, address_of(slug) if item.target is None else item.target) for item, slug in rows]


def menu_of(
    request: Request, page_kind: str | None, canonical_url: str | None, list_own: ListOwn | None = None
) -> list[NavItem]:
    """Return the items of the main menu. Without own ones: home, archive and search.

    An item is current if its URL is that of the page, without the number of a list's page.

    Args:
        request: The request.
        page_kind: The kind of its page.
        canonical_url: The URL of its page; None if it has none.
        list_own: Returns the own items, for a site that has some; None for those of the request's session.
    """
    if page_kind != "editor" and request.site.settings.get(SETTING):
        items = list_items(request.dbsession, request.now()) if list_own is None else list_own(request)
        if items:
            here = None if canonical_url is None else canonical_url.partition("?")[0]
            return _tree(request, items, here)
    text, urls = request.phrase, request.urls
    return [
        NavItem(text("home"), urls.home(), page_kind == "home"),
        NavItem(text("archive"), urls.archive(), page_kind == "archive"),
        NavItem(text("search"), urls.search(), page_kind == "search"),
    ]


def _tree(request: Request, items: Sequence[tuple[MenuItem, str]], here: str | None) -> list[NavItem]:
    children: dict[int, list[NavItem]] = {}
    top: list[NavItem] = []
    # What is below comes first, since an item is made with its children. No archive may bring a script: a URL.
    for item, target in sorted(items, key=lambda each: each[0].parent_id is None):
        if not is_target(target):
            continue
        url = f"{request.urls.root}{target}" if target.startswith("/") else target
        nav = NavItem(item.label, url, url == here, children.get(item.id, ()))
        if item.parent_id is None:
            top.append(nav)
        else:
            children.setdefault(item.parent_id, []).append(nav)
    return top
