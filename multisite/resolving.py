"""Which site a name means: the directories of this process are asked, of one application or of several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from multisite.application import current_application
from multisite.errors import MultisiteError, UnknownSite

if TYPE_CHECKING:
    from multisite.site import Site

__all__ = ["Resolver", "resolve", "resolvers"]


@dataclass(frozen=True, eq=False, slots=True)
class Resolver:
    """How the sites of an application are found: `resolve` takes an id or a host.

    `application` is the name of the one that was being loaded when this was made, None in a process with only one.
    """

    resolve: Callable[[int | str], Site | None]
    application: str | None = field(default_factory=current_application.get)


resolvers: list[Resolver] = []
"""Those of this process; a directory adds its own when an application includes multisite."""


def resolve(name: int | str) -> Site:
    """Return the site with this id or host. Raises as `using_site` does."""
    if type(name) not in (int, str):
        raise TypeError(f"using_site takes a Site, an id or a host, not {type(name).__name__}")
    asked = _resolvers_here()
    answers = [site for resolver in asked if (site := resolver.resolve(name)) is not None]
    if not answers:
        hint = "" if resolvers else " (no application has included multisite in this process yet)"
        raise UnknownSite(name, f"no site is known as '{name}'{hint}" if hint else None)
    applications = {resolver.application for resolver in asked}
    # Each application counts its sites from 1: an id that only one of them knows may be meant for another.
    is_unclear = isinstance(name, int) and len(applications) > 1 and len(answers) < len(asked)
    if len(set(answers)) > 1 or is_unclear:
        named = ", ".join(sorted(application for application in applications if application))
        raise MultisiteError(
            f"'{name}' means different sites in the applications of this process{named and f' ({named})'}: give "
            "using_site the Site itself" + (", or work inside using_application(name)" if named else "")
        )
    if any(site.settings_provider is not answers[0].settings_provider for site in answers):
        # One site of two applications, each of which may have declared other settings: neither's may be taken.
        return replace(answers[0], settings_provider=None)
    return answers[0]


def _resolvers_here() -> list[Resolver]:
    """Return those of the running application; all, where none is running or it has not included multisite."""
    here = current_application.get()
    own = [resolver for resolver in resolvers if resolver.application == here] if here is not None else []
    return own or list(resolvers)
