"""Add, change and remove the people of a site, for operators and owners.

Each function takes a session that is pinned to the site.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from multisite.core.site import Site
from multisite.errors import MultisiteError, escape_for_message
from multisite.people.member import SiteMember
from multisite.users.accounts import LOGIN_KEY

__all__ = ["LastOwner", "add_member", "find_member", "list_members", "remove_member", "reset_password", "set_role"]


class LastOwner(MultisiteError):
    """The last owner of a site can be neither removed nor given another role."""


Member = TypeVar("Member", bound=SiteMember)


def add_member(
    session: Session, model: type[Member], site: Site, login: str, *, role: str, email: str | None = None
) -> tuple[Member, str]:
    """Add a user without a password.

    Returns:
        The user, and the token of the link with which the user chooses a password.

    Raises:
        MultisiteError: The login, the address or the role is not valid, or the login is taken.
        IntegrityError: The database rejects the row for another reason.
    """
    try:
        member = cast(Any, model)(login=login, email=email, role=role)
    except ValueError as error:
        raise MultisiteError(str(error)) from error
    token = member.make_link(site)
    if model.find(session, login) is not None:
        raise MultisiteError(_taken(site, login))
    session.add(member)
    try:
        session.flush()
    except IntegrityError as error:
        if LOGIN_KEY not in str(error.orig):
            raise
        raise MultisiteError(_taken(site, login)) from error  # Somebody else has just added the same login.
    return member, token


def _taken(site: Site, login: str) -> str:
    return f"{site} already has a user with the login '{escape_for_message(login)}'"


def list_members(session: Session, model: type[Member]) -> Sequence[Member]:
    """Return the users of the site, sorted by login."""
    return session.scalars(sa.select(model).order_by(model.login_key)).all()


def find_member(session: Session, model: type[Member], site: Site, login: str) -> Member:
    """Return the user with this login. Raises `MultisiteError` if the site has none."""
    member = model.find(session, login)
    if member is None:
        raise MultisiteError(f"{site} has no user with the login '{escape_for_message(login)}'")
    return member


def set_role(session: Session, model: type[Member], site: Site, login: str, role: str) -> Member:
    """Give a user another role.

    Returns:
        The user.

    Raises:
        LastOwner: The user is the last owner.
        MultisiteError: There is no such user or role.
    """
    member = find_member(session, model, site, login)
    if role != "owner":
        _check_not_last_owner(session, model, site, member)
    try:
        member.role = role
    except ValueError as error:
        raise MultisiteError(str(error)) from error
    session.flush()
    return member


def reset_password(session: Session, model: type[Member], site: Site, login: str) -> tuple[Member, str]:
    """Remove the password of a user, and end the user's log-ins.

    Returns:
        The user, and the token of the link with which the user chooses a new password.

    Raises:
        MultisiteError: There is no such user.
    """
    member = find_member(session, model, site, login)
    member.password_hash = None
    member.end_log_ins()
    token = member.make_link(site)
    session.flush()
    return member, token


def remove_member(session: Session, model: type[Member], site: Site, login: str) -> None:
    """Remove a user and the data stored about them. Their texts stay, without their name.

    Raises:
        LastOwner: The user is the last owner.
        MultisiteError: There is no such user.
    """
    member = find_member(session, model, site, login)
    _check_not_last_owner(session, model, site, member)
    member.erase(session)
    session.flush()


def _check_not_last_owner(session: Session, model: type[Member], site: Site, member: Member) -> None:
    """Check that there is another owner.

    The rows of the owners stay locked until the end of the transaction: otherwise two owners could remove each other
    at the same time. An UPDATE, since SQLite ignores FOR UPDATE, and its driver begins no transaction for a SELECT.

    Raises:
        LastOwner: `member` is the only owner.
    """
    is_owner = model.role == "owner"
    lock = sa.update(model).where(is_owner).values(role=model.role)
    session.execute(lock.execution_options(synchronize_session=False))
    if list(session.scalars(sa.select(model.login_key).where(is_owner))) == [member.login_key]:
        raise LastOwner(
            f"{escape_for_message(member.login)} is the last owner of {site}: make another user an owner first"
        )
