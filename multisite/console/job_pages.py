"""The jobs: their progress and their results, and a button that cancels one."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPBadRequest
from pyramid.request import Request

from multisite.console.pages import N_, add_page, done, variables
from multisite.console.site_list_pages import explain
from multisite.errors import MultisiteError
from multisite.private_pages import field
from multisite.sites.jobs import cancel_job, list_jobs

__all__ = ["includeme"]

PAGE_JOBS = 50

JOB_STATUSES = {
    "waiting": N_("Waiting"),
    "running": N_("Running"),
    "done": N_("Done"),
    "failed": N_("Failed"),
    "cancelled": N_("Cancelled"),
}


def jobs(request: Request) -> Any:
    """The newest jobs; a POST cancels one."""
    engine, error = request.console.engine, None
    if request.method == "POST":
        number = field(request, "job")
        if not (number.isascii() and number.isdigit() and len(number) < 19):
            raise HTTPBadRequest
        try:
            cancel_job(engine, int(number))
            return done(request, "cancelled", "jobs")
        except MultisiteError as refused:
            error = explain(request, refused)
            request.response.status_int = 400
    found = list(list_jobs(engine, limit=PAGE_JOBS))
    return variables(request, jobs=found, job_statuses=JOB_STATUSES, error=error)


def includeme(config: Configurator) -> None:
    """Add the page."""
    add_page(config, "jobs", "/jobs", jobs, "jobs", role="look", change_role="run")
