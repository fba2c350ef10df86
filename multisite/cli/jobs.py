"""`multisite work`, `list-jobs` and `cancel-job`."""

from __future__ import annotations

import signal
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from multisite.cli.arguments import json_option
from multisite.cli.output import print_json, print_json_list
from multisite.cli.site_archive import loaded_application
from multisite.sites.ini import read_ini

if TYPE_CHECKING:
    from multisite.sites.jobs import Job

__all__ = ["cancel_job", "list_jobs", "work"]

KEPT_DAYS = 30
"""For how many days ended jobs are listed, and the archives kept that they have written."""


@click.command()
@click.option("--once", is_flag=True, help="End when no job is waiting.")
@click.pass_obj
def work(ini_uri: str, once: bool) -> None:
    """Do the jobs that are waiting: exports, imports, copies, removals, and actions on several sites.

    Once an hour it also measures all sites, as measure-sites does. Runs until it is stopped; SIGTERM and Ctrl-C end it
    after the job that it is doing. Several can run at a time.
    """
    from multisite import check
    from multisite.sites.job_archives import prune_exports, prune_uploads
    from multisite.sites.jobs import prune_jobs, wanted_uploads
    from multisite.sites.operator_log import prune_log
    from multisite.sites.processes import reporting
    from multisite.sites.worker import Worker
    from multisite.web.site_archive import site_contents
    from multisite.web.site_settings import SITE_SETTINGS

    with loaded_application(ini_uri) as (ini, engine, registry):
        worker = Worker(
            engine, ini.settings, site_contents(registry), registry[SITE_SETTINGS],
            check=lambda tell: check.run(ini_uri, progress=tell),
        )  # fmt: skip
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop())
        prune_jobs(engine, days=KEPT_DAYS)
        prune_exports(ini.settings, days=KEPT_DAYS)
        prune_uploads(ini.settings, wanted=wanted_uploads(engine))
        prune_log(engine, settings=ini.settings)
        with reporting(engine):
            done = worker.run(once=once, on_done=lambda job, status: click.echo(f"{_subject(job)}: {status}"))
        engine.dispose()
    click.echo(f"{done} job{'s' * (done != 1)} done.")


def _subject(job: Job) -> str:
    return f"{job.id}  {job.kind}  {job.site or '-'}"


@click.command()
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice(["waiting", "running", "done", "failed", "cancelled"]),
    help="Only jobs with this status; may be repeated.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="List at most N jobs.")
@json_option
@click.pass_obj
def list_jobs(ini_uri: str, statuses: tuple[str, ...], limit: int, as_json: bool) -> None:
    """List the jobs, beginning with the newest."""
    from multisite.sites import jobs

    engine = read_ini(ini_uri).open_engine()
    found = jobs.list_jobs(engine, statuses=statuses, limit=limit)
    if as_json:
        print_json_list(map(_as_dict, found))
        return
    for job in found:
        text = job.error or (job.progress if job.status == "running" else "")
        click.echo(f"{_subject(job)}  {job.status}  {job.created:%Y-%m-%d %H:%M}  {job.who}  {text}".rstrip())


def _as_dict(job: Job) -> dict[str, Any]:
    from multisite.sites.hidden_values import without_secrets

    times = {name: time and time.isoformat() for name, time in asdict(job).items() if hasattr(time, "isoformat")}
    return {**asdict(job), **times, "arguments": without_secrets(job.arguments)}


@click.command()
@click.argument("job_id", metavar="ID", type=click.IntRange(min=1))
@json_option
@click.pass_obj
def cancel_job(ini_uri: str, job_id: int, as_json: bool) -> None:
    """Cancel a job: a waiting one at once, a running one at its next step."""
    from multisite.sites import jobs

    job = jobs.cancel_job(read_ini(ini_uri).open_engine(), job_id)
    if as_json:
        print_json(_as_dict(job))
    elif job.status == "cancelled":
        click.echo(f"Cancelled job {job.id}.")
    else:
        click.echo(f"Job {job.id} ends at its next step.")
