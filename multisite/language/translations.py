"""The translations of a site, from `locale/` in its folder, its theme, the shared templates and the application.

They are compiled gettext catalogs, `locale/de/LC_MESSAGES/messages.mo`, looked up in this order. Each file is read once
and shared, but a site never gets the translations of another site.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mako.exceptions import TemplateLookupException
from pyramid.i18n import Localizer, Translations

from multisite.core.lazy import lazy_pattern
from multisite.core.lru_cache import LRUCache
from multisite.core.site import Site
from multisite.templates import SiteTemplates
from multisite.templates.overlay import Layer, ResolvedTemplate

__all__ = ["FOLDER", "SiteTranslations"]

log = logging.getLogger(__name__)

FOLDER = "locale"
"""The subfolder of a site, a theme or the shared templates with one folder per language."""

MAX_CATALOG_BYTES = 10_000_000
"""Maximum size of a catalog: ten times the largest ones of desktop environments."""

_NAME = lazy_pattern(r"[A-Za-z0-9]{1,8}(?:[_-][A-Za-z0-9]{1,8}){0,4}")

Signature = tuple[tuple[Path, tuple[int, ...]], ...]


class _CachedLocalizer(NamedTuple):
    """A localizer, and the signature of the files that it was made from."""

    localizer: Localizer
    signature: Signature


class _Catalog(NamedTuple):
    """A catalog file; `translations` is None if it cannot be read."""

    signature: tuple[int, ...]
    translations: Translations | None


class SiteTranslations:
    """The localizers of all sites of an application, built from the layers of `templates`.

    Catalogs are reloaded when templates are: for each request with `pyramid.reload_templates`, and otherwise after
    `multisite reload-templates`.

    Args:
        size: Maximum number of cached localizers (one per site and language), and of cached files.
    """

    def __init__(self, templates: SiteTemplates, size: int = 1000) -> None:
        self._templates = templates
        self._known: LRUCache[tuple[int, str, str | None, int, str], _CachedLocalizer] = LRUCache(size)
        self._catalogs: LRUCache[Path, _Catalog] = LRUCache(size)

    def localizer(self, site: Site, application: Localizer) -> Localizer:
        """Return the localizer of `site` for the language of `application`, the shared localizer.

        Returns `application` itself if the site has no translations of its own.
        """
        name: str = application.locale_name
        key = (site.id, site.folder, site.theme, site.template_generation, name)
        known = self._known.get(key)
        if known is not None and not self._templates.reload:
            return known.localizer
        found = list(self._files(site, name))
        signature = tuple((each.path, each.signature) for _domain, each in found)
        if known is None or known.signature != signature:
            known = _CachedLocalizer(self._make(site, found, application), signature)
            self._known.set(key, known)
        return known.localizer

    def _files(self, site: Site, name: str) -> Iterator[tuple[str, ResolvedTemplate]]:
        """Yield the domain and the file of each catalog for the language, by precedence."""
        try:
            layers = self._templates.overlay.layers(site)
        except TemplateLookupException:  # The folder is invalid; rendering raises the error.
            return
        for layer in layers:
            for folder in _locale_folders(name):
                messages = layer.root / FOLDER / folder / "LC_MESSAGES"
                for candidate in _catalogs_in(messages):
                    found = self._stat(site, layer, candidate)
                    if found is not None:
                        yield candidate.stem, found

    def _stat(self, site: Site, layer: Layer, candidate: Path) -> ResolvedTemplate | None:
        try:
            return self._templates.overlay.stat_candidate(layer, candidate)
        except TemplateLookupException as error:
            log.error("translations of the site %s are skipped: %s", site, error)
            return None

    def _make(self, site: Site, found: list[tuple[str, ResolvedTemplate]], application: Localizer) -> Localizer:
        """Return a localizer that searches the files in `found` in order, and then the application."""
        chains: dict[str, Translations] = {}
        for domain, each in found:
            catalog = self._read(site, each)
            if catalog is None:
                continue
            # As in the standard library: a copy shares the messages, and can have a fallback of its own.
            link = copy.copy(catalog)
            if domain in chains:
                chains[domain].add_fallback(link)
            else:
                chains[domain] = link
        if not chains:
            return application
        below: Translations = application.translations
        for domain, chain in chains.items():
            chain.add_fallback(below._domains.get(domain, below))
        return Localizer(application.locale_name, _merged(below, chains))

    def _read(self, site: Site, found: ResolvedTemplate) -> Translations | None:
        known = self._catalogs.get(found.path)
        if known is not None and known.signature == found.signature:
            return known.translations
        try:
            catalog = _Catalog(found.signature, _parse(found))
        except Exception as error:
            # gettext raises various errors for an invalid file, which must not break the site's other catalogs.
            log.error("the translations %s of the site %s cannot be used: %r", found.path, site, error)
            catalog = _Catalog(found.signature, None)
        self._catalogs.set(found.path, catalog)
        return catalog.translations


def _parse(found: ResolvedTemplate) -> Translations:
    with found.open() as opened:
        if opened.status.st_size > MAX_CATALOG_BYTES:
            raise ValueError(f"more than {MAX_CATALOG_BYTES} bytes")
        return Translations(opened.file)


def _merged(below: Translations, chains: dict[str, Translations]) -> Translations:
    """Return the translations of `chains`, by domain, with `below` as their fallback."""
    default = chains.get(Translations.DEFAULT_DOMAIN)
    merged = Translations() if default is None else default
    if default is None:
        merged._catalog = {}
        merged.add_fallback(below)
    merged._domains = {**below._domains, **chains}
    return merged


def _locale_folders(name: str) -> list[str]:
    """Return the folder names for a locale, the most specific first: `de_AT`, `de`. Empty for an invalid name."""
    if not _NAME.fullmatch(name):  # An application may pass user input.
        return []
    parts = name.split("_")
    return ["_".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _catalogs_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".mo" and not path.name.startswith("."))
    except OSError:
        return []
