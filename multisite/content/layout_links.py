"""Links that show a site with another layout, without a log-in: other settings, another theme, another folder.

A link works for a week, or until it is withdrawn. As with those of entries, the database holds only the hash of its
random token, in which the site is included. A link has only what is changed, so that it shows the site as it is now.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Mapped, Session, mapped_column

from multisite.content.models import Base
from multisite.content.users import User
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory.models import SiteRow
from multisite.directory.settings_json import canonical_json
from multisite.directory.tables import AS_MULTISITE, BigId
from multisite.errors import MultisiteError
from multisite.people import hash_token
from multisite.scoping import SiteScoped, scoped_reference
from multisite.sites.operator_log import record
from multisite.sites.settings.registry import SettingsRegistry, parse_own_settings
from multisite.sites.settings.values import check_settings_with_theme
from multisite.sites.themes import check_theme
from multisite.web.theme_preview import ListedPreview

__all__ = [
    "LINK_DAYS",
    "LINK_PATH",
    "LayoutChanges",
    "LayoutLink",
    "ListedLink",
    "changed_site",
    "check_changes",
    "find_changes",
    "is_folder_of_another_site",
    "list_links",
    "make_link",
    "make_theme_link",
    "remove_link",
    "shown_links",
    "withdraw_link",
]

LINK_DAYS = 7
"""For how many days a link works."""

LINK_PATH = "/preview/layout/{token}"
"""The path below which a link shows the site."""

MAX_LINKS = 20
"""Links of one site: a new one ends the oldest."""

_DAY = 86_400


class LayoutLink(SiteScoped, Base):
    """A link that shows the site with `changes`, a JSON object, until `expires` (Unix time, in seconds).

    The link has the token, of which `token_hash` is the hash. `user_id` is who made it, NULL for a command.
    """

    __tablename__ = "layout_links"
    __table_args__ = (
        sa.UniqueConstraint("site_id", "token_hash"),
        sa.Index(None, "site_id", "user_id"),
        {"info": {"export": False}},  # A link is valid on one site.
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    user_id: Mapped[int | None] = mapped_column(sa.BigInteger, scoped_reference("users.id", ondelete="CASCADE"))
    token_hash: Mapped[str] = mapped_column(sa.String(64))
    expires: Mapped[int] = mapped_column(sa.BigInteger)
    changes: Mapped[str] = mapped_column(sa.Text)


@dataclass(frozen=True, slots=True)
class LayoutChanges:
    """What is shown otherwise than the site has it.

    Attributes:
        columns: New values of the site's attributes: `name`, `locale`, `timezone`, `theme` (None for none), and
            `folder`, the name of a folder beside that of the site, with a layout that is not public yet.
        settings: Texts of settings by name; None for the default.
    """

    columns: Mapping[str, str | None] = field(default_factory=dict)
    settings: Mapping[str, str | None] = field(default_factory=dict)

    def __str__(self) -> str:
        changed = {**self.columns, **self.settings}
        return ", ".join(f"{name}={'' if text is None else text}" for name, text in changed.items())


class ListedLink(NamedTuple):
    """A link that works; `login` is that of its maker, None for a command."""

    id: int
    expires: int
    login: str | None
    changes: LayoutChanges


def check_changes(
    engine: Engine,
    site: Site,
    texts: Mapping[str, str],
    *,
    theme: str | None,
    folder: str | None,
    settings: Settings,
    declared: SettingsRegistry,
) -> LayoutChanges:
    """Return what a link is to change, after checking it.

    Args:
        engine: The database of the directory.
        site: The site.
        texts: Texts of settings by name, and of `locale` and `timezone`.
        theme: The theme to show; empty for none, None for the site's own.
        folder: The folder to show, beside that of the site; None for the site's own.
        settings: The settings of multisite, which say where the folders are.
        declared: The settings that the application declares.

    Raises:
        MultisiteError: A value is not valid, there is no such theme or folder, or the folder is that of another site.
    """
    columns: dict[str, str | None] = {}
    if theme is not None:
        columns["theme"] = check_theme(settings, theme) if theme else None
    if folder is not None:
        _check_folder(engine, site, folder, settings)
        columns["folder"] = folder
    of_site, of_settings = check_settings_with_theme(texts, columns.get("theme", site.theme), declared)
    return LayoutChanges({**columns, **of_site}, of_settings)


def _check_folder(engine: Engine, site: Site, folder: str, settings: Settings) -> None:
    path = settings.sites_dir / folder
    is_name = folder not in ("", ".", "..") and not folder.startswith(".") and Path(folder).name == folder
    if not is_name or path.is_symlink() or not path.is_dir():
        raise MultisiteError(f"there is no folder '{folder}' in {settings.sites_dir}: copy that of the site to it")
    if is_folder_of_another_site(engine, site, folder):
        raise MultisiteError(f"the folder {path} is that of another site")


def make_link(session: Session, site: Site, user: User | None, changes: LayoutChanges) -> str:
    """Add a link, and remove those of the site that have ended. Return its token."""
    now, token = int(time.time()), secrets.token_urlsafe(32)
    session.execute(sa.delete(LayoutLink).where(LayoutLink.expires <= now))
    link = LayoutLink(
        token_hash=_hash(site, token), expires=now + LINK_DAYS * _DAY, changes=json.dumps(asdict(changes))
    )
    link.user_id = None if user is None else user.id
    session.add(link)
    session.flush()
    oldest = session.scalar(sa.select(LayoutLink.id).order_by(LayoutLink.id.desc()).offset(MAX_LINKS - 1).limit(1))
    if oldest is not None:
        session.execute(sa.delete(LayoutLink).where(LayoutLink.id < oldest))
    return token


def make_theme_link(
    session: Session, site: Site, theme: str | None, settings: Settings, declared: SettingsRegistry
) -> str:
    """Return the path of a new link to the site in another theme, None for none, and record it in the operator log.

    The arguments are those of `config.set_theme_preview`. Raises `MultisiteError` if there is no such theme.
    """
    engine = session.connection().engine
    changes = check_changes(engine, site, {}, theme=theme or "", folder=None, settings=settings, declared=declared)
    token = make_link(session, site, None, changes)
    record(session.connection(), "add-preview", site, after={"changes": str(changes)})
    return LINK_PATH.replace("{token}", token) + "/"


def list_links(session: Session) -> Sequence[ListedLink]:
    """Return the links of the session's site that work, the newest first."""
    statement = (
        sa.select(LayoutLink.id, LayoutLink.expires, User.login, LayoutLink.changes)
        .outerjoin(User, User.id == LayoutLink.user_id)
        .where(LayoutLink.expires > int(time.time()))
        .order_by(LayoutLink.id.desc())
    )
    return [ListedLink(*row[:3], _parse(row[3])) for row in session.execute(statement)]


