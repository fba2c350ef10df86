"""Secrets: one in the settings, and from it one for each site and purpose.

    key = multisite.site_secret(request.site, "links that unsubscribe")

With one secret for all sites, what is signed for one is accepted by every other. What is derived here is bound to the
site, to its generation (`multisite rotate-secret` raises it) and to the purpose, by HKDF-SHA256 (RFC 5869).
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyramid.config import Configurator, global_registries
from pyramid.threadlocal import get_current_registry

from multisite.errors import MultisiteError, SettingError
from multisite.keys import SETTINGS
from multisite.setting_parsers import secret_error
from multisite.settings import PREFIX, Settings
from multisite.site import Site

__all__ = ["SECRETS", "Secrets", "hkdf", "includeme", "secrets_of", "site_secret", "site_secrets"]

SECRETS = "multisite.secrets"
"""The key of the `Secrets` in the registry, which is there where `multisite.secret` is set."""

HASH = "sha256"
HASH_BYTES = 32

_LABEL = b"multisite site secret 1\0"
"""What all that is derived here begins with: another way of deriving will have another number."""


def extract(key_material: bytes, salt: bytes = b"") -> bytes:
    """Return the pseudorandom key of RFC 5869 section 2.2; without `salt` it is salted with zeros."""
    return hmac.digest(salt or bytes(HASH_BYTES), key_material, HASH)


def expand(key: bytes, info: bytes, length: int = HASH_BYTES) -> bytes:
    """Return `length` bytes (at most 8160) for `info` from a pseudorandom key, by RFC 5869 section 2.3."""
    blocks, block = b"", b""
    for number in range(1, -(-length // HASH_BYTES) + 1):
        block = hmac.digest(key, block + info + bytes([number]), HASH)
        blocks += block
    return blocks[:length]


def hkdf(key_material: bytes, info: bytes, *, salt: bytes = b"", length: int = HASH_BYTES) -> bytes:
    """Return `length` bytes derived from `key_material` for `info`: HKDF-SHA256 of RFC 5869."""
    return expand(extract(key_material, salt), info, length)


class Secrets:
    """The secrets of an application: the one that it derives from, then the previous ones, all read and of good length.

    Two applications with the same secrets derive the same.
    """

    def __init__(self, *secrets: str) -> None:
        # Extracted once. What was in the settings is not kept a second time, and nothing here shows it.
        self._keys = tuple(extract(secret.encode()) for secret in secrets)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secrets) and other._keys == self._keys

    def __hash__(self) -> int:
        return hash(self._keys)

    def derive(self, site: Site, purpose: str) -> tuple[bytes, ...]:
        """Return what is derived for `purpose` of `site`: what to sign with, then what else to accept; 32 bytes each.

        Raises `ValueError` for a purpose that is empty or no text.
        """
        if not purpose or not hasattr(purpose, "encode"):
            raise ValueError('a secret has a purpose, such as site_secret(site, "links that unsubscribe")')
        # Two numbers of eight bytes, then the text to the end: no two triples are written alike.
        numbers = site.id.to_bytes(8, "big") + site.secret_generation.to_bytes(8, "big")
        info = _LABEL + numbers + purpose.encode()
        return tuple(expand(key, info) for key in self._keys)


def site_secret(site: Site, purpose: str, *, registry: Any = None) -> bytes:
    """Return 32 secret bytes that are those of `site` and of `purpose` alone.

    They are the same in every process with the same `multisite.secret`, until `multisite rotate-secret` is run for the
    site. `purpose` is any text that is not empty: one for each thing that is signed or encrypted. `registry` is that
    of the application whose secret it is; with None that of the current request or, where there is none, that of the
    one application of this process. Raises `SettingError` if `multisite.secret` is not set, and `MultisiteError` if
    there are several applications with different secrets, or none.
    """
    return site_secrets(site, purpose, registry=registry)[0]


def site_secrets(site: Site, purpose: str, *, registry: Any = None) -> tuple[bytes, ...]:
    """Return `site_secret`, and behind it what that was by each of `multisite.previous_secrets`.

    Sign with the first, and accept what was signed with any of them. Raises what `site_secret` raises.
    """
    return secrets_of(_registry() if registry is None else registry, purpose).derive(site, purpose)


def secrets_of(registry: Any, what: str) -> Secrets:
    """Return the secrets of an application. Raises `SettingError` if it has none, naming `what` needs them."""
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
    # No request is being handled, as in a script or while a body is streamed.
    found = {registry.get(SECRETS): registry for registry in global_registries if SETTINGS in registry}
    if len(found) != 1:
        raise MultisiteError(
            "site_secret does not know which application's secret is meant, "
            + ("of several in this process" if found else "for none has included multisite in this process")
            + ": give it registry=request.registry"
        )
    return next(iter(found.values()))


def _read(settings: Settings) -> Iterator[str]:
    """Yield the secrets that `settings` hold or name, the current one first."""
    if settings.secret is not None:
        yield _value("secret", settings.secret)
    for secret in settings.previous_secrets:
        yield _value("previous_secrets", secret)


def _value(name: str, text: str) -> str:
    kind, _, where = text.partition(":")
    if kind == "env":
        value = os.environ.get(where)
        if value is None:
            raise SettingError(PREFIX + name, text, f"the environment to hold {where}")
    elif kind == "file":
        try:
            value = Path(where).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise SettingError(PREFIX + name, text, f"a file that can be read ({reason})") from None
    else:
        return text  # Looked at with the other settings.
    fault = secret_error(value.strip())
    if fault is not None:
        raise SettingError(PREFIX + name, text, f"there {fault}")
    return value.strip()


def includeme(config: Configurator) -> None:
    """Read the secrets of the application. Raises `SettingError` for one that cannot be had or is too short."""
    settings: Settings = config.registry[SETTINGS]
    secrets = tuple(_read(settings))
    if settings.secret is not None:
        config.registry[SECRETS] = Secrets(*secrets)
    elif secrets:
        raise SettingError(PREFIX + "secret", "(not set)", "what to sign with, beside multisite.previous_secrets")
