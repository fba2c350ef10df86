"""Do one thing to several sites: the exact list first, then a job with a result for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPBadRequest
from pyramid.request import Request

from multisite.console.pages import N_, add_page, done, translate, variables
from multisite.console.site_list_pages import chosen_sites, explain
from multisite.core.domains import Domain
from multisite.directory.listing import HAS_CANONICAL, canonical, site, status
from multisite.directory.tables import AS_MULTISITE
from multisite.errors import MultisiteError
from multisite.private_pages import field
from multisite.sites.availability import MAX_MESSAGE_CHARACTERS
from multisite.sites.bulk import MAX_SITES
from multisite.sites.jobs import Job, add_job
from multisite.sites.settings.values import check_settings
from multisite.sites.themes import check_theme, list_themes

__all__ = ["ACTION_TEXTS", "includeme"]

ACTION_TEXTS = {
    "maintain-site": N_("Begin maintenance"),
    "enable-site": N_("Bring them back online"),
    "disable-site": N_("Disable"),
    "set-theme": N_("Set the theme"),
    "set": N_("Change a setting"),
    "export-site": N_("Export"),
}
"""What can be done to several sites. A removal is not among them: for that, one types the domain of each."""

COLUMN_SETTINGS = ("locale", "timezone")
"""Columns of every site, which are changed like settings."""


class ChosenSite(NamedTuple):
    """A site of the list: its id, canonical domain, name and status."""

    id: int
    domain: str
    name: str
    status: str


def bulk(request: Request) -> Any:
    """The chosen sites with what can be done to them, and the job that does it."""
    error = None
    if request.method == "POST":
        sites = _sites(request, _numbers(field(request, "ids").split()))
        try:
            job = _add_job(request, sites)
            return done(request, "job", "job", id=job.id)
        except MultisiteError as refused:
            error = explain(request, refused)
            request.response.status_int = 400
    elif "all" in request.GET:
        sites = _sites(request, None)
    else:
        sites = _sites(request, _numbers(request.GET.getall("id")))
    is_too_long = len(sites) > MAX_SITES
    console = request.console
    return variables(
        request,
        sites=[] if is_too_long else sites,
        is_too_long=is_too_long,
        maximum=MAX_SITES,
        actions=ACTION_TEXTS,
        chosen=field(request, "action"),
        values={name: field(request, name) for name in ("message", "theme", "key", "value")},
        maximum_message=MAX_MESSAGE_CHARACTERS,
        themes=list_themes(console.settings),
        keys=[*COLUMN_SETTINGS, *sorted(each.name for each in console.declared)],
        keeps=console.settings.archives_dir is not None,
        error=error,
    )


def _numbers(texts: Sequence[str]) -> list[int]:
    if len(texts) > MAX_SITES or not all(text.isascii() and text.isdigit() and len(text) < 19 for text in texts):
        raise HTTPBadRequest
    return sorted(set(map(int, texts)))


def _sites(request: Request, ids: list[int] | None) -> list[ChosenSite]:
    """Return the sites with these ids, or those of the search if they are None, but at most one more than allowed."""
    columns = site.c.id, canonical.c.host, canonical.c.port, canonical.c.path, site.c.name, status
    statement = sa.select(*columns).join_from(site, canonical, HAS_CANONICAL)
    conditions = chosen_sites(request).conditions() if ids is None else [site.c.id.in_(ids)]
    statement = statement.where(*conditions).order_by(canonical.c.host, canonical.c.port, canonical.c.path)
    with request.console.engine.connect().execution_options(**AS_MULTISITE) as connection:
        rows = connection.execute(statement.limit(MAX_SITES + 1)).all()
    return [
        ChosenSite(site_id, str(Domain(host, port or None, path)), name, found)
        for site_id, host, port, path, name, found in rows
    ]


def _add_job(request: Request, sites: list[ChosenSite]) -> Job:
    """Add the job, after checking what can be checked now, and not at the first site.

    Returns:
        The job.

    Raises:
        MultisiteError: There is nothing to do, a site of the list is gone, or a value is not valid.
    """
    action = field(request, "action")
    if action not in ACTION_TEXTS:
        raise MultisiteError(translate(request, "choose what to do"))
    if not sites or len(sites) != len(set(field(request, "ids").split())):
        raise MultisiteError(translate(request, "some of the sites are gone; look at the list again"))
    read: Callable[[Request], dict[str, Any]] = _ARGUMENTS.get(action, lambda _request: {})
    arguments = {"action": action, "hosts": [each.domain for each in sites], **read(request)}
    return add_job(request.console.engine, "bulk", arguments=arguments)


def _message(request: Request) -> dict[str, Any]:
    text = field(request, "message").strip()
    if len(text) > MAX_MESSAGE_CHARACTERS:
        raise MultisiteError(f"a message has 1 to {MAX_MESSAGE_CHARACTERS} characters")
    return {"message": text or None}


def _theme(request: Request) -> dict[str, Any]:
    name = field(request, "theme")
    return {"theme": check_theme(request.console.settings, name) if name else None}


def _setting(request: Request) -> dict[str, Any]:
    texts = {field(request, "key"): field(request, "value")}
    check_settings(texts, request.console.declared)
    return {"settings": texts}


def _users(request: Request) -> dict[str, Any]:
    if request.console.settings.archives_dir is None:
        raise MultisiteError("there is no folder for archives: set multisite.archives_dir in the ini file")
    return {"users": "none" if field(request, "users") == "none" else "keep"}


_ARGUMENTS = {"maintain-site": _message, "set-theme": _theme, "set": _setting, "export-site": _users}


def includeme(config: Configurator) -> None:
    """Add the page."""
    add_page(config, "bulk", "/bulk", bulk, "bulk", role="run")
