"""What Mako asks for templates: one small lookup for each site in use.

A lookup knows its site and which view it gave for which name, nothing else. Without reload, a name that was found
once costs one dictionary look-up; with it, the overlay is asked each time.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mako.exceptions import TemplateLookupException, TopLevelLookupException
from mako.lookup import TemplateCollection

from multisite.errors import SettingError, shorten
from multisite.site import Site
from multisite.templates import names
from multisite.templates.overlay import FindAsset, Overlay, find_asset
from multisite.templates.store import SharedTemplate, Store

__all__ = ["SiteLookup", "SiteTemplates"]


class SiteTemplates:
    """The templates of all sites of an application.

    `sites_dir` holds a folder for each site, `templates_dir` what all share, `directories` further shared folders
    below that. With `reload`, a file that is added, changed or removed is seen at the next look-up; without it, a
    name that was found is not looked for again. `max_sites` is the number of sites whose lookups are kept in memory,
    each 1 kB if it has no files of its own. `module_directory` keeps compiled templates for the next start.
    `find_asset` finds files of packages. `options` are keyword arguments of `mako.template.Template`, where
    `default_filters` is `["h"]` and `input_encoding` UTF-8 unless given.

    Raises `SettingError` if the shared folder lies in the folder of the sites.
    """

    def __init__(
        self,
        sites_dir: Path,
        templates_dir: Path,
        *,
        directories: Sequence[Path] = (),
        reload: bool = False,
        max_sites: int = 10_000,
        module_directory: Path | None = None,
        find_asset: FindAsset = find_asset,
        **options: Any,
    ) -> None:
        shared = tuple(Path(folder).absolute() for folder in (templates_dir, *directories))
        for folder in shared:
            if folder.resolve().is_relative_to(Path(sites_dir).resolve()):
                raise SettingError("multisite.templates_dir", folder, f"a folder outside of the sites' {sites_dir}")
        options = {"default_filters": ["h"], "input_encoding": "utf-8"} | options
        self.reload = reload
        self.overlay = Overlay(Path(sites_dir).absolute(), shared, find_asset)
        self._store = Store(reload=reload, module_directory=module_directory, options=options)
        self._max_sites = max_sites
        self._lookups: dict[int, SiteLookup] = {}
        self._shared = SiteLookup(self, None)
        self._adding = threading.Lock()

    def lookup(self, site: Site | None) -> SiteLookup:
        """Return the lookup for `site`; None stands for the shared layers only.

        Raises `TemplateLookupException` if the site's folder is not the name of a folder.
        """
        if site is None:
            return self._shared
        lookup = self._lookups.get(site.id)
        if lookup is None or lookup.folder != site.folder:
            lookup = self._add(site)
        return lookup

    def _add(self, site: Site) -> SiteLookup:
        folder = site.folder
        if not folder or folder.startswith(".") or not names.FORBIDDEN.isdisjoint(folder) or "/" in folder:
            raise TemplateLookupException(f"the folder of site {site.host} is not a name: '{shorten(folder)}'")
        with self._adding:
            lookup = self._lookups.get(site.id)
            if lookup is None or lookup.folder != folder:
                # The oldest goes, not the least used, so that a look-up has nothing to write down.
                while len(self._lookups) >= self._max_sites:
                    del self._lookups[next(iter(self._lookups))]
                lookup = self._lookups[site.id] = SiteLookup(self, site)
            return lookup

    def has_asset(self, name: str) -> bool:
        """Say whether the package of the asset spec `name` has that file; False also for what is no name."""
        try:
            asset = self.overlay.asset(names.canonical(name))
        except TopLevelLookupException:
            return False
        return asset is not None and asset.is_file()

    def find(self, name: str, folder: str | None) -> type[SharedTemplate]:
        """Return the class of the views of the file that the canonical `name` stands for, compiled.

        Raises as `Overlay.find` and `Store.get` do.
        """
        while True:
            found = self.overlay.find(name, folder)
            try:
                return self._store.get(found, name)
            except FileNotFoundError as error:
                # Removed after it was found? Then another layer may have it. Else the template itself misses a file.
                # Whether it exists now says nothing: it may have been put back.
                if Path(str(error.filename)) != found.path:
                    raise


class SiteLookup(TemplateCollection):  # type: ignore[misc]
    """The templates as one site sees them (`site_id` and `folder` None: shared layers only)."""

    __slots__ = ("_templates", "_views", "folder", "site_id")

    def __init__(self, templates: SiteTemplates, site: Site | None) -> None:
        self._templates = templates
        self.site_id = None if site is None else site.id
        self.folder = None if site is None else site.folder
        self._views: dict[str, SharedTemplate] = {}

    adjust_uri = staticmethod(names.canonical)
    """Called by Mako with the name that a template writes and the mark of that template; one cache for all sites."""

    @property
    def owner(self) -> str:
        """The site in the keys of caches. By its id: a host and a folder may get another owner."""
        return "shared" if self.site_id is None else f"site{self.site_id}"

    def get_template(self, uri: str, relativeto: str | None = None) -> SharedTemplate:
        """Return this site's template called `uri`, a path from the root of the overlay or an asset spec.

        Raises `TopLevelLookupException` if there is none, `TemplateLookupException` if it may not be used, and what
        Mako raises for one with a mistake.
        """
        view = self._views.get(uri)
        if view is None or relativeto is not None or self._templates.reload:
            view = self._find(names.canonical(uri, relativeto))
        return view

    def _find(self, name: str) -> SharedTemplate:
        plain_name = self._templates.overlay.plain_name(name)
        view = self._views.get(plain_name)
        if view is None or self._templates.reload:
            view = self._view(plain_name)
        if name != plain_name:
            self._views[name] = view
        return view

    def _view(self, name: str) -> SharedTemplate:
        view_class = self._templates.find(name, self.folder)
        known = self._views.get(name)
        if type(known) is view_class:
            return known
        view = view_class.__new__(view_class)
        view.lookup = self
        if known is not None:
            self._views[name] = view
        # Of two threads that come here at once the first decides, so that both get the same view.
        return self._views.setdefault(name, view)

    def filename_to_uri(self, uri: str, filename: str) -> NoReturn:
        """Not offered: a file has no name of its own, only names have files."""
        raise NotImplementedError("a file of the overlay may go by several names")
