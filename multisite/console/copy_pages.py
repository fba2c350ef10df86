"""Copy a site, or export it: each is a job, which `multisite work` does."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request

from multisite.console.pages import add_page, done, translate
from multisite.console.site_list_pages import explain
from multisite.console.site_pages import SITE_PATTERN, find_record, site_variables
from multisite.directory.models import AS_MULTISITE
from multisite.errors import MultisiteError
from multisite.private_pages import field
from multisite.sites.jobs import add_job
from multisite.sites.transaction import check_domain_free
from multisite.sites.updates import plan_site

__all__ = ["includeme"]


def copy(request: Request) -> Any:
    """The forms, and the jobs that they add."""
    record, console, error = find_record(request), request.console, None
    host = field(request, "host").strip()
    if request.method == "POST":
        users = "none" if field(request, "users") == "none" else "keep"
        arguments = {"host": record.site.domain, "users": users}
        action = field(request, "action")
        try:
            if action == "copy":
                # Here, and not when the job begins.
                with console.engine.connect().execution_options(**AS_MULTISITE) as connection:
                    check_domain_free(connection, plan_site(host, console.settings).domain)
                arguments |= {"new_host": host}
                add_job(console.engine, "copy-site", site=record.site.domain, arguments=arguments)
                return done(request, "job", "jobs")
            if action == "export":
                add_job(console.engine, "export-site", site=record.site.domain, arguments=arguments)
                return done(request, "job", "jobs")
            error = translate(request, "Nothing was changed.")
        except MultisiteError as refused:
            error = explain(request, refused)
        request.response.status_int = 400
    keeps = console.settings.archives_dir is not None
    return site_variables(request, record, host=host, keeps=keeps, error=error)


def includeme(config: Configurator) -> None:
    """Add the page."""
    add_page(config, "copy", SITE_PATTERN + "/copy", copy, "copy", role="run")
