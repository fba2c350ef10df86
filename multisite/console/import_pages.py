"""Import an archive that is uploaded, as a new site: the job does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request

from multisite.console.operators import may
from multisite.console.pages import add_page, done, translate, uploaded_archive, variables
from multisite.console.site_list_pages import explain
from multisite.directory.tables import AS_MULTISITE
from multisite.errors import MultisiteError
from multisite.private_pages import field
from multisite.sites.archive.reader import opening
from multisite.sites.creation import plan_site
from multisite.sites.jobs import add_job
from multisite.sites.transaction import check_domain_free

__all__ = ["includeme"]


def import_archive(request: Request) -> Any:
    """The form, and the job that it adds."""
    settings, error, path = request.console.settings, None, None
    if request.method == "POST":
        path = uploaded_archive(request)
        try:
            job = _add_job(request, path)
            return done(request, "job", "job", id=job.id)
        except MultisiteError as refused:
            error = explain(request, refused)
            request.response.status_int = 400
            if path is not None:
                path.unlink(missing_ok=True)
    return variables(
        request,
        host=field(request, "host"),
        keeps=settings.archives_dir is not None,
        megabytes=settings.console_upload_size,
        error=error,
    )


def _add_job(request: Request, path: Path | None) -> Any:
    """Check what can be checked now, and not when the job begins; add the job."""
    console, host = request.console, field(request, "host").strip()
    if path is None:
        raise MultisiteError(translate(request, "choose an archive"))
    with_templates = field(request, "with_templates") == "1"
    if with_templates and not may(request.log_in.operator, "everything"):
        raise MultisiteError(translate(request, "templates are code, which the role everything may import"))
    try:
        with opening(path):
            pass
    except MultisiteError as refused:
        # Not with the name under which it is stored.
        raise MultisiteError(str(refused).replace(str(path), translate(request, "the file"))) from refused
    if host:
        with console.engine.connect().execution_options(**AS_MULTISITE) as connection:
            check_domain_free(connection, plan_site(host, console.settings).domain)
    users = "none" if field(request, "users") == "none" else "keep"
    arguments = {"archive": path.name, "users": users, "with_templates": with_templates}
    return add_job(console.engine, "import-site", arguments=arguments | ({"host": host} if host else {}))


def includeme(config: Configurator) -> None:
    """Add the page."""
    add_page(config, "import", "/import", import_archive, "import", role="run", takes_archive=True)
