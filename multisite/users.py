"""Users: mixins for the tables of an application, of people who log in at a site, or above all sites.

    class User(SiteUser, Base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)

    user = User.log_in(request.dbsession, "admin", "correct horse battery staple")      # None if that is wrong

`admin` of one site is nobody on another. Needs argon2-cffi (`pyramid-multisite[users]`).
"""

from __future__ import annotations

import math
import secrets
import time
import unicodedata
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any, ClassVar, Self

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Mapped, Mapper, Session, mapped_column, validates
from sqlalchemy.sql.elements import conv

from multisite.errors import MultisiteError
from multisite.forks import fork_safe_lock
from multisite.scoping import SiteScoped
from multisite.scoping.column import SITE_COLUMN
from multisite.scoping.pin import pin_of

try:
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
except ModuleNotFoundError as error:
    if not str(error.name).startswith("argon2"):
        raise
    raise ImportError("multisite.users needs argon2-cffi: pip install 'pyramid-multisite[users]'") from error

__all__ = ["Account", "LoginThrottle", "SiteUser", "TooManyAttempts", "fold_login"]

MAX_LOGIN_CHARACTERS = 254
"""The longest login: an address of e-mail has no more (RFC 5321 section 4.5.3.1.3, without its brackets)."""

MAX_PASSWORD_CHARACTERS = 1_000
"""The longest password: what is hashed should not be megabytes. Verifiers should take 64 at least (NIST SP 800-63B)."""

LOGIN_KEY = "login_key"


class TooManyAttempts(MultisiteError):
    """Somebody has tried to log in too often. `retry_after_seconds` is when to try again, a whole number."""

    def __init__(self, retry_after_seconds: int) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"too many attempts to log in: try again in {retry_after_seconds} seconds")


class LoginThrottle:
    """How often somebody has tried lately, for any number of keys.

    Of the keys with as many attempts, the last `max_keys` are remembered. So others that are tried once, however many,
    do not let one be forgotten that was tried twice: only as many others with as many attempts each do. After `limit`
    attempts that failed there is none for a key until `pause_seconds` after the first of them. Each process counts for
    itself, in memory: a table would be rolled back together with the request that failed. `clock` gives seconds that
    never go back.
    """

    def __init__(
        self,
        limit: int = 10,
        pause_seconds: float = 900.0,
        *,
        max_keys: int = 100_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._pause_seconds = pause_seconds
        self._max_keys = max_keys
        self._clock = clock
        self._counts: dict[Hashable, tuple[int, float]] = {}
        # The same keys apart by their attempts, first that with one, in the order in which they came to be there.
        self._keys_by_count: list[dict[Hashable, None]] = [{} for _ in range(limit)]
        self._lock = fork_safe_lock()

    def record_attempt(self, key: Hashable) -> None:
        """Count an attempt, before it is known how it ends, lest many at once be one. Raises `TooManyAttempts`."""
        with self._lock:
            now = self._clock()
            count, until = self._counts.get(key, (0, 0.0))
            if now >= until:
                count, until = 0, now + self._pause_seconds
            if count >= self._limit:
                raise TooManyAttempts(max(1, math.ceil(until - now)))
            self._forget(key)
            self._counts[key] = count + 1, until
            alike = self._keys_by_count[count]
            alike[key] = None
            if len(alike) > self._max_keys:
                self._forget(next(iter(alike)))

    def reset(self, key: Hashable) -> None:
        """Forget what was counted for `key`."""
        with self._lock:
            self._forget(key)

    def _forget(self, key: Hashable) -> None:
        count, _ = self._counts.pop(key, (0, 0.0))
        if count:
            del self._keys_by_count[count - 1][key]


def fold_login(login: str) -> str:
    """Return what `login` is compared by: without regard to case, width and composition (NFKC, then case folded).

    Raises `ValueError` for one that is empty, too long or holds control characters.
    """
    # The length first: to bring 100 kB of combining marks in order takes a minute, for which no other thread runs.
    text = login if len(login) <= MAX_LOGIN_CHARACTERS else ""
    key = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text.strip()).casefold())
    if not key or len(key) > MAX_LOGIN_CHARACTERS or not key.isprintable():
        raise ValueError(f"a login has 1 to {MAX_LOGIN_CHARACTERS} printable characters")
    return key


def _fold_given(context: Any) -> str:
    return fold_login(context.get_current_parameters()["login"])


