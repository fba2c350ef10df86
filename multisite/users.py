"""Mixins for the application's user tables: users of one site, and operators of all sites.

    class User(SiteUser, Base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)

    user = User.log_in(request.dbsession, "admin", "correct horse battery staple")      # None if either is wrong

The `admin` of one site does not exist on another. Requires argon2-cffi (`pyramid-multisite[users]`).
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

from multisite.core.fork_safety import fork_safe_lock
from multisite.errors import MultisiteError
from multisite.scoping import SiteScoped
from multisite.scoping.column import SITE_COLUMN
from multisite.scoping.pin import pin_of

try:
    from argon2 import PasswordHasher, extract_parameters
    from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
except ModuleNotFoundError as error:
    if not str(error.name).startswith("argon2"):
        raise
    raise ImportError("multisite.users needs argon2-cffi: pip install 'pyramid-multisite[users]'") from error

__all__ = ["Account", "LoginThrottle", "SiteUser", "TooManyAttempts", "fold_login", "verify_password"]

MAX_LOGIN_CHARACTERS = 254
"""Maximum length of a login: that of an e-mail address (RFC 5321 section 4.5.3.1.3, without the brackets)."""

MAX_PASSWORD_CHARACTERS = 1_000
"""Maximum length of a password, to bound the hashing time. NIST SP 800-63B asks for at least 64."""

MAX_MEMORY_KIB = 2**21
"""The most memory for a password: that of the first recommended parameters of RFC 9106."""

MAX_WORK_KIB = 2**22
"""The most memory times passes: that of the "sensitive" parameters of libsodium."""

MAX_LANES = 64
"""The most lanes, each of which is a thread."""

LOGIN_KEY = "login_key"


class TooManyAttempts(MultisiteError):
    """Raised after too many failed login attempts. `retry_after_seconds` is a whole number."""

    def __init__(self, retry_after_seconds: int) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"too many login attempts: try again in {retry_after_seconds} seconds")


class LoginThrottle:
    """Counts recent login attempts per key, and rejects further ones after too many failures.

    After `limit` failed attempts, a key is locked until `pause_seconds` after the first of them. For each number of
    attempts, the last `max_keys` keys with that number are kept: any number of keys with one attempt cannot displace a
    key with two. Each process counts in its own memory, because a count in a table would be rolled back with the failed
    request.

    Args:
        clock: A monotonic clock in seconds.
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
        # The keys grouped by their number of attempts, starting with one, in insertion order.
        self._keys_by_count: list[dict[Hashable, None]] = [{} for _ in range(limit)]
        self._lock = fork_safe_lock()

    def record_attempt(self, key: Hashable) -> None:
        """Count an attempt before its outcome is known, so that each concurrent one counts.

        Raises:
            TooManyAttempts: The key is locked.
        """
        with self._lock:
            now = self._clock()
            count, until = self._counts.get(key, (0, 0.0))
            if now >= until:
                count, until = 0, now + self._pause_seconds
            if count >= self._limit:
                raise TooManyAttempts(max(1, math.ceil(until - now)))
            self._forget(key)
            self._counts[key] = count + 1, until
            keys = self._keys_by_count[count]
            keys[key] = None
            if len(keys) > self._max_keys:
                self._forget(next(iter(keys)))

    def reset(self, key: Hashable) -> None:
        """Reset the count of `key`, after a successful attempt."""
        with self._lock:
            self._forget(key)

    def _forget(self, key: Hashable) -> None:
        count, _ = self._counts.pop(key, (0, 0.0))
        if count:
            del self._keys_by_count[count - 1][key]


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
        text = _normalize(password)
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


def _normalize(password: str) -> str | None:
    """Return the password normalized by NFKC (NIST SP 800-63B), because keyboards compose letters differently.

    None if it is too long to be normalized in reasonable time: see `fold_login`.
    """
    return None if len(password) > MAX_PASSWORD_CHARACTERS else unicodedata.normalize("NFKC", password)


def _verify(hasher: PasswordHasher, account: Account | None, password: str) -> bool:
    stored = account.password_hash if account is not None else None
    if not verify_password(hasher, stored, password):
        return False
    text = _normalize(password)
    if account is not None and stored is not None and text is not None and hasher.check_needs_rehash(stored):
        account.password_hash = hasher.hash(text)
    return True


def verify_password(hasher: PasswordHasher, stored: str | None, password: str) -> bool:
    """Return whether `password` is the one whose hash is `stored`; None stands for an account that has none."""
    text = _normalize(password)
    # Verify without an account too, so that timing reveals nothing.
    is_right = _matches(hasher, stored or _dummy_hash(hasher), text or "")
    return is_right and stored is not None and text is not None


def _matches(hasher: PasswordHasher, stored: str, text: str) -> bool:
    try:
        _check_cost(hasher, stored)
        return hasher.verify(stored, text)
    except (VerifyMismatchError, UnicodeEncodeError):
        return False
    except (VerificationError, KeyError, ValueError):  # The last two from releases before argon2-cffi 25.
        # Not a hash, such as "!" for a disabled account. Verify a dummy hash, so that timing does not reveal this.
        if stored != (dummy := _dummy_hash(hasher)):
            _matches(hasher, dummy, text)
        return False


def _check_cost(hasher: PasswordHasher, stored: str) -> None:
    """Check that a hash, which an archive of a site may have brought, does not keep the server busy for hours.

    Raises:
        InvalidHashError: It is not a hash, or asks for more than `hasher` and any recommended parameters.
    """
    cost = extract_parameters(stored)
    if (
        cost.memory_cost > max(MAX_MEMORY_KIB, hasher.memory_cost)
        or cost.memory_cost * cost.time_cost > max(MAX_WORK_KIB, hasher.memory_cost * hasher.time_cost)
        or cost.parallelism > max(MAX_LANES, hasher.parallelism)
    ):
        raise InvalidHashError


@lru_cache(maxsize=8)
def _dummy_hash(hasher: PasswordHasher) -> str:
    """Return the hash of a random password."""
    return hasher.hash(secrets.token_hex(32))


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
