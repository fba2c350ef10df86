"""Copy a site, or export it: each is a job, which `multisite work` does. And the archives that jobs have written."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request
from pyramid.response import FileResponse, Response

from multisite.console.pages import add_page, done, translate
from multisite.console.site_list_pages import explain
from multisite.console.site_pages import SITE_PATTERN, find_record, site_variables
from multisite.directory.tables import AS_MULTISITE
from multisite.errors import MultisiteError
from multisite.private_pages import field
from multisite.sites.creation import plan_site
from multisite.sites.job_archives import find_export, list_exports
from multisite.sites.jobs import add_job
from multisite.sites.operator_log import record_now
from multisite.sites.transaction import check_domain_free

__all__ = ["includeme"]


def copy(request: Request) -> Any:
    """The forms, and the jobs that they add; the archives of the site."""
    record, console, error = find_record(request), request.console, None
    host = field(request, "host").strip()
    if request.method == "POST":
        users = "none" if field(request, "users") == "none" else "keep"
        arguments: dict[str, Any] = {"host": record.site.domain, "users": users}
        action = field(request, "action")
        try:
            if action == "copy":
                # Here, and not when the job begins.
                with console.engine.connect().execution_options(**AS_MULTISITE) as connection:
                    check_domain_free(connection, plan_site(host, console.settings).domain)
                arguments |= {"new_host": host, "live": field(request, "live") == "1"}
                job = add_job(console.engine, "copy-site", site=record.site.domain, arguments=arguments)
                return done(request, "job", "job", id=job.id)
            if action == "export":
                job = add_job(console.engine, "export-site", site=record.site.domain, arguments=arguments)
                return done(request, "job", "job", id=job.id)
            error = translate(request, "Nothing was changed.")
        except MultisiteError as refused:
            error = explain(request, refused)
        request.response.status_int = 400
    keeps = console.settings.archives_dir is not None
    exports = list_exports(console.settings, record.site.id)
    return site_variables(request, record, host=host, keeps=keeps, exports=exports, error=error)


def download(request: Request) -> Response:
    """Return an archive of the site, which has everything of it."""
    record, console = find_record(request), request.console
    found = find_export(console.settings, record.site.id, request.matchdict["name"])
    if found is None:
        raise HTTPNotFound
    record_now(console.engine, "download-export", record.site, after={"archive": found.name})
    response = FileResponse(str(found.path), request=request, content_type="application/zip")
    name = f"{record.site.folder}-{found.made:%Y%m%d-%H%M}.zip"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    # Neither shared nor compared: the next download is logged too.
    del response.last_modified, response.etag
    return response


def includeme(config: Configurator) -> None:
    """Add the pages."""
    add_page(config, "copy", SITE_PATTERN + "/copy", copy, "copy", role="run")
    add_page(config, "export", SITE_PATTERN + "/exports/{name}", download, role="everything", is_dangerous=True)
