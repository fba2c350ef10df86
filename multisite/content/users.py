"""The users of a site of the reference application, and their log-ins."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from pyramid.config import Configurator
from sqlalchemy.orm import Mapped, Session, mapped_column

from multisite.content.models import Base
from multisite.directory.tables import BigId
from multisite.mail import check_address
from multisite.people import SiteMember
from multisite.scoping import SiteScoped, scoped_reference

__all__ = ["LINK_PATH", "SIGN_IN_PATH", "LogIn", "LoginAttempts", "User", "includeme"]

LINK_PATH = "/login/{token}"
"""The path of the page on which a user chooses a password."""

SIGN_IN_PATH = "/login/operator/{token}"
"""The path of the page on which an operator of the console signs in as a user."""

AGENT_CHARACTERS = 300
"""Characters of a browser's name that are stored, so that a user recognizes a log-in."""


class User(SiteMember, Base):
    """A user of one site. An entry shows `Entry.author`, a name, and not its user."""

    __tablename__ = "users"
    __table_args__ = (sa.UniqueConstraint("site_id", "link_hash"),)

    login_throttle = None  # The editor counts attempts in the database, for all processes together.

    id: Mapped[int] = mapped_column(BigId, primary_key=True)

    def export(self, session: Session) -> dict[str, Any]:
        """Return the data stored about the user, with the log-ins."""
        log_ins = session.scalars(sa.select(LogIn).where(LogIn.user_id == self.id).order_by(LogIn.id))
        found = [{"created": each.created, "seen": each.seen, "browser": each.agent} for each in log_ins]
        # Imported here, because the revisions refer to the users.
        from multisite.content.revisions import Autosave, Revision

        columns = sa.select(Revision.created, Revision.kind, Revision.title, Revision.body)
        texts = session.execute(columns.where(Revision.user_id == self.id).order_by(Revision.id))
        written = [{**row._asdict(), "created": row.created.isoformat()} for row in texts]
        kept = session.scalars(sa.select(Autosave.fields).where(Autosave.user_id == self.id).order_by(Autosave.id))
        typed = [json.loads(fields) for fields in kept]
        return {**super().export(session), "log_ins": found, "revisions": written, "autosaves": typed}

    def erase(self, session: Session) -> None:
        """Remove the user, and the user's login from the revisions. The texts stay."""
        from multisite.content.revisions import Revision

        named = sa.update(Revision).where(Revision.user_id == self.id).values(user_id=None, login=None)
        session.execute(named.execution_options(synchronize_session=False))
        super().erase(session)


class LogIn(SiteScoped, Base):
    """A log-in of a user; `created` and `seen` are Unix time, in seconds.

    `operator` is the operator of the console who signed in as the user, None for the user's own log-ins.

    The cookie has the token, of which `token_hash` is the hash. The log-in is valid while `generation` is the
    `login_generation` of the user.
    """

    __tablename__ = "log_ins"
    __table_args__ = (
        sa.UniqueConstraint("site_id", "token_hash"),
        sa.Index(None, "site_id", "user_id"),
        {"info": {"export": False}},  # A log-in is valid on one site.
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.BigInteger, scoped_reference("users.id", ondelete="CASCADE"))
    token_hash: Mapped[str] = mapped_column(sa.String(64))
    generation: Mapped[int] = mapped_column(sa.Integer)
    created: Mapped[int] = mapped_column(sa.BigInteger)
    seen: Mapped[int] = mapped_column(sa.BigInteger)
    agent: Mapped[str] = mapped_column(sa.String(AGENT_CHARACTERS))
    operator: Mapped[str | None] = mapped_column(sa.String(254))


class LoginAttempts(SiteScoped, Base):
    """How often a log-in, or a link for a forgotten password, was tried since `until` minus the pause.

    `key_hash` is the hash of the login, which may be somebody's address. `until` is Unix time, in seconds.
    """

    __tablename__ = "login_attempts"
    __table_args__ = (
        sa.UniqueConstraint("site_id", "key_hash"),
        sa.Index(None, "site_id", "until"),
        {"info": {"export": False}},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    key_hash: Mapped[str] = mapped_column(sa.String(64))
    count: Mapped[int] = mapped_column(sa.Integer)
    until: Mapped[int] = mapped_column(sa.BigInteger)


def includeme(config: Configurator) -> None:
    """Make `User` the class of the users of sites, and declare the sender of the sites' mail."""
    config.set_site_user(User, link_path=LINK_PATH, sign_in_path=SIGN_IN_PATH)
    sentence = "The sender of the site's mail; by default noreply@ its domain."
    config.add_site_setting("mail_from", str, default=None, doc=sentence, check=check_address, label="Sender of mail")
