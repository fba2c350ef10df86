"""Add a page of the editor: check the role and the token of its forms, and set the headers of its response."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden, HTTPLengthRequired, HTTPMethodNotAllowed
from pyramid.renderers import render_to_response
from pyramid.request import Request
from pyramid.response import Response

from multisite.content.editor.log_ins import LoggedIn, find_log_in
from multisite.content.editor.uploads import FILES_TYPE, read_files
from multisite.core.actor import acting_as
from multisite.core.keys import DIRECTORY, SETTINGS
from multisite.origins import origin_check
from multisite.people import ROLES
from multisite.private_pages import check_method, check_token, protect, read_form
from multisite.sites.operator_log import record_now

__all__ = [
    "KINDS",
    "N_",
    "STATES",
    "TEMPLATES",
    "add_page",
    "kept_fields",
    "logged_in",
    "login_form",
    "protect",
    "translate",
    "variables",
]

DOMAIN = "editor"
"""Domain of the catalogs of the editor, in `multisite/content/locale`."""

TEMPLATES = "multisite.content.editor:templates/editor/"


def N_(text: str) -> str:  # noqa: N802  The usual name for a text that is translated where it is shown.
    """Return `text`, which is listed for translation."""
    return text


STATES = {"draft": N_("Draft"), "scheduled": N_("Scheduled"), "published": N_("Published")}
"""The texts of the states of entries."""

KINDS = {"saved": N_("saved"), "collided": N_("not saved, because somebody else saved first"), "deleted": N_("deleted")}
"""The texts of the kinds of revisions."""

MAX_FORM_BYTES = 20_000_000
"""Bytes of a form: a text of two million characters, each escaped."""

KEPT = "kept."
"""Prefix of the fields in the form to log in that keep those of another form."""

View = Callable[[Request], Any]

_check_origin = origin_check()


def add_page(
    config: Configurator,
    name: str,
    pattern: str,
    view: View,
    template: str | None = None,
    *,
    role: str | None,
    takes_files: bool = False,
) -> None:
    """Add a page of the editor.

    Args:
        config: The Configurator.
        name: The name of the route, without `editor_`.
        pattern: The pattern of the route.
        view: Takes the request; returns a response, or the variables of the template.
        template: The name of the template, without folder and suffix.
        role: Who may see the page: everybody with this role or one that may do more; None for people without a log-in.
        takes_files: Whether its forms may contain files, which `uploads.uploaded_files` returns.
    """
    config.add_route(f"editor_{name}", pattern)
    renderer = None if template is None else f"{TEMPLATES}{template}.mako"
    config.add_view(
        lambda _context, request: view(request),
        route_name=f"editor_{name}",
        renderer=renderer,
        decorator=lambda rendered: partial(_protected, rendered, role, takes_files),
        # The check below takes its place: the tokens belong to the log-ins.
        require_csrf=False,
    )


def _protected(
    rendered: Callable[[Any, Request], Response],
    role: str | None,
    takes_files: bool,
    context: Any,
    request: Request,
) -> Response:
    """Return the page, if the request may have it."""
    try:
        check_method(request)
    except HTTPMethodNotAllowed as error:
        return protect(error)
    if request.method == "POST":
        _check_origin(request)
        _read_body(request, takes_files=takes_files)
    if role is None:
        return protect(rendered(context, request))
    found = request.log_in
    if found is None:
        return login_form(request, status=403)
    if request.method == "POST":
        check_token(request, found.csrf_token)
        log_operator(request, found)
    if found.user.role not in ROLES[: ROLES.index(role) + 1]:
        raise HTTPForbidden
    with acting_as(_actor_name(found), address=request.remote_addr):
        return protect(rendered(context, request))


def _read_body(request: Request, *, takes_files: bool) -> None:
    """Read the form into memory.

    A form with files is read on a page that takes them; one that is longer than other forms, of who is logged in.

    Raises:
        HTTPLengthRequired: The request does not say how long the form is.
        HTTPException: As `read_form`.
    """
    is_long = (request.content_length or 0) > MAX_FORM_BYTES
    if takes_files and request.content_type == FILES_TYPE and not (is_long and request.log_in is None):
        if request.content_length is None:
            raise HTTPLengthRequired
        read_files(request)
        return
    read_form(request, MAX_FORM_BYTES)


def _actor_name(found: LoggedIn) -> str:
    """Return the name that the operator log gives to who is logged in."""
    operator, login = found.log_in.operator, found.user.login
    return f"{login} (editor)" if operator is None else f"{operator} (as {login})"


def log_operator(request: Request, found: LoggedIn) -> None:
    """Record what an operator sends who has signed in as a user, under the name of the operator.

    In a transaction of its own, before it is done: what fails is recorded too.
    """
    if found.log_in.operator is not None:
        with acting_as(_actor_name(found), address=request.remote_addr):
            after = {"page": request.matched_route.name, "path": request.path, "user": found.user.login}
            record_now(request.registry[DIRECTORY].engine, "act-as-user", request.site, after=after)


def console_url(request: Request) -> str:
    """Return the address of the site's users in the console, for the link back."""
    host = request.registry[SETTINGS].console_host
    port = request.host.rpartition(":")[2]
    has_port = request.host.endswith(f":{port}") and port.isdigit()
    return f"{request.scheme}://{host}{f':{port}' if has_port else ''}/sites/{request.site.id}/users"


