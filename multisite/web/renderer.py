"""The `.mako` renderer: renders the templates of the request's site.

`config.include("multisite")` includes it. It supports the renderer names and the `mako.*` settings of pyramid_mako, and
replaces pyramid_mako if an application includes both. The registry has the templates under `TEMPLATES`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from functools import cached_property, lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from pyramid.config import PHASE1_CONFIG, Configurator
from pyramid.interfaces import IRendererFactory
from pyramid.path import AssetResolver
from pyramid.threadlocal import get_current_request

from multisite.core.current_site import current_site
from multisite.core.keys import SETTINGS
from multisite.core.settings import Settings, parse_settings
from multisite.core.site import Site
from multisite.errors import MultisiteError
from multisite.language.request import template_names
from multisite.templates import SiteTemplates
from multisite.web.mako_settings import parse_mako_options
from multisite.web.render_errors import add_note
from multisite.web.startup import on_startup

__all__ = [
    "EXTENSIONS",
    "TEMPLATES",
    "MakoRenderer",
    "MakoRendererFactory",
    "all_templates",
    "includeme",
    "templates_from_settings",
]

TEMPLATES = "multisite.templates"
"""Registry key of the `SiteTemplates`."""

EXTENSIONS = (".mako", ".mak")
"""The extensions of renderer names, as in pyramid_mako; a directive adds more."""

FACTORIES = "multisite.renderers"
"""Registry key of the renderer factories by extension."""

SUFFIXES = "multisite.template_suffixes"
"""Registry key of the set of suffixes of template files, which directives add to."""


class MakoRenderer:
    """Renders a template, or a def of it, for the site of each request."""

    def __init__(self, templates: SiteTemplates, name: str, package: str | None) -> None:
        """Create a renderer for one name.

        Args:
            templates: The templates of all sites.
            name: As in `renderer=name`: `page.mako`, `package:templates/page.mako`, or `page#def.mako` for a def.
            package: The package that a name without a package may be relative to; None for no package.
        """
        stem, _, extension = name.rpartition(".")
        stem, _, defname = stem.partition("#")
        self._templates = templates
        self._name = f"{stem}.{extension}"
        self._defname = defname or None
        self._package = package
        if ":" in self._name:
            # Safe to import: this name is written in code. Names in templates, which may contain user input, are not.
            import_module(self._name.partition(":")[0])
        self._uri = None if templates.reload else self.find_uri()

    @property
    def template(self) -> Any:
        """The template for the site of the current request, else for the current site, else the shared one.

        Applications of pyramid_mako use `get_renderer("page.mako").template`. Raises the same errors as `get_template`.
        """
        return self._template(_site_to_render(get_current_request()))

    def _template(self, site: Site | None) -> Any:
        return self._templates.lookup(site).get_template(self._uri or self.find_uri())

    def find_uri(self) -> str:
        """Return the template URI: a relative name belongs to the package if the package has that file."""
        if ":" in self._name or self._name.startswith("/"):
            return self._name
        if self._package is not None and self._templates.has_asset(f"{self._package}:{self._name}"):
            return f"{self._package}:{self._name}"
        return f"/{self._name}"

    def __call__(self, value: Mapping[str, Any], system: dict[str, Any]) -> str:
        """Render the page for `value`, the mapping that the view has returned.

        Exceptions keep their type, and get a note with the site, the template file and the line.

        Returns:
            The page.

        Raises:
            ValueError: `value` is not a mapping.
        """
        try:
            system.update(value)
        except (TypeError, ValueError):
            raise ValueError(f"a template takes a mapping, and the view returned {type(value).__name__}") from None
        # Mako reserves `context`, so Pyramid's context is renamed as in pyramid_mako.
        context = system.pop("context", None)
        if context is not None:
            system["_context"] = context
        request = system.get("request")
        if request is not None:
            # Names set by the view, or by the application's own subscriber, take precedence.
            system = {**template_names(request), **system}
        site = _site_to_render(request)
        try:
            template = self._template(site)
            if self._defname is not None:
                template = template.get_def(self._defname)
            page: str = template.render_unicode(**system)
        except Exception as error:
            add_note(error, site)
            raise
        return page


class MakoRendererFactory:
    """A Pyramid renderer factory for one extension."""

    def __init__(self, make_templates: Callable[[], SiteTemplates]) -> None:
        """Create a factory.

        Args:
            make_templates: Called once, when a template is first needed or when the application starts. Settings may
                therefore be added after the directive, as with pyramid_mako.
        """
        self._make_templates = make_templates
        # Pyramid calls the factory for each request. Bounded, because `render()` accepts any names.
        self._renderer = lru_cache(1_000)(self._make_renderer)

    @cached_property
    def templates(self) -> SiteTemplates:
        """The templates of all sites."""
        return self._make_templates()

    def __call__(self, info: Any) -> MakoRenderer:
        """Return the renderer for the name and the package in `info`, Pyramid's `IRendererInfo`."""
        return self._renderer(info.name, getattr(info.package, "__name__", None))

    def _make_renderer(self, name: str, package: str | None) -> MakoRenderer:
        return MakoRenderer(self.templates, name, package)


