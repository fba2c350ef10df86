"""The renderer for `.mako`: pages from the templates of the request's site.

`config.include("multisite")` includes it. It takes the renderer names and the `mako.*` settings of pyramid_mako, and
the place of pyramid_mako where an application includes both. The templates are in the registry under `TEMPLATES`.
"""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

from mako.exceptions import CompileException, RichTraceback, SyntaxException
from pyramid.config import PHASE1_CONFIG, Configurator
from pyramid.interfaces import IRendererFactory
from pyramid.path import AssetResolver

from multisite.errors import MultisiteError
from multisite.language import template_names
from multisite.mako_settings import parse_mako_options
from multisite.settings import Settings, parse_settings
from multisite.site import Site, current_site
from multisite.start import at_start
from multisite.templates import SiteTemplates

__all__ = [
    "EXTENSIONS",
    "TEMPLATES",
    "MakoRenderer",
    "includeme",
    "parse_mako_options",
    "templates_from_settings",
    "view_templates",
]

TEMPLATES = "multisite.templates"
"""The key of the `SiteTemplates` in the registry."""

EXTENSIONS = (".mako", ".mak")
"""The ends of the renderer names that are rendered here, as pyramid_mako has them; a directive adds more."""

FACTORIES = "multisite.renderers"
"""The key in the registry of the renderer factories, by extension."""


CIRCLE_FRAMES = 20
"""A template that is met so often in the traceback of a RecursionError is what it is about."""


Factory = Callable[[Any], "MakoRenderer"]


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
            template = self._templates.lookup(site).get_template(self._uri or self.find_uri())
            if self._defname is not None:
                template = template.get_def(self._defname)
            page: str = template.render_unicode(**system)
        except Exception as error:
            _add_note(error, site)
            raise
        return page


def view_templates(registry: Any) -> set[str]:
    """Return the names, as the overlay takes them, of the templates that the views of an application render."""
    helpers = [entry["introspectable"]["renderer"] for entry in registry.introspector.get_category("templates") or ()]
    return {
        MakoRenderer(registry[TEMPLATES], helper.name, getattr(helper.package, "__name__", None)).find_uri()
        for helper in helpers
        if helper.type in registry[FACTORIES]
    }


def _site_of(request: Any) -> Site | None:
    """Return the site to render for; None, for the shared templates only, where there is none."""
    try:
        site: Site | None = getattr(request, "site", None)
    except MultisiteError:  # The page that says so (no such host, the database is down) is rendered, too.
        site = None
    return current_site() if site is None else site


def _add_note(error: Exception, site: Site | None) -> None:
    file, line = _place(error)
    note = f"multisite: site {'-' if site is None else site}"
    if file is not None:
        note += f", template {file}, line {line}"
    if note not in getattr(error, "__notes__", ()):  # A template that renders another passes here twice.
        error.add_note(note)


def _place(error: Exception) -> tuple[str | None, int]:
    """Return file and line of the template in which `error` arose; None if it was in none."""
    if isinstance(error, (SyntaxException, CompileException)):
        return error.filename, error.lineno
    if isinstance(error, RecursionError):
        _name_the_circle(error)
    for record in reversed(RichTraceback(error=error, traceback=error.__traceback__).records):
        if record[4] is not None:
            return record[4], record[5]
    return None, 0


def _name_the_circle(error: RecursionError) -> None:
    """Add a note with the templates that inherit from or include each other without end, if that is what they do."""
    frames = Counter(
        frame.f_globals["_template_filename"]
        for frame, _line in traceback.walk_tb(error.__traceback__)
        if "_template_filename" in frame.f_globals
    )
    circle = [file for file, count in frames.items() if count >= CIRCLE_FRAMES]
    note = f"multisite: these templates inherit from or include each other without end: {', '.join(circle)}"
    if circle and note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def find_asset(package: str, path: str) -> Path | None:
    """Find a file of a package as Pyramid does, overridden assets included; None if the package is not imported."""
    module = sys.modules.get(package)
    if module is None or not getattr(module, "__file__", None):
        return None
    return Path(AssetResolver(module).resolve(f"{package}:{path}").abspath())


def templates_from_settings(
    settings: Settings, options: Mapping[str, Any], find_asset: Callable[[str, str], Path | None] = find_asset
) -> SiteTemplates:
    """Return the `SiteTemplates` for parsed settings and the result of `parse_mako_options`."""
    return SiteTemplates(
        settings.sites_dir,
        settings.templates_dir,
        max_sites=settings.directory_size,
        find_asset=find_asset,
        **options,
    )


def includeme(config: Configurator) -> None:
    """Render `.mako` and `.mak` from the templates of the request's site; put them into the registry as `TEMPLATES`.

    Adds pyramid_mako's directive `config.add_mako_renderer(extension)`, for further extensions.
    Raises `SettingError` for a bad setting below `multisite.`. The renderers win over those of pyramid_mako.
    """
    registry = config.registry
    settings = registry.get("multisite.settings") or parse_settings(registry.settings)
    templates = templates_from_settings(settings, parse_mako_options(registry.settings, config.maybe_dotted))
    registry[TEMPLATES] = templates

    factories: dict[str, Factory] = {}
    registry[FACTORIES] = factories
    config.add_directive("add_mako_renderer", add_mako_renderer)
    for extension in EXTENSIONS:
        factories[extension] = _factory_of(templates)

    def register(_registry: object = None) -> None:
        # What pyramid_mako's own directive has registered knows no sites.
        for extension, factory in list(registry.getUtilitiesFor(IRendererFactory)):
            if type(factory).__module__ == "pyramid_mako":
                factories.setdefault(extension, factories[EXTENSIONS[0]])
        for extension, factory in factories.items():
            registry.registerUtility(factory, IRendererFactory, name=extension)

    introspectable = config.introspectable("multisite templates", TEMPLATES, "templates of all sites", "overlay")
    introspectable["templates"] = templates
    # A discriminator would conflict with pyramid_mako's, which registers in PHASE1 and must not have the last word.
    config.action(None, register, order=PHASE1_CONFIG + 1, introspectables=(introspectable,))
    # Nor may it where the application commits its configuration before it includes pyramid_mako.
    at_start(registry, register)


def add_mako_renderer(config: Configurator, extension: str, settings_prefix: str = "mako.") -> None:
    """Render names that end with `extension` (".html") as `.mako` is: a directive, that of pyramid_mako.

    `settings_prefix` is what the keys of its settings begin with.
    """
    registry = config.registry
    templates = registry[TEMPLATES]
    if settings_prefix != "mako.":
        settings = registry.get("multisite.settings") or parse_settings(registry.settings)
        options = parse_mako_options(registry.settings, config.maybe_dotted, settings_prefix)
        templates = templates_from_settings(settings, options)
    registry[FACTORIES][extension] = _factory_of(templates)
    config.add_renderer(extension, registry[FACTORIES][extension])


def _factory_of(templates: SiteTemplates) -> Factory:
    # Pyramid asks for the renderer of a view anew at every request. Bounded, since `render()` takes any names.
    cached = lru_cache(1_000)(partial(MakoRenderer, templates))

    def factory(info: Any) -> MakoRenderer:
        return cached(info.name, getattr(info.package, "__name__", None))

    return factory
