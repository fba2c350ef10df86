"""Mako's template lookup, a small one for each site in use.

A lookup holds only its site and the views that it returned, by name. Without reload, a known name costs one dictionary
access; with reload, the overlay is searched each time. When the theme, the folder or the template generation of a site
changes, it gets a new lookup, which searches for all files again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mako.exceptions import TemplateLookupException, TopLevelLookupException

from multisite.core import fork_safety
from multisite.core.site import Site
from multisite.errors import SettingError
from multisite.templates import names
from multisite.templates.compiled import Compiled, CompiledTemplates, TemplateView
from multisite.templates.overlay import Overlay, PackageFileFinder, ResolvedTemplate, find_package_file

__all__ = ["SiteLookup", "SiteTemplates"]


class SiteTemplates:
    """The templates of all sites of an application.

    Args:
        sites_dir: Holds a folder for each site.
        templates_dir: The shared templates, with the themes in a folder of their own.
        directories: Further shared folders, of lower precedence.
        reload: Whether added, changed and removed files are noticed at the next lookup. If not, a name is resolved once
            and again only when the site's `template_generation` changes.
        max_sites: How many lookups of sites are kept in memory, each less than 1 kB for a site without own files.
        module_directory: Keeps compiled templates for the next start; None: memory only.
        find_package_file: Finds files of packages.
        suffixes: The suffixes of files that `names` lists; None: `.mako` and `.mak`.
        options: Keyword arguments of `mako.template.Template`. `default_filters` defaults to `["h"]` and
            `input_encoding` to UTF-8.

    Raises:
        SettingError: The shared folder is inside the folder of the sites.
    """

    shared_generation: Callable[[], int]
    """Returns the template generation for pages without a site. The application sets this attribute."""

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
        self.shared_generation = _constant_generation
        # Two applications of one process may share template folders, and the caches of plug-ins.
        self.cache_prefix = hashlib.sha256(str(self.overlay.sites_dir).encode("utf-8", "surrogateescape")).hexdigest()[
            :8
        ]
        self._store = CompiledTemplates(module_directory=module_directory, options=options)
        self._max_sites = max_sites
        self._lookups: dict[int, SiteLookup] = {}
        self._shared = SiteLookup(self, None, 0)
        self._adding = fork_safety.fork_safe_lock()

    def lookup(self, site: Site | None) -> SiteLookup:
        """Return the lookup for `site`; None means the shared layers only.

        Raises:
            TemplateLookupException: The site's folder or theme is not a valid folder name.
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
                # The directory has reloaded the site, or found it by another host.
                lookup.site = site
                return lookup
            self.overlay.layers(site)
            # The oldest one is evicted, not the least recently used, so that lookups need no bookkeeping.
            while len(self._lookups) >= self._max_sites and site.id not in self._lookups:
                del self._lookups[next(iter(self._lookups))]
            lookup = self._lookups[site.id] = SiteLookup(self, site, site.template_generation)
            return lookup

    def has_asset(self, name: str) -> bool:
        """Return whether the package of the asset spec `name` has that file; False also for an invalid name."""
        try:
            asset = self.overlay.asset(names.canonical(name))
        except TopLevelLookupException:
            return False
        return asset is not None and asset.is_file()

    def names(self, site: Site | None) -> list[str]:
        """Return the canonical names of all templates in the layers of `site`, sorted, without those of packages."""
        return sorted({name for layer in self.overlay.layers(site) for name in self.overlay.names(layer)})

    def find(self, name: str, site: Site | None) -> Compiled:
        """Return the file that the canonical `name` resolves to, compiled if needed.

        Raises:
            TopLevelLookupException: No layer has the file.
            TemplateLookupException: The file may not be used.
            FileNotFoundError: The template's module-level code opens a file that does not exist.
            IsADirectoryError: It opens a folder.
            NotADirectoryError: It opens a path below a file.
            Exception: Whatever else Mako raises for a template that does not compile.
        """
        while True:
            found = self.overlay.find(name, site)
            try:
                return self.compile(found, names.split_below(name)[1])
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
                # If the file was removed after it was found, another layer may have it; if another file is missing,
                # the error is the template's. Checking for existence would not tell: the file may be back.
                if Path(str(error.filename)) != found.path:
                    raise

    def compile(self, found: ResolvedTemplate, name: str) -> Compiled:
        """Return `found` under `name`, compiled; raises what `CompiledTemplates.get` raises."""
        return self._store.get(found, name)


def _constant_generation() -> int:
    return 0


def _has_same_templates(one: Site, other: Site) -> bool:
    return (one.folder, one.theme, one.template_generation) == (other.folder, other.theme, other.template_generation)


class SiteLookup:
    """The template lookup of one site (None: shared layers only) and one template generation.

    It has the methods of `mako.lookup.TemplateCollection` without inheriting from it, which saves the `__dict__`.
    """

    __slots__ = ("_templates", "_views", "generation", "site")

    def __init__(self, templates: SiteTemplates, site: Site | None, generation: int) -> None:
        self._templates = templates
        self._views: dict[str, TemplateView] = {}
        self.site = site
        self.generation = generation

    adjust_uri = staticmethod(names.canonical)
    """Mako calls this with a name in a template and the qualified URI of that template; all sites share its cache."""

    @property
    def cache_namespace(self) -> str:
        """The prefix of cache keys. It includes the site's id, because hosts and folders can move to another site."""
        site = "shared" if self.site is None else f"site{self.site.id}"
        return f"{self._templates.cache_prefix}_{site}_{self.generation}"

    def has_template(self, uri: str) -> bool:
        """Return whether the template `uri` exists; raises what Mako raises for a template that does not compile."""
        try:
            self.get_template(uri)
        except TemplateLookupException:
            return False
        return True

    def get_template(self, uri: str, relativeto: str | None = None) -> TemplateView:
        """Return this site's template `uri`, a path from the root of the overlay or an asset spec.

        Raises:
            TopLevelLookupException: There is no such template.
            TemplateLookupException: The template may not be used.
            MakoException: The template does not compile.
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
        compiled = self._templates.find(name, self.site)
        known = self._views.get(name)
        if known is not None and known.compiled is compiled:
            return known
        view = compiled.view(compiled, self)
        if known is not None:
            self._views[name] = view
        # If two threads get here at once, both return the view of the first.
        return self._views.setdefault(name, view)

    def filename_to_uri(self, uri: str, filename: str) -> NoReturn:
        """Not supported: a file of the overlay may have several names."""
        raise NotImplementedError("a file of the overlay may have several names")
