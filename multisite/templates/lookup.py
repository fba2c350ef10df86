"""What Mako asks for templates: one small lookup for each site in use.

A lookup knows its site and which view it gave for which name, nothing else. Without reload, a name that was found
once costs one dictionary look-up; with it, the overlay is asked each time. A site that has another theme, folder or
generation of templates gets a new lookup, which finds every file anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mako.exceptions import TemplateLookupException, TopLevelLookupException

from multisite import forks
from multisite.errors import SettingError
from multisite.site import Site
from multisite.templates import names
from multisite.templates.overlay import Overlay, PackageFileFinder, ResolvedTemplate, find_package_file
from multisite.templates.store import CompiledTemplates, TemplateView

__all__ = ["SiteLookup", "SiteTemplates"]


class SiteTemplates:
    """The templates of all sites of an application.

    `sites_dir` holds a folder for each site, `templates_dir` what all share, with the themes in a folder of their own,
    `directories` further shared folders below that. With `reload`, a file that is added, changed or removed is seen at
    the next look-up; without it, a name that was found is not looked for again until the site's `template_generation`
    is another one. `max_sites` is the number of sites whose lookups are kept in memory, each less than 1 kB if it has
    no files of its own. `module_directory` keeps compiled templates for the next start. `find_package_file` finds files
    of packages. `suffixes` are those of the files that `names` lists (None: `.mako` and `.mak`). `options` are keyword
    arguments of `mako.template.Template`, where `default_filters` is `["h"]` and `input_encoding` UTF-8 unless given.

    Raises `SettingError` if the shared folder lies in the folder of the sites.
    """

    shared_generation: Callable[[], int]
    """Gives the generation of the templates for pages without a site; whoever knows it sets this."""

    def __init__(
        self,
        sites_dir: Path,
        templates_dir: Path,
        *,
        directories: Sequence[Path] = (),
        reload: bool = False,
        max_sites: int = 10_000,
        module_directory: Path | None = None,
        find_package_file: PackageFileFinder = find_package_file,
        suffixes: Collection[str] | None = None,
        **options: Any,
    ) -> None:
        shared = tuple(Path(folder).absolute() for folder in (templates_dir, *directories))
        for folder in shared:
            if folder.resolve().is_relative_to(Path(sites_dir).resolve()):
                raise SettingError("multisite.templates_dir", folder, f"a folder outside of the sites' {sites_dir}")
        options = {"default_filters": ["h"], "input_encoding": "utf-8"} | options
        self.reload = reload
        self.module_directory = module_directory
        self.overlay = Overlay(Path(sites_dir).absolute(), shared, find_package_file, suffixes)
        self.shared_generation = _never_again
        # Two applications of one process may share folders of templates, and the caches of plug-ins.
        self.cache_prefix = hashlib.sha256(str(self.overlay.sites_dir).encode("utf-8", "surrogateescape")).hexdigest()[
            :8
        ]
        self._store = CompiledTemplates(module_directory=module_directory, options=options)
        self._max_sites = max_sites
        self._lookups: dict[int, SiteLookup] = {}
        self._shared = SiteLookup(self, None, 0)
        self._adding = forks.fork_safe_lock()

    def lookup(self, site: Site | None) -> SiteLookup:
        """Return the lookup for `site`; None stands for the shared layers only.

        Raises `TemplateLookupException` if the site's folder or theme is not the name of a folder.
        """
        if site is None:
            return self._shared_lookup()
        lookup = self._lookups.get(site.id)
        if lookup is None or lookup.site is not site:
            lookup = self._lookup_of(site)
        return lookup

    def _shared_lookup(self) -> SiteLookup:
        generation = self.shared_generation()
        lookup = self._shared
        if lookup.generation != generation:
            lookup = self._shared = SiteLookup(self, None, generation)
        return lookup

    def _lookup_of(self, site: Site) -> SiteLookup:
        with self._adding:
            lookup = self._lookups.get(site.id)
            if lookup is not None and lookup.site is not None and _has_same_templates(lookup.site, site):
                # The same site as the directory has read it again, or by another host.
                lookup.site = site
                return lookup
            self.overlay.layers(site)
            # The oldest goes, not the least used, so that a look-up has nothing to write down.
            while len(self._lookups) >= self._max_sites and site.id not in self._lookups:
                del self._lookups[next(iter(self._lookups))]
            lookup = self._lookups[site.id] = SiteLookup(self, site, site.template_generation)
            return lookup

    def has_asset(self, name: str) -> bool:
        """Say whether the package of the asset spec `name` has that file; False also for what is no name."""
        try:
            asset = self.overlay.asset(names.canonical(name))
        except TopLevelLookupException:
            return False
        return asset is not None and asset.is_file()

    def names(self, site: Site | None) -> list[str]:
        """Return the canonical names of all templates that lie in the layers of `site`, sorted; without packages."""
        return sorted({name for layer in self.overlay.layers(site) for name in self.overlay.names(layer)})

    def find(self, name: str, site: Site | None) -> type[TemplateView]:
        """Return the class of the views of the file that the canonical `name` stands for, compiled.

        Raises as `Overlay.find` and `CompiledTemplates.get` do.
        """
        while True:
            found = self.overlay.find(name, site)
            try:
                return self.compile(found, names.split_below(name)[1])
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
                # Removed after it was found? Then another layer may have it. Else the template itself misses a file.
                # Whether it exists now says nothing: it may have been put back.
                if Path(str(error.filename)) != found.path:
                    raise

    def compile(self, found: ResolvedTemplate, name: str) -> type[TemplateView]:
        """Return the view class for `found` under `name`. Raises as `CompiledTemplates.get` does."""
        return self._store.get(found, name)


def _never_again() -> int:
    return 0


def _has_same_templates(one: Site, other: Site) -> bool:
    return (one.folder, one.theme, one.template_generation) == (other.folder, other.theme, other.template_generation)


class SiteLookup:
    """The templates as one site sees them (`site` None: shared layers only), for one generation of them.

    It has the methods of `mako.lookup.TemplateCollection`, whose instances would each have a dictionary.
    """

    __slots__ = ("_templates", "_views", "generation", "site")

    def __init__(self, templates: SiteTemplates, site: Site | None, generation: int) -> None:
        self._templates = templates
        self._views: dict[str, TemplateView] = {}
        self.site = site
        self.generation = generation

    adjust_uri = staticmethod(names.canonical)
    """Called by Mako with the name that a template writes and the mark of that template; one cache for all sites."""

    @property
    def cache_namespace(self) -> str:
        """What keys of caches begin with. The site by its id: a host and a folder may get another owner."""
        site = "shared" if self.site is None else f"site{self.site.id}"
        return f"{self._templates.cache_prefix}_{site}_{self.generation}"

    def has_template(self, uri: str) -> bool:
        """Say whether there is a template called `uri`; raises what Mako raises for one with a mistake."""
        try:
            self.get_template(uri)
        except TemplateLookupException:
            return False
        return True

    def get_template(self, uri: str, relativeto: str | None = None) -> TemplateView:
        """Return this site's template called `uri`, a path from the root of the overlay or an asset spec.

        Raises `TopLevelLookupException` if there is none, `TemplateLookupException` if it may not be used, and what
        Mako raises for one with a mistake.
        """
        view = self._views.get(uri)
        if view is None or relativeto is not None or self._templates.reload:
            view = self._find(names.canonical(uri, relativeto))
        return view

    def _find(self, name: str) -> TemplateView:
        below, plain = names.split_below(name)
        plain = self._templates.overlay.overlay_name(plain)
        shortest = plain if below is None else f"below-{below}:{plain}"
        view = self._views.get(shortest)
        if view is None or self._templates.reload:
            view = self._view(shortest)
        if name != shortest:
            self._views[name] = view
        return view

    def _view(self, name: str) -> TemplateView:
        view_class = self._templates.find(name, self.site)
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
