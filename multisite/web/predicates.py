"""View and route predicates: `site="garden.example"` and `theme="dawn"`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.request import Request

from multisite.core import domains
from multisite.core.domains import Domain
from multisite.core.keys import DIRECTORY
from multisite.core.site import Site, site_or_none
from multisite.errors import InvalidHost

__all__ = ["SitePredicate", "ThemePredicate", "includeme"]


class SitePredicate:
    """`site=` takes a domain, or several, and matches requests for their sites by any domain of these sites.

    A wildcard such as `*.example.com` matches the sites whose canonical domain it covers. A domain that no site has is
    not an error, because sites are added and removed while the application runs.

    Raises:
        ConfigurationError: A value is not a domain.
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
        """Return the text that Pyramid's tools show."""
        return f"site = {', '.join(map(str, self._domains))}"

    phash = text

    def __call__(self, _context: Any, request: Request) -> bool:
        """Return whether the site of `request` has one of the domains; False without a site."""
        site = site_or_none(request)
        return site is not None and any(_belongs_to(request, domain, site) for domain in self._domains)


class ThemePredicate:
    """`theme=` takes a name, or several, and matches sites with that theme; "" matches sites without one.

    None would mean no predicate, as usual in Pyramid.
    """

    def __init__(self, value: str | tuple[str, ...] | list[str], _config: Any) -> None:
        self._names = (value,) if isinstance(value, str) else tuple(value)

    def text(self) -> str:
        """Return the text that Pyramid's tools show."""
        return f"theme = {', '.join(name or 'none' for name in self._names)}"

    phash = text

    def __call__(self, _context: Any, request: Request) -> bool:
        """Return whether the site of `request` has one of the themes; False without a site."""
        site = site_or_none(request)
        return site is not None and (site.theme or "") in self._names


def _belongs_to(request: Request, domain: Domain, site: Site) -> bool:
    """Return whether `domain`, which may be a wildcard, belongs to `site`."""
    if not domain.is_wildcard:
        # The directory's cache has it, like the Host of the request.
        found = request.registry[DIRECTORY].resolve(str(domain))
        return found is not None and found.id == site.id
    return (
        domain.name in domains.candidate_names(site.host)
        and domain.port in {None, site.port}
        and (f"{site.path}/").startswith(f"{domain.path}/")
    )


def includeme(config: Configurator) -> None:
    """Add both predicates to views and routes."""
    for name, predicate in (("site", SitePredicate), ("theme", ThemePredicate)):
        add: Callable[..., None]
        for add in (config.add_view_predicate, config.add_route_predicate):
            add(name, predicate)
