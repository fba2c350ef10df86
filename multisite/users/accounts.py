"""The mixins `Account` and `SiteUser`."""

from __future__ import annotations

import unicodedata
from typing import Any, ClassVar, Self

import sqlalchemy as sa
from argon2 import PasswordHasher
from sqlalchemy import event
from sqlalchemy.orm import Mapped, Mapper, Session, mapped_column, validates
from sqlalchemy.sql.elements import conv

from multisite.errors import MultisiteError
from multisite.scoping import SiteScoped
from multisite.scoping.column import SITE_COLUMN
from multisite.scoping.pin import pin_of
from multisite.users.passwords import MAX_PASSWORD_CHARACTERS, normalize_password, verify_password
from multisite.users.throttle import LoginThrottle

__all__ = ["LOGIN_KEY", "MAX_LOGIN_CHARACTERS", "Account", "SiteUser", "fold_login"]

MAX_LOGIN_CHARACTERS = 254
"""Maximum length of a login: that of an e-mail address (RFC 5321 section 4.5.3.1.3, without the brackets)."""

LOGIN_KEY = "login_key"


def fold_login(login: str) -> str:
    """Return the normalized form by which `login` is compared, ignoring case, width and composition (NFKC, casefold).

    Raises:
        ValueError: The login is empty, too long, or has control characters.
    """
    # Check the length first: normalizing 100 kB of combining marks takes a minute, while holding the GIL.
    text = login if len(login) <= MAX_LOGIN_CHARACTERS else ""
    key = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text.strip()).casefold())
    if not key or len(key) > MAX_LOGIN_CHARACTERS or not key.isprintable():
        raise ValueError(f"a login has 1 to {MAX_LOGIN_CHARACTERS} printable characters")
    return key


def _default_login_key(context: Any) -> str:
    return fold_login(context.get_current_parameters()["login"])


class Account:
    """A declarative mixin with a login and a password, for a table shared by all sites, such as operators.

    Logins are unique regardless of case. `login_key` is the normalized login, and follows `login`. `password_hash` is
    NULL for an account that cannot log in with a password.
    """

    password_hasher: ClassVar[PasswordHasher] = PasswordHasher()
    """Argon2id with the second recommended parameters of RFC 9106: 64 MiB, three passes, four lanes."""

    min_password_characters: ClassVar[int] = 15
    """Minimum length of a password that is the only factor (NIST SP 800-63B-4 section 3.1.1)."""

    login_throttle: ClassVar[LoginThrottle | None] = LoginThrottle()
    """Limits the attempts per login, separately for each site; None if the application does so itself."""

    login: Mapped[str] = mapped_column(sa.String(MAX_LOGIN_CHARACTERS))
    login_key: Mapped[str] = mapped_column(sa.String(MAX_LOGIN_CHARACTERS), insert_default=_default_login_key)
    password_hash: Mapped[str | None] = mapped_column(sa.String(255))

    @validates("login")
    def _set_login(self, _name: str, login: str) -> str:
        self.login_key = fold_login(login)
        return login.strip()

    def set_password(self, password: str) -> None:
        """Set the password. Raises `ValueError` if it is too short or too long."""
        self.password_hash = self.new_password_hash(password)

    @classmethod
    def new_password_hash(cls, password: str) -> str:
        """Return the hash of a new password. Raises `ValueError` if it is too short or too long."""
        text = normalize_password(password)
        if text is None or not cls.min_password_characters <= len(text) <= MAX_PASSWORD_CHARACTERS:
            raise ValueError(f"a password has {cls.min_password_characters} to {MAX_PASSWORD_CHARACTERS} characters")
        return cls.password_hasher.hash(text)

    def check_password(self, password: str) -> bool:
        """Return whether the password is correct; rehash it if its hash has other parameters than `password_hasher`."""
        return _verify(self.password_hasher, self, password)

    @classmethod
    def find(cls, session: Session, login: str) -> Self | None:
        """Return the account with this login, or None. For a `SiteUser`, that is the one of the session's site."""
        try:
            key = fold_login(login)
        except ValueError:
            return None
        return session.scalars(sa.select(cls).where(cls.login_key == key)).one_or_none()

    @classmethod
    def log_in(cls, session: Session, login: str, password: str) -> Self | None:
        """Return the account with this login and password, or None if either is wrong.

        An unknown login takes the same time as a wrong password.

        Raises:
            TooManyAttempts: There were too many failed attempts, also for an unknown login.
        """
        # The database is part of the key, because site ids are unique only within one, and a process may have several.
        database = session.get_bind(cls).engine.url
        key = cls, database, cls._site_id_of(session), _throttled_login(login)
        throttle = cls.login_throttle
        if throttle is not None:
            throttle.record_attempt(key)
        user = cls.find(session, login)
        if not _verify(cls.password_hasher, user, password):
            return None
        if throttle is not None:
            throttle.reset(key)
        return user

    @classmethod
    def _site_id_of(cls, session: Session) -> int | None:
        return None


class SiteUser(SiteScoped, Account):
    """A declarative mixin for users of one site. Logins are unique within the site."""

    @classmethod
    def _site_id_of(cls, session: Session) -> int:
        scope = pin_of(session).resolve()
        if scope is None or scope.site is None:
            raise MultisiteError(
                f"a {cls.__name__} logs in at one site: pin the session to it, or work inside using_site(site)"
            )
        return scope.site.id


def _throttled_login(login: str) -> str:
    try:
        return fold_login(login)
    except ValueError:
        return ""  # All invalid logins share one count.


def _verify(hasher: PasswordHasher, account: Account | None, password: str) -> bool:
    stored = account.password_hash if account is not None else None
    if not verify_password(hasher, stored, password):
        return False
    text = normalize_password(password)
    if account is not None and stored is not None and text is not None and hasher.check_needs_rehash(stored):
        account.password_hash = hasher.hash(text)
    return True


@event.listens_for(Account, "instrument_class", propagate=True)
def _add_unique_key(mapper: Mapper[Any], cls: type[Account]) -> None:
    """Add the unique constraint of the login (within the site, for a `SiteUser`), whatever `__table_args__` say."""
    table = mapper.local_table
    if not isinstance(table, sa.Table) or LOGIN_KEY not in table.columns:
        return  # A joined-table subclass: the login is in the parent's table.
    # For `multisite export-site --users none`.
    table.info.setdefault("site_users", issubclass(cls, SiteUser))
    columns = [LOGIN_KEY] if SITE_COLUMN not in table.columns else [SITE_COLUMN, LOGIN_KEY]
    uniques = [each for each in table.constraints if isinstance(each, sa.UniqueConstraint)]
    if all([column.name for column in each.columns] != columns for each in uniques):
        # Named explicitly: a convention that uses the first column alone would produce names that are taken.
        table.append_constraint(sa.UniqueConstraint(*columns, name=conv("_".join(["uq", table.name, *columns]))))
