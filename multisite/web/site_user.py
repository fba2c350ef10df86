"""`config.set_site_user`: the class of the users of sites, which the commands and other parts use."""

from __future__ import annotations

from typing import Any, NamedTuple

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.registry import Registry

from multisite.errors import MultisiteError

__all__ = ["SITE_USER", "SiteUserClass", "includeme", "set_site_user", "site_user_class"]

SITE_USER = "multisite.site_user"
"""Registry key of the `SiteUserClass`; missing if the application has none."""

_NEEDED = ("find", "role", "email", "make_link", "find_by_link", "export", "erase")
"""Attributes of `multisite.people.SiteMember`, which is not imported here because it needs argon2-cffi."""


class SiteUserClass(NamedTuple):
    """The class of the users of sites.

    `link_path` is the path of the page that takes a link to choose a password, with `{token}`, and `sign_in_path` that
    of the page that takes a link of an operator's sign-in; None if there is none.
    """

    model: Any
    link_path: str
    sign_in_path: str | None = None


def set_site_user(config: Configurator, model: type, *, link_path: str, sign_in_path: str | None = None) -> None:
    """Name the class of the users of sites. A directive of the Configurator.

    Args:
        config: The Configurator.
        model: A subclass of `multisite.people.SiteMember`.
        link_path: The path of the page on which a user chooses a password, such as `/login/{token}`.
        sign_in_path: The path of the page on which an operator of the console signs in as a user, by the token of
            `multisite.sites.sign_ins`; None if operators cannot.

    Raises:
        ConfigurationError: An argument is not valid.
    """
    missing = [name for name in _NEEDED if not hasattr(model, name)]
    if missing:
        raise ConfigurationError(
            f"set_site_user: {model.__name__} has no {', '.join(missing)}: derive it from multisite.people.SiteMember"
        )
    for name, path in (("link_path", link_path), ("sign_in_path", sign_in_path)):
        if path is not None and (not path.startswith("/") or path.count("{token}") != 1):
            raise ConfigurationError(f"set_site_user: {name} is a path with {{token}} in it, not '{path}'")

    def register() -> None:
        config.registry[SITE_USER] = SiteUserClass(model, link_path, sign_in_path)

    config.action(SITE_USER, register)


def site_user_class(registry: Registry) -> SiteUserClass:
    """Return the class of the users of sites. Raises `MultisiteError` if the application has none."""
    found: SiteUserClass | None = registry.get(SITE_USER)
    if found is None:
        raise MultisiteError(
            "this application has no class of users: name one with config.set_site_user(User, link_path=...)"
        )
    return found


def includeme(config: Configurator) -> None:
    """Add the directive."""
    config.add_directive("set_site_user", set_site_user)
