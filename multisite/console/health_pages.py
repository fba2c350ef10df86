"""The state of the whole: processes, versions, what the last check found, the slowest sites and views, the last errors.

The page reads tables. A check is a job, since it may take minutes.
"""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request

from multisite.check.health import read_health
from multisite.console.pages import N_, add_page, done, variables
from multisite.console.site_list_pages import explain
from multisite.errors import MultisiteError
from multisite.sites.jobs import add_job
from multisite.sites.last_check import MAX_FINDINGS

__all__ = ["includeme"]

SEVERITIES = {"fault": N_("Fault"), "notice": N_("Notice")}


def health(request: Request) -> Any:
    """The state of the whole; a POST adds the job that checks the application."""
    engine = request.console.engine
    if request.method == "POST":
        job = add_job(engine, "check", arguments={})
        return done(request, "job", "job", id=job.id)
    found, error = None, None
    try:
        found = read_health(engine)
    except MultisiteError as refused:
        error = explain(request, refused)
    last = None if found is None else found.last_check
    return variables(
        request,
        health=found,
        faults=0 if last is None else sum(finding.severity == "fault" for finding in last.findings),
        severities=SEVERITIES,
        maximum=MAX_FINDINGS,
        is_counted=request.console.settings.traffic,
        error=error,
    )


def includeme(config: Configurator) -> None:
    """Add the page."""
    add_page(config, "health", "/health", health, "health", role="look", change_role="run")
