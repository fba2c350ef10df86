"""Do one thing to several sites, with a result for each: `multisite bulk`, and jobs of the kind `bulk`.

A site for which it fails does not keep it from the others. Each action is the function of the command of its name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Engine

from multisite.core.finding import Finding
from multisite.core.settings import Settings
from multisite.directory.records import get_site
from multisite.errors import MultisiteError
from multisite.sites import availability, removal, rotate_secret, updates
from multisite.sites.archive.contents import SiteContents
from multisite.sites.archive.exporting import export_site
from multisite.sites.job_archives import export_path
from multisite.sites.operator_log import record_export
from multisite.sites.settings import SettingsRegistry
from multisite.sites.settings.values import set_settings, unset_settings

__all__ = ["BULK_ACTIONS", "MAX_SITES", "Check", "JobContext", "check_action", "export_to_folder", "run_bulk"]

MAX_SITES = 1_000
"""How many sites the console takes at a time: so many can be looked through, and a row holds their results."""

Arguments = Mapping[str, Any]

Check = Callable[[Callable[[str], None]], Sequence[Finding]]
"""Checks the application, and calls its argument with a line before each step that may take long."""


def _keep_nothing(_result: Mapping[str, Any]) -> None:
    pass


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a job works with.

    `progress` takes a line, and raises an exception if the job was cancelled. `keep` takes the result so far, which a
    job that is begun again finds as its `result`. `label` distinguishes the archives of this job from others of the
    same site. `declared` are the settings that the application declares, None if it does not include multisite. `check`
    checks the application, and returns the findings; None if the worker does not know the application.
    """

    engine: Engine
    settings: Settings
    contents: SiteContents
    progress: Callable[[str], None]
    label: str
    declared: SettingsRegistry | None = None
    keep: Callable[[Mapping[str, Any]], None] = _keep_nothing
    check: Check | None = None


def export_to_folder(context: JobContext, host: str, *, users: str) -> dict[str, Any]:
    """Write an archive of a site into the folder of exports, and return the result of the job."""
    site = get_site(context.engine, host).site
    # Begun again, the job writes the same file.
    path = export_path(context.settings, site.id, context.label)
    done = export_site(
        context.engine, host, path, settings=context.settings, contents=context.contents,
        users="none" if users == "none" else "keep", progress=context.progress,
    )  # fmt: skip
    record_export(context.engine, done.site, path, users=users)
    return {
        "archive": path.name, "site_id": site.id, "rows": done.rows, "files": done.files,
        "left_out": list(done.left_out),
    }  # fmt: skip


def _maintain(context: JobContext, host: str, arguments: Arguments) -> object:
    return availability.maintain_site(context.engine, host, message=arguments.get("message"))


def _set(context: JobContext, host: str, arguments: Arguments) -> object:
    return set_settings(context.engine, host, arguments["settings"], declared=_declared(context))


def _unset(context: JobContext, host: str, arguments: Arguments) -> object:
    return unset_settings(context.engine, host, arguments["names"], declared=_declared(context))


def _declared(context: JobContext) -> SettingsRegistry:
    if context.declared is None:
        raise MultisiteError("the settings that the application declares are not known here")
    return context.declared


BULK_ACTIONS: dict[str, Callable[[JobContext, str, Arguments], object]] = {
    "enable-site": lambda context, host, _: availability.enable_site(context.engine, host),
    "disable-site": lambda context, host, _: availability.disable_site(context.engine, host),
    "maintain-site": _maintain,
    "set-theme": lambda context, host, arguments: updates.set_theme(
        context.engine, host, arguments.get("theme"), settings=context.settings
    ),
    "set": _set,
    "unset": _unset,
    "export-site": lambda context, host, arguments: export_to_folder(
        context, host, users=arguments.get("users", "keep")
    ),
    "rotate-secret": lambda context, host, _: rotate_secret.rotate_secret(context.engine, host),
    "reload-templates": lambda context, host, _: updates.reload_templates(context.engine, host),
    "remove-site": lambda context, host, _: removal.remove_site(
        context.engine, host, settings=context.settings, contents=context.contents, progress=context.progress
    ),
}
"""What is done to each of several sites, by the name of the command. All of them can be repeated."""


def check_action(action: str) -> None:
    """Raise `MultisiteError` unless there is such an action for several sites."""
    if action not in BULK_ACTIONS:
        raise MultisiteError(f"'{action}' is not an action for several sites: {', '.join(BULK_ACTIONS)}")


def run_bulk(
    context: JobContext,
    action: str,
    hosts: Collection[str],
    arguments: Arguments,
    *,
    done: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Do `action` to each of `hosts`, in this order.

    Args:
        context: What it works with.
        action: A key of `BULK_ACTIONS`.
        hosts: A domain of each site.
        arguments: The arguments of the action, such as the theme.
        done: Results of former calls, whose sites are not done again.

    Returns:
        `sites`, with the error of each or None, and `failed`, the number of those with one.

    Raises:
        MultisiteError: There is no such action.
    """
    check_action(action)
    results = {each["site"]: dict(each) for each in done}
    for number, host in enumerate(hosts, 1):
        if host in results:
            continue
        context.progress(f"{number} of {len(hosts)}: {host}")
        results[host] = {"site": host, "error": None}
        try:
            BULK_ACTIONS[action](context, host, arguments)
        except MultisiteError as error:
            results[host]["error"] = str(error)
        context.keep(_result(results.values()))
    return _result(results.values())


def _result(sites: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    found = [dict(each) for each in sites]
    return {"sites": found, "failed": sum(each["error"] is not None for each in found)}
