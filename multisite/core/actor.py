"""Who acts: the name that the operator log gives to whoever changes a site.

It is a context variable, so that the functions of `multisite.sites` need no argument for it. A command acts as the
user of the system who runs it, the console as the operator who is logged in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

__all__ = ["Actor", "acting_as", "current_actor", "system_user"]


class Actor(NamedTuple):
    """Who acts, such as `root (command)`, and the address the request came from; None without a request."""

    name: str
    address: str | None = None


_actor: ContextVar[Actor | None] = ContextVar("multisite_actor", default=None)


@contextmanager
def acting_as(name: str, *, address: str | None = None) -> Iterator[None]:
    """Log what the block changes under `name`. Threads that the block starts do not inherit it."""
    token = _actor.set(Actor(name, address))
    try:
        yield
    finally:
        _actor.reset(token)


def current_actor() -> Actor:
    """Return who acts: by default the system's user, as for a script that calls functions of `multisite.sites`."""
    return _actor.get() or Actor(f"{system_user()} (script)")


def system_user() -> str:
    """Return the name of the user of the system that this process runs as; its number if it has no name."""
    try:
        import pwd
    except ModuleNotFoundError:  # Windows.
        return os.environ.get("USERNAME", "unknown")
    try:
        # Not the environment's, which anybody can set and sudo keeps.
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"
