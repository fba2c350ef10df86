"""Signed text, such as the value of a cookie: what was signed with a previous key is still accepted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from webob.cookies import SignedSerializer

__all__ = ["Signer"]


class _Serializer(Protocol):
    def dumps(self, value: Any, /) -> bytes: ...

    def loads(self, text: bytes, /) -> Any: ...


class Signer:
    """A serializer that signs with the first of `keys` and accepts what is signed with any of them.

    `salt` and `hashalg` are those of `webob.cookies.SignedSerializer`.
    """

    def __init__(self, keys: Sequence[bytes], salt: str, *, serializer: _Serializer, hashalg: str = "sha512") -> None:
        self._signers = [SignedSerializer(key.hex(), salt, hashalg, serializer) for key in keys]

    def dumps(self, value: Any) -> bytes:
        """Return `value` as text, signed."""
        signed: bytes = self._signers[0].dumps(value)
        return signed

    def loads(self, text: bytes) -> Any:
        """Return the value of a text that is signed. Raises `ValueError` for any other text."""
        for signer in self._signers[:-1]:
            try:
                return signer.loads(text)
            except ValueError:
                pass
        return self._signers[-1].loads(text)
