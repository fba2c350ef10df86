"""Remove a site, by typing its domain; the removed sites, and their restoration. Both are done by jobs."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request

from multisite.console.pages import add_page, done, translate, variables
from multisite.console.site_list_pages import explain
from multisite.console.site_pages import SITE_PATTERN, find_record, site_variables
from multisite.directory.tables import AS_MULTISITE
from multisite.errors import MultisiteError
from multisite.private_pages import field
from multisite.sites.creation import plan_site
from multisite.sites.job_archives import list_exports
from multisite.sites.jobs import Job, add_job
from multisite.sites.removal import plan_removal
from multisite.sites.removed import find_removed, list_removed
from multisite.sites.transaction import check_domain_free

__all__ = ["includeme"]


def remove(request: Request) -> Any:
    """What a removal would remove, and its job, once the domain of the site was typed."""
    record, console, error = find_record(request), request.console, None
    domain = record.site.domain
    if request.method == "POST":
        if field(request, "domain").strip() == domain:
            job = add_job(console.engine, "remove-site", site=domain, arguments={"host": domain})
            return done(request, "job", "job", id=job.id)
        error = translate(request, "Nothing was removed: the domain that you typed is another one.")
        request.response.status_int = 400
    settings = console.settings
    plan = plan_removal(console.engine, domain, settings=settings)
    keeps = settings.archives_dir is not None
    return site_variables(
        request,
        record,
        plan=plan,
        days=settings.keep_removed_days if keeps else 0,
        keeps=keeps,
        exports=list_exports(settings, record.site.id),
        error=error,
    )


def removed(request: Request) -> Any:
    """The removed sites, and the job that restores one."""
    console, error = request.console, None
    if request.method == "POST":
        try:
            return done(request, "job", "job", id=_restore(request).id)
        except MultisiteError as refused:
            error = explain(request, refused)
            request.response.status_int = 400
    found = list_removed(console.engine, settings=console.settings)
    keeps = console.settings.archives_dir is not None
    return variables(request, found=found, keeps=keeps, days=console.settings.keep_removed_days, error=error)


def _restore(request: Request) -> Job:
    """Add the job. Raises `MultisiteError` now for what can be known before it begins."""
    console = request.console
    domain = find_removed(console.engine, field(request, "domain"), settings=console.settings).domain
    new_host = field(request, "new_host").strip() or None
    with console.engine.connect().execution_options(**AS_MULTISITE) as connection:
        check_domain_free(connection, plan_site(new_host or domain, console.settings).domain)
    arguments = {"host": domain} | ({"new_host": new_host} if new_host else {})
    return add_job(console.engine, "restore-site", site=domain, arguments=arguments)


def includeme(config: Configurator) -> None:
    """Add the pages."""
    add_page(config, "remove", SITE_PATTERN + "/remove", remove, "remove", role="everything", is_dangerous=True)
    add_page(config, "removed", "/removed", removed, "removed", role="look", change_role="everything")
