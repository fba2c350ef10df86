"""The renderer for `.mako`: pages from the templates of the request's site.

`config.include("multisite")` includes it. It takes the renderer names and the `mako.*` settings of pyramid_mako, and
the place of pyramid_mako where an application includes both. The templates are in the registry under `TEMPLATES`.
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

from multisite.current import current_site
from multisite.errors import MultisiteError
from multisite.language import template_names
from multisite.mako_settings import parse_mako_options
from multisite.render_errors import add_note
from multisite.settings import Settings, parse_settings
from multisite.site import Site
from multisite.start import on_startup
from multisite.templates import SiteTemplates

__all__ = [
    "EXTENSIONS",
    "TEMPLATES",
    "MakoRenderer",
    "MakoRendererFactory",
    "all_templates",
    "includeme",
    "parse_mako_options",
    "templates_from_settings",
]

TEMPLATES = "multisite.templates"
"""The key of the `SiteTemplates` in the registry."""

EXTENSIONS = (".mako", ".mak")
"""The ends of the renderer names that are rendered here, as pyramid_mako has them; a directive adds more."""

FACTORIES = "multisite.renderers"
"""The key in the registry of the renderer factories, by extension."""

SUFFIXES = "multisite.template_suffixes"
"""The key in the registry of the suffixes of the files that are taken for templates, a set that directives add to."""


class MakoRenderer:
    """Renders one template, or one def of it, for whichever site the request is for."""

    def __init__(self, templates: SiteTemplates, name: str, package: str | None) -> None:
        """`name` is as in `renderer=name`: `page.mako`, `package:templates/page.mako`, or `page#def.mako` for a def.

        `package` is the one a name without a package may be relative to.
        """
        stem, _, extension = name.rpartition(".")
        stem, _, defname = stem.partition("#")
        self._templates = templates
        self._name = f"{stem}.{extension}"
        self._defname = defname or None
        self._package = package
        if ":" in self._name:
            # Names in templates import nothing, as they may hold what a visitor typed; this one stands in the code.
            import_module(self._name.partition(":")[0])
        self._uri = None if templates.reload else self.find_uri()

    @property
    def template(self) -> Any:
        """The template for the site of the current request, else for the current site, else the shared one.

        `get_renderer("page.mako").template` is how applications of pyramid_mako come to it. Raises as `get_template`.
        """
        return self._template(_site_of(get_current_request()))

    def _template(self, site: Site | None) -> Any:
        return self._templates.lookup(site).get_template(self._uri or self.find_uri())

    def find_uri(self) -> str:
        """Return the name for the overlay: a relative one is of the package if the package has that file."""
        if ":" in self._name or self._name.startswith("/"):
            return self._name
        if self._package is not None and self._templates.has_asset(f"{self._package}:{self._name}"):
            return f"{self._package}:{self._name}"
        return f"/{self._name}"

    def __call__(self, value: Mapping[str, Any], system: dict[str, Any]) -> str:
        """Return the page for the view's `value`, a mapping.

        Exceptions keep their type; those of a template carry a note with site, file and line.
        """
        try:
            system.update(value)
        except (TypeError, ValueError):
            raise ValueError(f"a template takes a mapping, and the view returned {type(value).__name__}") from None
        # Mako has a variable `context` of its own, so Pyramid's goes by the name that pyramid_mako gives it.
        context = system.pop("context", None)
        if context is not None:
            system["_context"] = context
        request = system.get("request")
        if request is not None:
            # What the view, or the application's own subscriber, calls by one of these names stays what it is.
            system = {**template_names(request), **system}
        site = _site_of(request)
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
    """Makes the renderers of the names with one extension: what Pyramid calls a renderer factory."""

    def __init__(self, make_templates: Callable[[], SiteTemplates]) -> None:
        """`make_templates` is called once, when the first of the templates is needed or the application starts.

        So settings may come after the directive, as they may for pyramid_mako.
        """
        self._make_templates = make_templates
        # Pyramid asks for the renderer of a view at every request. Bounded, since `render()` takes any names.
        self._renderer = lru_cache(1_000)(self._make_renderer)

    @cached_property
    def templates(self) -> SiteTemplates:
        """The templates that are rendered."""
        return self._make_templates()

    def __call__(self, info: Any) -> MakoRenderer:
        return self._renderer(info.name, getattr(info.package, "__name__", None))

    def _make_renderer(self, name: str, package: str | None) -> MakoRenderer:
        return MakoRenderer(self.templates, name, package)


def all_templates(registry: Any) -> list[tuple[SiteTemplates, set[str]]]:
    """Return the templates of an application, and the names of them that its views render, as the overlay takes them.

    The first are those of `.mako`. There are others where an extension has settings of its own.
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