class Account:
    """A declarative mixin: a login and a password. The table is one for all sites, as for operators above them.

    The login is unique without regard to case. `login_key` is what it is compared by and follows `login`;
    `password_hash` is NULL for who has no password, and cannot log in by one.
    """

    password_hasher: ClassVar[PasswordHasher] = PasswordHasher()
    """Argon2id with the second recommended parameters of RFC 9106: 64 MiB, three passes, four lanes."""

    min_password_characters: ClassVar[int] = 15
    """The shortest password, where it is all that somebody proves who they are by (NIST SP 800-63B-4 section 3.1.1)."""

    login_throttle: ClassVar[LoginThrottle] = LoginThrottle()
    """What limits the attempts for each login: at one site they do not count at another."""

    login: Mapped[str] = mapped_column(sa.String(MAX_LOGIN_CHARACTERS))
    login_key: Mapped[str] = mapped_column(sa.String(MAX_LOGIN_CHARACTERS), insert_default=_fold_given)
    password_hash: Mapped[str | None] = mapped_column(sa.String(255))

    @validates("login")
    def _set_login(self, _name: str, login: str) -> str:
        self.login_key = fold_login(login)
        return login.strip()

    def set_password(self, password: str) -> None:
        """Let this be the password. Raises `ValueError` for one that is too short or too long."""
        text = _normal(password)
        if text is None or not self.min_password_characters <= len(text) <= MAX_PASSWORD_CHARACTERS:
            raise ValueError(f"a password has {self.min_password_characters} to {MAX_PASSWORD_CHARACTERS} characters")
        self.password_hash = self.password_hasher.hash(text)

    def check_password(self, password: str) -> bool:
        """Return whether this is the password; one that was hashed with other parameters is hashed anew."""
        return _verify(self.password_hasher, self, password)

    @classmethod
    def find(cls, session: Session, login: str) -> Self | None:
        """Return who has the login, None if nobody has. Of a `SiteUser` that is at the site of the session."""
        try:
            key = fold_login(login)
        except ValueError:
            return None
        return session.scalars(sa.select(cls).where(cls.login_key == key)).one_or_none()

    @classmethod
    def log_in(cls, session: Session, login: str, password: str) -> Self | None:
        """Return who has the login and the password, None if one of them is wrong.

        It takes as long for a login that nobody has. Raises `TooManyAttempts`, for such a login too.
        """
        # The ids of sites are those of a database, and a process may have several.
        database = session.get_bind(cls).engine.url
        key = cls, database, cls._site_id_of(session), _attempted(login)
        cls.login_throttle.record_attempt(key)
        user = cls.find(session, login)
        if not _verify(cls.password_hasher, user, password):
            return None
        cls.login_throttle.reset(key)
        return user

    @classmethod
    def _site_id_of(cls, session: Session) -> int | None:
        return None


class SiteUser(SiteScoped, Account):
    """A declarative mixin: people who log in at one site. The login is unique within the site."""

    @classmethod
    def _site_id_of(cls, session: Session) -> int:
        scope = pin_of(session).resolve()
        if scope is None or scope.site is None:
            raise MultisiteError(
                f"a {cls.__name__} logs in at one site: pin the session to it, or work inside using_site(site)"
            )
        return scope.site.id


def _attempted(login: str) -> str:
    try:
        return fold_login(login)
    except ValueError:
        return ""  # All that cannot be a login counts as one.


def _normal(password: str) -> str | None:
    """Return the password as it is hashed: keyboards compose letters in different ways (NIST SP 800-63B: NFKC).

    None for one that is too long as it was typed, which is not worth the time: see `fold_login`.
    """
    return None if len(password) > MAX_PASSWORD_CHARACTERS else unicodedata.normalize("NFKC", password)


def _verify(hasher: PasswordHasher, account: Account | None, password: str) -> bool:
    known = account.password_hash if account is not None else None
    text = _normal(password)
    # Also for a login that nobody has, so that the time tells nothing.
    if not _takes(hasher, known or _nobodys_hash(hasher), text or ""):
        return False
    if account is None or known is None or text is None:
        return False
    if hasher.check_needs_rehash(known):
        account.password_hash = hasher.hash(text)
    return True


def _takes(hasher: PasswordHasher, known: str, text: str) -> bool:
    try:
        return hasher.verify(known, text)
    except (VerifyMismatchError, UnicodeEncodeError):
        return False
    except (VerificationError, InvalidHashError):
        # No hash, such as the "!" of who may not log in. That is found at once, and the time would tell of it.
        if known != (nobodys := _nobodys_hash(hasher)):
            _takes(hasher, nobodys, text)
        return False


@lru_cache(maxsize=8)
def _nobodys_hash(hasher: PasswordHasher) -> str:
    """Return the hash of a password that nobody knows."""
    return hasher.hash(secrets.token_hex(32))


@event.listens_for(Account, "instrument_class", propagate=True)
def _add_unique_key(mapper: Mapper[Any], cls: type[Account]) -> None:
    """Let the login be unique in the model's table, within the site where it has one, whatever `__table_args__` say."""
    table = mapper.local_table
    if not isinstance(table, sa.Table) or LOGIN_KEY not in table.columns:
        return  # A subclass with a table of its own: the login is in its parent's.
    columns = [LOGIN_KEY] if SITE_COLUMN not in table.columns else [SITE_COLUMN, LOGIN_KEY]
    uniques = [each for each in table.constraints if isinstance(each, sa.UniqueConstraint)]
    if all([column.name for column in each.columns] != columns for each in uniques):
        # The name is spelt out: a naming convention by the first column alone would give it to others of this table.
        table.append_constraint(sa.UniqueConstraint(*columns, name=conv("_".join(["uq", table.name, *columns]))))
