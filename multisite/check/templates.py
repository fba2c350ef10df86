"""Check that the templates compile, and that the templates they refer to exist."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from multisite.check.application import Application
from multisite.core.finding import Finding
from multisite.core.keys import DIRECTORY, SETTINGS
from multisite.core.site import Site
from multisite.directory.listing import TemplateSource, template_sources
from multisite.directory.records import read_sites
from multisite.directory.tables import AS_MULTISITE
from multisite.templates.lint import TemplateIssue, lint
from multisite.templates.overlay import Overlay
from multisite.web.renderer import all_templates

__all__ = ["check_templates", "sites_to_check"]


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
        chosen = sites_to_check(template_sources(engine), application.registry[SETTINGS].sites_dir)
        with engine.connect().execution_options(**AS_MULTISITE) as connection:
            by_id = {record.site.id: record.site for record in read_sites(connection, chosen)}
        # A site may have been removed since.
        sites = [by_id[site_id] for site_id in chosen if site_id in by_id]
    for templates, used in all_templates(application.registry):
        for issue in lint(templates, sites, used):
            if site is None or _may_show(templates.overlay, site, issue.path):
                yield _finding(issue)


def sites_to_check(sites: Iterable[TemplateSource], sites_dir: Path) -> list[int]:
    """Return the ids of the sites with a folder, and of the first of the others for each theme.

    The others have the same templates. So for many sites this is less work than to check each.
    """
    folders: set[str] = set()
    with suppress(OSError):
        # Some file systems ignore case.
        folders.update(entry.name.casefold() for entry in os.scandir(sites_dir))
    themes: set[str | None] = set()
    chosen = []
    for site in sites:
        if site.folder.casefold() not in folders:
            if site.theme in themes:
                continue
            themes.add(site.theme)
        chosen.append(site.site_id)
    return chosen


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
