"""Check that the templates compile, and that the templates they refer to exist."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from multisite.check.application import Application
from multisite.core.finding import Finding
from multisite.core.keys import DIRECTORY
from multisite.core.site import Site
from multisite.directory.records import list_sites
from multisite.templates.lint import TemplateIssue, lint
from multisite.templates.overlay import Overlay
from multisite.web.renderer import all_templates

__all__ = ["check_templates"]


def check_templates(application: Application) -> Iterator[Finding]:
    """Report templates that do not compile, refer to a missing template, or inherit from themselves."""
    application.progress("the templates")
    site = application.site
    if site is not None:
        sites = [site]
    else:
        engine = application.registry[DIRECTORY].engine
        if engine.url.render_as_string() in application.unreachable:
            return
        sites = [record.site for record in list_sites(engine)]
    for templates, used in all_templates(application.registry):
        for issue in lint(templates, sites, used):
            if site is None or _may_show(templates.overlay, site, issue.path):
                yield _finding(issue)


def _finding(issue: TemplateIssue) -> Finding:
    where = "" if issue.line is None else f", line {issue.line}"
    return Finding(
        "template",
        f"{issue.path}{where}",
        f"{_site_prefix(issue)}{issue.reason}",
        "fix it: its page answers 500 until then",
    )


def _may_show(overlay: Overlay, site: Site, path: Path) -> bool:
    """Return whether `site` may use the file: it is the site's own, its theme's, or shared."""
    if any(path.is_relative_to(layer.root) for layer in overlay.layers(site) if layer.kind in {"site", "theme"}):
        return True
    return not any(path.is_relative_to(folder.resolve()) for folder in (overlay.sites_dir, overlay.themes_dir))


def _site_prefix(issue: TemplateIssue) -> str:
    """Return the beginning of the message, which names the affected sites; empty if all are."""
    if not issue.sites:
        return ""
    more = len(issue.sites) - 1
    return f"on {issue.sites[0].host}" + (f" and {more} more" if more else "") + " "
