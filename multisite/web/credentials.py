"""Find session factories, login helpers and CSRF policies whose credentials are valid on every site.

Such a part accepts a credential on one site that it issued on another. The application logs a warning for each when it
starts, and `multisite check` reports them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pyramid.interfaces import IAuthenticationPolicy, ICSRFStoragePolicy, ISecurityPolicy, ISessionFactory

if TYPE_CHECKING:
    from multisite.core.finding import Finding

__all__ = ["check_credentials", "find_unscoped_credentials"]

log = logging.getLogger(__name__)

MAX_DEPTH = 2
"""How deep the attributes of a security policy are searched: its own, and theirs."""


def check_credentials(registry: Any) -> None:
    """Log a warning for each part of the application whose credentials are valid on every site.

    Raises:
        SettingError: A part needs `multisite.secret`, which is not set.
    """
    parts = dict(_parts(registry))
    for part in parts.values():
        if _is_per_site(part) and getattr(part, "needs_secret", False):
            # Imported here, because only applications with a secret need the module.
            secrets_of = import_module("multisite.web.secrets").secrets_of
            secrets_of(registry, repr(part))
    for finding in _unscoped(parts):
        log.warning("%s %s; %s", finding.subject, finding.message, finding.remedy)


def find_unscoped_credentials(registry: Any) -> Iterator[Finding]:
    """Yield a finding for each part of the application that issues credentials which all its sites accept."""
    return _unscoped(dict(_parts(registry)))


def _unscoped(parts: dict[str, Any]) -> Iterator[Finding]:
    sessions = parts.get("session factory")
    sessions_are_shared = sessions is not None and not _is_per_site(sessions)
    for name, part in parts.items():
        if part is sessions:
            is_shared = sessions_are_shared
        elif isinstance(part, _imported_class("pyramid.authentication", "SessionAuthenticationHelper")):
            is_shared = sessions_are_shared  # It stores the login in the session.
        else:
            tickets = _imported_class("pyramid.authentication", "AuthTktCookieHelper")
            is_shared = isinstance(part, (*tickets, *_imported_class("pyramid.csrf", "CookieCSRFStoragePolicy")))
        if is_shared:
            from multisite.core.finding import Finding  # Hardly any application has one.

            yield Finding(
                "shared-credentials",
                f"{name} ({_qualified_name(part)})",
                "is shared by all sites: a credential issued on one of them is accepted on every other",
                "wrap it in multisite.sessions.per_site",
            )


def _parts(registry: Any) -> Iterator[tuple[str, Any]]:
    """Yield each part of the application that may issue credentials, with its display name."""
    for name, interface in (("session factory", ISessionFactory), ("CSRF storage policy", ICSRFStoragePolicy)):
        part = registry.queryUtility(interface)
        if part is not None:
            yield name, part
    for interface in (ISecurityPolicy, IAuthenticationPolicy):
        policy = registry.queryUtility(interface)
        if policy is not None:
            yield from _attributes(type(policy).__name__, policy, MAX_DEPTH)


def _attributes(name: str, target: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of `target` and of its classes, and recursively theirs, with their dotted names."""
    attributes = {key: value for owner in reversed(type(target).__mro__) for key, value in vars(owner).items()}
    attributes.update(getattr(target, "__dict__", {}))
    for key, value in attributes.items():
        if key.startswith("__") or (callable(value) and not _is_per_site(value)):
            continue
        yield f"{name}.{key}", value
        if depth > 1 and hasattr(value, "__dict__") and not _is_per_site(value):
            yield from _attributes(f"{name}.{key}", value, depth - 1)


def _is_per_site(part: Any) -> bool:
    return getattr(part, "is_per_site", False) is True


def _imported_class(module: str, name: str) -> tuple[type, ...]:
    """Return the class of that name; none if its module is not imported, because then it has no instances."""
    return (getattr(sys.modules[module], name),) if module in sys.modules else ()


def _qualified_name(part: Any) -> str:
    named = part if hasattr(part, "__qualname__") else type(part)
    return f"{named.__module__}.{named.__qualname__}"
