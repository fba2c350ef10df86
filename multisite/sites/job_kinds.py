"""The kinds of jobs: each calls the function that its command calls, so that both leave the same rows and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Engine

from multisite.core.settings import Settings
from multisite.directory.records import get_site
from multisite.errors import MultisiteError
from multisite.sites import availability, removal, rotate_secret, updates
from multisite.sites.archive.contents import SiteContents
from multisite.sites.archive.copying import copy_site
from multisite.sites.archive.exporting import export_site
from multisite.sites.archive.importing import Imported, import_site
from multisite.sites.jobs import Job
from multisite.sites.operator_log import record_export

__all__ = ["BULK_ACTIONS", "EXPORTS_FOLDER", "KINDS", "UPLOADS_FOLDER", "JobContext", "check_job"]

EXPORTS_FOLDER, UPLOADS_FOLDER = "exports", "uploads"
"""The folders in `multisite.archives_dir` for the archives that jobs write, and for those that they import."""

Arguments = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a job works with. `progress` takes a line, and raises an exception if the job was cancelled."""

    engine: Engine
    settings: Settings
    contents: SiteContents
    progress: Callable[[str], None]


def _folder(context: JobContext, name: str) -> Path:
    if context.settings.archives_dir is None:
        raise MultisiteError("there is no folder for archives: set multisite.archives_dir in the ini file")
    folder = context.settings.archives_dir / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _export(context: JobContext, job: Job, arguments: Arguments) -> dict[str, Any]:
    site = get_site(context.engine, arguments["host"]).site
    # Begun again, the job writes the same file.
    path = _folder(context, EXPORTS_FOLDER) / f"{site.id}-{job.id}.zip"
    users = arguments.get("users", "keep")
    done = export_site(
        context.engine, arguments["host"], path, settings=context.settings, contents=context.contents, users=users,
        progress=context.progress,
    )  # fmt: skip
    record_export(context.engine, done.site, path, users=users)
    return {"archive": path.name, "rows": done.rows, "files": done.files, "left_out": list(done.left_out)}


def _imported(done: Imported) -> dict[str, Any]:
    return {"site": done.host, "rows": done.rows, "files": done.files, "left_out": list(done.left_out)}


def _import(context: JobContext, _job: Job, arguments: Arguments) -> dict[str, Any]:
    name = arguments["archive"]
    if Path(name).name != name:
        raise MultisiteError(f"'{name}' is not the name of a file in {UPLOADS_FOLDER}")
    done = import_site(
        context.engine, _folder(context, UPLOADS_FOLDER) / name, settings=context.settings, contents=context.contents,
        progress=context.progress, host=arguments.get("host"), users=arguments.get("users", "keep"),
        with_templates=arguments.get("with_templates", False),
    )  # fmt: skip
    return _imported(done)


def _copy(context: JobContext, _job: Job, arguments: Arguments) -> dict[str, Any]:
    done = copy_site(
        context.engine, arguments["host"], arguments["new_host"], settings=context.settings, contents=context.contents,
        live=arguments.get("live", False), users=arguments.get("users", "keep"), progress=context.progress,
    )  # fmt: skip
    # Not the token that bypasses its maintenance page: results are shown to every operator.
    return _imported(done.target)


def _remove(context: JobContext, _job: Job, arguments: Arguments) -> dict[str, Any]:
    done = removal.remove_site(
        context.engine, arguments["host"], settings=context.settings, contents=context.contents,
        progress=context.progress,
    )  # fmt: skip
    return {"rows": done.rows, "archive": None if done.archive is None else done.archive.name}


def _maintain(context: JobContext, host: str, arguments: Arguments) -> object:
    return availability.maintain_site(context.engine, host, message=arguments.get("message"))


BULK_ACTIONS: dict[str, Callable[[JobContext, str, Arguments], object]] = {
    "enable-site": lambda context, host, _: availability.enable_site(context.engine, host),
    "disable-site": lambda context, host, _: availability.disable_site(context.engine, host),
    "maintain-site": _maintain,
    "rotate-secret": lambda context, host, _: rotate_secret.rotate_secret(context.engine, host),
    "reload-templates": lambda context, host, _: updates.reload_templates(context.engine, host),
    "set-theme": lambda context, host, arguments: updates.set_theme(
        context.engine, host, arguments.get("theme"), settings=context.settings
    ),
    "remove-site": lambda context, host, _: removal.remove_site(
        context.engine, host, settings=context.settings, contents=context.contents, progress=context.progress
    ),
}
"""What a bulk job does to each of its sites, by the name of the command. They can be repeated."""


def _bulk(context: JobContext, _job: Job, arguments: Arguments) -> dict[str, Any]:
    act, hosts = BULK_ACTIONS[arguments["action"]], arguments["hosts"]
    results = []
    for number, host in enumerate(hosts, 1):
        context.progress(f"{number} of {len(hosts)}: {host}")
        try:
            act(context, host, arguments)
            results.append({"site": host, "error": None})
        except MultisiteError as error:
            results.append({"site": host, "error": str(error)})
    return {"sites": results, "failed": sum(each["error"] is not None for each in results)}


KINDS: dict[str, Callable[[JobContext, Job, Arguments], dict[str, Any]]] = {
    "export-site": _export,
    "import-site": _import,
    "copy-site": _copy,
    "remove-site": _remove,
    "bulk": _bulk,
}
"""What a job does, by its kind; returns its result."""

_REQUIRED = {
    "export-site": {"host"},
    "import-site": {"archive"},
    "copy-site": {"host", "new_host"},
    "remove-site": {"host"},
    "bulk": {"action", "hosts"},
}


def check_job(kind: str, arguments: Arguments) -> None:
    """Raise `MultisiteError` unless there is this kind of job, and it has the arguments that it needs."""
    if kind not in KINDS:
        raise MultisiteError(f"there is no kind of job '{kind}': there are {', '.join(KINDS)}")
    if missing := sorted(_REQUIRED[kind] - arguments.keys()):
        raise MultisiteError(f"a job '{kind}' needs {' and '.join(missing)}")
    if kind == "bulk" and arguments["action"] not in BULK_ACTIONS:
        raise MultisiteError(f"'{arguments['action']}' is not an action for several sites: {', '.join(BULK_ACTIONS)}")
