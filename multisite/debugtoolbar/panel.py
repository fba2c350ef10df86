"""The panel: a request's site and how it was found, and its templates, statements, settings and caches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from mako.exceptions import TemplateLookupException
from pyramid.request import Request
from pyramid.response import Response
from pyramid.threadlocal import manager
from pyramid_debugtoolbar.panels import DebugPanel

from multisite.core import domains
from multisite.core.host_header import DEFAULT_PORTS, requested_host
from multisite.core.keys import DIRECTORY, OPEN_PATH, SETTINGS, SHIFTED_PATH, SUFFIX
from multisite.core.settings import PREFIX
from multisite.core.site import Site
from multisite.debugtoolbar.recording import Recording, UsedTemplate, recording
from multisite.directory.records import get_site
from multisite.errors import MultisiteError
from multisite.web.introspection import redacted
from multisite.web.renderer import TEMPLATES
from multisite.web.site_settings import SITE_SETTINGS

__all__ = ["SitePanel"]

Handler = Callable[[Request], Response]


class SitePanel(DebugPanel):  # type: ignore[misc]  # pyramid_debugtoolbar has no types.
    """The panel `Site`, created for each request that shows the toolbar."""

    name = "multisite"
    template = "multisite.debugtoolbar:panel.dbtmako"
    title = "Site"
    nav_title = "Site"
    has_content = True

    def __init__(self, request: Request) -> None:
        self._request = request
        self._recording = Recording()
        self._subtitle = ""

    @property
    def nav_subtitle(self) -> str:
        """The site, shown beside the name of the panel."""
        return self._subtitle

    def wrap_handler(self, handler: Handler) -> Handler:
        """Record what happens while the request is handled."""

        def record(request: Request) -> Response:
            with recording(self._recording):
                return handler(request)

        return record

    def process_response(self, response: Response) -> None:
        """Collect the template's data, which outlives the request."""
        request, self._request = self._request, None
        # Statements of this method do not belong to the request, and other panels must not count them.
        manager.push({"request": None, "registry": request.registry})
        try:
            self._describe(request)
        finally:
            manager.pop()

    def _describe(self, request: Request) -> None:
        site, how = _how_found(request)
        found = self._recording
        self._subtitle = site.domain if site is not None else "none"
        self.data.update(
            site=[] if site is None else _site_fields(site),
            how=how,
            templates=_templates(request, found.templates),
            statements=found.statements,
            lookups=sorted(Counter(found.lookups).items()),
            own_settings=_own_settings(request, site),
            settings=_settings(request),
        )


def _site_fields(site: Site) -> list[tuple[str, object]]:
    shown_fields = ("id", "domain", "name", "folder", "theme", "locale", "timezone", "template_generation")
    return [(name, getattr(site, name)) for name in shown_fields]


def _how_found(request: Request) -> tuple[Site | None, str]:
    """Return the site of `request`, or None, and an explanation of how it was found or why not."""
    environ = request.environ
    if OPEN_PATH in environ:
        return None, "this path is open (multisite.open_paths): it is served without a site"
    try:
        host = requested_host(environ, underscores=True)
        site: Site = request.site
    except MultisiteError as error:
        return None, str(error)
    found_for, suffix = environ.get(SUFFIX, (None, ""))
    if found_for != environ.get("HTTP_HOST"):
        suffix = ""
    name = host.name
    path = environ.get(SHIFTED_PATH, "") + environ.get("PATH_INFO", "")
    port = None if suffix else host.port or DEFAULT_PORTS.get(request.scheme)
    domain = _matched_domain(request, site, name.removesuffix(suffix), port, path)
    if domain is None:
        return (
            site,
            f"no domain matches {host}: fallback (multisite.unknown_host = {request.registry[SETTINGS].unknown_host})",
        )
    parts = [f"by its {_kind(request, site, domain)} {domain}"]
    if domain.is_wildcard:
        parts.append("a wildcard")
    if domain.port is not None:
        parts.append("with its port")
    if domain.path:
        parts.append("with its path")
    if suffix:
        parts.append(f"without the development suffix {suffix} of {host}")
    return site, ", ".join(parts)


def _matched_domain(request: Request, site: Site, name: str, port: int | None, path: str) -> domains.Domain | None:
    names = set(domains.candidate_names(name))
    own = [
        domain for text in _domains(request, site) if (domain := domains.parse(text, underscores=True)).name in names
    ]
    return domains.best_match(own, port or 0, path)


def _domains(request: Request, site: Site) -> dict[str, str]:
    """Return the domains of `site` with their kinds; only the canonical one if the site is not in the database."""
    try:
        record = get_site(request.registry[DIRECTORY].engine, site.domain)
    except Exception:  # A site added by a test, or a database that is down: the page was served nevertheless.
        return {site.domain: "canonical"}
    return {domain.host: domain.kind for domain in record.domains}


def _kind(request: Request, site: Site, domain: domains.Domain) -> str:
    return {"canonical": "canonical domain", "redirect": "redirect"}.get(_domains(request, site)[str(domain)], "alias")


def _templates(request: Request, used: list[UsedTemplate]) -> list[dict[str, Any]]:
    """Return each template that was used, in order, with the layers in which it was looked up."""
    overlay = request.registry[TEMPLATES].overlay
    found = []
    for template in dict.fromkeys(used):
        layers = []
        try:
            for layer, place in overlay.candidates(template.name, template.site):
                layers.append((layer.kind, str(place), overlay.stat_candidate(layer, place) is not None))
        except TemplateLookupException as error:
            layers.append(("", str(error), False))
        won = next((kind for kind, _place, there in layers if there), "")
        found.append({"name": template.name, "file": template.file, "layer": won, "layers": layers})
    return found


def _own_settings(request: Request, site: Site | None) -> list[Any]:
    declared = request.registry.get(SITE_SETTINGS)
    return [] if site is None or declared is None else declared.describe(site)


def _settings(request: Request) -> list[tuple[str, object, str]]:
    """Return the settings of multisite in the ini file: key, value without secrets, and source."""
    settings = request.registry[SETTINGS]
    given = request.registry.settings
    names = [key for key in given if key.startswith(PREFIX)]
    return [
        (key, redacted(key.removeprefix(PREFIX), getattr(settings, key.removeprefix(PREFIX))), "ini")
        for key in sorted(names)
        if hasattr(settings, key.removeprefix(PREFIX))
    ]
