"""The kinds of jobs: each calls the function that its command calls, so that both leave the same rows and files."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from multisite.core import program
from multisite.errors import MultisiteError, UnknownSite
from multisite.sites import removal
from multisite.sites.archive.copying import copy_site
from multisite.sites.archive.importing import Imported, import_site
from multisite.sites.bulk import BULK_ACTIONS, JobContext, check_action, export_to_folder, run_bulk
from multisite.sites.job_archives import upload_path
from multisite.sites.jobs import Job
from multisite.sites.last_check import keep_check
from multisite.sites.measurements import measure_sites
from multisite.sites.operator_log import LogSelection, list_log
from multisite.sites.removed import prune_removed
from multisite.sites.restoring import restore_site

__all__ = ["BULK_ACTIONS", "KINDS", "JobContext", "check_job"]

Arguments = Mapping[str, Any]


def _export(context: JobContext, _job: Job, arguments: Arguments) -> dict[str, Any]:
    return export_to_folder(context, arguments["host"], users=arguments.get("users", "keep"))


def _imported(done: Imported) -> dict[str, Any]:
    return {"site": done.host, "rows": done.rows, "files": done.files, "left_out": list(done.left_out)}


def _import(context: JobContext, job: Job, arguments: Arguments) -> dict[str, Any]:
    path = upload_path(context.settings, arguments["archive"])
    host = arguments.get("host")
    if _is_done(context, job, "import-site", host):
        path.unlink(missing_ok=True)
        return {"site": host}
    # A worker that is killed leaves the upload to the next one; any other end needs it no more.
    try:
        done = import_site(
            context.engine, path, settings=context.settings, contents=context.contents, progress=context.progress,
            host=host, users=arguments.get("users", "keep"), with_templates=arguments.get("with_templates", False),
        )  # fmt: skip
    finally:
        path.unlink(missing_ok=True)
    return _imported(done)


def _copy(context: JobContext, job: Job, arguments: Arguments) -> dict[str, Any]:
    if _is_done(context, job, "copy-site", arguments["new_host"]):
        return {"site": arguments["new_host"]}
    done = copy_site(
        context.engine, arguments["host"], arguments["new_host"], settings=context.settings, contents=context.contents,
        live=arguments.get("live", False), users=arguments.get("users", "keep"), progress=context.progress,
    )  # fmt: skip
    # Not the token that bypasses its maintenance page: results are shown to every operator.
    return _imported(done.target)


def _remove(context: JobContext, job: Job, arguments: Arguments) -> dict[str, Any]:
    if _is_done(context, job, "remove-site", arguments["host"]):
        return {}
    done = removal.remove_site(
        context.engine, arguments["host"], settings=context.settings, contents=context.contents,
        progress=context.progress,
    )  # fmt: skip
    prune_removed(context.engine, settings=context.settings)
    return {"rows": done.rows, "archive": None if done.archive is None else done.archive.name}


def _restore(context: JobContext, job: Job, arguments: Arguments) -> dict[str, Any]:
    host, new_host = arguments["host"], arguments.get("new_host")
    if _is_done(context, job, "restore-site", new_host or host):
        return {"site": new_host or host}
    done = restore_site(
        context.engine, host, settings=context.settings, contents=context.contents, new_host=new_host,
        progress=context.progress,
    )  # fmt: skip
    return _imported(done)


def _check(context: JobContext, _job: Job, _arguments: Arguments) -> dict[str, Any]:
    if context.check is None:
        raise MultisiteError(f"this worker does not know the application: run '{program.command('work')}'")
    started = time.monotonic()
    findings = context.check(context.progress)
    keep_check(context.engine, findings, seconds=time.monotonic() - started)
    return {"faults": sum(finding.severity == "fault" for finding in findings), "findings": len(findings)}


def _measure(context: JobContext, _job: Job, _arguments: Arguments) -> dict[str, Any]:
    return {"measured": measure_sites(context.engine, context.settings, progress=context.progress)}


def _is_done(context: JobContext, job: Job, what: str, host: str | None) -> bool:
    """Return whether a worker that died had made the change, but not recorded the end of the job.

    The change and its entry in the operator log are one transaction.
    """
    if job.attempts < 2 or host is None:
        return False
    try:
        entries = list(list_log(context.engine, LogSelection(host, who=job.who, whats=(what,), since=job.created)))
    except UnknownSite:
        return False
    return any((each.site, each.request_id) == (host, job.request_id) for each in entries)


def _bulk(context: JobContext, job: Job, arguments: Arguments) -> dict[str, Any]:
    done = (job.result or {}).get("sites", ())
    return run_bulk(context, arguments["action"], arguments["hosts"], arguments, done=done)


KINDS: dict[str, Callable[[JobContext, Job, Arguments], dict[str, Any]]] = {
    "export-site": _export,
    "import-site": _import,
    "copy-site": _copy,
    "remove-site": _remove,
    "restore-site": _restore,
    "bulk": _bulk,
    "check": _check,
    "measure-sites": _measure,
}
"""What a job does, by its kind; returns its result."""

_REQUIRED: dict[str, set[str]] = {
    "export-site": {"host"},
    "import-site": {"archive"},
    "copy-site": {"host", "new_host"},
    "remove-site": {"host"},
    "restore-site": {"host"},
    "bulk": {"action", "hosts"},
    "check": set(),
    "measure-sites": set(),
}


def check_job(kind: str, arguments: Arguments) -> None:
    """Raise `MultisiteError` unless there is this kind of job, and it has the arguments that it needs."""
    if kind not in KINDS:
        raise MultisiteError(f"there is no kind of job '{kind}': there are {', '.join(KINDS)}")
    if missing := sorted(_REQUIRED[kind] - arguments.keys()):
        raise MultisiteError(f"a job '{kind}' needs {' and '.join(missing)}")
    if kind == "bulk":
        check_action(arguments["action"])
