"""The people of a site: users with a role, who choose their password by a link that works once.

    class User(SiteMember, Base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)

    config.set_site_user(User, link_path="/login/{token}")

The commands from `add-user` to `remove-user` then manage the rows of that class, by the functions here. Requires
argon2-cffi (`pyramid-multisite[users]`).
"""

from __future__ import annotations

from multisite.people.changes import (
    LastOwner,
    add_member,
    find_member,
    list_members,
    remove_member,
    reset_password,
    set_role,
)
from multisite.people.member import LINK_DAYS, ROLES, SiteMember, hash_token

__all__ = [
    "LINK_DAYS",
    "ROLES",
    "LastOwner",
    "SiteMember",
    "add_member",
    "find_member",
    "hash_token",
    "list_members",
    "remove_member",
    "reset_password",
    "set_role",
]
