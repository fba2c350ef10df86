"""Add a page of the editor: check the role and the token of its forms, and set the headers of its response."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import partial
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import (
    HTTPBadRequest,
    HTTPForbidden,
    HTTPLengthRequired,
    HTTPMethodNotAllowed,
    HTTPRequestEntityTooLarge,
    HTTPUnsupportedMediaType,
)
from pyramid.renderers import render_to_response
from pyramid.request import Request
from pyramid.response import Response

from multisite.content.editor.log_ins import LoggedIn, find_log_in
from multisite.content.editor.uploads import FILES_TYPE, read_files
from multisite.origins import origin_check
from multisite.people import ROLES

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

HEADERS = {
    # No inline script or style, nothing from elsewhere, and no other page around this one.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Not no-referrer, with which browsers send forms with the Origin null.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}
"""Headers of every page of the editor."""


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

MAX_FORM_FIELDS = 1000
"""Fields of a form. Anybody may send one to the log-in, and of that size it could have ten million."""

FORM_TYPE = "application/x-www-form-urlencoded"
"""The media type of all forms of the editor. The fields of other types are not counted before they are parsed."""

METHODS = ("GET", "HEAD", "POST")

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
    if request.method not in METHODS:
        return protect(HTTPMethodNotAllowed(headers={"Allow": ", ".join(METHODS)}))
    if request.method == "POST":
        _check_origin(request)
        _read_body(request, takes_files=takes_files)
    if role is None:
        return protect(rendered(context, request))
    found = request.log_in
    if found is None:
        return login_form(request, status=403)
    if request.method == "POST":
        _check_token(request, found)
    if found.user.role not in ROLES[: ROLES.index(role) + 1]:
        raise HTTPForbidden
    return protect(rendered(context, request))


def _read_body(request: Request, *, takes_files: bool) -> None:
    """Read the form into memory. WebOb would write one of this size to a file, and leave closing it to the collector.

    A form with files is read on a page that takes them; one that is longer than other forms, of who is logged in.

    Raises:
        HTTPLengthRequired: The request does not say how long the form is.
        HTTPRequestEntityTooLarge: It is longer than any text may be, or has more fields than any form.
        HTTPUnsupportedMediaType: It is not sent as the editor's own forms are.
    """
    if request.content_length is None:
        raise HTTPLengthRequired
    is_long = request.content_length > MAX_FORM_BYTES
    if takes_files and request.content_type == FILES_TYPE and not (is_long and request.log_in is None):
        read_files(request)
        return
    if is_long:
        raise HTTPRequestEntityTooLarge
    body = request.body_file.read(request.content_length)
    if body and request.content_type != FORM_TYPE:
        raise HTTPUnsupportedMediaType
    if body.count(b"&") >= MAX_FORM_FIELDS:
        raise HTTPRequestEntityTooLarge
    request.body = body


def _check_token(request: Request, found: LoggedIn) -> None:
    sent = request.POST.get("csrf_token")
    if not isinstance(sent, str) or not hmac.compare_digest(sent.encode("utf-8", "replace"), found.csrf_token.encode()):
        raise HTTPBadRequest("The form has no valid csrf_token.")


def protect(response: Response) -> Response:
    """Add the headers of the editor to a response."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


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
