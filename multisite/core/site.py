"""A site as a value, and the lookup of sites by id or domain in the directories of this process.

`Site` is a small frozen value: it can be stored, compared and passed to any thread. `multisite.core.current_site`
tracks which one is current.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

from multisite.core.application import current_application
from multisite.errors import MultisiteError, UnknownSite

__all__ = [
    "Resolver",
    "SettingsProvider",
    "Site",
    "add_resolver",
    "remove_resolver",
    "resolve",
    "settings_provider_for",
    "site_or_none",
]


class SettingsProvider(Protocol):
    """Resolves the settings of sites that an application has declared.

    `database` identifies the database of its directory, since sites of other databases have the same ids. `application`
    is the name of the application, None in a process with only one.
    """

    database: str
    application: str | None

    def settings_of(self, site: Site, /) -> Mapping[str, Any]:
        """Return the settings of `site`, by name."""


@dataclass(frozen=True, slots=True)
class Site:
    """One website, as a value.

    `id` is its primary key in the table `sites`. Its canonical domain consists of `host` (a name of A-labels), `port`
    (None: any) and `path` (`/shop`, empty for any path); `domain` and `str()` return it as one string. `folder` is the
    name of its folder below `multisite.sites_dir`, `locale` a BCP 47 tag, `timezone` a name of the IANA database, and
    `theme` the name of its theme, or None.

    `template_generation` changes with `multisite reload-templates`, `secret_generation` with `multisite rotate-secret`.
    `own_settings` is a JSON object of the settings stored for the site, sorted by name, or empty; `settings` has the
    resulting values. `copy_of` is the domain of the site that this one was copied from, or None.

    `settings_provider` resolves `settings`; the directory that found the site sets it. It is not part of the value:
    equality ignores it, and a pickled copy has none.
    """

    id: int
    host: str
    name: str
    folder: str
    locale: str = "en"
    timezone: str = "UTC"
    theme: str | None = None
    template_generation: int = field(default=0, repr=False)
    port: int | None = field(default=None, repr=False)
    path: str = field(default="", repr=False)
    secret_generation: int = field(default=0, repr=False)
    own_settings: str = field(default="", repr=False)
    copy_of: str | None = field(default=None, repr=False)
    settings_provider: SettingsProvider | None = field(default=None, repr=False, compare=False)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The values for this site of all settings that the application has declared, by name.

        The mapping raises `UndeclaredSetting`, a `KeyError`, for any other name.

        Raises:
            SiteSettingError: If the site has an invalid value for a setting.
            MultisiteError: Outside of a request, if no application of this process knows the site, or several do.
        """
        provider = settings_provider_for(self)
        if provider is None:
            raise MultisiteError(
                f"the settings of the site {self} are unknown here: take the site from request.site, or from "
                "using_site() in a process with one application"
            )
        return provider.settings_of(self)

    @property
    def domain(self) -> str:
        """The canonical domain with its port and path, if it has them, such as `example.com/shop`."""
        return f"{self.host}{'' if self.port is None else f':{self.port}'}{self.path}"

    def __str__(self) -> str:
        return self.domain

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, tuple(getattr(self, item.name) for item in fields(self) if item.compare)


def _unpickle(*values: Any) -> Site:
    return Site(**dict(zip((item.name for item in fields(Site) if item.compare), values, strict=True)))


def settings_provider_for(site: Site) -> SettingsProvider | None:
    """Return the settings provider of `site`, or of the directory that knows it; None if there is none."""
    if site.settings_provider is not None:
        return site.settings_provider
    try:
        return resolve(site.id).settings_provider
    except MultisiteError:
        return None


@dataclass(frozen=True, eq=False, slots=True)
class Resolver:
    """Finds the sites of one application: `resolve` takes an id or a domain.

    `application` is the application that was being loaded when the resolver was created, None in a process with only
    one.
    """

    resolve: Callable[[int | str], Site | None]
    application: str | None = field(default_factory=current_application.get)


_resolvers: list[Resolver] = []


def add_resolver(resolver: Resolver) -> None:
    """Let `resolve` ask `resolver`; a directory adds its own when an application includes multisite."""
    _resolvers.append(resolver)


def remove_resolver(resolver: Resolver) -> None:
    """Undo `add_resolver`, if it was called."""
    if resolver in _resolvers:
        _resolvers.remove(resolver)


def resolve(name: int | str) -> Site:
    """Return the site with this id or domain. Raises as `using_site` does."""
    if type(name) not in (int, str):
        raise TypeError(f"using_site takes a Site, an id or a host, not {type(name).__name__}")
    asked = _resolvers_here()
    answers = [site for resolver in asked if (site := resolver.resolve(name)) is not None]
    if not answers:
        hint = "" if _resolvers else " (no application has included multisite in this process yet)"
        raise UnknownSite(name, f"no site is known as '{name}'{hint}" if hint else None)
    applications = {resolver.application for resolver in asked}
    # Each application numbers its sites from 1: an id that only one of them knows may refer to another one's site.
    is_ambiguous = isinstance(name, int) and len(applications) > 1 and len(answers) < len(asked)
    if len(set(answers)) > 1 or is_ambiguous:
        named = ", ".join(sorted(application for application in applications if application))
        raise MultisiteError(
            f"'{name}' means different sites in the applications of this process{named and f' ({named})'}: pass the "
            "Site itself to using_site" + (", or work inside using_application(name)" if named else "")
        )
    if any(site.settings_provider is not answers[0].settings_provider for site in answers):
        # Two applications share the site and may have declared different settings, so neither provider is right.
        return replace(answers[0], settings_provider=None)
    return answers[0]


def _resolvers_here() -> list[Resolver]:
    """Return the resolvers of the current application; all if there is none, or if it has not included multisite."""
    here = current_application.get()
    own = [resolver for resolver in _resolvers if resolver.application == here] if here is not None else []
    return own or list(_resolvers)


def site_or_none(request: Any) -> Site | None:
    """Return `request.site`; None if the request has no site, as on an open path, or if it cannot be looked up.

    An exception view for `UnknownSite` or `DirectoryUnavailable` has a request without a site.
    """
    try:
        site: Site | None = getattr(request, "site", None)
    except MultisiteError:
        return None
    return site