def all_templates(registry: Any) -> list[tuple[SiteTemplates, set[str]]]:
    """Return the `SiteTemplates` of an application, each with the URIs of the templates that its views render.

    The first are those of `.mako`. There are more if an extension has settings of its own.
    """
    factories = registry[FACTORIES]
    found: dict[int, tuple[SiteTemplates, set[str]]] = {}
    for templates in (registry[TEMPLATES], *(factory.templates for factory in factories.values())):
        found.setdefault(id(templates), (templates, set()))
    for entry in registry.introspector.get_category("templates") or ():
        helper = entry["introspectable"]["renderer"]
        if helper.type in factories:
            factory = factories[helper.type]
            found[id(factory.templates)][1].add(factory(helper).find_uri())
    return list(found.values())


def _site_to_render(request: Any) -> Site | None:
    """Return the site to render for; None for the shared templates only."""
    try:
        site: Site | None = getattr(request, "site", None)
    except MultisiteError:  # Exception views for these errors render templates too.
        site = None
    return current_site() if site is None else site


def find_package_file(package: str, path: str) -> Path | None:
    """Find a file of a package as Pyramid does, with asset overrides; None if the package is not imported."""
    module = sys.modules.get(package)
    if module is None or not getattr(module, "__file__", None):
        return None
    return Path(AssetResolver(module).resolve(f"{package}:{path}").abspath())


def templates_from_settings(
    settings: Settings,
    options: Mapping[str, Any],
    find_package_file: Callable[[str, str], Path | None] = find_package_file,
) -> SiteTemplates:
    """Create the `SiteTemplates` from the settings and the result of `parse_mako_options`."""
    return SiteTemplates(
        settings.sites_dir,
        settings.templates_dir,
        max_sites=settings.directory_size,
        find_package_file=find_package_file,
        **options,
    )


def includeme(config: Configurator) -> None:
    """Render `.mako` and `.mak` with the templates of the request's site.

    Adds the directive `config.add_mako_renderer(extension)`, which is pyramid_mako's. The renderers take precedence
    over those of pyramid_mako.

    Raises:
        SettingError: A setting below `multisite.` is invalid.
    """
    registry = config.registry
    suffixes = registry[SUFFIXES] = set(EXTENSIONS)
    registry[TEMPLATES] = _make_templates(config, suffixes)
    settings_at_include = _mako_settings(registry)
    factories: dict[str, MakoRendererFactory] = {}
    registry[FACTORIES] = factories
    config.add_directive("add_mako_renderer", add_mako_renderer)
    for extension in EXTENSIONS:
        factories[extension] = _shared_factory(registry)

    def register(_registry: object = None) -> None:
        # Replace what pyramid_mako's own directive has registered.
        for extension, factory in list(registry.getUtilitiesFor(IRendererFactory)):
            if type(factory).__module__ == "pyramid_mako" and extension not in factories:
                _add_factory(registry, extension, _shared_factory(registry), suffixes)
        for extension, factory in factories.items():
            registry.registerUtility(factory, IRendererFactory, name=extension)

    def register_late() -> None:
        # Settings may have been added after this include. pyramid_mako reads its settings in this phase as well.
        if _mako_settings(registry) != settings_at_include:
            registry[TEMPLATES] = introspectable["templates"] = _make_templates(config, suffixes)
        register()

    introspectable = config.introspectable("multisite templates", TEMPLATES, "templates of all sites", "overlay")
    introspectable["templates"] = registry[TEMPLATES]
    # After pyramid_mako, which registers in PHASE1. A discriminator would conflict with it.
    config.action(None, register_late, order=PHASE1_CONFIG + 1, introspectables=(introspectable,))
    # Again, in case the application commits its configuration before it includes pyramid_mako.
    on_startup(registry, register)
    # An invalid setting of a further extension fails at startup, not with the first page.
    on_startup(registry, lambda _registry: [factory.templates for factory in factories.values()])


def add_mako_renderer(config: Configurator, extension: str, settings_prefix: str = "mako.") -> None:
    """Render names that end with `extension` with Mako. A Configurator directive, the same as pyramid_mako's.

    Args:
        config: The Configurator.
        extension: For example `.html`.
        settings_prefix: The prefix of the renderer's settings, which may be added later.
    """
    registry = config.registry
    if settings_prefix == "mako.":
        factory, suffixes = _shared_factory(registry), registry[SUFFIXES]
    else:
        suffixes = set()
        factory = MakoRendererFactory(lambda: _make_templates(config, suffixes, settings_prefix))
    _add_factory(registry, extension, factory, suffixes)
    config.add_renderer(extension, factory)


def _add_factory(registry: Any, extension: str, factory: MakoRendererFactory, suffixes: set[str]) -> None:
    registry[FACTORIES][extension] = factory
    if extension.startswith("."):  # Otherwise it is a complete renderer name.
        suffixes.add(extension)


def _shared_factory(registry: Any) -> MakoRendererFactory:
    return MakoRendererFactory(lambda: registry[TEMPLATES])


def _make_templates(config: Configurator, suffixes: Collection[str], prefix: str = "mako.") -> SiteTemplates:
    registry = config.registry
    settings = registry.get(SETTINGS) or parse_settings(registry.settings)
    options = parse_mako_options(registry.settings, config.maybe_dotted, prefix)
    templates = templates_from_settings(settings, options | {"suffixes": suffixes})
    if prefix != "mako.":
        # Evaluated late, because it is set on the shared templates when the configuration is complete.
        templates.shared_generation = lambda: registry[TEMPLATES].shared_generation()  # noqa: PLW0108
    return templates


def _mako_settings(registry: Any) -> dict[str, Any]:
    return {
        key: value
        for key, value in registry.settings.items()
        if key.startswith(("mako.", "multisite.")) or key == "pyramid.reload_templates"
    }
