"""All tables of the reference application: importing this module completes `Base.metadata`, for migrations."""

from __future__ import annotations

from multisite.content.layout_links import LayoutLink
from multisite.content.menu import MenuItem
from multisite.content.models import Base
from multisite.content.revisions import Autosave, PreviewLink, Revision, entry_owners
from multisite.content.users import LogIn, LoginAttempts, User

__all__ = [
    "Autosave",
    "Base",
    "LayoutLink",
    "LogIn",
    "LoginAttempts",
    "MenuItem",
    "PreviewLink",
    "Revision",
    "User",
    "entry_owners",
]
