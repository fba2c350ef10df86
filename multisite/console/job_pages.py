"""The jobs: their progress and their results, and a button that cancels one."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPBadRequest, HTTPNotFound
from pyramid.request import Request

from multisite.console.bulk_pages import ACTION_TEXTS
from multisite.console.pages import N_, add_page, done, variables
from multisite.console.site_list_pages import explain
from multisite.errors import MultisiteError
from multisite.private_pages import field
from multisite.sites.job_archives import find_export
from multisite.sites.jobs import Job, cancel_job, list_jobs, read_job

__all__ = ["includeme"]

PAGE_JOBS = 50

JOB_STATUSES = {
    "waiting": N_("Waiting"),
    "running": N_("Running"),
    "done": N_("Done"),
    "failed": N_("Failed"),
    "cancelled": N_("Cancelled"),
}

KIND_TEXTS = {
    "export-site": N_("Export"),
    "import-site": N_("Import"),
    "copy-site": N_("Copy"),
    "remove-site": N_("Remove"),
    "restore-site": N_("Restore"),
    "check": N_("Check"),
    "measure-sites": N_("Measure"),
    **ACTION_TEXTS,
}
"""The texts of the kinds of jobs, and of what is done to several sites; others are shown by their name."""


def _kind(job: Job) -> str:
    return str(job.arguments.get("action", job.kind))


def _subject(job: Job) -> str | None:
    """Return the domain that the job is about; None if it has none, or several."""
    found = job.site or job.arguments.get("host")
    if job.result is not None and "site" in job.result:
        found = found or job.result["site"]
    return found


def jobs(request: Request) -> Any:
    """The newest jobs; a POST cancels one."""
    engine, error = request.console.engine, None
    if request.method == "POST":
        try:
            job = cancel_job(engine, _number(field(request, "job")))
            return done(request, "cancelled", "job", id=job.id)
        except MultisiteError as refused:
            error = explain(request, refused)
            request.response.status_int = 400
    before = request.GET.get("before")
    found = list(list_jobs(engine, limit=PAGE_JOBS + 1, before_id=None if before is None else _number(before)))
    older = found[PAGE_JOBS - 1].id if len(found) > PAGE_JOBS else None
    return _variables(
        request,
        jobs=found[:PAGE_JOBS],
        older=None if older is None else request.route_path("jobs", _query={"before": older}),
        error=error,
    )


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise HTTPBadRequest
    return int(text)


def job(request: Request) -> Any:
    """A job, with its progress and the result for each of its sites."""
    found = read_job(request.console.engine, int(request.matchdict["id"]))
    if found is None:
        raise HTTPNotFound
    result = found.result or {}
    export = None
    if found.kind == "export-site" and found.status == "done":
        export = find_export(request.console.settings, result.get("site_id", 0), result["archive"])
    results = result.get("sites", [])
    left = [] if found.kind != "bulk" else found.arguments["hosts"][len(results) :]
    return _variables(request, job=found, export=export, site_id=result.get("site_id"), results=results, left=left)


def _variables(request: Request, **values: Any) -> dict[str, Any]:
    return variables(
        request,
        job_statuses=JOB_STATUSES,
        kinds=KIND_TEXTS,
        kind_of=_kind,
        subject_of=_subject,
        script_path=request.static_path("multisite.console:static/progress.js"),
        **values,
    )


def includeme(config: Configurator) -> None:
    """Add the pages."""
    add_page(config, "jobs", "/jobs", jobs, "jobs", role="look", change_role="run")
    add_page(config, "job", r"/jobs/{id:[1-9]\d{0,17}}", job, "job", role="look")