def _site_of(request: Any) -> Site | None:
    """Return the site to render for; None, for the shared templates only, where there is none."""
    try:
        site: Site | None = getattr(request, "site", None)
    except MultisiteError:  # The page that says so (no such host, the database is down) is rendered, too.
        site = None
    return current_site() if site is None else site


def find_package_file(package: str, path: str) -> Path | None:
    """Find a file of a package as Pyramid does, overridden assets included; None if the package is not imported."""
    module = sys.modules.get(package)
    if module is None or not getattr(module, "__file__", None):
        return None
    return Path(AssetResolver(module).resolve(f"{package}:{path}").abspath())


def templates_from_settings(
    settings: Settings,
    options: Mapping[str, Any],
    find_package_file: Callable[[str, str], Path | None] = find_package_file,
) -> SiteTemplates:
    """Return the `SiteTemplates` for parsed settings and the result of `parse_mako_options`."""
    return SiteTemplates(
        settings.sites_dir,
        settings.templates_dir,
        max_sites=settings.directory_size,
        find_package_file=find_package_file,
        **options,
    )


def includeme(config: Configurator) -> None:
    """Render `.mako` and `.mak` from the templates of the request's site; put them into the registry as `TEMPLATES`.

    Adds pyramid_mako's directive `config.add_mako_renderer(extension)`, for further extensions.
    Raises `SettingError` for a bad setting below `multisite.`. The renderers win over those of pyramid_mako.
    """
    registry = config.registry
    suffixes = registry[SUFFIXES] = set(EXTENSIONS)
    registry[TEMPLATES] = _make_templates(config, suffixes)
    parsed = _mako_settings(registry)
    factories: dict[str, MakoRendererFactory] = {}
    registry[FACTORIES] = factories
    config.add_directive("add_mako_renderer", add_mako_renderer)
    for extension in EXTENSIONS:
        factories[extension] = _shared_factory(registry)

    def register(_registry: object = None) -> None:
        # What pyramid_mako's own directive has registered knows no sites.
        for extension, factory in list(registry.getUtilitiesFor(IRendererFactory)):
            if type(factory).__module__ == "pyramid_mako" and extension not in factories:
                _add_factory(registry, extension, _shared_factory(registry), suffixes)
        for extension, factory in factories.items():
            registry.registerUtility(factory, IRendererFactory, name=extension)

    def register_late() -> None:
        # pyramid_mako reads its settings here as well: those that came after it was included are seen. Those of
        # multisite may have come after this was included by itself.
        if _mako_settings(registry) != parsed:
            registry[TEMPLATES] = introspectable["templates"] = _make_templates(config, suffixes)
        register()

    introspectable = config.introspectable("multisite templates", TEMPLATES, "templates of all sites", "overlay")
    introspectable["templates"] = registry[TEMPLATES]
    # A discriminator would conflict with pyramid_mako's, which registers in PHASE1 and must not have the last word.
    config.action(None, register_late, order=PHASE1_CONFIG + 1, introspectables=(introspectable,))
    # Nor may it where the application commits its configuration before it includes pyramid_mako.
    on_startup(registry, register)
    # What is wrong with the settings of a further extension stops the start, not the first page.
    on_startup(registry, lambda _registry: [factory.templates for factory in factories.values()])


def add_mako_renderer(config: Configurator, extension: str, settings_prefix: str = "mako.") -> None:
    """Render names that end with `extension` (".html") as `.mako` is: a directive, that of pyramid_mako.

    `settings_prefix` is what the keys of its settings begin with; they may be added after this.
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
    if extension.startswith("."):  # Otherwise it is the whole name of a renderer.
        suffixes.add(extension)


def _shared_factory(registry: Any) -> MakoRendererFactory:
    return MakoRendererFactory(lambda: registry[TEMPLATES])


def _make_templates(config: Configurator, suffixes: Collection[str], prefix: str = "mako.") -> SiteTemplates:
    registry = config.registry
    settings = registry.get("multisite.settings") or parse_settings(registry.settings)
    options = parse_mako_options(registry.settings, config.maybe_dotted, prefix)
    templates = templates_from_settings(settings, options | {"suffixes": suffixes})
    if prefix != "mako.":
        # Asked for late: that one learns it when the configuration is complete.
        templates.shared_generation = lambda: registry[TEMPLATES].shared_generation()  # noqa: PLW0108
    return templates


def _mako_settings(registry: Any) -> dict[str, Any]:
    return {
        key: value
        for key, value in registry.settings.items()
        if key.startswith(("mako.", "multisite.")) or key == "pyramid.reload_templates"
    }
