"""Rewrite the addresses of a site that gets another domain, in parsed values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit, urlunsplit

from multisite import hosts
from multisite.core.domains import Domain
from multisite.errors import InvalidHost

__all__ = ["AddressMap", "rewrite_json"]

_DEFAULT_PORTS = {"http": 80, "https": 443, "": 443}

_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"(\s*:)?')
"""Matches each string of a valid JSON text, and whether it is the name of a member."""


class AddressMap:
    """Turns addresses below the old domains of a site into those below its new one."""

    def __init__(self, old: Iterable[Domain], new: Domain) -> None:
        self._old = [domain for domain in old if not domain.is_wildcard and domain != new]
        self._new = new

    def __bool__(self) -> bool:
        return bool(self._old)

    def mentions(self, text: str) -> bool:
        """Return whether `text` seems to contain an address below an old domain."""
        lower = text.lower()
        return any(re.search(rf"//{re.escape(domain.name)}(?![\w.-])", lower) for domain in self._old)

    def url(self, address: str) -> str:
        """Return the new form of an absolute address; any other text unchanged."""
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError:
            return address
        if parts.scheme not in _DEFAULT_PORTS or not parts.netloc or "@" in parts.netloc or address != address.strip():
            return address
        found = self._match(parts.hostname or "", port or _DEFAULT_PORTS[parts.scheme], parts.path)
        if found is None:
            return address
        kept = self._new.port if self._new.port is not None or found.port is not None else port
        netloc = self._new.name if kept is None else f"{self._new.name}:{kept}"
        path = self._new.path + parts.path.removeprefix(found.path)
        return urlunsplit((parts.scheme, netloc, path, parts.query, parts.fragment))

    def _match(self, name: str, port: int, path: str) -> Domain | None:
        try:
            canonical = hosts.parse(name, underscores=True).name
        except InvalidHost:
            return None
        matching = [each for each in self._old if each.name == canonical and each.matches(port, path)]
        return max(matching, key=lambda each: each.precedence, default=None)


def rewrite_json(text: str, url: Callable[[str], str]) -> str:
    """Return a JSON text with each string in it that is an address `a` as `url(a)`; everything else is unchanged."""

    def rewritten(match: re.Match[str]) -> str:
        if match[1] is not None:
            return match[0]
        value = json.loads(match[0])
        new = url(value)
        return match[0] if new == value else json.dumps(new, ensure_ascii=False)

    return _JSON_STRING.sub(rewritten, text) if "//" in text or "\\/" in text else text
