"""Hash passwords and verify them, at a bounded cost."""

from __future__ import annotations

import secrets
import unicodedata
from functools import lru_cache

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

__all__ = ["MAX_PASSWORD_CHARACTERS", "normalize_password", "verify_password"]

MAX_PASSWORD_CHARACTERS = 1_000
"""Maximum length of a password, to bound the hashing time. NIST SP 800-63B asks for at least 64."""

MAX_MEMORY_KIB = 2**21
"""The most memory for a password: that of the first recommended parameters of RFC 9106."""

MAX_WORK_KIB = 2**22
"""The most memory times passes: that of the "sensitive" parameters of libsodium."""

MAX_LANES = 64
"""The most lanes, each of which is a thread."""


def normalize_password(password: str) -> str | None:
    """Return the password normalized by NFKC (NIST SP 800-63B), because keyboards compose letters differently.

    None if it is too long to be normalized in reasonable time: 100 kB of combining marks take a minute.
    """
    return None if len(password) > MAX_PASSWORD_CHARACTERS else unicodedata.normalize("NFKC", password)


def verify_password(hasher: PasswordHasher, stored: str | None, password: str) -> bool:
    """Return whether `password` is the one whose hash is `stored`; None stands for an account that has none."""
    text = normalize_password(password)
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
