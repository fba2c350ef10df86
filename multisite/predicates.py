"""Predicates of views and routes: `site="garden.example"` and `theme="dawn"`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.request import Request

from multisite import domains
from multisite.domains import Domain
from multisite.errors import InvalidHost, UnknownSite
from multisite.keys import DIRECTORY
from multisite.site import Site

__all__ = ["SitePredicate", "ThemePredicate", "includeme"]


class SitePredicate:
    """`site=` a domain, or several: whether the request is for that site, by whichever of its domains it came.

    A domain with `*.` in front means the sites whose canonical domains it stands for. That no site has a domain yet is
    no error: sites come and go while the application runs. Raises `ConfigurationError` for what is no domain.
    """

    def __init__(self, value: str | tuple[str, ...] | list[str], _config: Any) -> None:
        texts = (value,) if isinstance(value, str) else tuple(value)
        try:
            self._domains = tuple(domains.existing(text) for text in texts)
        except InvalidHost as error:
            raise ConfigurationError(f"site={value!r}: {error}") from None
        if not self._domains:
            raise ConfigurationError("site= takes a domain, or several")

    def text(self) -> str:
        """Return how Pyramid shows it."""
        return f"site = {', '.join(map(str, self._domains))}"

    phash = text

    def __call__(self, _context: Any, request: Request) -> bool:
        site = _site_of(request)
        return site is not None and any(_means(request, domain, site) for domain in self._domains)


class ThemePredicate:
    """`theme=` a name, or several: whether the site of the request has that theme; "" means a site without one.

    None would mean no predicate, as everywhere in Pyramid.
    """

    def __init__(self, value: str | tuple[str, ...] | list[str], _config: Any) -> None:
        self._names = (value,) if isinstance(value, str) else tuple(value)

    def text(self) -> str:
        """Return how Pyramid shows it."""
        return f"theme = {', '.join(name or 'none' for name in self._names)}"

    phash = text

    def __call__(self, _context: Any, request: Request) -> bool:
        site = _site_of(request)
        return site is not None and (site.theme or "") in self._names


def _site_of(request: Request) -> Site | None:
    try:
        site: Site = request.site
    except (UnknownSite, InvalidHost):
        # An open path, or a page about there being no site.
        return None
    return site


def _means(request: Request, domain: Domain, site: Site) -> bool:
    if not domain.is_wildcard:
        # In memory, as the Host of the request is.
        found = request.registry[DIRECTORY].resolve(str(domain))
        return found is not None and found.id == site.id
    return (
        domain.name in domains.candidate_names(site.host)
        and domain.port in {None, site.port}
        and (f"{site.path}/").startswith(f"{domain.path}/")
    )


def includeme(config: Configurator) -> None:
    """Add both predicates to views, and to routes."""
    for name, predicate in (("site", SitePredicate), ("theme", ThemePredicate)):
        add: Callable[..., None]
        for add in (config.add_view_predicate, config.add_route_predicate):
            add(name, predicate)
