"""Values for people to read, without secrets: in the operator log, in the lists of jobs, and in errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from multisite.core.lazy import lazy_pattern

__all__ = ["HIDDEN", "MAX_TEXT_CHARACTERS", "SECRET_WORDS", "is_secret_name", "shown_text", "without_secrets"]

HIDDEN = "(hidden)"
"""What is shown in place of a secret."""

SECRET_WORDS = frozenset(
    {
        "auth", "cookie", "credential", "credentials", "digest", "dsn", "hash", "key", "keys", "link", "otp", "pass",
        "passphrase", "passwd", "password", "passwords", "pin", "private", "salt", "secret", "secrets", "signature",
        "token", "tokens", "totp",
    }
)  # fmt: skip
"""The value of a key with one of these words is hidden, such as that of the setting `shop.api_key`."""

MAX_TEXT_CHARACTERS = 2_000
"""Longer texts are truncated: the log says what changed, and keeps no copy of it."""

_WORDS = lazy_pattern(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_PASSWORD_IN_URL = lazy_pattern(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+@", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Return whether the value of something with this name is hidden."""
    return not {word.lower() for word in _WORDS.findall(name)}.isdisjoint(SECRET_WORDS)


def shown_text(name: str, text: str) -> str:
    """Return `text`, the value of something with this name, without secrets."""
    return HIDDEN if is_secret_name(name) else _without_password(text)


def _without_password(text: str) -> str:
    return _PASSWORD_IN_URL.sub(rf"\g<1>{HIDDEN}@", text)


def without_secrets(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` without secrets, and without texts of any length."""
    return {str(name): _safe(str(name), each) for name, each in values.items()}


def _safe(key: str, value: Any) -> Any:
    """Return `value` without secrets, and without texts of any length."""
    if is_secret_name(key):
        return value if value is None or isinstance(value, bool) else HIDDEN
    if isinstance(value, Mapping):
        return {str(name): _safe(str(name), each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_safe("", each) for each in value]
    if isinstance(value, str):
        # Not all of a long text is searched, but enough that no password is cut in the middle.
        text = _without_password(value[: 2 * MAX_TEXT_CHARACTERS])
        return text if len(text) <= MAX_TEXT_CHARACTERS else text[:MAX_TEXT_CHARACTERS] + "…"
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)
