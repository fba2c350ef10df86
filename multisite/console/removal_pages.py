"""Remove a site, by typing its domain; the removed sites, and their restoration."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request

from multisite.console.pages import add_page, done, translate, variables
from multisite.console.site_list_pages import explain
from multisite.console.site_pages import SITE_PATTERN, find_record, site_variables
from multisite.errors import MultisiteError
from multisite.private_pages import field
from multisite.sites.removal import plan_removal, remove_site
from multisite.sites.removed import list_removed, prune_removed
from multisite.sites.restoring import restore_site
from multisite.web.site_archive import site_contents

__all__ = ["includeme"]


def remove(request: Request) -> Any:
    """What a removal would remove, and the removal, once the domain of the site was typed."""
    record, console, error = find_record(request), request.console, None
    if request.method == "POST":
        if field(request, "domain").strip() == record.site.domain:
            try:
                contents = site_contents(console.registry)
                remove_site(console.engine, record.site.domain, settings=console.settings, contents=contents)
                prune_removed(console.engine, settings=console.settings)
            except MultisiteError as refused:
                error = explain(request, refused)
            else:
                console.directory.refresh_soon()
                return done(request, "removed", "removed")
        else:
            error = translate(request, "Nothing was removed: the domain that you typed is another one.")
        request.response.status_int = 400
    settings = console.settings
    plan = plan_removal(console.engine, record.site.domain, settings=settings)
    days = settings.keep_removed_days if settings.archives_dir is not None else 0
    return site_variables(request, record, plan=plan, days=days, error=error)


def removed(request: Request) -> Any:
    """The removed sites, and the restoration of one."""
    console, error = request.console, None
    if request.method == "POST":
        try:
            contents = site_contents(console.registry)
            new_host = field(request, "new_host").strip() or None
            restored = restore_site(
                console.engine,
                field(request, "domain"),
                settings=console.settings,
                contents=contents,
                new_host=new_host,
            )
        except MultisiteError as refused:
            error = explain(request, refused)
            request.response.status_int = 400
        else:
            console.directory.refresh_soon()
            if restored.record is not None:
                return done(request, "restored", "site", id=restored.record.site.id)
            return done(request, "restored", "sites")
    found = list_removed(console.engine, settings=console.settings)
    return variables(request, found=found, keeps=console.settings.archives_dir is not None, error=error)


def includeme(config: Configurator) -> None:
    """Add the pages."""
    add_page(config, "remove", SITE_PATTERN + "/remove", remove, "remove", role="everything", is_dangerous=True)
    add_page(config, "removed", "/removed", removed, "removed", role="look", change_role="everything")
