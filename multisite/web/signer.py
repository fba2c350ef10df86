"""Sign values such as those of cookies, and accept signatures made with previous keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from webob.cookies import SignedSerializer

__all__ = ["Signer"]


class _Serializer(Protocol):
    def dumps(self, value: Any, /) -> bytes: ...

    def loads(self, text: bytes, /) -> Any: ...


class Signer:
    """A serializer that signs with the first of `keys` and accepts signatures made with any of them.

    `salt` and `hashalg` are those of `webob.cookies.SignedSerializer`.
    """

    def __init__(self, keys: Sequence[bytes], salt: str, *, serializer: _Serializer, hashalg: str = "sha512") -> None:
        self._signers = [SignedSerializer(key.hex(), salt, hashalg, serializer) for key in keys]

    def dumps(self, value: Any) -> bytes:
        """Serialize and sign `value`."""
        signed: bytes = self._signers[0].dumps(value)
        return signed

    def loads(self, text: bytes) -> Any:
        """Verify and deserialize `text`. Raises `ValueError` if the signature is invalid."""
        for signer in self._signers[:-1]:
            try:
                return signer.loads(text)
            except ValueError:
                pass
        return self._signers[-1].loads(text)
