"""`SiteMember`: a user of a site with a role, an e-mail address and a link to choose a password."""

from __future__ import annotations

import secrets
import time
from hashlib import sha256
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column, validates

from multisite.core.site import Site
from multisite.mail import check_address
from multisite.users import SiteUser
from multisite.users.accounts import MAX_LOGIN_CHARACTERS

__all__ = ["LINK_DAYS", "ROLES", "SiteMember", "hash_token"]

ROLES = ("owner", "editor", "author")
"""The roles, the one with the most permissions first."""

LINK_DAYS = 3
"""How long a link to choose a password is valid."""


def hash_token(site: Site, purpose: str, token: str) -> str:
    """Return the hash by which the database knows a random token of `site`.

    A copy of the database does not contain the tokens. The secret generation is part of the hash, so that
    `multisite rotate-secret` invalidates the tokens of the site.
    """
    return sha256(f"{purpose}\0{site.id}\0{site.secret_generation}\0{token}".encode("utf-8", "replace")).hexdigest()


class SiteMember(SiteUser):
    """A declarative mixin for users of one site who have a role.

    `role` is one of `ROLES`. `login_generation` is raised to end all log-ins of the user: the application stores it
    with each log-in, and accepts only those with the current one. `link_hash` and `link_expires` (Unix time, in
    seconds) belong to the one link that is outstanding, and are NULL without one.
    """

    email: Mapped[str | None] = mapped_column(sa.String(MAX_LOGIN_CHARACTERS))
    role: Mapped[str] = mapped_column(sa.String(20))
    login_generation: Mapped[int] = mapped_column(sa.Integer, default=0)
    link_hash: Mapped[str | None] = mapped_column(sa.String(64))
    link_expires: Mapped[int | None] = mapped_column(sa.BigInteger)

    @validates("role")
    def _check_role(self, _name: str, role: str) -> str:
        if role not in ROLES:
            raise ValueError(f"a role is one of {', '.join(ROLES)}, not '{role}'")
        return role

    @validates("email")
    def _check_email(self, _name: str, email: str | None) -> str | None:
        if email is not None:
            try:
                check_address(email)
            except ValueError as error:
                raise ValueError(f"'{email[:80]}' is not {error}") from None
        return email

    def make_link(self, site: Site) -> str:
        """Return the token of a new link to choose a password, which works once, for three days.

        An earlier link becomes invalid.
        """
        token = secrets.token_urlsafe(32)
        self.link_hash = hash_token(site, "link", token)
        self.link_expires = int(time.time()) + LINK_DAYS * 86_400
        return token

    def set_password(self, password: str) -> None:
        """Set the password. The link that is outstanding becomes invalid, as somebody else may have asked for it.

        Raises:
            ValueError: The password is too short or too long.
        """
        super().set_password(password)
        self.link_hash = self.link_expires = None

    @classmethod
    def find_by_link(cls, session: Session, site: Site, token: str) -> Self | None:
        """Return the user whose link has `token`; None if it was used, is too old, or belongs to another site."""
        return session.scalars(sa.select(cls).where(*cls._has_link(site, token))).one_or_none()

    @classmethod
    def use_link(cls, session: Session, site: Site, token: str, password: str) -> Self | None:
        """Set the password of the user whose link has `token`, and end the user's log-ins.

        Returns:
            The user; None as for `find_by_link`, also if the link was used at the same time.

        Raises:
            ValueError: The password is too short or too long. The link stays valid.
        """
        user = cls.find_by_link(session, site, token)
        if user is None:
            return None
        values = {
            "password_hash": cls.new_password_hash(password),
            "link_hash": None,
            "link_expires": None,
            "login_generation": cls.login_generation + 1,
        }
        # One statement reads and clears the link, so that of two requests with the same link only one succeeds.
        statement = sa.update(cls).where(*cls._has_link(site, token)).values(values).returning(sa.literal(1))
        used = session.execute(statement.execution_options(synchronize_session=False)).all()
        session.refresh(user)
        return user if used else None

    @classmethod
    def _has_link(cls, site: Site, token: str) -> tuple[sa.ColumnElement[bool], ...]:
        return cls.link_hash == hash_token(site, "link", token), cls.link_expires > int(time.time())

    def end_log_ins(self) -> None:
        """Make all log-ins of the user invalid."""
        self.login_generation = (self.login_generation or 0) + 1

    def export(self, session: Session) -> dict[str, Any]:
        """Return the data stored about the user, for JSON. A subclass adds the rows of its other tables."""
        return {"login": self.login, "email": self.email, "role": self.role, "has_password": bool(self.password_hash)}

    def erase(self, session: Session) -> None:
        """Remove the user. A subclass also removes the user's name from the rows of its other tables."""
        session.delete(self)
