"""The translations of a site: `locale/` in its folder, over that of its theme, of the shared templates, of the
application.

They are compiled catalogs of gettext, `locale/de/LC_MESSAGES/messages.mo`. Each file is read once for all who use it;
what belongs to one site is never part of what another gets.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mako.exceptions import TemplateLookupException
from pyramid.i18n import Localizer, Translations

from multisite.directory.shelf import LRUCache
from multisite.site import Site
from multisite.templates import SiteTemplates
from multisite.templates.overlay import Layer, ResolvedTemplate

__all__ = ["FOLDER", "SiteTranslations"]

log = logging.getLogger(__name__)

FOLDER = "locale"
"""The folder, in that of a site, of a theme and of the shared templates, that holds one folder for each language."""

MAX_CATALOG_BYTES = 10_000_000
"""The largest file that is read; those of whole desktops have a tenth of that."""

_NAME = re.compile(r"[A-Za-z0-9]{1,8}(?:[_-][A-Za-z0-9]{1,8}){0,4}")

Signature = tuple[tuple[Path, tuple[int, ...]], ...]


class _Known(NamedTuple):
    """What is remembered for a site and a language, and the files it was made of."""

    localizer: Localizer
    signature: Signature


class _Catalog(NamedTuple):
    """A file that was read; None for one that cannot be."""

    signature: tuple[int, ...]
    translations: Translations | None


class SiteTranslations:
    """The localizers of all sites of an application, found in the layers of `templates`.

    At most `size` of them are remembered, each for a site and a language, and as many files. Where the templates are
    looked for at each request (`pyramid.reload_templates`), so are these; elsewhere `multisite reload-templates` lets
    them be looked for again.
    """

    def __init__(self, templates: SiteTemplates, size: int = 1000) -> None:
        self._templates = templates
        self._known: LRUCache[tuple[int, str, str | None, int, str], _Known] = LRUCache(size)
        self._catalogs: LRUCache[Path, _Catalog] = LRUCache(size)

    def localizer(self, site: Site, application: Localizer) -> Localizer:
        """Return the localizer of `site` for the language of `application`, the one that all sites share.

        That one itself, if the site has nothing over it.
        """
        name: str = application.locale_name
        key = (site.id, site.folder, site.theme, site.template_generation, name)
        known = self._known.get(key)
        if known is not None and not self._templates.reload:
            return known.localizer
        found = list(self._files(site, name))
        signature = tuple((each.path, each.signature) for _domain, each in found)
        if known is None or known.signature != signature:
            known = _Known(self._make(site, found, application), signature)
            self._known.set(key, known)
        return known.localizer

    def _files(self, site: Site, name: str) -> Iterator[tuple[str, ResolvedTemplate]]:
        """Yield domain and file of each catalog for the language, the one that wins first."""
        try:
            layers = self._templates.overlay.layers(site)
        except TemplateLookupException:  # Its folder is none, which its templates will say.
            return
        for layer in layers:
            for folder in _folders(name):
                messages = layer.root / FOLDER / folder / "LC_MESSAGES"
                for candidate in _catalogs_in(messages):
                    found = self._look(site, layer, candidate)
                    if found is not None:
                        yield candidate.stem, found

    def _look(self, site: Site, layer: Layer, candidate: Path) -> ResolvedTemplate | None:
        try:
            return self._templates.overlay.stat_candidate(layer, candidate)
        except TemplateLookupException as error:
            log.error("translations of the site %s are left out: %s", site, error)
            return None

    def _make(self, site: Site, found: list[tuple[str, ResolvedTemplate]], application: Localizer) -> Localizer:
        """Return a localizer that asks the files in `found` one after the other, and then the application."""
        chains: dict[str, Translations] = {}
        for domain, each in found:
            catalog = self._read(site, each)
            if catalog is None:
                continue
            # As the standard library does: a copy, which shares the messages, and has a place for what comes next.
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
            # Whatever its bytes make gettext stumble over: the rest of the site, and all others, have theirs.
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
    """Return translations like `below` where those in `chains`, by domain, come first."""
    default = chains.get(Translations.DEFAULT_DOMAIN)
    merged = Translations() if default is None else default
    if default is None:
        merged._catalog = {}
        merged.add_fallback(below)
    merged._domains = {**below._domains, **chains}
    return merged


def _folders(name: str) -> list[str]:
    """Return the names of folders for a locale, the most special first: `de_AT`, `de`. None for what is no locale."""
    if not _NAME.fullmatch(name):  # An application may take it from what a visitor sends.
        return []
    parts = name.split("_")
    return ["_".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _catalogs_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".mo" and not path.name.startswith("."))
    except OSError:
        return []
