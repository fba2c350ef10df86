r"""Add a page of the console: check the log-in, the role and the token of its forms, and set the headers.

    add_page(config, "theme", r"/sites/{id:\d+}/theme", view, "theme", role="run")

A view takes the request, and returns the variables of its template by `variables(request, ...)`, or a response. What a
POST changes is logged under the name of the operator.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from babel.dates import format_date, format_time
from babel.numbers import format_decimal
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPBadRequest, HTTPForbidden, HTTPSeeOther
from pyramid.renderers import render_to_response
from pyramid.request import Request
from pyramid.response import Response

from multisite.console.archive_upload import UPLOAD_TYPE, read_upload
from multisite.console.log_ins import CurrentOperator, find_log_in
from multisite.console.operators import may
from multisite.console.texts import COUNTS, DONE, ERRORS, N_, NAVIGATION, STATUSES
from multisite.core.actor import acting_as
from multisite.errors import MultisiteError
from multisite.private_pages import check_method, check_token, has_token, protect, read_form
from multisite.sites.job_archives import new_upload

__all__ = [
    "N_",
    "PAGES",
    "ConsolePage",
    "add_page",
    "done",
    "error_page",
    "login_form",
    "show_time",
    "translate",
    "uploaded_archive",
    "variables",
]

DOMAIN = "console"
"""Domain of the catalogs of the console, in `multisite/console/locale`."""

MAX_FORM_BYTES = 1_000_000

PAGES = "multisite.console.pages"
"""Registry key of all pages, as a dictionary from the names of their routes to `ConsolePage`."""

_UPLOAD = "multisite.console.upload"

View = Callable[[Request], Any]


LOGIN_ROUTES = frozenset({"login", "passkey_log_in", "passkey_confirm"})
"""The routes of forms to log in, which know the page that was requested first."""


class ConsolePage(NamedTuple):
    """Who may have a page: `role` sees it, and `change_role` sends its forms; None for people without a log-in."""

    role: str | None
    change_role: str | None
    is_dangerous: bool | None
    takes_archive: bool


def add_page(  # noqa: PLR0913  # One argument for each decision about a page.
    config: Configurator,
    name: str,
    pattern: str,
    view: View,
    template: str | None = None,
    *,
    role: str | None,
    change_role: str | None = None,
    is_dangerous: bool | None = False,
    takes_archive: bool = False,
) -> None:
    """Add a page of the console.

    Args:
        config: The Configurator.
        name: The name of the route.
        pattern: The pattern of the route.
        view: Takes the request; returns a response, or the variables of the template.
        template: The name of the template, without the suffix.
        role: Who may see the page: operators with this role or one that may do more; None for people without a log-in.
        change_role: Who may send its forms, if not everybody who sees it.
        is_dangerous: Ask for the password and a code again, unless both were entered some minutes ago; None to ask only
            if a form is sent, which is then to be sent again.
        takes_archive: Whether its form uploads an archive, which `uploaded_archive` returns.
    """
    page = ConsolePage(role, change_role or role, is_dangerous, takes_archive)
    config.registry.setdefault(PAGES, {})[name] = page
    config.add_route(name, pattern)
    config.add_view(
        lambda _context, request: view(request),
        route_name=name,
        renderer=None if template is None else f"{template}.mako",
        decorator=lambda rendered: partial(_protected, rendered, page),
        # The check below takes its place: the tokens belong to the log-ins.
        require_csrf=False,
    )


def _protected(
    rendered: Callable[[Any, Request], Response], page: ConsolePage, context: Any, request: Request
) -> Response:
    """Return the page, if the request may have it."""
    check_method(request)
    is_form = request.method == "POST"
    uploads = is_form and page.takes_archive and request.content_type == UPLOAD_TYPE
    if is_form:
        _check_origin(request)
        if not uploads:
            read_form(request, MAX_FORM_BYTES)
    role = page.change_role if is_form else page.role
    if role is None:
        return protect(rendered(context, request))
    found: CurrentOperator | None = request.log_in
    if found is None:
        return login_form(request, status=403)
    if is_form and not uploads:
        check_token(request, found.csrf_token)
    if not may(found.operator, role):
        raise HTTPForbidden
    if uploads:
        _read_archive(request, found)
    asks = is_form if page.is_dangerous is None else page.is_dangerous
    if asks and not found.is_confirmed:
        return protect(HTTPSeeOther(request.route_path("confirm", _query={"next": request.path})))
    with acting_as(f"{found.operator.login} (console)", address=request.remote_addr):
        return protect(rendered(context, request))


def _read_archive(request: Request, found: CurrentOperator) -> None:
    """Read a form with an archive, of somebody who may send it. Raises as `read_upload` does."""
    settings = request.console.settings

    def check(texts: dict[str, str]) -> None:
        if not has_token(texts.get("csrf_token", ""), found.csrf_token):
            raise HTTPBadRequest("The form has no valid csrf_token.")

    try:
        path = read_upload(request, lambda: new_upload(settings), settings.console_upload_size * 1_000_000, check)
    except MultisiteError as error:  # There is no folder for archives.
        raise HTTPBadRequest(str(error)) from error
    request.environ[_UPLOAD] = path


def uploaded_archive(request: Request) -> Path | None:
    """Return the archive that was uploaded, None if there is none. The caller adds a job for it, or deletes it."""
    found: Path | None = request.environ.get(_UPLOAD)
    return found


def _check_origin(request: Request) -> None:
    """Check that a form comes from the console itself. Raises `HTTPBadRequest` if not."""
    sent = request.headers.get("Origin") or request.headers.get("Referer") or ""
    try:
        parts = urlsplit(sent)
    except ValueError:
        parts = urlsplit("")
    if (parts.scheme, parts.netloc.lower()) != (request.scheme, request.host.lower()):
        raise HTTPBadRequest("The form does not come from the console.")


def login_form(
    request: Request, *, status: int = 200, error: str | None = None, login: str = "", is_again: bool = False
) -> Response:
    """Return the form to log in, or to do so again, which leads to the requested page afterwards."""
    after = request.POST.get("next", "") if request.matched_route.name in LOGIN_ROUTES else request.path_qs
    if is_again:
        login = request.log_in.operator.login
    values = variables(request, error=error, login=login, after=after, is_again=is_again)
    return _render(request, "login", values, status)


def error_page(request: Request, error: Response) -> Response:
    """Return the page for an exception of Pyramid."""
    if error.status_int >= 500:
        request.log_in = None  # It may be what failed.
    text = ERRORS.get(error.status_int)
    values = variables(
        request, heading=translate(request, error.title), explanation=error.explanation if text is None else text
    )
    response = _render(request, "problem", values, error.status_int)
    for name in ("Allow", "Retry-After"):
        if name in error.headers:
            response.headers[name] = error.headers[name]
    return response


def _render(request: Request, template: str, values: dict[str, Any], status: int) -> Response:
    response = render_to_response(f"{template}.mako", values, request=request)
    response.status_int = status
    return protect(response)


def done(request: Request, what: str, route: str, **elements: Any) -> HTTPSeeOther:
    """Return a redirect to a page, which says what has been done: a key of `DONE`."""
    return HTTPSeeOther(request.route_path(route, _query={"done": what}, **elements))


def translate(request: Request, text: str, **values: object) -> str:
    """Return the English `text` in the language of the request, formatted with `values`."""
    translated: str = request.localizer.translate(text, domain=DOMAIN)
    return translated.format(**values) if values else translated


def counted(request: Request, what: str, number: int) -> str:
    """Return a number of things with their name, a key of `COUNTS`."""
    one, many = COUNTS[what]
    if number == 1:
        return translate(request, one)
    return translate(request, many, number=format_decimal(number, locale=request.locale_name))


def show_time(request: Request, when: datetime | float, form: str = "time") -> str:
    """Return a time in UTC for people, to the minute; a number is Unix time.

    Args:
        request: The request, which has the language.
        when: The time.
        form: `date` for its date alone, `clock` for the time of that day alone, without "UTC".
    """
    moment = when if isinstance(when, datetime) else datetime.fromtimestamp(when, UTC)
    date = str(format_date(moment, "medium", locale=request.locale_name))
    if form == "date":
        return date
    # Some fonts lack the narrow space before "PM".
    clock = format_time(moment, "short", locale=request.locale_name).replace("\u202f", "\u00a0")
    return clock if form == "clock" else f"{date}, {clock} UTC"


def variables(request: Request, **values: Any) -> dict[str, Any]:
    """Return the variables of a template: `values`, and those that all templates have."""
    found: CurrentOperator | None = request.log_in
    text = DONE.get(request.GET.get("done", ""))
    return {
        "t": partial(translate, request),
        "counted": partial(counted, request),
        "log_in": found,
        "operator": None if found is None else found.operator,
        "may": lambda role: found is not None and may(found.operator, role),
        "csrf_token": "" if found is None else found.csrf_token,
        "path": request.route_path,
        "here": request.matched_route.name if request.matched_route else "",
        "language": request.locale_name,
        "style_path": request.static_path("multisite.console:static/console.css"),
        "passkeys_path": request.static_path("multisite.console:static/passkeys.js"),
        "when": partial(show_time, request),
        "statuses": STATUSES,
        "navigation": NAVIGATION,
        "has_codes": request.console.settings.console_second_factor,
        "error": None,
        "done": None if text is None else translate(request, text),
        **values,
    }


def includeme(config: Configurator) -> None:
    """Add `request.log_in`."""
    config.add_request_method(find_log_in, "log_in", reify=True)
