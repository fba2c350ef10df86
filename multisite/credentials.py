"""Credentials: which parts of an application give and take them, and which of these know nothing of sites.

A session factory, a helper for log-ins or a policy for CSRF tokens that is one for all sites accepts at each what it
gave at another. They are named in the log when the application starts, and by `multisite check`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from pyramid.interfaces import IAuthenticationPolicy, ICSRFStoragePolicy, ISecurityPolicy, ISessionFactory

from multisite.finding import Finding

__all__ = ["check_credentials", "find_unscoped_credentials"]

log = logging.getLogger(__name__)

MAX_DEPTH = 2
"""How far into a security policy is looked: its attributes, and theirs."""


def check_credentials(registry: Any) -> None:
    """Look at an application that is complete. Raises `SettingError` where something needs `multisite.secret`, which is
    not set; logs a warning for each part that is one for all sites."""
    parts = dict(_parts(registry))
    for part in parts.values():
        if _is_per_site(part) and getattr(part, "needs_secret", False):
            secrets_of = import_module("multisite.secrets").secrets_of  # What is per site has imported it.
            secrets_of(registry, repr(part))
    for finding in _shared(parts):
        log.warning("%s %s; %s", finding.subject, finding.message, finding.remedy)


def find_unscoped_credentials(registry: Any) -> Iterator[Finding]:
    """Yield the parts of an application that give credentials which all its sites accept."""
    return _shared(dict(_parts(registry)))


def _shared(parts: dict[str, Any]) -> Iterator[Finding]:
    sessions = parts.get("session factory")
    has_shared_sessions = sessions is not None and not _is_per_site(sessions)
    for name, part in parts.items():
        if part is sessions:
            is_shared = has_shared_sessions
        elif isinstance(part, _loaded("pyramid.authentication", "SessionAuthenticationHelper")):
            is_shared = has_shared_sessions  # What it remembers is in the session, and goes where that goes.
        else:
            tickets = _loaded("pyramid.authentication", "AuthTktCookieHelper")
            is_shared = isinstance(part, (*tickets, *_loaded("pyramid.csrf", "CookieCSRFStoragePolicy")))
        if is_shared:
            yield Finding(
                "shared-credentials",
                f"{name} ({_name_of(part)})",
                "is one for all sites: what it gives at one of them is accepted at every other",
                "make it by multisite.sessions.per_site",
            )


def _parts(registry: Any) -> Iterator[tuple[str, Any]]:
    """Yield what may give credentials in an application, with a name for people."""
    for name, interface in (("session factory", ISessionFactory), ("CSRF storage policy", ICSRFStoragePolicy)):
        part = registry.queryUtility(interface)
        if part is not None:
            yield name, part
    for interface in (ISecurityPolicy, IAuthenticationPolicy):
        policy = registry.queryUtility(interface)
        if policy is not None:
            yield from _attributes(type(policy).__name__, policy, MAX_DEPTH)


def _attributes(name: str, of: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield what is kept in the attributes of an object and of its classes, and in those of these."""
    kept = {key: value for owner in reversed(type(of).__mro__) for key, value in vars(owner).items()}
    kept.update(getattr(of, "__dict__", {}))
    for key, value in kept.items():
        if key.startswith("__") or (callable(value) and not _is_per_site(value)):
            continue
        yield f"{name}.{key}", value
        if depth > 1 and hasattr(value, "__dict__") and not _is_per_site(value):
            yield from _attributes(f"{name}.{key}", value, depth - 1)


def _is_per_site(part: Any) -> bool:
    return getattr(part, "is_per_site", False) is True


def _loaded(module: str, name: str) -> tuple[type, ...]:
    """Return the class of that name: of a module that nobody has imported there are no objects."""
    return (getattr(sys.modules[module], name),) if module in sys.modules else ()


def _name_of(part: Any) -> str:
    named = part if hasattr(part, "__qualname__") else type(part)
    return f"{named.__module__}.{named.__qualname__}"
