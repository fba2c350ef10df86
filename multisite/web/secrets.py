"""Derive a secret for each site and purpose from the one in the settings.

    key = multisite.site_secret(request.site, "unsubscribe links")

With one secret for all sites, every site would accept what another has signed. Secrets are derived by HKDF-SHA256
(RFC 5869) from the site, its secret generation (which `multisite rotate-secret` increments) and the purpose.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyramid.config import Configurator, global_registries
from pyramid.threadlocal import get_current_registry

from multisite.core.keys import SETTINGS
from multisite.core.setting_parsers import secret_error
from multisite.core.settings import PREFIX, Settings
from multisite.core.site import Site
from multisite.errors import MultisiteError, SettingError

__all__ = ["SECRETS", "Secrets", "hkdf", "includeme", "secrets_of", "site_secret", "site_secrets"]

SECRETS = "multisite.secrets"
"""Registry key of the `Secrets`; present if `multisite.secret` is set."""

HASH = "sha256"
HASH_BYTES = 32

_LABEL = b"multisite site secret 1\0"
"""Prefix of the HKDF info, with the version of its format."""


def extract(key_material: bytes, salt: bytes = b"") -> bytes:
    """Return the pseudorandom key of RFC 5869 section 2.2. An empty `salt` stands for zeros."""
    return hmac.digest(salt or bytes(HASH_BYTES), key_material, HASH)


def expand(key: bytes, info: bytes, length: int = HASH_BYTES) -> bytes:
    """Expand a pseudorandom key to `length` bytes (at most 8160), as in RFC 5869 section 2.3."""
    blocks, block = b"", b""
    for number in range(1, -(-length // HASH_BYTES) + 1):
        block = hmac.digest(key, block + info + bytes([number]), HASH)
        blocks += block
    return blocks[:length]


def hkdf(key_material: bytes, info: bytes, *, salt: bytes = b"", length: int = HASH_BYTES) -> bytes:
    """Derive `length` bytes from `key_material` for `info` by HKDF-SHA256 (RFC 5869)."""
    return expand(extract(key_material, salt), info, length)


class Secrets:
    """The validated secrets of an application: the current one first, then the previous ones.

    Instances with equal secrets are equal.
    """

    def __init__(self, *secrets: str) -> None:
        # Only the extracted keys are kept, so that this object does not expose the secrets.
        self._keys = tuple(extract(secret.encode()) for secret in secrets)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secrets) and other._keys == self._keys

    def __hash__(self) -> int:
        return hash(self._keys)

    def derive(self, site: Site, purpose: str) -> tuple[bytes, ...]:
        """Derive the 32-byte secrets of `site` for `purpose`: the first one signs, the others are also accepted.

        Returns:
            One for each secret of the application, in the same order.

        Raises:
            ValueError: `purpose` is empty or not a string.
        """
        if not purpose or not hasattr(purpose, "encode"):
            raise ValueError('a secret needs a purpose, such as site_secret(site, "unsubscribe links")')
        # Two fixed-size numbers, then the text: the encoding is unambiguous.
        numbers = site.id.to_bytes(8, "big") + site.secret_generation.to_bytes(8, "big")
        info = _LABEL + numbers + purpose.encode()
        return tuple(expand(key, info) for key in self._keys)


def site_secret(site: Site, purpose: str, *, registry: Any = None) -> bytes:
    """Return a 32-byte secret unique to `site` and `purpose`.

    It is the same in every process with the same `multisite.secret`, until `multisite rotate-secret` is run for the
    site.

    Args:
        site: The site.
        purpose: Any non-empty string; use a different one for each thing that is signed or encrypted.
        registry: The registry of the application; None for that of the current request or, outside of requests, of the
            only application in this process.

    Raises:
        SettingError: `multisite.secret` is not set.
        MultisiteError: `registry` is None, and there is no application or several with different secrets.
    """
    return site_secrets(site, purpose, registry=registry)[0]


def site_secrets(site: Site, purpose: str, *, registry: Any = None) -> tuple[bytes, ...]:
    """Return `site_secret`, followed by the secrets derived from `multisite.previous_secrets`.

    Sign with the first one, and accept signatures made with any of them. Raises the same errors as `site_secret`.
    """
    return secrets_of(_registry() if registry is None else registry, purpose).derive(site, purpose)


def secrets_of(registry: Any, what: str) -> Secrets:
    """Return the secrets of an application. Raises `SettingError`, which names `what` needs them, if there are none."""
    secrets: Secrets | None = registry.get(SECRETS)
    if secrets is None:
        raise SettingError(
            PREFIX + "secret", "(not set)", f"a secret, since '{what}' is derived from it: {secret_error('')}"
        )
    return secrets


def _registry() -> Any:
    current = get_current_registry()
    if SETTINGS in current:
        return current
    # Outside of requests, as in a script or while a body is streamed.
    found = {registry.get(SECRETS): registry for registry in global_registries if SETTINGS in registry}
    if len(found) != 1:
        raise MultisiteError(
            "site_secret cannot tell which application's secret to use: "
            + ("this process has several applications" if found else "no application in this process uses multisite")
            + "; pass registry=request.registry"
        )
    return next(iter(found.values()))


def _read_secrets(settings: Settings) -> Iterator[str]:
    """Yield the secrets that `settings` contain or refer to, the current one first."""
    if settings.secret is not None:
        yield _resolve_reference("secret", settings.secret)
    for secret in settings.previous_secrets:
        yield _resolve_reference("previous_secrets", secret)


def _resolve_reference(name: str, text: str) -> str:
    kind, _, where = text.partition(":")
    if kind == "env":
        value = os.environ.get(where)
        if value is None:
            raise SettingError(PREFIX + name, text, f"the environment variable {where} to be set")
    elif kind == "file":
        try:
            value = Path(where).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise SettingError(PREFIX + name, text, f"a file that can be read ({reason})") from None
    else:
        return text  # Validated with the other settings.
    fault = secret_error(value.strip())
    if fault is not None:
        raise SettingError(PREFIX + name, text, f"there {fault}")
    return value.strip()


def includeme(config: Configurator) -> None:
    """Read the secrets of the application. Raises `SettingError` if one cannot be read or is too short."""
    settings: Settings = config.registry[SETTINGS]
    secrets = tuple(_read_secrets(settings))
    if settings.secret is not None:
        config.registry[SECRETS] = Secrets(*secrets)
    elif secrets:
        raise SettingError(PREFIX + "secret", "(not set)", "a secret to sign with, beside multisite.previous_secrets")