def shown_links(session: Session) -> Sequence[ListedPreview]:
    """Return what `list_links` returns, as `config.set_theme_preview` expects it."""
    return [ListedPreview(each.id, each.expires, each.login, str(each.changes)) for each in list_links(session)]


def remove_link(session: Session, site: Site, link_id: int) -> bool:
    """End a link of the session's site, as `withdraw_link` does, and record that in the operator log."""
    is_there = withdraw_link(session, link_id)
    if is_there:
        record(session.connection(), "remove-preview", site, before={"preview": link_id})
    return is_there


def withdraw_link(session: Session, link_id: int) -> bool:
    """End a link. Return whether the session's site has one with this id."""
    statement = sa.delete(LayoutLink).where(LayoutLink.id == link_id)
    return session.scalar(statement.returning(LayoutLink.id)) is not None


def find_changes(session: Session, site: Site, token: str) -> LayoutChanges | None:
    """Return what a link changes; None if there is no such link at the site, or it has ended."""
    found = session.scalar(
        sa.select(LayoutLink.changes).where(
            LayoutLink.token_hash == _hash(site, token), LayoutLink.expires > int(time.time())
        )
    )
    return None if found is None else _parse(found)


def changed_site(site: Site, changes: LayoutChanges, path: str) -> Site:
    """Return the site as a link shows it, with all of its addresses below `path`.

    Its template generation is one that no site has, so that no block of a template is cached for the site itself, and
    none of these is shown.
    """
    own = parse_own_settings(site.own_settings)
    for name, text in changes.settings.items():
        own.pop(name, None)
        if text is not None:
            own[name] = text
    settings = canonical_json(json.dumps(own))
    columns: dict[str, Any] = dict(changes.columns)
    shown = replace(site, **columns, own_settings=settings, path=path)
    told_apart = (settings, shown.theme, shown.folder, path, site.template_generation)
    digest = hashlib.sha256(repr(told_apart).encode()).digest()
    return replace(shown, template_generation=-1 - int.from_bytes(digest[:6], "big"))


def is_folder_of_another_site(engine: Engine, site: Site, folder: str) -> bool:
    """Return whether another site has this folder, also if the case of a letter differs."""
    statement = sa.select(SiteRow.id).where(sa.func.lower(SiteRow.folder) == folder.lower(), SiteRow.id != site.id)
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        return connection.execute(statement.limit(1)).first() is not None


def _parse(text: str) -> LayoutChanges:
    return LayoutChanges(**json.loads(text))


def _hash(site: Site, token: str) -> str:
    return hash_token(site, "layout", token)
