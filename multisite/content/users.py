"""The users of a site of the reference application."""

from __future__ import annotations

import sqlalchemy as sa
from pyramid.config import Configurator
from sqlalchemy.orm import Mapped, mapped_column

from multisite.content.models import Base
from multisite.directory.models import BigId
from multisite.mail import check_address
from multisite.people import SiteMember

__all__ = ["LINK_PATH", "User", "includeme"]

LINK_PATH = "/login/{token}"
"""The path of the page on which a user chooses a password."""


class User(SiteMember, Base):
    """A user of one site. What an entry shows of its author is `Entry.author`, a name."""

    __tablename__ = "users"
    __table_args__ = (sa.UniqueConstraint("site_id", "link_hash"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)


def includeme(config: Configurator) -> None:
    """Make `User` the class of the users of sites, and declare the sender of the sites' mail."""
    config.set_site_user(User, link_path=LINK_PATH)
    sentence = "The sender of the site's mail; by default noreply@ its domain."
    config.add_site_setting("mail_from", str, default=None, doc=sentence, check=check_address)