def logged_in(request: Request) -> LoggedIn:
    """Return who is logged in, on a page that has a role."""
    found: LoggedIn = request.log_in
    return found


def login_form(request: Request, *, status: int = 200, error: str | None = None, login: str = "") -> Response:
    """Return the page with the form to log in, which leads to the requested page of the editor afterwards.

    A text that was sent to that page, by somebody whose log-in has ended, is kept in the form.
    """
    after = request.POST.get("next", "") if request.matched_route.name == "editor_login" else request.path
    values = {**variables(request), "error": error, "login": login, "after": after, "kept": kept_fields(request)}
    response = render_to_response(f"{TEMPLATES}login.mako", values, request=request)
    response.status_int = status
    return protect(response)


def kept_fields(request: Request) -> dict[str, str]:
    """Return the fields of an entry's form that was sent without a log-in, by name; empty if there is none."""
    fields = {name: text for name, text in request.POST.items() if isinstance(text, str)}
    if request.matched_route.name == "editor_login":
        return {name.removeprefix(KEPT): text for name, text in fields.items() if name.startswith(KEPT)}
    if request.matched_route.name not in {"editor_entry", "editor_new_entry"}:
        return {}
    return {name: text for name, text in fields.items() if name != "csrf_token"}


def translate(request: Request, text: str, **values: object) -> str:
    """Return the English `text` in the language of the request, formatted with `values`."""
    translated: str = request.localizer.translate(text, domain=DOMAIN)
    return translated.format(**values) if values else translated


def variables(request: Request, **values: Any) -> dict[str, Any]:
    """Return the variables of a template of the editor: `values`, and those that all of them have."""
    found: LoggedIn | None = request.log_in
    return {
        "page_kind": "editor",
        "t": partial(translate, request),
        "user": None if found is None else found.user,
        "acting": None if found is None or found.log_in.operator is None else found.log_in.operator,
        "console_url": None if found is None or found.log_in.operator is None else console_url(request),
        "csrf_token": "" if found is None else found.csrf_token,
        "path": request.route_path,
        "has_media": hasattr(request, "media_library"),
        "style_path": request.static_path("multisite.content.editor:static/editor.css"),
        "error": None,
        "done": None,
        **values,
    }


def includeme(config: Configurator) -> None:
    """Add `request.log_in`."""
    config.add_request_method(find_log_in, "log_in", reify=True)
